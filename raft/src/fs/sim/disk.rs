//! The disk: files and directories by number, and the walk from a path to one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use rand::rngs::SmallRng;

use super::content::Content;
use super::directory::Directory;
use super::{CrashStyle, Metadata, OpenMode};

/// A file's number, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// A directory's number, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirId(u64);

const ROOT: DirId = DirId(0);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inode {
    File(FileId),
    Directory(DirId),
}

#[derive(Debug)]
pub(super) struct Disk {
    life: u64,
    capacity: Option<u64>,
    numbers: u64,
    files: BTreeMap<FileId, Content>,
    dirs: BTreeMap<DirId, Directory>,
    locked: BTreeSet<DirId>,
}

impl Default for Disk {
    fn default() -> Self {
        let dirs = BTreeMap::from([(ROOT, Directory::default())]);
        Disk { life: 0, capacity: None, numbers: 0, files: BTreeMap::new(), dirs, locked: BTreeSet::new() }
    }
}

impl Disk {
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// Ends the present life: its handles and locks are gone.
    pub(super) fn begin_life(&mut self) -> u64 {
        self.life += 1;
        self.locked.clear();
        self.files.values_mut().for_each(|file| file.handles = 0);
        self.collect();
        self.life
    }

    /// Loses what a power failure loses.
    pub(super) fn forget(&mut self, random: &mut SmallRng, style: CrashStyle) {
        self.dirs.values_mut().for_each(|dir| dir.forget(random));
        self.files.values_mut().for_each(|file| file.forget(random, style));
    }

    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    pub(super) fn free_space(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let named = self.dirs.values().flat_map(Directory::inodes);
        let used = named.map(|inode| match inode {
            Inode::File(file) => self.files.get(&file).map_or(0, Content::size),
            Inode::Directory(_) => 0,
        });
        capacity.saturating_sub(used.sum())
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(dir)? {
            at = match self.dir(at)?.get(name) {
                Some(Inode::Directory(next)) => next,
                Some(Inode::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => {
                    let made = DirId(self.number());
                    self.dirs.insert(made, Directory::default());
                    self.dir(at)?.link(name, Inode::Directory(made));
                    made
                }
            };
        }
        Ok(())
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<FileId> {
        let (dir, name) = self.find_parent(path)?;
        let file = match self.dir(dir)?.get(name) {
            Some(_) if mode == OpenMode::CreateNew => return Err(ErrorKind::AlreadyExists.into()),
            Some(Inode::Directory(_)) => return Err(ErrorKind::IsADirectory.into()),
            Some(Inode::File(file)) => file,
            None if !mode.creates() => return Err(ErrorKind::NotFound.into()),
            None => {
                let file = FileId(self.number());
                self.files.insert(file, Content::default());
                self.dir(dir)?.link(name, Inode::File(file));
                file
            }
        };
        let content = self.file(file)?;
        content.handles += 1;
        if mode == OpenMode::Truncate {
            content.set_size(0);
        }
        Ok(file)
    }

    pub(super) fn close(&mut self, file: FileId) {
        if let Some(content) = self.files.get_mut(&file) {
            content.handles -= 1;
        }
    }

    pub(super) fn write_at(&mut self, file: FileId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let end = start.checked_add(bytes.len()).ok_or(ErrorKind::FileTooLarge)?;
        let size = self.file(file)?.size();
        let room = self.free_space();
        if (end as u64).saturating_sub(size) <= room {
            self.file(file)?.write_at(bytes, start);
            return Ok(());
        }
        // A full disk takes what fits.
        let fits = size.saturating_add(room).saturating_sub(offset);
        let fits = usize::try_from(fits).map_or(bytes.len(), |fits| fits.min(bytes.len()));
        self.file(file)?.write_at(&bytes[..fits], start);
        Err(ErrorKind::StorageFull.into())
    }

    pub(super) fn set_size(&mut self, file: FileId, bytes: u64) -> io::Result<()> {
        let size = usize::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge)?;
        if bytes.saturating_sub(self.file(file)?.size()) > self.free_space() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.file(file)?.set_size(size);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (dir, from) = self.find_parent(from)?;
        let (_, to) = self.find_parent(to)?;
        let source = self.dir(dir)?.get(from).ok_or(ErrorKind::NotFound)?;
        match (source, self.dir(dir)?.get(to)) {
            (_, None) | (Inode::File(_), Some(Inode::File(_))) => {}
            (Inode::File(_), Some(Inode::Directory(_))) => return Err(ErrorKind::IsADirectory.into()),
            (Inode::Directory(_), Some(Inode::File(_))) => return Err(ErrorKind::NotADirectory.into()),
            (Inode::Directory(source), Some(Inode::Directory(target))) => {
                if source != target && !self.dir(target)?.is_empty() {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
            }
        }
        self.dir(dir)?.rename(from, to);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.find_parent(path)?;
        match self.dir(dir)?.get(name) {
            Some(Inode::File(_)) => self.dir(dir)?.unlink(name),
            Some(Inode::Directory(_)) => return Err(ErrorKind::IsADirectory.into()),
            None => return Err(ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let removed = self.find_dir(path)?;
        if !self.dir(removed)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = self.find_parent(path)?;
        self.dir(dir)?.unlink(name);
        Ok(())
    }

    pub(super) fn list(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let dir = self.find_dir(path)?;
        Ok(self.dir(dir)?.names())
    }

    pub(super) fn metadata(&mut self, path: &Path) -> io::Result<Option<Metadata>> {
        match self.find(path) {
            Ok(Inode::Directory(_)) => Ok(Some(Metadata::Directory)),
            Ok(Inode::File(file)) => Ok(Some(Metadata::File { bytes: self.file(file)?.size() })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find_dir(path)?;
        self.dir(dir)?.sync();
        self.collect();
        Ok(())
    }

    pub(super) fn lock_dir(&mut self, path: &Path) -> io::Result<DirId> {
        let dir = self.find_dir(path)?;
        if self.locked.insert(dir) { Ok(dir) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    pub(super) fn unlock_dir(&mut self, dir: DirId) {
        self.locked.remove(&dir);
    }

    pub(super) fn file(&mut self, file: FileId) -> io::Result<&mut Content> {
        self.files.get_mut(&file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn dir(&mut self, dir: DirId) -> io::Result<&mut Directory> {
        self.dirs.get_mut(&dir).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn find(&mut self, path: &Path) -> io::Result<Inode> {
        let mut at = Inode::Directory(ROOT);
        for name in names(path)? {
            at = match at {
                Inode::Directory(dir) => self.dir(dir)?.get(name).ok_or(ErrorKind::NotFound)?,
                Inode::File(_) => return Err(ErrorKind::NotADirectory.into()),
            };
        }
        Ok(at)
    }

    fn find_dir(&mut self, path: &Path) -> io::Result<DirId> {
        match self.find(path)? {
            Inode::Directory(dir) => Ok(dir),
            Inode::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn find_parent<'p>(&mut self, path: &'p Path) -> io::Result<(DirId, &'p str)> {
        let name = names(path)?.pop().ok_or(ErrorKind::InvalidInput)?;
        Ok((self.find_dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Frees what no name leads to, now or after a crash, and nobody has open.
    fn collect(&mut self) {
        let named: Vec<Inode> = self.dirs.values().flat_map(Directory::inodes_ever).collect();
        self.files.retain(|id, file| file.handles > 0 || named.contains(&Inode::File(*id)));
    }
}

/// The names on the way to a path, from the root; relative paths start there too.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_str().ok_or(ErrorKind::InvalidInput.into())),
        Component::RootDir | Component::CurDir => None,
        Component::ParentDir | Component::Prefix(_) => Some(Err(ErrorKind::InvalidInput.into())),
    };
    path.components().filter_map(name).collect()
}
