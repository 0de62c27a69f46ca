//! The messages of `raft.proto`, by hand: they are few, and no compiler of protocol buffers is needed to build.

use bytes::Bytes;

/// `quorate.raft.v1.Raft/Messages`.
pub(super) const MESSAGES: &str = "/quorate.raft.v1.Raft/Messages";

/// `quorate.raft.v1.Raft/Snapshots`.
pub(super) const SNAPSHOTS: &str = "/quorate.raft.v1.Raft/Snapshots";

/// `quorate.raft.v1.Frame`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(oneof = "Content", tags = "1, 2")]
    pub(super) content: Option<Content>,
}

/// `quorate.raft.v1.Frame.content`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Content {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Batch(Batch),
}

/// `quorate.raft.v1.Hello`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(super) version_min: u32,
    #[prost(uint32, tag = "2")]
    pub(super) version_max: u32,
    #[prost(fixed64, tag = "3")]
    pub(super) cluster: u64,
    #[prost(uint64, tag = "4")]
    pub(super) node: u64,
    #[prost(fixed64, tag = "5")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "6")]
    pub(super) receiver: u64,
    #[prost(uint64, tag = "7")]
    pub(super) record_bytes_max: u64,
}

/// `quorate.raft.v1.Batch`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Batch {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) records: Vec<Bytes>,
}

impl From<Hello> for Frame {
    fn from(hello: Hello) -> Self {
        Frame { content: Some(Content::Hello(hello)) }
    }
}

impl From<Batch> for Frame {
    fn from(batch: Batch) -> Self {
        Frame { content: Some(Content::Batch(batch)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::field_descriptor_proto::{Label, Type};

    const PROTO: &str = include_str!("raft.proto");

    /// Everything in `raft.proto` that another node relies on.
    const SERVICE: [&str; 16] = [
        "package quorate.raft.v1",
        "rpc Raft/Messages: stream .Frame -> stream .Frame",
        "rpc Raft/Snapshots: stream .Frame -> stream .Frame",
        "Frame.hello = 1: Optional Message Hello in content",
        "Frame.batch = 2: Optional Message Batch in content",
        "Hello.version_min = 1: Optional Uint32",
        "Hello.version_max = 2: Optional Uint32",
        "Hello.cluster = 3: Optional Fixed64",
        "Hello.node = 4: Optional Uint64",
        "Hello.incarnation = 5: Optional Fixed64",
        "Hello.receiver = 6: Optional Uint64",
        "Hello.record_bytes_max = 7: Optional Uint64",
        "Batch.records = 1: Repeated Bytes",
        "3 messages",
        "0 enums",
        "1 services",
    ];

    fn hello() -> Hello {
        Hello {
            version_min: 1,
            version_max: 300,
            cluster: 0x0102_0304_0506_0708,
            node: 2,
            incarnation: u64::MAX,
            receiver: 3,
            record_bytes_max: 1 << 23,
        }
    }

    fn described() -> Vec<String> {
        let file = protox_parse::parse("raft.proto", PROTO).unwrap();
        let mut all = vec![format!("package {}", file.package())];
        for service in &file.service {
            for rpc in &service.method {
                let stream = |is: bool| if is { "stream " } else { "" };
                let (from, to) = (stream(rpc.client_streaming()), stream(rpc.server_streaming()));
                let (input, output) = (rpc.input_type(), rpc.output_type());
                let (service, rpc) = (service.name(), rpc.name());
                all.push(format!("rpc {service}/{rpc}: {from}.{input} -> {to}.{output}"));
            }
        }
        for message in &file.message_type {
            assert!(message.nested_type.is_empty() && message.enum_type.is_empty());
            for field in &message.field {
                // The parser leaves the type open where a name stands; here names are always messages.
                let kind = if field.r#type.is_some() { field.r#type() } else { Type::Message };
                let mut line = format!("{}.{} = {}: ", message.name(), field.name(), field.number());
                line += &format!("{:?} {kind:?}", Label::try_from(field.label() as i32).unwrap());
                if let Some(name) = &field.type_name {
                    line += &format!(" {name}");
                }
                if let Some(nth) = field.oneof_index {
                    line += &format!(" in {}", message.oneof_decl[nth as usize].name());
                }
                all.push(line);
            }
        }
        all.push(format!("{} messages", file.message_type.len()));
        all.push(format!("{} enums", file.enum_type.len()));
        all.push(format!("{} services", file.service.len()));
        all
    }

    #[test]
    fn the_service_is_what_other_nodes_take_it_for() {
        assert_eq!(described(), SERVICE, "raft.proto has changed: nodes of other versions rely on it");
    }

    #[test]
    fn the_structures_here_are_those_of_the_file() {
        let hex = |frame: Frame| frame.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Field by field as the file numbers and types them: tag, then varint or eight bytes.
        let fields = ["0801", "10ac02", "190807060504030201", "2002", "29ffffffffffffffff", "3003", "3880808004"];
        let hello_hex = fields.concat();
        assert_eq!(hex(hello().into()), format!("0a{:02x}{hello_hex}", hello_hex.len() / 2));
        let records = vec![Bytes::from_static(b"ab"), Bytes::from_static(b""), Bytes::from_static(b"c")];
        assert_eq!(hex(Batch { records }.into()), "12090a0261620a000a0163");
        assert_eq!((MESSAGES, SNAPSHOTS), ("/quorate.raft.v1.Raft/Messages", "/quorate.raft.v1.Raft/Snapshots"));
    }

    #[test]
    fn a_field_that_is_not_known_yet_does_no_harm() {
        let mut newer = Frame::from(hello()).encode_to_vec();
        // The hello grows by a field 15 of two bytes.
        newer[1] += 4;
        newer.extend([0x7a, 2, 1, 2]);
        assert_eq!(Frame::decode(newer.as_slice()).unwrap(), Frame::from(hello()));
    }
}
