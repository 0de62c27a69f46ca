//! The operating system's files.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};

use super::operation::check_same_dir;
use super::{DirLock, File, Fs, Metadata, OpenMode, Operation};

/// The file system of a real process.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir).map_err(Operation::CreateDir.on(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let operation = if mode.creates() { Operation::Create } else { Operation::Open };
        let file = fs::OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create(matches!(mode, OpenMode::Create | OpenMode::Truncate))
            .create_new(mode == OpenMode::CreateNew)
            .truncate(mode == OpenMode::Truncate)
            .open(path)
            .map_err(operation.on(path))?;
        if file.metadata().map_err(Operation::Metadata.on(path))?.is_dir() {
            return Err(operation.error(path, io::ErrorKind::IsADirectory));
        }
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        check_same_dir(from, to)?;
        fs::rename(from, to).map_err(Operation::Rename.on(from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(Operation::Remove.on(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir).map_err(Operation::Remove.on(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(Operation::List.on(dir))? {
            let name = entry.map_err(Operation::List.on(dir))?.file_name();
            names.push(name.into_string().map_err(|name| {
                let text = format!("the name {name:?} is not UTF-8");
                Operation::List.error(dir, io::Error::new(io::ErrorKind::InvalidData, text))
            })?);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Metadata::Directory)),
            Ok(metadata) => Ok(Some(Metadata::File { bytes: metadata.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Operation::Metadata.error(path, error)),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        open_dir(dir).and_then(|dir| dir.sync_all()).map_err(Operation::SyncDir.on(dir))
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        // The directory itself is locked, so that no lock file is left behind; closing it releases the lock, also when
        // the process is killed.
        let held = open_dir(dir).map_err(Operation::Lock.on(dir))?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|error| Operation::Lock.error(dir, error))?;
        Ok(DirLock::held_by(held))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let disk = statvfs(dir).map_err(|error| Operation::FreeSpace.error(dir, error))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn open_dir(dir: &Path) -> io::Result<fs::File> {
    let opened = fs::File::open(dir)?;
    if opened.metadata()?.is_dir() { Ok(opened) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

struct RealFile {
    file: fs::File,
    path: PathBuf,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(Operation::Read.on(&self.path)),
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(Operation::Write.on(&self.path))
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(Operation::Metadata.on(&self.path))?.len())
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes).map_err(Operation::Resize.on(&self.path))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if bytes <= self.size()? {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // A file system that cannot reserve: the size is all that it can give.
            Err(rustix::io::Errno::OPNOTSUPP) => self.set_size(bytes),
            Err(error) => Err(Operation::Resize.error(&self.path, error)),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(Operation::Sync.on(&self.path))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all().map_err(Operation::Sync.on(&self.path))
    }
}
