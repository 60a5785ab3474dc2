//! The addresses of this machine.

use std::io;
use std::net::IpAddr;
use std::ptr;

use super::check;
use super::udp::read_socket_address;

/// All unicast addresses of interfaces that are up, without link-local ones (they need a zone,
/// which an ICE candidate has no room for). Loopback comes last, IPv4 before IPv6.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut list = ptr::null_mut();
    // SAFETY: `list` is a valid place for the pointer, which is freed below.
    check(unsafe { libc::getifaddrs(&mut list) })?;
    let mut addresses = Vec::new();
    let mut next = list;
    // SAFETY: `next` is null or an entry of the list, which lives until it is freed below; its
    // address is null or points to a socket address of the family that it states.
    while let Some(entry) = unsafe { next.as_ref() } {
        if entry.ifa_flags & libc::IFF_UP as u32 != 0 && !entry.ifa_addr.is_null() {
            addresses.extend(unsafe { read_socket_address(entry.ifa_addr) }.map(|address| address.ip()));
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and nothing of it is used after this.
    unsafe { libc::freeifaddrs(list) };

    addresses.retain(|address| !is_link_local(address));
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6()));
    addresses.dedup();
    Ok(addresses)
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_and_comes_last() {
        let addresses = addresses().expect("the interfaces can be listed");
        let first_loopback = addresses.iter().position(IpAddr::is_loopback).expect("lo is up");
        assert!(addresses[first_loopback..].iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
