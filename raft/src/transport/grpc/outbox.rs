//! What waits to be sent on one stream, and the stream that carries it.
//!
//! Promises: records leave in the order in which they came; all that waits when the stream is ready leaves in one frame,
//! up to a bound; nothing leaves after the end.

use std::collections::VecDeque;
use std::ops::Add;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::Stream;

use super::proto::{Batch, Frame, Hello};

/// What a record costs beside its bytes.
const RECORD_OVERHEAD: usize = 8;

/// Records on their way to one stream, each with a tag that says whose it is.
pub(super) struct Outbox<T> {
    queue: Mutex<Queue<T>>,
    bytes_max: usize,
}

struct Queue<T> {
    records: VecDeque<(T, Bytes)>,
    bytes: usize,
    reader: Option<Waker>,
    ended: bool,
    sent: Sent,
}

/// What has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) frames: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Add for Sent {
    type Output = Sent;

    fn add(self, other: Sent) -> Sent {
        Sent {
            frames: self.frames + other.frames,
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// A record was not taken: the stream has ended, or too much waits for it.
#[derive(Debug)]
pub(super) struct NotTaken;

impl<T> Outbox<T> {
    /// At most about `bytes_max` wait.
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        let queue = Queue { records: VecDeque::new(), bytes: 0, reader: None, ended: false, sent: Sent::default() };
        Arc::new(Outbox { queue: Mutex::new(queue), bytes_max })
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a record sent after those that wait.
    pub(super) fn push(&self, tag: T, record: Bytes) -> Result<(), NotTaken> {
        let mut queue = self.queue();
        let cost = record.len() + RECORD_OVERHEAD;
        // One record always finds room: whether it is too large was asked before.
        if queue.ended || (queue.bytes > 0 && queue.bytes + cost > self.bytes_max) {
            return Err(NotTaken);
        }
        queue.bytes += cost;
        queue.records.push_back((tag, record));
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// Ends the stream, and gives back the tags of what has not left.
    pub(super) fn end(&self) -> Vec<T> {
        let mut queue = self.queue();
        queue.ended = true;
        queue.bytes = 0;
        let left = std::mem::take(&mut queue.records);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
        left.into_iter().map(|(tag, _)| tag).collect()
    }

    pub(super) fn sent(&self) -> Sent {
        self.queue().sent
    }

    /// The next records that leave together: those still `wanted`. `None` at the end.
    fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        bytes_max: usize,
        wanted: impl Fn(&T) -> bool,
    ) -> Poll<Option<Vec<Bytes>>> {
        let mut queue = self.queue();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some((tag, record)) = queue.records.pop_front()
        {
            queue.bytes -= record.len() + RECORD_OVERHEAD;
            if wanted(&tag) {
                bytes += record.len() + RECORD_OVERHEAD;
                batch.push(record);
            }
        }
        if !batch.is_empty() {
            queue.sent.frames += 1;
            queue.sent.records += batch.len() as u64;
            queue.sent.bytes += bytes as u64;
            return Poll::Ready(Some(batch));
        }
        if queue.ended {
            return Poll::Ready(None);
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The frames of one stream: a hello, then what the outbox holds.
pub(super) struct Frames<T, W> {
    hello: Option<Hello>,
    outbox: Arc<Outbox<T>>,
    batch_bytes_max: usize,
    wanted: W,
}

impl<T, W> Frames<T, W> {
    /// Skips what is not `wanted` any more when its turn comes.
    pub(super) fn new(hello: Hello, outbox: Arc<Outbox<T>>, batch_bytes_max: usize, wanted: W) -> Self {
        Frames { hello: Some(hello), outbox, batch_bytes_max, wanted }
    }
}

impl<T, W: Fn(&T) -> bool + Unpin> Stream for Frames<T, W> {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(hello.into()));
        }
        let batch = self.outbox.poll_batch(cx, self.batch_bytes_max, &self.wanted);
        batch.map(|batch| batch.map(|records| Batch { records }.into()))
    }
}

/// Whoever reads the frames is gone: nothing more can leave.
impl<T, W> Drop for Frames<T, W> {
    fn drop(&mut self) {
        self.outbox.queue().ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::Content;
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn frames(outbox: &Arc<Outbox<u64>>, batch_bytes_max: usize) -> impl Stream<Item = Frame> + Unpin + use<> {
        let mut frames = Frames::new(Hello::default(), Arc::clone(outbox), batch_bytes_max, |tag: &u64| *tag != 0);
        assert!(matches!(frames.next().now_or_never().unwrap().unwrap().content, Some(Content::Hello(_))));
        frames
    }

    fn record(size: usize) -> Bytes {
        vec![7; size].into()
    }

    async fn sizes(frames: &mut (impl Stream<Item = Frame> + Unpin)) -> Vec<usize> {
        match frames.next().await.unwrap().content {
            Some(Content::Batch(batch)) => batch.records.iter().map(Bytes::len).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_waits_leaves_in_one_frame_in_its_order_up_to_the_bound() {
        let outbox = Outbox::new(1 << 20);
        let mut frames = frames(&outbox, 1000);
        for size in [1, 2, 3, 900, 800, 4, 2000, 5] {
            outbox.push(1, record(size)).unwrap();
        }
        assert_eq!(sizes(&mut frames).await, [1, 2, 3, 900, 800], "the one that makes it too large ends it");
        assert_eq!(sizes(&mut frames).await, [4, 2000]);
        assert_eq!(sizes(&mut frames).await, [5]);
        assert!(frames.next().now_or_never().is_none());
        let sent = outbox.sent();
        assert_eq!((sent.frames, sent.records), (3, 8));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_does_not_leave() {
        let outbox = Outbox::new(1 << 20);
        let mut frames = frames(&outbox, 1000);
        for (tag, size) in [(0, 1), (1, 2), (0, 3)] {
            outbox.push(tag, record(size)).unwrap();
        }
        assert_eq!(sizes(&mut frames).await, [2]);
        outbox.push(0, record(1)).unwrap();
        assert!(frames.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_full_outbox_takes_nothing_until_something_has_left() {
        let outbox = Outbox::new(100);
        let mut frames = frames(&outbox, 1000);
        outbox.push(1, record(500)).unwrap();
        assert!(outbox.push(2, record(1)).is_err());
        assert_eq!(sizes(&mut frames).await, [500]);
        outbox.push(2, record(1)).unwrap();
    }

    #[tokio::test]
    async fn after_the_end_nothing_leaves_and_what_waited_is_named() {
        let outbox = Outbox::new(1 << 20);
        let mut frames = frames(&outbox, 1000);
        outbox.push(4, record(1)).unwrap();
        outbox.push(5, record(1)).unwrap();
        assert_eq!(outbox.end(), [4, 5]);
        assert!(frames.next().await.is_none() && outbox.push(6, record(1)).is_err());
        let outbox = Outbox::new(1 << 20);
        drop(self::frames(&outbox, 1000));
        assert!(outbox.push(1, record(1)).is_err(), "nobody reads");
    }
}
