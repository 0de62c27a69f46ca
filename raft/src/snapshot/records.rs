//! A snapshot as a sequence of typed records: how most machines write and read theirs.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{SnapshotReader, SnapshotView};

/// The size in bytes that a piece grows to before it is handed out; one large record makes a larger piece.
const PIECE_BYTES: usize = 64 * 1024;

/// The largest record, in bytes: a damaged length must not make us allocate the machine away.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// Asked when a record is written, too: a snapshot that could not be restored must not replace one that can.
fn check_length(length: usize) -> io::Result<()> {
    if length > RECORD_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("snapshot record of {length} bytes")));
    }
    Ok(())
}

/// A [`SnapshotView`] over an iterator of records.
///
/// `open` is called for each reader and gives a fresh iterator over the captured, immutable state.
pub struct Records<F>(F);

impl<F, I> Records<F>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: Iterator + Send + 'static,
    I::Item: Serialize,
{
    /// A boxed view, as [`crate::StateMachine::snapshot`] wants it.
    pub fn view(open: F) -> Box<dyn SnapshotView> {
        Box::new(Records(open))
    }
}

impl<F, I> SnapshotView for Records<F>
where
    F: Fn() -> I + Send + Sync,
    I: Iterator + Send + 'static,
    I::Item: Serialize,
{
    fn open(&self) -> Box<dyn SnapshotReader> {
        Box::new(RecordsReader((self.0)()))
    }
}

struct RecordsReader<I>(I);

impl<I> SnapshotReader for RecordsReader<I>
where
    I: Iterator + Send,
    I::Item: Serialize,
{
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES {
            let Some(record) = self.0.next() else { break };
            let start = piece.len();
            piece.extend_from_slice(&[0; 4]);
            piece = postcard::to_extend(&record, piece).map_err(io::Error::other)?;
            let length = piece.len() - start - 4;
            check_length(length)?;
            let length = u32::try_from(length).map_err(io::Error::other)?;
            piece[start..start + 4].copy_from_slice(&length.to_le_bytes());
        }
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }
}

/// Reads the records that [`Records`] wrote, to the stream's end. A record cut short by the end is an error.
pub fn read_records<'a, T: DeserializeOwned + 'a>(
    reader: &'a mut dyn SnapshotReader,
) -> impl Iterator<Item = io::Result<T>> + 'a {
    let mut reader = Some(RecordReader::new(reader));
    std::iter::from_fn(move || {
        let item = reader.as_mut()?.read().transpose();
        if !matches!(item, Some(Ok(_))) {
            reader = None;
        }
        item
    })
}

/// Reads records one by one, of types that may differ, and then hands the rest of the stream on.
pub struct RecordReader<'a> {
    reader: &'a mut dyn SnapshotReader,
    buffer: Vec<u8>,
    at: usize,
}

impl<'a> RecordReader<'a> {
    /// Reads records from where `reader` stands.
    pub fn new(reader: &'a mut dyn SnapshotReader) -> Self {
        RecordReader { reader, buffer: Vec::new(), at: 0 }
    }

    /// The next record; `None` at a clean end of the stream.
    ///
    /// # Errors
    /// When the stream ends inside the record, or the record is not a `T`.
    pub fn read<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        if !self.fill(4)? {
            return Ok(None);
        }
        let mut length = [0; 4];
        length.copy_from_slice(&self.buffer[self.at..self.at + 4]);
        let length = u32::from_le_bytes(length) as usize;
        check_length(length)?;
        if !self.fill(4 + length)? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "snapshot ends inside a record"));
        }
        let body = &self.buffer[self.at + 4..self.at + 4 + length];
        let record = crate::machine::decode(body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.at += 4 + length;
        Ok(Some(record))
    }

    /// Makes `count` bytes available at `at`; false at a clean end of the stream.
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() - self.at < count {
            match self.reader.next()? {
                Some(piece) => {
                    self.buffer.drain(..self.at);
                    self.at = 0;
                    self.buffer.extend_from_slice(&piece);
                }
                None if self.buffer.len() == self.at => return Ok(false),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "snapshot ends inside a record")),
            }
        }
        Ok(true)
    }
}

impl SnapshotReader for RecordReader<'_> {
    /// What follows the records read so far.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.at < self.buffer.len() {
            let rest = Bytes::copy_from_slice(&self.buffer[self.at..]);
            self.at = self.buffer.len();
            return Ok(Some(rest));
        }
        self.reader.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytewise(Vec<u8>, usize);

    impl SnapshotReader for Bytewise {
        fn next(&mut self) -> io::Result<Option<Bytes>> {
            let piece = self.0.get(self.1).map(|byte| Bytes::copy_from_slice(&[*byte]));
            self.1 += 1;
            Ok(piece)
        }
    }

    fn written(records: Vec<(String, u64)>) -> Vec<u8> {
        let view = Records::view(move || records.clone().into_iter());
        let mut reader = view.open();
        let mut all = Vec::new();
        while let Some(piece) = reader.next().unwrap() {
            all.extend_from_slice(&piece);
        }
        all
    }

    #[test]
    fn records_read_back_whatever_the_borders_of_the_pieces() {
        let records: Vec<_> = (0..5000u64).map(|i| (format!("key {i}"), i)).collect();
        let bytes = written(records.clone());
        let mut reader = Bytewise(bytes, 0);
        let back: Vec<(String, u64)> = read_records(&mut reader).collect::<io::Result<_>>().unwrap();
        assert_eq!(back, records);
    }

    #[test]
    fn a_stream_cut_inside_a_record_is_an_error_at_every_cut() {
        let bytes = written(vec![("a".into(), 1), ("b".into(), 2)]);
        let whole = bytes.len() / 2;
        for cut in 1..bytes.len() {
            let result =
                read_records::<(String, u64)>(&mut Bytewise(bytes[..cut].to_vec(), 0)).collect::<io::Result<Vec<_>>>();
            assert_eq!(result.is_ok(), cut == whole, "cut at {cut}");
        }
    }
}
