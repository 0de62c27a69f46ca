//! What the machine is told and asked, and what it says.

use std::fmt;
use std::sync::Arc;

use quorate::sessions::{self, Stamp};
use quorate::types::{ClientId, Term};
use serde::{Deserialize, Serialize};

use super::chunks::Placed;
use super::heartbeat::Heard;
use super::namespace::Listing;
use super::path::FilePath;
use super::servers::ServerState;

/// The name of a master, a chunk server or a subscriber.
pub type Name = Arc<str>;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A primary's period of office. Grows; 0 stands for "none yet".
    Epoch
);
number!(
    /// A chunk. Never used again for another one.
    ChunkId
);
number!(
    /// How often a chunk was changed, as its chunk servers count; 1 when it is new.
    Version
);

/// Who is the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Office {
    /// Since which epoch.
    pub epoch: Epoch,
    /// Its name; `None` before the first epoch.
    pub primary: Option<Name>,
    /// The term of the log in which it began.
    pub term: Term,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterCommand {
    /// A leader takes office. Changes something only as an entry of its own `term`, and once in it: one that is handed to
    /// the next leader comes too late.
    BeginEpoch {
        /// Its name.
        primary: Name,
        /// The term that it leads.
        term: Term,
    },
    /// Opens a client's session.
    OpenSession {
        /// Whose.
        client: ClientId,
    },
    /// Any other change, at the primary.
    Op {
        /// The epoch under which the primary took it.
        epoch: Epoch,
        /// The epoch that the client believes in, if it says so.
        claimed: Option<Epoch>,
        /// The place in a session that makes it happen once.
        session: Option<Stamp>,
        /// What to do.
        op: MasterOp,
    },
}

/// What a primary does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterOp {
    /// Makes a path. What it lies below need not exist.
    Create {
        /// Which.
        path: FilePath,
    },
    /// Removes a path and its chunks. What lies below it stays.
    Delete {
        /// Which.
        path: FilePath,
    },
    /// Gives a path, and all that lies below it, another name.
    Rename {
        /// Its old name.
        from: FilePath,
        /// Its new one, which must be free.
        to: FilePath,
    },
    /// Appends a chunk to a path and places its replicas.
    AllocateChunk {
        /// Which.
        path: FilePath,
        /// On how many chunk servers.
        replicas: u32,
    },
    /// Makes a chunk server known, or changes its capacity.
    Register {
        /// Its name.
        server: Name,
        /// How many chunks it can hold.
        capacity: u64,
    },
    /// Somebody wants to hear of every new primary.
    Subscribe {
        /// Who.
        who: Name,
    },
    /// What is news of a chunk server's heartbeat. A lost one is back.
    Report {
        /// Which.
        server: Name,
        /// Chunks that it holds.
        has: Vec<(ChunkId, Version)>,
        /// Chunks that it held, and holds no more.
        lacks: Vec<ChunkId>,
    },
    /// A chunk server is lost: nothing is placed there and nobody is sent there.
    Lose {
        /// Which.
        server: Name,
    },
    /// Takes some of a lost server's chunks off it, so that they are replicated elsewhere.
    Forget {
        /// Which server.
        server: Name,
        /// So many at most: no entry takes long to apply.
        chunks_max: u32,
    },
}

/// What a change answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterReply {
    /// The epoch that has begun, or had, and all who are to be told.
    Began {
        /// Who is the primary now.
        office: Office,
        /// Chunk servers and subscribers, each once.
        audience: Vec<Name>,
    },
    /// The term of a [`MasterCommand::BeginEpoch`] is over.
    TermOver,
    /// The session is open.
    SessionOpened,
    /// It was carried out, now or before.
    Done(Done),
    /// It was not, now or before.
    Refused(Refusal),
    /// A newer epoch has begun: it was not carried out, and under its epoch never will be.
    Deposed(Office),
    /// The client believes in another epoch.
    WrongEpoch(Office),
    /// The session refuses it.
    Session(sessions::Refusal),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// What was asked for.
    Plainly,
    /// A chunk was placed.
    Allocated {
        /// Where.
        placed: Placed,
        /// Under which epoch.
        epoch: Epoch,
    },
    /// Some of a lost server's chunks were taken off it.
    Forgotten {
        /// How many are left on it.
        left: u64,
    },
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The path does not exist.
    NoSuchPath,
    /// The path exists, or something lies below it.
    Exists,
    /// There are not that many live chunk servers with room.
    NotEnoughServers {
        /// How many there are.
        available: u32,
    },
    /// No such chunk server.
    NotRegistered,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterQuery {
    /// Who is the primary.
    Office,
    /// Paths in their order.
    List {
        /// What they begin with.
        prefix: Arc<str>,
        /// The first one, if not the first of all.
        from: Option<Arc<str>>,
        /// How many at most.
        limit: u64,
    },
    /// A path's chunks.
    Stat {
        /// Which.
        path: FilePath,
    },
    /// Where a chunk lies.
    Locate {
        /// Of which path.
        path: FilePath,
        /// The how-manieth of its chunks, from 0.
        index: u64,
    },
    /// What a chunk server's heartbeat means.
    Heartbeat {
        /// Whose.
        server: Name,
        /// What it holds.
        chunks: Vec<(ChunkId, Version)>,
    },
    /// What became of an operation.
    Outcome {
        /// Its place in a session.
        stamp: Stamp,
        /// What it was.
        op: MasterOp,
    },
    /// All chunk servers.
    Servers,
}

/// An answer, and who was the primary by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterAnswer {
    /// Who was the primary.
    pub office: Office,
    /// What was found.
    pub found: Found,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Only the office was asked for.
    Office,
    /// Paths.
    Paths(Listing),
    /// A path's chunks, in their order; `None` if it does not exist.
    Chunks(Option<Vec<ChunkId>>),
    /// Where a chunk lies, if it exists.
    Placed(Option<Placed>),
    /// What a heartbeat means; `None` if its server is not registered.
    Heard(Option<Heard>),
    /// The reply that an operation got; `None` if it was not carried out in this session.
    Outcome(Option<MasterReply>),
    /// All chunk servers, by name.
    Servers(Vec<(Name, ServerState)>),
}
