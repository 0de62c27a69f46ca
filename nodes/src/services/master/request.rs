//! What masters are asked.

use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::Stamp;
use quorate_statemachines::master::{ChunkId, Epoch, FilePath, LIST_MAX, MasterOp, MasterQuery, Name, Version};

use crate::stdio::{ErrorReply, Fields, Footprint, Plan, Request, unknown_type};

/// What a request for chunk servers touches: no path can be spelt so.
const SERVERS: &str = "chunk servers";

/// What more than the failure timeout an operator's failover may take.
const FAILOVER: Duration = Duration::from_secs(2);

/// A request, decoded.
#[derive(Clone, Debug)]
pub enum Command {
    /// A change of the metadata, at the primary.
    Change {
        /// What to do.
        op: MasterOp,
        /// The epoch that the client believes in.
        claimed: Option<Epoch>,
        /// The place in a session that the client names.
        session: Option<Stamp>,
    },
    /// A question about the metadata, at the primary.
    Question {
        /// What is asked.
        query: MasterQuery,
        /// The epoch that the client believes in.
        claimed: Option<Epoch>,
    },
    /// A chunk server lives, and says what it holds.
    Heartbeat {
        /// What it holds.
        chunks: Vec<(ChunkId, Version)>,
    },
    /// How far the shadows are behind.
    ShadowStatus,
    /// Another master is to be the primary.
    TriggerFailover {
        /// The primary until now.
        failed: String,
        /// Which other; any if it is not said.
        to: Option<String>,
    },
}

/// Decodes and validates a request.
pub(crate) fn plan(request: &Request, failure_timeout: Duration) -> Result<Plan<Command>, ErrorReply> {
    let fields = request.fields();
    let who = || Name::from(&*request.src);
    let change = |op, footprint| {
        let (claimed, session) = (claimed(fields)?, fields.stamp()?);
        Ok(Plan::data(Command::Change { op, claimed, session }, footprint))
    };
    let question = |query, footprint| Ok(Plan::data(Command::Question { query, claimed: claimed(fields)? }, footprint));
    match request.kind.as_str() {
        "create" => {
            let path = path(fields, "path")?;
            let footprint = Footprint::write(path.text());
            change(MasterOp::Create { path }, footprint)
        }
        "delete" => {
            let path = path(fields, "path")?;
            let footprint = Footprint::write(path.text()).and_write(SERVERS);
            change(MasterOp::Delete { path }, footprint)
        }
        "rename" => {
            let (from, to) = (path(fields, "from")?, path(fields, "to")?);
            if from.is_above(to.text()) {
                let text = format!("{to} lies below {from}: nothing can be moved into itself");
                return Err(ErrorReply::malformed(text).reason("into_itself"));
            }
            change(MasterOp::Rename { from, to }, Footprint::write_everything())
        }
        "allocate_chunk" => {
            let path = path(fields, "path")?;
            let footprint = Footprint::write(path.text()).and_write(SERVERS);
            change(MasterOp::AllocateChunk { path, replicas: replicas(fields)? }, footprint)
        }
        "register_chunkserver" => {
            let capacity = fields.unsigned("capacity")?;
            change(MasterOp::Register { server: who(), capacity }, Footprint::write(SERVERS))
        }
        "subscribe" => change(MasterOp::Subscribe { who: who() }, Footprint::default()),
        "list" => {
            let text = |name| Ok::<_, ErrorReply>(fields.optional_string(name)?.map(Arc::from));
            let prefix = text("prefix")?.unwrap_or_default();
            let limit = fields.optional_unsigned("limit")?.unwrap_or(LIST_MAX);
            question(MasterQuery::List { prefix, from: text("from")?, limit }, Footprint::read_everything())
        }
        "stat" => {
            let path = path(fields, "path")?;
            let footprint = Footprint::read(path.text());
            question(MasterQuery::Stat { path }, footprint)
        }
        "locate" => {
            let path = path(fields, "path")?;
            let footprint = Footprint::read(path.text()).and_read(SERVERS);
            question(MasterQuery::Locate { path, index: fields.unsigned("chunk")? }, footprint)
        }
        "heartbeat" => {
            let chunks = chunks(fields)?;
            Ok(Plan::data(Command::Heartbeat { chunks }, Footprint::write(SERVERS)))
        }
        "shadow_status" => Ok(Plan::data(Command::ShadowStatus, Footprint::read_everything())),
        "trigger_failover" => {
            let failed = fields.string("failed_master")?.to_owned();
            let to = fields.optional_string("to")?.map(str::to_owned);
            let timeout = fields.optional_positive("timeout_ms")?.map(Duration::from_millis);
            let plan = Plan::barrier(Command::TriggerFailover { failed, to });
            Ok(plan.timeout(timeout.unwrap_or(failure_timeout + FAILOVER)))
        }
        _ => Err(unknown_type(request)),
    }
}

fn claimed(fields: Fields<'_>) -> Result<Option<Epoch>, ErrorReply> {
    Ok(fields.optional_unsigned("epoch")?.map(Epoch))
}

fn path(fields: Fields<'_>, name: &str) -> Result<FilePath, ErrorReply> {
    let text = fields.string(name)?;
    FilePath::new(text)
        .map_err(|error| ErrorReply::malformed(format!("field `{name}`: {error}")).reason("invalid_path"))
}

fn replicas(fields: Fields<'_>) -> Result<u32, ErrorReply> {
    let number = fields.unsigned("replicas")?;
    u32::try_from(number)
        .ok()
        .filter(|replicas| *replicas > 0)
        .ok_or_else(|| fields.ill_typed("replicas", "a positive integer below 2^32", &number.into()))
}

fn chunks(fields: Fields<'_>) -> Result<Vec<(ChunkId, Version)>, ErrorReply> {
    let chunk = |chunk: &Fields<'_>| Ok((ChunkId(chunk.unsigned("id")?), Version(chunk.unsigned("version")?)));
    fields.objects("chunks")?.iter().map(chunk).collect()
}
