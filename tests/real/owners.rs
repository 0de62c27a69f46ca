//! Which process a connection on this machine comes from, as the kernel tells: a node does not say who it is before it
//! is heard, and what cuts one direction between two nodes has to know.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

/// The process among `candidates` that holds the socket bound to this address.
pub(crate) fn owner(address: SocketAddr, candidates: &[u32]) -> Option<u32> {
    let inode = inode(&fs::read_to_string("/proc/net/tcp").ok()?, address)?;
    let link = format!("socket:[{inode}]");
    let holds = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target.as_os_str() == link.as_str())
    };
    candidates.iter().copied().find(holds)
}

/// The inode of the socket that is bound to an address, from the kernel's table.
fn inode(table: &str, address: SocketAddr) -> Option<u64> {
    let of_line = |line: &str| -> Option<(SocketAddr, u64)> {
        let mut fields = line.split_whitespace();
        let (host, port) = fields.nth(1)?.split_once(':')?;
        let host = Ipv4Addr::from(u32::from_str_radix(host, 16).ok()?.to_le_bytes());
        let local = SocketAddr::from((host, u16::from_str_radix(port, 16).ok()?));
        Some((local, fields.nth(7)?.parse().ok()?))
    };
    table.lines().skip(1).filter_map(of_line).find(|(local, _)| *local == address).map(|(_, inode)| inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_names_addresses_and_inodes() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 41234 1 x";
        assert_eq!(inode(table, SocketAddr::from(([127, 0, 0, 1], 8080))), Some(41234));
        assert_eq!(inode(table, SocketAddr::from(([127, 0, 0, 1], 8081))), None);
    }
}
