//! The requests for keys that the sharded store and its groups have in common.

use std::sync::Arc;
use std::time::Duration;

use quorate::Consistency;
use quorate::sessions::Stamp;
use quorate_statemachines::kv::{Json, KvOp, Outcome};
use serde_json::value::RawValue;

use crate::kv::{DirectClient, KvClient, KvError, ScanPage, ScanRange, Target};
use crate::stdio::{ErrorReply, Fields, Footprint, Key, Reply, Request};

/// A request for keys.
#[derive(Clone, Debug)]
pub enum Data {
    /// A key's value: a reply without one if there is none.
    Get(Key),
    /// A key's value: error 20 if there is none.
    Read(Key),
    /// Sets a key without naming it in the reply.
    Write(Key, KvOp, Option<Stamp>),
    /// Any other change.
    Change(Key, KvOp, Option<Stamp>),
    /// Keys in their order.
    Scan(ScanRange),
}

impl Data {
    /// Reads a request; `None` when it is about something else.
    pub(super) fn of(request: &Request) -> Result<Option<Data>, ErrorReply> {
        let fields = request.fields();
        Ok(Some(match request.kind.as_str() {
            "get" => Data::Get(fields.key("key")?),
            "read" => Data::Read(fields.key("key")?),
            "write" => {
                let (key, name) = key(fields)?;
                Data::Write(key, KvOp::Put { key: name, value: json(fields, "value")? }, fields.stamp()?)
            }
            "put" => change(fields, |key| Ok(KvOp::Put { key, value: json(fields, "value")? }))?,
            "append" => change(fields, |key| Ok(KvOp::Append { key, value: json(fields, "value")? }))?,
            "delete" => change(fields, |key| Ok(KvOp::Delete { key }))?,
            "cas" => change(fields, |key| {
                let (from, to) = (json(fields, "from")?, json(fields, "to")?);
                Ok(KvOp::Cas { key, from, to, create_if_not_exists: fields.flag("create_if_not_exists")? })
            })?,
            "scan" => {
                let name = |key: Key| Arc::from(key.name());
                Data::Scan(ScanRange {
                    from: fields.optional_key("from")?.map(name),
                    to: fields.optional_key("to")?.map(name),
                    prefix: fields.optional_string("prefix")?.map(Arc::from),
                    limit: fields.optional_unsigned("limit")?,
                })
            }
            _ => return Ok(None),
        }))
    }

    /// What it touches.
    pub(super) fn footprint(&self) -> Footprint {
        match self {
            Data::Get(key) | Data::Read(key) => Footprint::read(key.name()),
            Data::Write(key, ..) | Data::Change(key, ..) => Footprint::write(key.name()),
            Data::Scan(_) => Footprint::read_everything(),
        }
    }

    /// Carries it out through a client.
    pub(super) async fn carry_out(self, by: Client<'_>, timeout: Duration) -> Result<Reply, ErrorReply> {
        match self {
            Data::Get(key) => {
                let reply = Reply::new().field("key", key.echo());
                match by.get(&key, timeout).await? {
                    Some(value) => Ok(reply.json_text("value", value.text())),
                    None => Ok(reply),
                }
            }
            Data::Read(key) => match by.get(&key, timeout).await? {
                Some(value) => Ok(Reply::new().json_text("value", value.text())),
                None => Err(missing(&key)),
            },
            Data::Write(key, op, session) => {
                by.execute(op, session, timeout).await.map_err(ErrorReply::from).and_then(|outcome| {
                    changed(&key, outcome)?;
                    Ok(Reply::new())
                })
            }
            Data::Change(key, op, session) => changed(&key, by.execute(op, session, timeout).await?),
            Data::Scan(range) => Ok(scanned(&by.scan(range, timeout).await?)),
        }
    }
}

fn key(fields: Fields<'_>) -> Result<(Key, Arc<str>), ErrorReply> {
    let key = fields.key("key")?;
    let name = key.name().into();
    Ok((key, name))
}

fn change(fields: Fields<'_>, op: impl FnOnce(Arc<str>) -> Result<KvOp, ErrorReply>) -> Result<Data, ErrorReply> {
    let (key, name) = key(fields)?;
    Ok(Data::Change(key, op(name)?, fields.stamp()?))
}

/// A value, digit for digit.
pub(super) fn json(fields: Fields<'_>, name: &str) -> Result<Json, ErrorReply> {
    let text = fields.json_text(name)?;
    Json::parse(&text).map_err(|error| ErrorReply::malformed(format!("field `{name}`: {error}")))
}

/// Error 20.
pub(super) fn missing(key: &Key) -> ErrorReply {
    ErrorReply::key_missing(format!("there is no key {:?}", key.name())).reason("no_such_key")
}

/// Error 22 for a compare-and-set.
pub(super) fn different(key: &Key) -> ErrorReply {
    ErrorReply::precondition(format!("key {:?} has another value", key.name())).reason("different_value")
}

fn changed(key: &Key, outcome: Outcome) -> Result<Reply, ErrorReply> {
    match outcome {
        Outcome::Put | Outcome::Appended => Ok(Reply::new().field("key", key.echo())),
        Outcome::Deleted { existed } => Ok(Reply::new().field("key", key.echo()).field("existed", existed)),
        Outcome::Swapped => Ok(Reply::new()),
        Outcome::Missing => Err(missing(key)),
        Outcome::Different => Err(different(key)),
        Outcome::NotAppendable => {
            let text = format!("key {:?} has a value that this one cannot be appended to", key.name());
            Err(ErrorReply::precondition(text).reason("not_appendable"))
        }
    }
}

fn scanned(page: &ScanPage) -> Reply {
    #[derive(serde::Serialize)]
    struct Item<'a> {
        key: &'a str,
        value: Box<RawValue>,
    }
    let items: Vec<Item<'_>> = page
        .items
        .iter()
        .map(|(key, value)| Item { key, value: RawValue::from_string(value.text().to_owned()).unwrap_or_default() })
        .collect();
    Reply::new().serialized("items", &items).field("more", page.more)
}

/// Who asks: through the configuration, or one group alone.
pub(super) enum Client<'a> {
    Routing(&'a KvClient),
    Direct(&'a DirectClient, Target<'a>),
}

impl Client<'_> {
    async fn execute(&self, op: KvOp, session: Option<Stamp>, timeout: Duration) -> Result<Outcome, KvError> {
        match self {
            Client::Routing(client) => client.execute(op, session, timeout).await,
            Client::Direct(client, target) => client.execute(*target, op, session, timeout).await,
        }
    }

    async fn get(&self, key: &Key, timeout: Duration) -> Result<Option<Json>, KvError> {
        let key = key.name().into();
        match self {
            Client::Routing(client) => {
                client.get(&key, Consistency::Linearizable, timeout).await.map(|reply| reply.answer)
            }
            Client::Direct(client, target) => client.get(*target, &key, timeout).await,
        }
    }

    async fn scan(&self, range: ScanRange, timeout: Duration) -> Result<ScanPage, KvError> {
        match self {
            Client::Routing(client) => client.scan(range, timeout).await,
            Client::Direct(client, target) => client.scan(*target, &range, timeout).await,
        }
    }
}
