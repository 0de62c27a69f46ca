//! How a log on disk runs.

/// The settings of a [`super::DiskLog`]. They may differ from one life to the next: no format depends on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLogOptions {
    /// The size in bytes that a segment is made with, beside what its checkpoint takes. At most [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// How many bytes may wait for the committer; further appends wait for room. At most a quarter of a segment counts.
    pub queue_bytes: u64,
    /// About how many bytes of recent entries are kept in memory to be read from there.
    pub cache_bytes: u64,
    /// So many bytes at the end of the log's space are for votes, truncations and purges only, so that a replica can do
    /// these on a full disk.
    pub reserve_bytes: u64,
    /// Old segments are rewritten when the log takes more than so many times the bytes of its live entries, and ...
    pub garbage_factor: u64,
    /// ... so many segments besides. At least one.
    pub garbage_segments: u64,
    /// How many bytes are looked through at once when an old segment is rewritten.
    pub rewrite_bytes: u64,
}

/// The largest [`DiskLogOptions::segment_bytes`], and the largest append.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

impl Default for DiskLogOptions {
    fn default() -> Self {
        DiskLogOptions {
            segment_bytes: 64 << 20,
            queue_bytes: 16 << 20,
            cache_bytes: 64 << 20,
            reserve_bytes: 1 << 20,
            garbage_factor: 2,
            garbage_segments: 4,
            rewrite_bytes: 256 << 10,
        }
    }
}

impl DiskLogOptions {
    /// The options with what contradicts itself put right.
    pub(super) fn sane(mut self) -> Self {
        self.segment_bytes = self.segment_bytes.clamp(1 << 10, SEGMENT_BYTES_MAX);
        self.queue_bytes = self.queue_bytes.min(self.segment_bytes / 4);
        self.reserve_bytes = self.reserve_bytes.min(self.segment_bytes / 4);
        self.garbage_factor = self.garbage_factor.max(1);
        self.garbage_segments = self.garbage_segments.max(1);
        self.rewrite_bytes = self.rewrite_bytes.clamp(256, self.segment_bytes / 4);
        self
    }
}
