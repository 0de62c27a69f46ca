//! Placeholder.
/// x
#[derive(Debug)]
pub struct Link;
/// x
#[derive(Debug)]
pub struct LinkFaults;
/// x
#[derive(Debug)]
pub struct MemoryNetwork;
/// x
#[derive(Debug)]
pub struct MemoryTransport;
