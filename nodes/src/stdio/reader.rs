//! Lines of a byte stream, none of which is held when it is longer than the limit.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// How much of a line that is too long is kept: enough to tell who sent it.
const HEAD: usize = 4 * 1024;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RawLine {
    /// The whole line.
    Whole(Vec<u8>),
    /// It was longer than the limit; its first bytes.
    TooLong(Vec<u8>),
}

/// Reads lines of at most `limit` bytes.
pub(crate) struct LineReader<R> {
    input: BufReader<R>,
    limit: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(crate) fn new(input: R, limit: usize) -> Self {
        LineReader { input: BufReader::with_capacity(64 * 1024, input), limit }
    }

    /// The next line; `None` at the end. The last one needs no newline.
    pub(crate) async fn next(&mut self) -> io::Result<Option<RawLine>> {
        let mut line = Vec::new();
        let mut too_long = false;
        let mut any = false;
        loop {
            let chunk = self.input.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(any.then(|| finish(line, too_long)));
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if !too_long && line.len() + part.len() > self.limit {
                too_long = true;
                let missing = HEAD.saturating_sub(line.len()).min(part.len());
                line.extend_from_slice(&part[..missing]);
                line.truncate(HEAD);
                line.shrink_to_fit();
            } else if !too_long {
                line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(finish(line, too_long)));
            }
        }
    }
}

fn finish(line: Vec<u8>, too_long: bool) -> RawLine {
    if too_long { RawLine::TooLong(line) } else { RawLine::Whole(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8], limit: usize) -> Vec<RawLine> {
        let mut reader = LineReader::new(input, limit);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }

    fn whole(text: &str) -> RawLine {
        RawLine::Whole(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn the_last_line_needs_no_newline() {
        assert_eq!(lines(b"a\nb", 10).await, [whole("a"), whole("b")]);
        assert_eq!(lines(b"a\n\nb\n", 10).await, [whole("a"), whole(""), whole("b")]);
        assert_eq!(lines(b"", 10).await, []);
    }

    #[tokio::test]
    async fn a_line_as_long_as_the_limit_is_still_whole() {
        assert_eq!(
            lines(b"0123456789\n01234567890\nx", 10).await,
            [whole("0123456789"), RawLine::TooLong(b"01234567890".to_vec()), whole("x")]
        );
    }

    #[tokio::test]
    async fn only_the_head_of_a_line_that_is_too_long_is_kept() {
        let mut input = vec![b'x'; 300_000];
        input.extend_from_slice(b"\nnext\n");
        let read = lines(&input, 100_000).await;
        let RawLine::TooLong(head) = &read[0] else { panic!() };
        assert_eq!((head.len(), head.capacity() < 2 * HEAD), (HEAD, true));
        assert_eq!(read[1], whole("next"));
    }
}
