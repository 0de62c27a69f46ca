//! What the nodes of `replica` are asked.

use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::Stamp;
use quorate_statemachines::register::RegisterCommand;

use crate::services::data::json;
use crate::stdio::{ErrorReply, Footprint, Key, Plan, Request, unknown_type};

/// A request, decoded.
#[derive(Clone, Debug)]
pub enum Command {
    /// A linearizable read, wherever it is answered.
    Read {
        /// The register.
        key: Key,
    },
    /// A write or a compare-and-set.
    Change {
        /// The register.
        key: Key,
        /// What to do with it.
        change: RegisterCommand,
        /// The place in a session that the client names.
        session: Option<Stamp>,
    },
    /// A read that says how fresh its answer is.
    FollowerRead {
        /// The register.
        key: Key,
        /// How fresh it must be.
        freshness: Freshness,
    },
}

/// How fresh a follower's answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Linearizable, from the leader.
    Leader,
    /// Linearizable, from the node asked.
    ReadIndex,
    /// At most so old, from the node asked if it can.
    Within(Duration),
}

pub(super) fn plan(request: &Request) -> Result<Plan<Command>, ErrorReply> {
    let fields = request.fields();
    match request.kind.as_str() {
        "read" => {
            let key = fields.key("key")?;
            let footprint = Footprint::read(key.name());
            Ok(Plan::data(Command::Read { key }, footprint))
        }
        "write" => {
            let value = json(fields, "value")?.text().into();
            changing(request, |key| Ok(RegisterCommand::Write { key, value }))
        }
        "cas" => changing(request, |key| {
            let (from, to) = (json(fields, "from")?.text().into(), json(fields, "to")?.text().into());
            Ok(RegisterCommand::Cas { key, from, to, create_if_not_exists: fields.flag("create_if_not_exists")? })
        }),
        "follower_read" => {
            let key = fields.key("key")?;
            let bound = Duration::from_millis(fields.unsigned("max_staleness_ms")?);
            let freshness = match (fields.flag("index")?, bound) {
                (true, _) => Freshness::ReadIndex,
                (false, Duration::ZERO) => Freshness::Leader,
                (false, bound) => Freshness::Within(bound),
            };
            let footprint = Footprint::read(key.name());
            let command = Command::FollowerRead { key, freshness };
            Ok(match freshness {
                Freshness::Within(_) => Plan::stale_read(command),
                Freshness::Leader | Freshness::ReadIndex => Plan::data(command, footprint),
            })
        }
        _ => Err(unknown_type(request)),
    }
}

fn changing(
    request: &Request,
    change: impl FnOnce(Arc<str>) -> Result<RegisterCommand, ErrorReply>,
) -> Result<Plan<Command>, ErrorReply> {
    let key = request.fields().key("key")?;
    let change = change(key.name().into())?;
    let (footprint, session) = (Footprint::write(key.name()), request.fields().stamp()?);
    Ok(Plan::data(Command::Change { key, change, session }, footprint))
}
