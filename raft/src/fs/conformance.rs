//! What every adapter of the files' port must do, and each of them put through it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

/// An adapter and an empty directory on it.
struct Subject {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    _keep: Option<tempfile::TempDir>,
}

impl Subject {
    fn real() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Subject { fs: Arc::new(RealFs), root: dir.path().to_owned(), _keep: Some(dir) }
    }

    fn sim() -> Self {
        let fs = SimFs::new();
        fs.create_dir_all(Path::new("/data")).unwrap();
        Subject { fs: Arc::new(fs), root: PathBuf::from("/data"), _keep: None }
    }

    fn faulty() -> Self {
        let real = Self::real();
        let fs = FaultyFs::new(Arc::clone(&real.fs), Arc::new(crate::env::RealEnv));
        // Short reads are no fault of the disk: callers must live with them.
        fs.add(Rule::new(Fault::Short).on([Operation::Read]));
        Subject { fs: Arc::new(fs), ..real }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.fs.open(&self.path(name), OpenMode::Truncate).unwrap().write_at(bytes, 0).unwrap();
    }

    fn content(&self, name: &str) -> Vec<u8> {
        read_whole(&*self.fs, &self.path(name)).unwrap()
    }

    fn open_error(&self, name: &str, mode: OpenMode) -> ErrorKind {
        self.fs.open(&self.path(name), mode).err().expect("an error").kind()
    }
}

fn each_mode_opens_what_it_says(on: Subject) {
    assert_eq!(on.open_error("a", OpenMode::Read), ErrorKind::NotFound);
    assert_eq!(on.open_error("a", OpenMode::Write), ErrorKind::NotFound);
    on.fs.open(&on.path("a"), OpenMode::CreateNew).unwrap().write_at(b"abc", 0).unwrap();
    assert_eq!(on.open_error("a", OpenMode::CreateNew), ErrorKind::AlreadyExists);
    on.fs.open(&on.path("a"), OpenMode::Create).unwrap().write_at(b"X", 1).unwrap();
    assert_eq!(on.content("a"), b"aXc");
    on.fs.open(&on.path("a"), OpenMode::Write).unwrap().write_at(b"Y", 2).unwrap();
    assert_eq!(on.content("a"), b"aXY");
    on.fs.open(&on.path("a"), OpenMode::Truncate).unwrap();
    assert_eq!(on.content("a"), b"");
    on.fs.open(&on.path("b"), OpenMode::Create).unwrap();
    assert_eq!(on.content("b"), b"");
    assert!(on.fs.open(&on.path("a"), OpenMode::Read).unwrap().write_at(b"x", 0).is_err(), "opened for reading");
    assert!(on.fs.open(&on.root, OpenMode::Read).is_err(), "a directory is no file");
    assert_eq!(on.open_error("missing/c", OpenMode::Create), ErrorKind::NotFound);
}

fn bytes_written_anywhere_read_back_and_gaps_are_zeros(on: Subject) {
    let file = on.fs.open(&on.path("a"), OpenMode::Create).unwrap();
    file.write_at(b"hello", 3).unwrap();
    file.write_at(b"J", 3).unwrap();
    file.write_at(b"end", 10).unwrap();
    file.write_at(b"", 99).unwrap();
    assert_eq!((file.size().unwrap(), on.content("a")), (13, b"\0\0\0Jello\0\0end".to_vec()));
    let mut buffer = [7; 4];
    read_exact_at(&*file, &mut buffer, 9).unwrap();
    assert_eq!(&buffer, b"\0end");
    assert_eq!(file.read_at(&mut buffer, 13).unwrap(), 0, "the end");
    assert_eq!(file.read_at(&mut buffer, 1000).unwrap(), 0, "beyond the end");
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    let past = read_exact_at(&*file, &mut buffer, 10).unwrap_err();
    assert_eq!(past.kind(), ErrorKind::UnexpectedEof);
}

fn a_file_is_cut_extended_and_allocated_with_zeros(on: Subject) {
    let file = on.fs.open(&on.path("a"), OpenMode::Create).unwrap();
    file.write_at(b"abcdef", 0).unwrap();
    file.set_size(2).unwrap();
    file.set_size(4).unwrap();
    assert_eq!(on.content("a"), b"ab\0\0");
    file.allocate(3).unwrap();
    assert_eq!(file.size().unwrap(), 4, "allocation never cuts");
    file.allocate(6).unwrap();
    assert_eq!(on.content("a"), b"ab\0\0\0\0");
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    assert_eq!(file.sync_delay(), Duration::ZERO);
}

