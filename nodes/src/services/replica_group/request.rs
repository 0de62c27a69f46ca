//! What a replica group is asked.

use std::collections::{BTreeMap, BTreeSet};

use quorate_statemachines::{ConfigNumber, Gid, ShardId};
use serde_json::Value;

use crate::services::data::Data;
use crate::services::shardkv::shard_number;
use crate::stdio::{ErrorReply, Fields, Footprint, Plan, Request, unknown_type};

/// A request, decoded.
#[derive(Clone, Debug)]
pub enum Command {
    /// About keys.
    Data(Data),
    /// A configuration, whatever was before it.
    Set(Set),
    /// The next configuration.
    Update(Update),
    /// What the group holds.
    Status,
}

/// A configuration that stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its number.
    pub version: ConfigNumber,
    /// The shards of this group.
    pub shards: BTreeSet<ShardId>,
    /// How many shards there are in all.
    pub shard_count: Option<u32>,
}

/// The configuration that follows the one in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its number.
    pub version: ConfigNumber,
    /// The shards of this group.
    pub shards: BTreeSet<ShardId>,
    /// Where gained shards come from.
    pub sources: BTreeMap<ShardId, Gid>,
    /// Where lost shards go.
    pub targets: BTreeMap<ShardId, Gid>,
}

pub(super) fn plan(request: &Request) -> Result<Plan<Command>, ErrorReply> {
    let fields = request.fields();
    if let Some(data) = Data::of(request)? {
        let footprint = data.footprint();
        return Ok(Plan::data(Command::Data(data), footprint));
    }
    match request.kind.as_str() {
        "set_config" => Ok(Plan::barrier(Command::Set(set(fields)?))),
        "config_update" => Ok(Plan::barrier(Command::Update(update(fields)?))),
        "group_status" => Ok(Plan::data(Command::Status, Footprint::read_everything())),
        _ => Err(unknown_type(request)),
    }
}

fn set(fields: Fields<'_>) -> Result<Set, ErrorReply> {
    let version = match fields.unsigned("version")? {
        0 => return Err(ErrorReply::malformed("field `version` must be a positive integer, not 0")),
        version => ConfigNumber(version),
    };
    let shard_count = fields.optional_positive("shard_count")?.map(shard).transpose()?;
    Ok(Set { version, shards: shards(fields)?, shard_count })
}

fn update(fields: Fields<'_>) -> Result<Update, ErrorReply> {
    let update = Update {
        version: ConfigNumber(fields.unsigned("version")?),
        shards: shards(fields)?,
        sources: groups(fields, "sources")?,
        targets: groups(fields, "targets")?,
    };
    if let Some(shard) = update.sources.keys().find(|shard| !update.shards.contains(shard)) {
        return Err(ErrorReply::malformed(format!("`sources` names shard {shard}, which is not among `shards`")));
    }
    if let Some(shard) = update.targets.keys().find(|shard| update.shards.contains(shard)) {
        return Err(ErrorReply::malformed(format!("`targets` names shard {shard}, which is among `shards`")));
    }
    Ok(update)
}

impl Update {
    /// The same as one group sees it: a shard that comes from itself is not pulled from anywhere.
    pub(super) fn seen_by(mut self, gid: &Gid) -> Result<Self, ErrorReply> {
        self.sources.retain(|_, source| source != gid);
        match self.targets.iter().find(|(_, target)| *target == gid) {
            Some((shard, _)) => Err(ErrorReply::malformed(format!("shard {shard} is lost and goes to {gid} itself"))),
            None => Ok(self),
        }
    }

    /// The other groups that it names.
    pub(super) fn others(&self) -> Vec<Gid> {
        let named: BTreeSet<&Gid> = self.sources.values().chain(self.targets.values()).collect();
        named.into_iter().cloned().collect()
    }
}

fn shard(number: u64) -> Result<u32, ErrorReply> {
    u32::try_from(number).map_err(|_| ErrorReply::malformed(format!("{number} is too large for shards")))
}

fn shards(fields: Fields<'_>) -> Result<BTreeSet<ShardId>, ErrorReply> {
    let numbers = fields.unsigned_list("shards")?;
    numbers.into_iter().map(|number| Ok(ShardId(shard(number)?))).collect()
}

/// `{"3":"g2"}`
fn groups(fields: Fields<'_>, name: &str) -> Result<BTreeMap<ShardId, Gid>, ErrorReply> {
    let Some(object) = fields.optional_object(name)? else { return Ok(BTreeMap::new()) };
    let group = |(shard, gid): (&String, &Value)| {
        let gid = gid.as_str().filter(|gid| !gid.is_empty())?;
        Some((shard_number(shard)?, Gid::new(gid)))
    };
    let expected = "an object that names a group for each of some shard numbers";
    let ill_typed = || fields.ill_typed(name, expected, &Value::Object(object.clone()));
    object.iter().map(|entry| group(entry).ok_or_else(ill_typed)).collect()
}
