//! What the media plane is told about its place in the world: the `media` section of the file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use broletto_sfu_core::io::{Limits, LocalAddress, Protocol, is_announceable};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// More would not fit beside each other in any machine we know.
const WORKERS_MAX: u16 = 256;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SfuConfig {
    /// Names the node for logs.
    pub name: String,
    /// Threads that carry media; 0: one for each processor.
    pub workers: u16,
    /// Addresses to bind. An unspecified one (`0.0.0.0`, `::`) stands for all of its family.
    pub bind: Vec<IpAddr>,
    /// UDP port of worker 0, and TCP port; worker *i* has the port *i* above.
    pub udp_port_base: u16,
    /// Addresses that clients are told, in order. Empty: those that are bound.
    pub announce: Vec<Announced>,
    /// Whether media is taken over TCP too (for networks that block UDP).
    pub tcp: bool,
    /// Where signaling in another process connects. None: it runs in this one.
    pub control: Option<ControlConfig>,
    pub limits: LimitsConfig,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    pub listen: SocketAddr,
    /// PEM files: our chain, its key, and the authority that signs those who may connect.
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    pub client_ca: PathBuf,
}

/// Bounds on what clients can multiply; see [`Limits`] for those of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    pub routers_per_worker: usize,
    pub transports_per_router: usize,
    pub producers_per_transport: usize,
    pub consumers_per_transport: usize,
    pub encodings_per_producer: usize,
    pub sdp_bytes: usize,
    pub remote_candidates: usize,
    pub tcp_connections: usize,
    pub tcp_connections_per_source: usize,
    /// TCP connections whose first frame has not come.
    pub tcp_connections_pending: usize,
}

/// `address`, or `address:port` with the port for worker 0: worker *i* is told *i* above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Announced {
    pub ip: IpAddr,
    pub port: Option<u16>,
}

/// One sentence that names the key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("media.{key}: {message}")]
pub struct ConfigError {
    pub key: String,
    pub message: String,
}

impl Default for SfuConfig {
    fn default() -> Self {
        SfuConfig {
            name: "sfu".into(),
            workers: 0,
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            udp_port_base: 10_000,
            announce: Vec::new(),
            tcp: true,
            control: None,
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        LimitsConfig {
            routers_per_worker: limits.routers_max,
            transports_per_router: limits.transports_per_router_max,
            producers_per_transport: limits.producers_max,
            consumers_per_transport: limits.consumers_max,
            encodings_per_producer: limits.encodings_max,
            sdp_bytes: limits.sdp_bytes_max,
            remote_candidates: limits.remote_candidates_max,
            tcp_connections: 4_096,
            tcp_connections_per_source: 3_072,
            tcp_connections_pending: 512,
        }
    }
}

impl LimitsConfig {
    pub(crate) fn of_worker(&self) -> Limits {
        Limits {
            routers_max: self.routers_per_worker,
            transports_per_router_max: self.transports_per_router,
            producers_max: self.producers_per_transport,
            consumers_max: self.consumers_per_transport,
            encodings_max: self.encodings_per_producer,
            sdp_bytes_max: self.sdp_bytes,
            remote_candidates_max: self.remote_candidates,
        }
    }

    fn named(&self) -> [(&'static str, usize); 10] {
        [
            ("routers_per_worker", self.routers_per_worker),
            ("transports_per_router", self.transports_per_router),
            ("producers_per_transport", self.producers_per_transport),
            ("consumers_per_transport", self.consumers_per_transport),
            ("encodings_per_producer", self.encodings_per_producer),
            ("sdp_bytes", self.sdp_bytes),
            ("remote_candidates", self.remote_candidates),
            ("tcp_connections", self.tcp_connections),
            ("tcp_connections_per_source", self.tcp_connections_per_source),
            ("tcp_connections_pending", self.tcp_connections_pending),
        ]
    }
}

impl SfuConfig {
    /// Everything that can be said without touching the network.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, message: String| Err(ConfigError { key: key.to_owned(), message });
        if self.name.is_empty() || self.name.len() > 64 {
            return wrong("name", format!("a name has 1 to 64 bytes, not {}", self.name.len()));
        }
        if self.workers > WORKERS_MAX {
            return wrong("workers", format!("at most {WORKERS_MAX}, not {}", self.workers));
        }
        let workers = self.worker_count();
        if self.udp_port_base == 0 || self.udp_port_base.checked_add(workers - 1).is_none() {
            let base = self.udp_port_base;
            return wrong(
                "udp_port_base",
                format!("{workers} ports from {base} on are not within 1 to 65535"),
            );
        }
        if self.bind.is_empty() {
            return wrong("bind", "at least one address is needed".into());
        }
        if let Some(address) = self.bind.iter().find(|address| address.is_multicast()) {
            return wrong("bind", format!("{address} is a multicast address, which cannot be bound"));
        }
        if self.bind.iter().collect::<BTreeSet<_>>().len() < self.bind.len() {
            return wrong("bind", "an address is named twice".into());
        }
        for announced in &self.announce {
            let ip = announced.ip;
            if !is_announceable(ip) {
                return wrong("announce", format!("clients cannot reach {ip}: name the address they see"));
            }
            if !self.bind.iter().any(|bound| bound.is_ipv4() == ip.is_ipv4()) {
                return wrong(
                    "announce",
                    format!("{ip} is of a family of which media.bind names no address"),
                );
            }
            if announced.port.is_some_and(|port| port == 0 || port.checked_add(workers - 1).is_none()) {
                return wrong(
                    "announce",
                    format!("{workers} ports from that of {announced} on are not within 1 to 65535"),
                );
            }
        }
        if let Some((key, _)) = self.limits.named().into_iter().find(|(_, limit)| *limit == 0) {
            return wrong(&format!("limits.{key}"), "a limit of 0 lets nobody in".into());
        }
        Ok(())
    }

