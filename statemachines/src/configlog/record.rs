//! What a snapshot of the configuration log is made of.
//!
//! The log was all configurations once, and its snapshots their records and nothing else. They are still read: a
//! configuration begins with its number, which is never 0, so that a 0 tells that the record is something else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Book, Config, Holder};
use crate::names::{ConfigNumber, Gid};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A configuration, as it ever was.
    Config(Arc<Config>),
    /// The address book.
    Book(Arc<Book>),
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Record::Config(config) => config.serialize(serializer),
            Record::Book(book) => {
                let mut tuple = serializer.serialize_tuple(2)?;
                tuple.serialize_element(&ConfigNumber(0))?;
                tuple.serialize_element(&**book)?;
                tuple.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(5, RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration or an address book")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Record, A::Error> {
        let number: ConfigNumber = next(&mut fields)?;
        if number == ConfigNumber(0) {
            return Ok(Record::Book(Arc::new(next(&mut fields)?)));
        }
        let previous: ConfigNumber = next(&mut fields)?;
        let shards: Vec<Option<Gid>> = next(&mut fields)?;
        let groups: BTreeMap<Gid, Vec<String>> = next(&mut fields)?;
        let holders: Vec<Option<Holder>> = next(&mut fields)?;
        Ok(Record::Config(Arc::new(Config { number, previous, shards, groups, holders })))
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A) -> Result<T, A::Error> {
    fields.next_element()?.ok_or_else(|| A::Error::custom("a record that ends too soon"))
}
