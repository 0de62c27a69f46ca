//! What a sharded store is asked.

use std::collections::BTreeMap;

use quorate_statemachines::configlog::{Command as Change, Query};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};
use serde_json::{Map, Value};

use crate::services::data::Data;
use crate::stdio::{ErrorReply, Fields, Footprint, Plan, Request, unknown_type};

/// A request, decoded.
#[derive(Clone, Debug)]
pub enum Command {
    /// About keys.
    Data(Data),
    /// A change of the configuration.
    Change(Change),
    /// A question about configurations.
    Query(Query),
    /// To a group: what it holds.
    GroupStatus,
}

pub(super) fn plan(request: &Request, shard_count: u32) -> Result<Plan<Command>, ErrorReply> {
    let fields = request.fields();
    if let Some(data) = Data::of(request)? {
        let footprint = data.footprint();
        return Ok(Plan::data(Command::Data(data), footprint));
    }
    let change = match request.kind.as_str() {
        "config" => Change::Set { number: ConfigNumber(fields.unsigned("version")?), shards: owners(fields)? },
        "join" => Change::Join { groups: groups(fields)?, shard_count },
        "leave" => Change::Leave { gids: fields.strings("gids")?.into_iter().map(Gid::new).collect() },
        "move" => Change::Move { shard: shard(fields)?, gid: Gid::new(fields.string("gid")?) },
        "query" => return Ok(Plan::data(Command::Query(query(fields)?), Footprint::default())),
        "group_status" => return Ok(Plan::data(Command::GroupStatus, Footprint::read_everything())),
        _ => return Err(unknown_type(request)),
    };
    Ok(Plan::barrier(Command::Change(change)))
}

fn query(fields: Fields<'_>) -> Result<Query, ErrorReply> {
    // One that is too large for 64 bits with a sign is above the latest, whatever that is.
    if let Some(number) = fields.map().get("version").and_then(Value::as_u64) {
        return Ok(Query::At(ConfigNumber(number)));
    }
    match fields.integer("version")? {
        -1 => Ok(Query::Latest),
        other => Err(fields.ill_typed("version", "-1 or a non-negative integer", &other.into())),
    }
}

fn shard(fields: Fields<'_>) -> Result<ShardId, ErrorReply> {
    let number = fields.unsigned("shard")?;
    let shard = u32::try_from(number).map_err(|_| ErrorReply::malformed(format!("there is no shard {number}")))?;
    Ok(ShardId(shard))
}

/// `{"0":"g1","1":null,...}`
fn owners(fields: Fields<'_>) -> Result<BTreeMap<ShardId, Option<Gid>>, ErrorReply> {
    let expected = "an object that names a group, or null, for each shard number";
    let shards = fields.object("shards")?;
    let ill_typed = || fields.ill_typed("shards", expected, &Value::Object(shards.clone()));
    let owner = |(name, owner): (&String, &Value)| {
        let owner = match owner {
            Value::Null => None,
            Value::String(gid) => Some(Gid::new(gid.as_str())),
            _ => return Err(ill_typed()),
        };
        Ok((shard_number(name).ok_or_else(ill_typed)?, owner))
    };
    shards.iter().map(owner).collect()
}

/// A shard's number as the name of a field: "7", and no other spelling of it.
pub(in crate::services) fn shard_number(name: &str) -> Option<ShardId> {
    let number: u32 = name.parse().ok()?;
    (number.to_string() == name).then_some(ShardId(number))
}

/// `{"g3":["n7","n8","n9"]}`
fn groups(fields: Fields<'_>) -> Result<BTreeMap<Gid, Vec<String>>, ErrorReply> {
    let groups: &Map<String, Value> = fields.object("groups")?;
    let servers = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let group = |(gid, value): (&String, &Value)| {
        let expected = "an object of lists of server names";
        let servers = servers(value).ok_or_else(|| fields.ill_typed("groups", expected, value))?;
        Ok((Gid::new(gid.as_str()), servers))
    };
    groups.iter().map(group).collect()
}
