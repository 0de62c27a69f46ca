//! The content of a snapshot's file: written chunk by chunk, read chunk by chunk.

use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::format::{self, CHUNK, CHUNK_HEAD, HEADER, Trailer};
use crate::fs::{Damaged, File, Fs, OpenMode, read_exact_at};
use crate::snapshot::{SnapshotReader, SnapshotView};
use crate::types::GroupId;

/// Room for what is written behind the chunks.
const TRAILER_ROOM: u64 = 4096;

fn salt_of(header: &[u8; HEADER]) -> u64 {
    header[24..].iter().rev().fold(0, |salt, byte| salt << 8 | u64::from(*byte))
}

/// Writes a file that is no snapshot yet.
pub(super) struct Writer {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    file: Arc<dyn File>,
    header: [u8; HEADER],
    /// The chunk that is being filled, behind room for its head.
    chunk: Vec<u8>,
    number: u64,
    end: u64,
    bytes: u64,
    sum: XxHash3_64,
    is_finished: bool,
}

impl Writer {
    pub(super) fn create(fs: Arc<dyn Fs>, path: PathBuf, group: GroupId, salt: u64) -> io::Result<Writer> {
        let file: Arc<dyn File> = fs.open(&path, OpenMode::Truncate)?.into();
        let writer = Writer {
            fs,
            path,
            file,
            header: format::header(group, salt),
            chunk: vec![0; CHUNK_HEAD],
            number: 0,
            end: HEADER as u64,
            bytes: 0,
            sum: XxHash3_64::default(),
            is_finished: false,
        };
        writer.file.write_at(&writer.header, 0)?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(CHUNK_HEAD + CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            if self.chunk.len() == CHUNK_HEAD + CHUNK {
                self.write_chunk()?;
            }
            piece = later;
        }
        Ok(())
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        let content = &self.chunk[CHUNK_HEAD..];
        self.sum.write(content);
        self.bytes += content.len() as u64;
        let sum = format::chunk_sum(salt_of(&self.header), self.number, content);
        let length = content.len() as u32;
        self.chunk[..4].copy_from_slice(&length.to_le_bytes());
        self.chunk[4..CHUNK_HEAD].copy_from_slice(&sum.to_le_bytes());
        self.file.write_at(&self.chunk, self.end)?;
        self.end += self.chunk.len() as u64;
        self.number += 1;
        self.chunk.truncate(CHUNK_HEAD);
        Ok(())
    }

    /// All is written: gives it, readable.
    pub(super) fn finish(mut self) -> io::Result<Arc<Content>> {
        if self.chunk.len() > CHUNK_HEAD {
            self.write_chunk()?;
        }
        // So that it does not fail for want of space when it is saved: then it has been restored from already.
        self.file.allocate(self.end + TRAILER_ROOM)?;
        self.is_finished = true;
        Ok(Arc::new(Content {
            fs: Arc::clone(&self.fs),
            file: Arc::clone(&self.file),
            header: self.header,
            end: self.end,
            bytes: self.bytes,
            sum: self.sum.finish(),
            place: Mutex::new(Place { path: self.path.clone(), is_kept: false }),
        }))
    }
}

impl Drop for Writer {
    /// What was begun and not finished is of no use to anybody; what cannot be removed is removed at the next start.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.fs.remove(&self.path);
        }
    }
}

struct Place {
    path: PathBuf,
    /// Whether it is a snapshot: otherwise the file goes when nobody reads it any more.
    is_kept: bool,
}

/// A whole snapshot in a file, which need not have that name yet.
pub(super) struct Content {
    fs: Arc<dyn Fs>,
    file: Arc<dyn File>,
    header: [u8; HEADER],
    /// Where the chunks end.
    end: u64,
    bytes: u64,
    sum: u64,
    place: Mutex<Place>,
}

impl Content {
    /// Opens a snapshot that was kept.
    pub(super) fn open(fs: Arc<dyn Fs>, path: PathBuf, group: GroupId) -> io::Result<(Trailer, Content)> {
        let file: Arc<dyn File> = fs.open(&path, OpenMode::Read)?.into();
        let (header, end, trailer) = format::read_ends(&*file, &path, group)?;
        let place = Mutex::new(Place { path, is_kept: true });
        let content = Content { fs, file, header, end, bytes: trailer.bytes, sum: trailer.sum, place };
        Ok((trailer, content))
    }

    fn path(&self) -> PathBuf {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).path.clone()
    }

    /// Writes what makes a snapshot of it, but for the name.
    pub(super) fn complete(&self, meta: crate::snapshot::SnapshotMeta) -> io::Result<()> {
        let trailer = Trailer { meta, bytes: self.bytes, sum: self.sum };
        let bytes = format::encode_trailer(&self.header, &trailer)?;
        self.file.write_at(&bytes, self.end)?;
        self.file.set_size(self.end + bytes.len() as u64)
    }

    pub(super) fn file(&self) -> &dyn File {
        &*self.file
    }

    /// Gives it its name, for good.
    pub(super) fn rename(&self, path: &Path, dir: &Path) -> io::Result<()> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        self.fs.rename(&place.path, path)?;
        *place = Place { path: path.to_owned(), is_kept: true };
        drop(place);
        self.fs.sync_dir(dir)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !place.is_kept {
            let _ = self.fs.remove(&place.path);
        }
    }
}

/// A snapshot's content as the engine reads it.
pub(super) struct View(pub(super) Arc<Content>);

impl SnapshotView for View {
    fn open(&self) -> Box<dyn SnapshotReader> {
        let content = Arc::clone(&self.0);
        Box::new(Reader { content, offset: HEADER as u64, number: 0, sum: XxHash3_64::default() })
    }
}

struct Reader {
    content: Arc<Content>,
    offset: u64,
    number: u64,
    sum: XxHash3_64,
}

impl Reader {
    fn damaged(&self, what: &str) -> io::Error {
        Damaged::new(&self.content.path(), self.offset, what).into()
    }
}

impl SnapshotReader for Reader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let left = self.content.end.saturating_sub(self.offset);
        if left == 0 {
            let is_whole = self.sum.finish() == self.content.sum;
            return if is_whole { Ok(None) } else { Err(self.damaged("the snapshot's checksum is wrong")) };
        }
        let mut head = [0; CHUNK_HEAD];
        if left < CHUNK_HEAD as u64 {
            return Err(self.damaged("a chunk is cut off"));
        }
        read_exact_at(&*self.content.file, &mut head, self.offset)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length == 0 || length > CHUNK || (CHUNK_HEAD + length) as u64 > left {
            return Err(self.damaged("a chunk's length is wrong"));
        }
        let mut content = vec![0; length];
        read_exact_at(&*self.content.file, &mut content, self.offset + CHUNK_HEAD as u64)?;
        let sum = format::chunk_sum(salt_of(&self.content.header), self.number, &content);
        if sum.to_le_bytes() != head[4..] {
            return Err(self.damaged("a chunk's checksum is wrong"));
        }
        self.sum.write(&content);
        self.offset += (CHUNK_HEAD + length) as u64;
        self.number += 1;
        Ok(Some(content.into()))
    }
}
