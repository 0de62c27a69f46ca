//! The sharded store's errors as replies.

use quorate_statemachines::kv::NotServed;

use crate::kv::KvError;
use crate::stdio::ErrorReply;

impl From<KvError> for ErrorReply {
    fn from(error: KvError) -> Self {
        let text = error.to_string();
        match error {
            KvError::NoConfig => ErrorReply::unavailable(text).reason("no_config"),
            KvError::Unassigned(_) => ErrorReply::unavailable(text).reason("unassigned"),
            KvError::NotServed(why) => not_served(why, text),
            KvError::Unavailable(cause) => cause.into(),
            KvError::NoAnswer(_) | KvError::Unknown(_) => ErrorReply::timeout(text),
            KvError::SeqReused => ErrorReply::malformed(text).reason("seq_reused"),
            KvError::Invalid(_) => ErrorReply::crash(text),
            KvError::SessionWindow => ErrorReply::timeout(text).reason("session_window"),
            KvError::SessionExpired => ErrorReply::timeout(text).reason("session_expired"),
        }
    }
}

fn not_served(why: NotServed, text: String) -> ErrorReply {
    let error = ErrorReply::unavailable(text);
    let (error, number, group) = match why {
        // A configuration names the group, and the group has not heard of it yet: its shards are still on their way.
        NotServed::NoConfig => return error.reason("migrating"),
        NotServed::WrongGroup { number, group } => (error.reason("wrong_group"), number, group),
        NotServed::Migrating { number, to, .. } => (error.reason("migrating"), number, to),
    };
    let error = error.hint("version", number.0);
    match group {
        Some(gid) => error.hint("group", &*gid.0),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use quorate::Rejected;
    use quorate_statemachines::{ConfigNumber, Gid, ShardId};

    use super::*;

    #[test]
    fn a_definite_code_is_given_only_for_what_is_known_not_to_have_happened() {
        let errors = [
            KvError::NoConfig,
            KvError::Unassigned(ShardId(1)),
            KvError::NotServed(NotServed::NoConfig),
            KvError::Unavailable(Rejected::NoLeader),
            KvError::NoAnswer(String::new()),
            KvError::SeqReused,
            KvError::Invalid(String::new()),
            KvError::SessionWindow,
            KvError::SessionExpired,
            KvError::Unknown(String::new()),
        ];
        for error in errors {
            let definite = error.is_definite();
            let reply = ErrorReply::from(error);
            assert!(definite || !reply.code.is_definite(), "{reply}");
        }
    }

    #[test]
    fn a_wrong_group_names_its_version_and_the_right_group_if_it_knows_it() {
        let wrong_group = |group| NotServed::WrongGroup { number: ConfigNumber(7), group };
        let reply = ErrorReply::from(KvError::NotServed(wrong_group(Some(Gid::new("g2")))));
        assert_eq!((reply.code.number(), reply.reason.as_deref()), (11, Some("wrong_group")));
        assert_eq!(reply.hints, [("version".to_owned(), 7.into()), ("group".to_owned(), "g2".into())]);
        let reply = ErrorReply::from(KvError::NotServed(wrong_group(None)));
        assert_eq!(reply.hints, [("version".to_owned(), 7.into())]);
    }
}
