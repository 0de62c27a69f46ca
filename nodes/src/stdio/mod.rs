//! Services behind JSON lines: the envelope, order, deadlines, bad input and the end, the same for every binary.
//!
//! A line's way: `reader` (bytes to lines) → `message` (lines to requests) → `intake` (judged by the service, stamped
//! with a deadline, counted in the `window`) → `schedule` (whose turn is it?) → `dispatch` (the call, exactly one
//! answer) → `writer` (numbered lines). A binary supplies a [`Service`] and calls [`run`].
//!
//! A whole binary:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use async_trait::async_trait;
//! use clap::Parser;
//! use quorate_nodes::stdio::{
//!     Call, ErrorReply, Footprint, Init, Plan, Reply, Request, Service, StdioOptions, run, unknown_type,
//! };
//!
//! /// Answers what it is sent.
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     stdio: StdioOptions,
//! }
//!
//! struct Echo;
//!
//! #[async_trait]
//! impl Service for Echo {
//!     type Command = String;
//!
//!     fn plan(&self, request: &Request) -> Result<Plan<String>, ErrorReply> {
//!         match request.kind.as_str() {
//!             "echo" => Ok(Plan::data(request.fields().json_text("echo")?, Footprint::default())),
//!             _ => Err(unknown_type(request)),
//!         }
//!     }
//!
//!     async fn init(&self, init: Init) -> Result<(), ErrorReply> {
//!         init.node_ids().map(|_| ())
//!     }
//!
//!     async fn call(&self, echo: String, _: Call) -> Result<Reply, ErrorReply> {
//!         Ok(Reply::new().json_text("echo", &echo))
//!     }
//!
//!     async fn shutdown(&self) {}
//! }
//!
//! fn main() -> ExitCode {
//!     run(&Cli::parse().stdio, || Ok(Echo))
//! }
//! ```
//!
//! A process may be the whole cluster, or one node of it that reaches the others through the same lines: see [`peers`].

pub mod dedupe;
mod digest;
mod dispatch;
pub mod error;
pub mod failure;
pub mod fields;
mod intake;
mod lanes;
pub mod message;
pub mod options;
mod outcome;
pub mod peers;
mod probe;
mod process;
mod reader;
pub mod reply;
mod schedule;
pub mod serve;
pub mod service;
pub mod transcript;
pub mod window;
pub mod writer;

#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod tests;

pub use error::{Code, ErrorReply};
pub use failure::Failure;
pub use fields::{Fields, Key};
pub use message::Request;
pub use options::StdioOptions;
pub use peers::PeerLines;
pub use process::run;
pub use reply::Reply;
pub use serve::{ServeOptions, serve, serve_until};
pub use service::{Access, Call, Fault, FaultAction, Footprint, Init, Order, Plan, Service, unknown_type};
pub use writer::Outbox;
