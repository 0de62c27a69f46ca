//! Makes the client API of `proto/quorate.proto`, without a protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/quorate.proto");
    let files = protox::compile(["proto/quorate.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
