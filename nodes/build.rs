//! Makes the client APIs of `proto/`, ours and what a benchmark needs of etcd's, without a protoc.

use std::error::Error;

const FILES: [&str; 2] = ["proto/quorate.proto", "proto/etcd.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let files = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
