//! A node with the faults that the harness must notice, or none: `sample-node KIND`.
//!
//! It answers `echo`, `generate`, `read`, `write`, `cas`, each from its own memory: alone it is a good register, several of it
//! are not. It passes on what is `broadcast`, once: good as long as nothing is lost. An example of how little a node needs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

/// What is wrong with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Nothing, as long as it lives: it keeps its registers in memory.
    Memory,
    /// Nothing: it keeps its registers in a file, too, before it answers.
    File,
    /// It writes something that is no JSON after its tenth answer.
    Babbling,
    /// It speaks to somebody who is not there after its tenth answer.
    Lost,
    /// It never answers `init`.
    Mute,
    /// It ends after its tenth answer.
    Ending,
    /// It gives the same id twice now and then, and answers every tenth echo with another word.
    Careless,
}

#[derive(clap::Parser)]
struct Cli {
    kind: Kind,
    /// Where its file is.
    #[arg(long, default_value = ".")]
    data_dir: PathBuf,
}

struct Node {
    kind: Kind,
    file: PathBuf,
    name: String,
    answers: u64,
    registers: BTreeMap<String, Value>,
    neighbours: Vec<Value>,
    messages: Vec<Value>,
}

impl Node {
    /// What it answers; null for nothing.
    fn answer(&mut self, request: &Value, output: &mut impl Write) -> io::Result<Value> {
        let key = request["key"].to_string();
        Ok(match request["type"].as_str().unwrap_or_default() {
            "init" => {
                self.name = request["node_id"].as_str().unwrap_or_default().to_owned();
                json!({ "type": "init_ok" })
            }
            "echo" if self.kind == Kind::Careless && self.answers.is_multiple_of(10) => {
                json!({ "type": "echo_ok", "echo": "what?" })
            }
            "echo" => json!({ "type": "echo_ok", "echo": request["echo"] }),
            "generate" => {
                let number = if self.kind == Kind::Careless { self.answers / 2 } else { self.answers };
                json!({ "type": "generate_ok", "id": format!("{}-{number}", self.name) })
            }
            "topology" => {
                self.neighbours = request["topology"][&self.name].as_array().cloned().unwrap_or_default();
                json!({ "type": "topology_ok" })
            }
            "broadcast" | "tell" => {
                self.pass_on(&request["message"], output)?;
                if request["type"] == "tell" { Value::Null } else { json!({ "type": "broadcast_ok" }) }
            }
            "read" if request["key"].is_null() => json!({ "type": "read_ok", "messages": self.messages }),
            "read" => match self.registers.get(&key) {
                Some(value) => json!({ "type": "read_ok", "value": value }),
                None => json!({ "type": "error", "code": 20, "text": "no such key" }),
            },
            "write" => {
                self.registers.insert(key, request["value"].clone());
                json!({ "type": "write_ok" })
            }
            "cas" => match self.registers.get_mut(&key) {
                None => json!({ "type": "error", "code": 20, "text": "no such key" }),
                Some(value) if *value != request["from"] => {
                    json!({ "type": "error", "code": 22, "text": "another value" })
                }
                Some(value) => {
                    *value = request["to"].clone();
                    json!({ "type": "cas_ok" })
                }
            },
            other => json!({ "type": "error", "code": 10, "text": format!("{other} is nothing that it knows") }),
        })
    }

    /// Tells the neighbours what is new.
    fn pass_on(&mut self, message: &Value, output: &mut impl Write) -> io::Result<()> {
        if self.messages.contains(message) {
            return Ok(());
        }
        self.messages.push(message.clone());
        self.neighbours.iter().try_for_each(|neighbour| {
            let body = json!({ "type": "tell", "message": message });
            writeln!(output, "{}", json!({ "src": self.name, "dest": neighbour, "body": body }))
        })
    }

    fn keep(&self) -> io::Result<()> {
        if self.kind != Kind::File {
            return Ok(());
        }
        // A kill in the middle must not leave half a file.
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_string(&self.registers)?)?;
        fs::rename(new, &self.file)
    }

    fn run(mut self) -> io::Result<ExitCode> {
        if let Ok(text) = fs::read_to_string(&self.file) {
            self.registers = serde_json::from_str(&text)?;
        }
        let mut output = io::stdout().lock();
        for line in io::stdin().lock().lines() {
            let message: Value = serde_json::from_str(&line?)?;
            let mut body = self.answer(&message["body"], &mut output)?;
            self.answers += 1;
            self.keep()?;
            if body.is_object() && self.kind != Kind::Mute {
                body["in_reply_to"] = message["body"]["msg_id"].clone();
                writeln!(output, "{}", json!({ "src": self.name, "dest": message["src"], "body": body }))?;
            }
            match (self.kind, self.answers) {
                (Kind::Babbling, 10) => writeln!(output, "by the way")?,
                (Kind::Lost, 10) => writeln!(output, "{}", json!({ "src": self.name, "dest": "n99", "body": body }))?,
                (Kind::Ending, 10) => {
                    eprintln!("it has had enough");
                    return Ok(ExitCode::from(7));
                }
                _ => {}
            }
            output.flush()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn main() -> io::Result<ExitCode> {
    let Cli { kind, data_dir } = clap::Parser::parse();
    let file = data_dir.join("registers.json");
    let (registers, neighbours, messages) = (BTreeMap::new(), Vec::new(), Vec::new());
    Node { kind, file, name: String::new(), answers: 0, registers, neighbours, messages }.run()
}
