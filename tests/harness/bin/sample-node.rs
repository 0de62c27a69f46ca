//! A node with the faults that the harness must notice, or none: `sample-node KIND`.
//!
//! It answers `echo`, `generate`, `read`, `write`, `cas`, each from its own memory. Alone it is a good register; several of
//! it are not, since nobody tells the others anything. An example of how little a node needs, too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

/// What is wrong with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Nothing: it keeps its registers in memory.
    Memory,
    /// Nothing: it keeps its registers in a file, too, before it answers.
    File,
    /// It keeps its registers in a file, but only every hundredth time.
    Forgetful,
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
}

impl Node {
    fn answer(&mut self, request: &Value) -> Value {
        let (key, body) = (request["key"].to_string(), request);
        match request["type"].as_str().unwrap_or_default() {
            "init" => {
                self.name = request["node_id"].as_str().unwrap_or_default().to_owned();
                json!({ "type": "init_ok" })
            }
            "echo" if self.kind == Kind::Careless && self.answers.is_multiple_of(10) => {
                json!({ "type": "echo_ok", "echo": "what?" })
            }
            "echo" => json!({ "type": "echo_ok", "echo": body["echo"] }),
            "generate" => {
                let number = if self.kind == Kind::Careless { self.answers / 2 } else { self.answers };
                json!({ "type": "generate_ok", "id": format!("{}-{number}", self.name) })
            }
            "read" => match self.registers.get(&key) {
                Some(value) => json!({ "type": "read_ok", "value": value }),
                None => json!({ "type": "error", "code": 20, "text": "no such key" }),
            },
            "write" => {
                self.registers.insert(key, body["value"].clone());
                json!({ "type": "write_ok" })
            }
            "cas" => match self.registers.get_mut(&key) {
                None => json!({ "type": "error", "code": 20, "text": "no such key" }),
                Some(value) if *value != body["from"] => {
                    json!({ "type": "error", "code": 22, "text": "another value" })
                }
                Some(value) => {
                    *value = body["to"].clone();
                    json!({ "type": "cas_ok" })
                }
            },
            other => json!({ "type": "error", "code": 10, "text": format!("{other} is nothing that it knows") }),
        }
    }

    fn keep(&self) -> io::Result<()> {
        let is_kept = match self.kind {
            Kind::File => true,
            Kind::Forgetful => self.answers.is_multiple_of(100),
            _ => false,
        };
        if !is_kept {
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
            let mut body = self.answer(&message["body"]);
            self.answers += 1;
            self.keep()?;
            if self.kind == Kind::Mute {
                continue;
            }
            body["in_reply_to"] = message["body"]["msg_id"].clone();
            writeln!(output, "{}", json!({ "src": self.name, "dest": message["src"], "body": body }))?;
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
    Node { kind, file, name: String::new(), answers: 0, registers: BTreeMap::new() }.run()
}