    pub fn worker_count(&self) -> u16 {
        let processors = || std::thread::available_parallelism().map_or(1, |count| count.get());
        let count = if self.workers == 0 { processors() } else { self.workers.into() };
        count.clamp(1, WORKERS_MAX.into()) as u16
    }

    /// Sockets of a worker and what is announced of them. `interfaces` are the addresses of this
    /// machine, in the order in which they should be announced.
    ///
    /// A wildcard socket answers from whichever address the kernel chooses, and a client takes
    /// nothing from an address that it did not send to. So each address gets a socket of its own;
    /// only for an announced address that is not here (a 1:1 NAT) does the wildcard stay.
    pub(crate) fn local_addresses(&self, worker: u16, interfaces: &[IpAddr]) -> Vec<LocalAddress> {
        let port = self.udp_port_base + worker;
        let mut pairs: Vec<(IpAddr, SocketAddr)> = Vec::new();
        if self.announce.is_empty() {
            for ip in self.bind.iter().flat_map(|bind| expand(*bind, interfaces)) {
                pairs.push((ip, SocketAddr::new(ip, port)));
            }
            pairs.sort_by_key(|(ip, _)| ip.is_loopback());
        }
        let is_behind = |announced: &Announced| !interfaces.contains(&announced.ip);
        for announced in &self.announce {
            let same_family = |ip: &IpAddr| ip.is_ipv4() == announced.ip.is_ipv4();
            let of_family = || self.bind.iter().filter(|ip| same_family(ip));
            let keeps_wildcard = self.announce.iter().any(|other| same_family(&other.ip) && is_behind(other));
            let bound = of_family().find(|ip| **ip == announced.ip).or_else(|| of_family().next());
            let Some(bound) = bound.copied() else { continue };
            let bound = if bound.is_unspecified() && !keeps_wildcard { announced.ip } else { bound };
            pairs.push((
                bound,
                SocketAddr::new(announced.ip, announced.port.map_or(port, |base| base + worker)),
            ));
        }
        let protocols = [Some(Protocol::Udp), self.tcp.then_some(Protocol::Tcp)];
        let of_protocol = |protocol: Protocol| {
            pairs.iter().map(move |(ip, announced)| LocalAddress {
                protocol,
                bound: SocketAddr::new(*ip, port),
                announced: *announced,
            })
        };
        let mut addresses: Vec<LocalAddress> = Vec::new();
        for address in protocols.into_iter().flatten().flat_map(of_protocol) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

fn expand(bind: IpAddr, interfaces: &[IpAddr]) -> Vec<IpAddr> {
    if !bind.is_unspecified() {
        return vec![bind];
    }
    interfaces.iter().filter(|ip| ip.is_ipv4() == bind.is_ipv4()).copied().collect()
}

impl FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Announced { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!("{text:?} is neither an address nor an address and a port, such as 203.0.113.7:10000")
        })?;
        Ok(Announced { ip: address.ip(), port: Some(address.port()) })
    }
}