fn directories_are_made_listed_in_order_and_removed_when_empty(on: Subject) {
    let deep = on.path("one/two/three");
    on.fs.create_dir_all(&deep).unwrap();
    on.fs.create_dir_all(&deep).unwrap();
    for name in ["c", "a", "b"] {
        on.put(&format!("one/{name}"), b"x");
    }
    assert_eq!(on.fs.list(&on.path("one")).unwrap(), ["a", "b", "c", "two"]);
    assert_eq!(on.fs.list(&deep).unwrap(), [""; 0]);
    assert_eq!(on.fs.list(&on.path("nothing")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(on.fs.list(&on.path("one/a")).is_err());
    assert!(on.fs.create_dir_all(&on.path("one/a/below")).is_err(), "a file is no directory");
    assert_eq!(on.fs.remove_dir(&on.path("one/two")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    on.fs.remove_dir(&deep).unwrap();
    on.fs.remove_dir(&on.path("one/two")).unwrap();
    assert_eq!(on.fs.list(&on.path("one")).unwrap(), ["a", "b", "c"]);
    on.fs.sync_dir(&on.path("one")).unwrap();
    assert_eq!(on.fs.sync_dir(&on.path("nothing")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(on.fs.sync_dir(&on.path("one/a")).is_err());
}

fn metadata_tells_files_directories_and_nothing_apart(on: Subject) {
    on.put("a", b"12345");
    assert_eq!(on.fs.metadata(&on.path("a")).unwrap(), Some(Metadata::File { bytes: 5 }));
    assert_eq!(on.fs.metadata(&on.root).unwrap(), Some(Metadata::Directory));
    assert_eq!(on.fs.metadata(&on.path("b")).unwrap(), None);
    assert!(on.fs.free_space(&on.root).unwrap() > 0);
    assert!(on.fs.free_space(&on.path("nothing")).is_err());
}

fn a_rename_replaces_its_target_within_one_directory(on: Subject) {
    on.put("a", b"new");
    on.put("b", b"old");
    let old = on.fs.open(&on.path("b"), OpenMode::Read).unwrap();
    on.fs.rename(&on.path("a"), &on.path("b")).unwrap();
    assert_eq!((on.fs.list(&on.root).unwrap(), on.content("b")), (vec!["b".to_owned()], b"new".to_vec()));
    let mut buffer = [0; 3];
    read_exact_at(&*old, &mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"old", "who has the old file open keeps it");
    on.fs.rename(&on.path("b"), &on.path("b")).unwrap();
    assert_eq!(on.content("b"), b"new");
    assert_eq!(on.fs.rename(&on.path("a"), &on.path("b")).unwrap_err().kind(), ErrorKind::NotFound);
    on.fs.create_dir_all(&on.path("dir")).unwrap();
    let elsewhere = on.fs.rename(&on.path("b"), &on.path("dir/b")).unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::InvalidInput);
    assert!(on.fs.rename(&on.path("b"), &on.path("dir")).is_err(), "a file never replaces a directory");
    on.put("dir/inside", b"x");
    on.fs.rename(&on.path("dir"), &on.path("renamed")).unwrap();
    assert_eq!(on.content("renamed/inside"), b"x");
}

fn a_removed_file_stays_usable_for_who_has_it_open(on: Subject) {
    on.put("a", b"abc");
    let file = on.fs.open(&on.path("a"), OpenMode::Write).unwrap();
    on.fs.remove(&on.path("a")).unwrap();
    on.fs.sync_dir(&on.root).unwrap();
    assert_eq!(on.fs.remove(&on.path("a")).unwrap_err().kind(), ErrorKind::NotFound);
    file.write_at(b"d", 3).unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.size().unwrap(), 4);
    on.put("a", b"other");
    assert_eq!(file.size().unwrap(), 4);
    assert!(on.fs.remove(&on.root).is_err(), "a directory is not removed as a file");
}

fn a_directory_is_locked_by_one_holder_at_a_time(on: Subject) {
    let lock = on.fs.lock_dir(&on.root).unwrap();
    assert_eq!(on.fs.lock_dir(&on.root).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(lock);
    let again = on.fs.lock_dir(&on.root).unwrap();
    assert_eq!(on.fs.list(&on.root).unwrap(), [""; 0], "a lock leaves no file behind");
    drop(again);
    assert!(on.fs.lock_dir(&on.path("nothing")).is_err());
}

fn an_error_names_the_operation_and_the_path(on: Subject) {
    let error = on.fs.open(&on.path("a"), OpenMode::Read).err().expect("an error");
    let text = error.to_string();
    assert!(text.starts_with("open ") && text.contains(&*on.path("a").to_string_lossy()), "{text}");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<FsError>()).expect("what failed");
    assert_eq!((inner.operation, &inner.path), (Operation::Open, &on.path("a")));
}

fn a_file_replaced_durably_is_whole_and_leaves_nothing_beside_it(on: Subject) {
    let dir = on.path("x/y");
    create_dir_durably(&*on.fs, &dir).unwrap();
    create_dir_durably(&*on.fs, &dir).unwrap();
    for content in [&b"a longer first one"[..], b"second", b""] {
        replace_durably(&*on.fs, &dir.join("f"), content).unwrap();
        assert_eq!(read_whole(&*on.fs, &dir.join("f")).unwrap(), content);
    }
    assert_eq!(on.fs.list(&dir).unwrap(), ["f"]);
}

macro_rules! every_adapter {
    ($($claim:ident),* $(,)?) => {
        mod real { $(#[test] fn $claim() { super::$claim(super::Subject::real()); })* }
        mod sim { $(#[test] fn $claim() { super::$claim(super::Subject::sim()); })* }
        mod faulty { $(#[test] fn $claim() { super::$claim(super::Subject::faulty()); })* }
    };
}

every_adapter!(
    each_mode_opens_what_it_says,
    bytes_written_anywhere_read_back_and_gaps_are_zeros,
    a_file_is_cut_extended_and_allocated_with_zeros,
    directories_are_made_listed_in_order_and_removed_when_empty,
    metadata_tells_files_directories_and_nothing_apart,
    a_rename_replaces_its_target_within_one_directory,
    a_removed_file_stays_usable_for_who_has_it_open,
    a_directory_is_locked_by_one_holder_at_a_time,
    an_error_names_the_operation_and_the_path,
    a_file_replaced_durably_is_whole_and_leaves_nothing_beside_it,
);
