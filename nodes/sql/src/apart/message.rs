//! The messages between a coordinator and the replicas of its shards.
//!
//! `scatter_ask` carries a question, `scatter_page` a page of its answer; `scatter_want` asks for pages again, or for the next
//! ones; `scatter_done` says that the answer is there or not wanted any more, `scatter_close` that a view is not. What is asked
//! and answered is the library's encoding of [`Question`] and [`Answer`] in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate::machine::{decode, encode};
use quorate::types::{Index, LogId};
use quorate::{ReadError, ReadReply, WriteError, Written};
use quorate_nodes::stdio::Request as Line;
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{KvAnswer, KvReply};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::data::{ReadConsistency, ShardError, Sight};
use crate::schema::TableSchema;

/// The bytes of one page.
pub(super) const PAGE_BYTES: usize = 128 << 10;

/// So many pages may be under way at once.
pub(super) const PAGES_ON_THE_WAY: u32 = 16;

/// The largest question: in base64, and with what is around it, it must fit into a line.
pub(super) const QUESTION_BYTES_MAX: usize = 8 << 20;

/// The largest answer.
pub(super) const ANSWER_BYTES_MAX: usize = 512 << 20;

/// Whether messages of this type are these.
pub(crate) fn is_own(kind: &str) -> bool {
    matches!(kind, "scatter_ask" | "scatter_page" | "scatter_want" | "scatter_done" | "scatter_close")
}

/// A message, the body of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Message {
    /// A question. Repeated as long as nothing comes back.
    #[serde(rename = "scatter_ask")]
    Ask {
        /// The asker's life: a number that another one does not have.
        life: u64,
        ask: u64,
        /// What it is about, for people.
        about: String,
        /// How long the asker waits.
        timeout_ms: u64,
        data: Encoded,
    },
    /// A page of an answer that has so many.
    #[serde(rename = "scatter_page")]
    Page { life: u64, ask: u64, page: u32, pages: u32, data: Encoded },
    /// These pages are wanted.
    #[serde(rename = "scatter_want")]
    Want { life: u64, ask: u64, pages: Vec<u32> },
    /// Nothing more is wanted of this answer.
    #[serde(rename = "scatter_done")]
    Done { life: u64, ask: u64 },
    /// The view that this question opened is not needed any more.
    #[serde(rename = "scatter_close")]
    Close { life: u64, ask: u64 },
}

impl Message {
    /// What a line says, if it makes sense.
    pub(super) fn of(line: &Line) -> Option<Message> {
        serde_json::from_value(Value::Object(line.fields().map().clone())).ok()
    }

    /// The body of its line.
    pub(super) fn body(&self) -> String {
        // Numbers and texts can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Bytes that travel in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded(pub(super) Bytes);

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(|bytes| Encoded(bytes.into())).map_err(serde::de::Error::custom)
    }
}

/// What a replica of a shard is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Question {
    /// A view, to be kept for so long: the number of this question names it.
    Open { shard: ShardId, consistency: ReadConsistency, keep_ms: u64 },
    /// A part of a plan, to be run over a view.
    Run { view: u64, engine: String, plan: Vec<u8>, scalars: Vec<Vec<u8>>, given: Vec<(usize, Vec<u8>)> },
    /// What a change must see.
    See { shard: ShardId, consistency: ReadConsistency, sight: Sight },
    /// A command of the group's machine.
    Write { command: Vec<u8> },
    /// A query of the group's machine, as fresh as a linearizable one.
    Read { query: Vec<u8> },
}

impl Question {
    pub(super) fn about(&self) -> &'static str {
        match self {
            Question::Open { .. } => "open",
            Question::Run { .. } => "run",
            Question::See { .. } => "see",
            Question::Write { .. } => "write",
            Question::Read { .. } => "read",
        }
    }

    /// Whether it may be given up half-way: it changes nothing.
    pub(super) fn is_harmless(&self) -> bool {
        !matches!(self, Question::Write { .. })
    }
}

/// What a replica answers. Bytes may follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To [`Question::Open`]: the tables that the view has, and about how many rows of each, if that is known.
    Opened(Result<Vec<(TableSchema, Option<u64>)>, ShardError>),
    /// To [`Question::Run`]: so many rows, as an Arrow IPC stream that follows.
    Ran(Result<u64, RunError>),
    /// To [`Question::See`]: keys and values follow, as they were when the replica had applied this.
    Seen(Result<Index, ShardError>),
    /// To [`Question::Write`]: its place in the log, the machine's reply, and whether that was given before.
    Written(Result<(LogId, KvReply, bool), WriteError>),
    /// To [`Question::Read`].
    Read(Box<Result<ReadReply<KvAnswer>, ReadError>>),
    /// To anything: it is not carried out.
    Refused(ShardError),
}

/// Why a part of a plan was not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RunError {
    /// The statement makes no sense with these rows.
    Statement(String),
    /// It needs more memory than there is.
    Memory(String),
    /// The replica's own failure.
    Internal(String),
    /// The replica does not have the view any more.
    NoView,
}

impl Answer {
    /// What has come of a write.
    pub(super) fn written(outcome: Result<Written<KvReply>, WriteError>) -> Answer {
        Answer::Written(outcome.map(|Written { at, reply, replayed }| (at, reply, replayed)))
    }

    /// With the bytes that follow: first the length of the answer itself.
    pub(super) fn with(&self, rest: &[u8]) -> Bytes {
        let head = encode(self);
        let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(4 + head.len() + rest.len());
        bytes.extend(length.to_be_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(rest);
        bytes.into()
    }

    /// An answer and the bytes that follow it, if it makes sense.
    pub(super) fn of(mut bytes: Bytes) -> Option<(Answer, Bytes)> {
        let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
        let end = 4_usize.checked_add(usize::try_from(length).ok()?)?;
        let answer = decode(bytes.get(4..end)?).ok()?;
        Some((answer, bytes.split_off(end)))
    }
}
