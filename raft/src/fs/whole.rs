//! Files as wholes: the few sequences of operations that everybody needs and that are easily got wrong.

use std::io;
use std::path::{Path, PathBuf};

use super::{File, Fs, Metadata, OpenMode};

/// Fills `buffer` from `offset` on.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub fn read_exact_at(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(())
}

/// All of a file.
pub fn read_whole(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; usize::try_from(file.size()?).map_err(io::Error::other)?];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Makes `bytes` the content of `path`. Whenever a crash comes, the file is the old one or the new one; after this
/// returns, the new one. Writes to a file beside it first, whose name ends in `.tmp`.
pub fn replace_durably(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let file = fs.open(&beside, OpenMode::Truncate)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    fs.rename(&beside, path)?;
    fs.sync_dir(parent(path))
}

/// Makes a directory and those above it, so that they survive a crash.
pub fn create_dir_durably(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let mut missing = vec![dir];
    // The directory's own name is synced even if it is there: whoever made it may have died before the sync.
    while let Some(above) = missing.last().map(|lowest| parent(lowest))
        && fs.metadata(above)? != Some(Metadata::Directory)
    {
        missing.push(above);
    }
    fs.create_dir_all(dir)?;
    missing.iter().rev().try_for_each(|made| fs.sync_dir(parent(made)))
}

/// The directory that a name stands in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