impl TryFrom<String> for Announced {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Announced> for String {
    fn from(announced: Announced) -> String {
        announced.to_string()
    }
}

impl std::fmt::Display for Announced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().expect("an address")).collect()
    }

    fn config(bind: &[&str], announce: &[&str]) -> SfuConfig {
        let announce = announce.iter().map(|text| text.parse().expect("an address")).collect();
        SfuConfig { bind: ips(bind), announce, workers: 2, tcp: false, ..SfuConfig::default() }
    }

    #[test]
    fn sockets_and_announced_addresses_of_worker_1() {
        let interfaces = ips(&["10.0.0.5", "10.1.0.5", "2001:db8::5", "127.0.0.1", "::1"]);
        type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [(&'a str, &'a str)]);
        let table: [Row<'_>; 7] = [
            (
                &["0.0.0.0", "::"],
                &[],
                &[
                    ("10.0.0.5:10001", "10.0.0.5:10001"),
                    ("10.1.0.5:10001", "10.1.0.5:10001"),
                    ("[2001:db8::5]:10001", "[2001:db8::5]:10001"),
                    ("127.0.0.1:10001", "127.0.0.1:10001"),
                    ("[::1]:10001", "[::1]:10001"),
                ],
            ),
            (&["127.0.0.1"], &[], &[("127.0.0.1:10001", "127.0.0.1:10001")]),
            (&["0.0.0.0"], &["10.1.0.5"], &[("10.1.0.5:10001", "10.1.0.5:10001")]),
            (&["0.0.0.0"], &["203.0.113.9:20000"], &[("0.0.0.0:10001", "203.0.113.9:20001")]),
            (
                &["0.0.0.0"],
                &["203.0.113.9", "10.0.0.5"],
                &[("0.0.0.0:10001", "203.0.113.9:10001"), ("0.0.0.0:10001", "10.0.0.5:10001")],
            ),
            (&["10.0.0.5"], &["203.0.113.9"], &[("10.0.0.5:10001", "203.0.113.9:10001")]),
            (
                &["127.0.0.1", "10.0.0.5"],
                &["10.0.0.5:7", "127.0.0.1:9"],
                &[("10.0.0.5:10001", "10.0.0.5:8"), ("127.0.0.1:10001", "127.0.0.1:10")],
            ),
        ];
        for (bind, announce, expected) in table {
            let addresses = config(bind, announce).local_addresses(1, &interfaces);
            let pairs: Vec<_> =
                addresses.iter().map(|a| (a.bound.to_string(), a.announced.to_string())).collect();
            let expected: Vec<_> = expected.iter().map(|(b, a)| (b.to_string(), a.to_string())).collect();
            assert_eq!(pairs, expected, "bind {bind:?}, announce {announce:?}");
        }
    }

    #[test]
    fn tcp_has_the_same_addresses_after_udp() {
        let config = SfuConfig { tcp: true, ..config(&["127.0.0.1"], &[]) };
        let addresses = config.local_addresses(0, &ips(&["127.0.0.1"]));
        let protocols: Vec<_> = addresses.iter().map(|address| address.protocol).collect();
        assert_eq!(protocols, [Protocol::Udp, Protocol::Tcp]);
        assert_eq!(addresses[0].bound, addresses[1].bound);
    }

    #[test]
    fn a_mistake_is_one_sentence_that_names_the_key() {
        assert_eq!(SfuConfig::default().validate(), Ok(()));
        let base = || config(&["127.0.0.1"], &[]);
        let table = [
            (SfuConfig { name: String::new(), ..base() }, "media.name: "),
            (SfuConfig { workers: 257, ..base() }, "media.workers: "),
            (SfuConfig { udp_port_base: 65_535, ..base() }, "media.udp_port_base: "),
            (SfuConfig { udp_port_base: 0, ..base() }, "media.udp_port_base: "),
            (config(&[], &[]), "media.bind: "),
            (config(&["224.0.0.1"], &[]), "media.bind: "),
            (config(&["127.0.0.1", "127.0.0.1"], &[]), "media.bind: "),
            (config(&["127.0.0.1"], &["0.0.0.0"]), "media.announce: "),
            (config(&["127.0.0.1"], &["::1"]), "media.announce: "),
            (config(&["127.0.0.1"], &["127.0.0.1:65535"]), "media.announce: "),
            (
                SfuConfig { limits: LimitsConfig { sdp_bytes: 0, ..LimitsConfig::default() }, ..base() },
                "media.limits.sdp_bytes: ",
            ),
        ];
        for (config, key) in table {
            let error = config.validate().expect_err(key).to_string();
            assert!(error.starts_with(key) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_section_may_name_some_keys_and_no_unknown_ones() {
        let config: SfuConfig = serde_json::from_str(r#"{"workers":3,"announce":["203.0.113.7:9000"]}"#)
            .expect("the rest has defaults");
        assert_eq!((config.workers, config.udp_port_base), (3, 10_000));
        assert_eq!(config.announce[0].port, Some(9_000));
        for text in [r#"{"worker":3}"#, r#"{"announce":["host.example"]}"#, r#"{"limits":{"x":1}}"#] {
            serde_json::from_str::<SfuConfig>(text).expect_err(text);
        }
    }
}
