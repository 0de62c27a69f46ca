//! Paths: what exists, what is listed, what is in the way.

use super::*;

const DONE: MasterReply = MasterReply::Done(Done::Plainly);

fn refused(refusal: Refusal) -> MasterReply {
    MasterReply::Refused(refusal)
}

fn log(paths: &[&str]) -> Log {
    let mut log = Log::with_servers(&[]);
    paths.iter().for_each(|path| assert_eq!(log.create(path), DONE));
    log
}

#[test]
fn parents_are_implied_and_not_listed() {
    let mut log = log(&["/a/b/c"]);
    assert_eq!(log.list(), ["/a/b/c"]);
    assert_eq!(log.stat("/a/b"), None);
    assert_eq!(log.create("/a/b"), DONE, "a path with others below it can still be created");
    assert_eq!(log.create("/a/b"), refused(Refusal::Exists));
    assert_eq!(log.list(), ["/a/b", "/a/b/c"]);
}

#[test]
fn deleting_a_path_leaves_what_lies_below_it() {
    let mut log = log(&["/a", "/a/b"]);
    assert_eq!(log.op(MasterOp::Delete { path: path("/a") }), DONE);
    assert_eq!(log.op(MasterOp::Delete { path: path("/a") }), refused(Refusal::NoSuchPath));
    assert_eq!(log.list(), ["/a/b"]);
}

#[test]
fn a_rename_takes_everything_below_along_and_nothing_beside() {
    let mut log = log(&["/a", "/a/b", "/a/b/c", "/ab", "/a!"]);
    assert_eq!(log.op(MasterOp::Rename { from: path("/a"), to: path("/z/y") }), DONE);
    assert_eq!(log.list(), ["/a!", "/ab", "/z/y", "/z/y/b", "/z/y/b/c"]);
    // What is only implied can be renamed too.
    assert_eq!(log.op(MasterOp::Rename { from: path("/z"), to: path("/a") }), DONE);
    assert_eq!(log.list(), ["/a!", "/a/y", "/a/y/b", "/a/y/b/c", "/ab"]);
}

#[test]
fn a_rename_follows_the_table() {
    let table = [
        ("/x", "/y", refused(Refusal::NoSuchPath)),
        ("/a", "/d", refused(Refusal::Exists)),
        ("/a", "/c", refused(Refusal::Exists)),
        ("/a", "/a", refused(Refusal::Exists)),
        ("/a", "/a/b", refused(Refusal::Exists)),
        ("/c/d", "/c", refused(Refusal::Exists)),
        ("/a", "/d/e", DONE),
    ];
    for (from, to, reply) in table {
        let mut log = log(&["/a", "/c/d", "/d"]);
        assert_eq!(log.op(MasterOp::Rename { from: path(from), to: path(to) }), reply, "{from} to {to}");
    }
}

#[test]
fn a_listing_goes_on_where_the_last_one_ended() {
    let log = log(&["/a", "/a/1", "/a/2", "/b", "/b1"]);
    let listed = |paths: &[&str], more| (paths.iter().map(ToString::to_string).collect::<Vec<_>>(), more);
    assert_eq!(log.list_from("", None, 2), listed(&["/a", "/a/1"], true));
    assert_eq!(log.list_from("", Some("/a/1\0"), 2), listed(&["/a/2", "/b"], true));
    assert_eq!(log.list_from("", Some("/b\0"), 2), listed(&["/b1"], false));
    assert_eq!(log.list_from("/a/", None, 9), listed(&["/a/1", "/a/2"], false));
    assert_eq!(log.list_from("/b", Some("/a"), 1), listed(&["/b"], true));
    assert_eq!(log.list_from("/b", Some("/c"), 1), listed(&[], false));
    assert_eq!(log.list_from("", None, 0), listed(&[], true));
    assert_eq!(log.list_from("/x", None, 0), listed(&[], false));
}
