//! `quorate-jepsen check` as its callers see it: exit codes, the first line, what is told on standard error.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Judges a text given on standard input: the exit code, standard output, standard error.
fn check(flags: &[&str], text: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-jepsen"));
    command.arg("check").arg("-").args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    // It may not read on after a wrong line.
    let _ = child.stdin.take().expect("its input").write_all(text.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

fn lines(events: &[(u64, &str, &str, &str)]) -> String {
    let line = |(process, kind, f, value): &(u64, &str, &str, &str)| {
        format!(r#"{{"process":{process},"type":"{kind}","f":"{f}","key":"k","value":{value}}}"#) + "\n"
    };
    events.iter().map(line).collect()
}

#[test]
fn a_verdict_is_the_first_word_and_the_exit_code() {
    let written = [(0, "invoke", "write", "1"), (0, "ok", "write", "1"), (1, "invoke", "read", "null")];
    let read = |value| lines(&[&written[..], &[(1, "ok", "read", value)]].concat());
    let table = [(vec![], read("1"), 0, "true"), (vec![], read("2"), 1, "false"), (vec![], String::new(), 0, "true")];
    for (flags, text, code, word) in table {
        let (got, out, err) = check(&flags, &text);
        let first = out.split_whitespace().next();
        assert_eq!((got, first), (code, Some(word)), "{out}{err}");
        assert!(out.lines().next().is_some_and(|line| line.contains('(')), "a reason: {out}");
    }
}

#[test]
fn a_false_verdict_shows_the_key_the_order_and_what_has_no_place() {
    let text = lines(&[
        (0, "invoke", "write", "1"),
        (0, "ok", "write", "1"),
        (2, "invoke", "write", "3"),
        (1, "invoke", "read", "null"),
        (1, "ok", "read", "2"),
    ]);
    let (_, out, _) = check(&[], &text);
    let lines: Vec<&str> = out.lines().collect();
    let first = "false (key \"k\": process 1 read -> 2 fits no order of the operations before it)";
    assert_eq!(lines[0], first, "{out}");
    assert!(lines[1].starts_with("key \"k\": the longest partial linearization has "), "{out}");
    assert!(lines[3].contains("lines 1-2  process 0 write 1 -> done") && lines[3].ends_with("holds 1"), "{out}");
    assert!(out.contains("operations that cannot be placed:\n         lines 4-5  process 1 read -> 2\n"), "{out}");
}

#[test]
fn strings_start_as_they_are_said_to() {
    let text = lines(&[
        (0, "invoke", "get", "null"),
        (0, "ok", "get", "\"\""),
        (0, "invoke", "append", "\"x\""),
        (0, "ok", "append", "\"x\""),
        (0, "invoke", "get", "null"),
        (0, "ok", "get", "\"x\""),
    ]);
    assert_eq!(check(&["--initial", "\"\""], &text).0, 0);
    assert_eq!(check(&["--model", "kv"], &text).0, 0);
    let (code, out, _) = check(&[], &text);
    assert_eq!(code, 1);
    assert!(out.contains("--initial '\"\"'"), "it says what may be meant: {out}");
}

#[test]
fn what_is_no_history_is_told_with_its_line() {
    let call = lines(&[(0, "invoke", "read", "null")]);
    let table = [
        ("garbage\n".to_owned(), "line 1"),
        (format!("{call}{}", &call[..30]), "line 2"),
        (call.repeat(2), "line 2"),
        (lines(&[(0, "ok", "read", "1")]), "line 1"),
        (lines(&[(0, "invoke", "jump", "1")]), "line 1"),
        (lines(&[(0, "invoke", "cas", "7")]), "line 1"),
        (call.replace("\"process\":0", "\"process\":[0]"), "line 1"),
        (format!("{call}{}", lines(&[(0, "perhaps", "read", "1")])), "line 2"),
    ];
    for (text, place) in table {
        let (code, out, err) = check(&[], &text);
        assert_eq!((code, out.as_str()), (3, ""), "{text}");
        assert!(err.contains(place), "{text}: {err}");
    }
    assert_eq!(check(&["--initial", "x"], "").0, 64);
    assert_eq!(check(&["--time-limit", "-1"], "").0, 64);
    assert_eq!(check(&["--frobnicate"], "").0, 64);
}

#[test]
fn a_search_without_time_says_so() {
    // Twenty writes at once, each of another value, and a compare-and-set that found what none of them wrote.
    let mut text: String = (0..20).map(|nth| lines(&[(nth, "invoke", "write", &nth.to_string())])).collect();
    text += &lines(&[(99, "invoke", "cas", "[99,99]"), (99, "ok", "cas", "[99,99]")]);
    text += &(0..20).map(|nth| lines(&[(nth, "ok", "write", &nth.to_string())])).collect::<String>();
    let (code, out, _) = check(&["--time-limit", "0"], &text);
    assert_eq!((code, out.split_whitespace().next()), (2, Some("unknown")), "{out}");
}

#[test]
fn a_report_can_be_had_of_it() {
    let store = tempfile::tempdir().expect("a directory");
    let text = lines(&[(0, "invoke", "write", "1"), (0, "ok", "write", "1")]);
    let (code, out, err) = check(&["--report", &store.path().to_string_lossy()], &text);
    assert_eq!(code, 0, "{err}");
    let page = out.lines().find_map(|line| line.strip_prefix("report: ")).expect("where it is");
    assert!(Path::new(page).exists());
}
