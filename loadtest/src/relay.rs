//! A UDP relay like a NAT, with a [`Link`] in each direction for each client.
//!
//! A server announces the relay's address in the place of its own. The relay opens a socket towards
//! the server for each client, so that the server tells them apart.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::link::{Link, LinkConfig, LinkStats};
use crate::link_text::LinkChange;

/// Clients at a time. What others send is dropped.
pub const CLIENTS_MAX: usize = 256;
/// A client is forgotten when neither side sent anything for so long.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// Packets from the server that wait to be taken into their links.
const BACKLOG_MAX: usize = 4_096;
/// The longest UDP payload.
const DATAGRAM_MAX: usize = 65_507;

#[derive(Debug, Clone, Copy)]
pub struct RelayConfig {
    pub listen: SocketAddr,
    pub to: SocketAddr,
    /// From the server to the client.
    pub down: LinkConfig,
    /// From the client to the server.
    pub up: LinkConfig,
    pub seed: u64,
}

/// A line such as `down rate 300000`, `up loss 0.05`, `down link loss=5 delay=100` or `stats`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    Set(Direction, Parameter),
    Change(Direction, LinkChange),
    Stats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Down,
    Up,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parameter {
    /// In bits a second; 0 takes the limit away.
    Rate(u64),
    /// In milliseconds, as all times.
    Queue(u64),
    Delay(u64),
    Jitter(u64),
    Loss(f64),
    Burst(u32),
}

impl Parameter {
    fn apply(self, config: &mut LinkConfig) {
        match self {
            Parameter::Rate(bps) => config.rate_bps = (bps > 0).then_some(bps),
            Parameter::Queue(ms) => config.queue = Duration::from_millis(ms),
            Parameter::Delay(ms) => config.delay = Duration::from_millis(ms),
            Parameter::Jitter(ms) => config.jitter = Duration::from_millis(ms),
            Parameter::Loss(share) => config.loss = share,
            Parameter::Burst(packets) => config.burst = packets,
        }
    }
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (direction, name, value) = match words[..] {
            ["stats"] => return Ok(Command::Stats),
            [direction, "link", ref change @ ..] if !change.is_empty() => {
                return Ok(Command::Change(direction.parse()?, change.join(" ").parse()?));
            }
            [direction, name, value] => (direction, name, value),
            _ => {
                let expected = "`down|up NAME VALUE`, `down|up link NAME=VALUE …` or `stats`";
                return Err(format!("expected {expected}, not {line:?}"));
            }
        };
        let direction = direction.parse()?;
        let whole = || value.parse::<u64>().map_err(|_| format!("{name} is a whole number, not {value:?}"));
        let milliseconds = || whole().map(|ms| ms.min(60_000));
        let parameter = match name {
            "rate" => Parameter::Rate(whole()?),
            "queue" => Parameter::Queue(milliseconds()?),
            "delay" => Parameter::Delay(milliseconds()?),
            "jitter" => Parameter::Jitter(milliseconds()?),
            "loss" => {
                let share = value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                Parameter::Loss(share.ok_or_else(|| format!("loss is a share from 0 to 1, not {value:?}"))?)
            }
            "burst" => Parameter::Burst(whole()?.clamp(1, 1_000) as u32),
            other => {
                return Err(format!("a link has rate, queue, delay, jitter, loss and burst, not {other:?}"));
            }
        };
        Ok(Command::Set(direction, parameter))
    }
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "down" => Ok(Direction::Down),
            "up" => Ok(Direction::Up),
            other => Err(format!("a direction is down or up, not {other:?}")),
        }
    }
}

/// A command and where its answer goes.
pub type Order = (Command, oneshot::Sender<String>);

pub struct Relay {
    config: RelayConfig,
    listener: Arc<UdpSocket>,
    clients: HashMap<SocketAddr, Client>,
    from_server: (mpsc::Sender<Upstream>, mpsc::Receiver<Upstream>),
    clients_seen: u64,
    refused: u64,
}

/// A packet that the server sent for this client.
type Upstream = (SocketAddr, Vec<u8>);

struct Client {
    socket: Arc<UdpSocket>,
    up: Link,
    down: Link,
    active_at: Instant,
    reader: AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Relay {
    pub async fn bind(config: RelayConfig) -> std::io::Result<Relay> {
        Ok(Relay {
            config,
            listener: Arc::new(UdpSocket::bind(config.listen).await?),
            clients: HashMap::new(),
            from_server: mpsc::channel(BACKLOG_MAX),
            clients_seen: 0,
            refused: 0,
        })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Relays until `orders` is closed.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let listener = self.listener.clone();
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let now = Instant::now();
            self.forget_idle(now);
            self.send_due(now).await;
            let due = self.poll_timeout().unwrap_or(now + IDLE_MAX);
            tokio::select! {
                // An error tells that an earlier packet was refused, which is the client's affair.
                received = listener.recv_from(&mut buffer) => if let Ok((length, client)) = received {
                    self.handle_from_client(client, buffer[..length].to_vec()).await;
                },
                Some((client, packet)) = self.from_server.1.recv() => self.handle_from_server(client, packet),
                order = orders.recv() => match order {
                    // Whoever asked may be gone, and the command holds all the same.
                    Some((command, answer)) => drop(answer.send(self.handle_command(command))),
                    None => return,
                },
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    async fn handle_from_client(&mut self, address: SocketAddr, packet: Vec<u8>) {
        let now = Instant::now();
        if !self.clients.contains_key(&address) {
            let client =
                if self.clients.len() < CLIENTS_MAX { self.open(address, now).await.ok() } else { None };
            let Some(client) = client else {
                self.refused += 1;
                return;
            };
            self.clients.insert(address, client);
        }
        if let Some(client) = self.clients.get_mut(&address) {
            client.active_at = now;
            client.up.handle_packet(now, packet);
        }
    }

    fn handle_from_server(&mut self, address: SocketAddr, packet: Vec<u8>) {
        let now = Instant::now();
        if let Some(client) = self.clients.get_mut(&address) {
            client.active_at = now;
            client.down.handle_packet(now, packet);
        }
    }

    fn handle_command(&mut self, command: Command) -> String {
        match command {
            Command::Set(direction, parameter) => {
                self.change(direction, |config| parameter.apply(config));
                format!("ok {direction} {parameter}")
            }
            Command::Change(direction, change) => {
                self.change(direction, |config| *config = change.apply(*config));
                format!("ok {direction} link {change}")
            }
            Command::Stats => {
                let (mut up, mut down) = (LinkStats::default(), LinkStats::default());
                for client in self.clients.values() {
                    add(&mut up, client.up.stats());
                    add(&mut down, client.down.stats());
                }
                let show = |stats: LinkStats| {
                    let LinkStats { passed, passed_bytes, lost, dropped } = stats;
                    format!("passed={passed} bytes={passed_bytes} lost={lost} dropped={dropped}")
                };
                let (clients, refused) = (self.clients.len(), self.refused);
                format!("ok clients={clients} refused={refused} down {} up {}", show(down), show(up))
            }
        }
    }

    fn change(&mut self, direction: Direction, change: impl FnOnce(&mut LinkConfig)) {
        let now = Instant::now();
        let config = match direction {
            Direction::Down => &mut self.config.down,
            Direction::Up => &mut self.config.up,
        };
        change(config);
        let config = *config;
        for client in self.clients.values_mut() {
            let link = match direction {
                Direction::Down => &mut client.down,
                Direction::Up => &mut client.up,
            };
            link.set_config(config, now);
        }
    }

    /// A socket of its own for a client, and a task that reads what the server sends to it.
    async fn open(&mut self, address: SocketAddr, now: Instant) -> std::io::Result<Client> {
        let any: SocketAddr = match self.config.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = Arc::new(UdpSocket::bind(any).await?);
        socket.connect(self.config.to).await?;
        let seed = self.config.seed.wrapping_add(2 * self.clients_seen);
        self.clients_seen += 1;
        let reader = tokio::spawn(read(socket.clone(), address, self.from_server.0.clone()));
        Ok(Client {
            socket,
            up: Link::new(self.config.up, seed),
            down: Link::new(self.config.down, seed.wrapping_add(1)),
            active_at: now,
            reader: reader.abort_handle(),
        })
    }

    /// Sends what has arrived at the end of its link. What a socket does not take is lost, as it is
    /// on a network.
    async fn send_due(&mut self, now: Instant) {
        for (address, client) in &mut self.clients {
            while let Some(packet) = client.up.poll_packet(now) {
                let _ = client.socket.send(&packet).await;
            }
            while let Some(packet) = client.down.poll_packet(now) {
                let _ = self.listener.send_to(&packet, address).await;
            }
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        self.clients.retain(|_, client| now.duration_since(client.active_at) < IDLE_MAX);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.clients
            .values()
            .flat_map(|client| [client.up.poll_timeout(), client.down.poll_timeout()])
            .flatten()
            .min()
    }
}

async fn read(socket: Arc<UdpSocket>, client: SocketAddr, packets: mpsc::Sender<Upstream>) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        // An error tells that nobody listened to an earlier packet; the server may come yet.
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                if packets.send((client, buffer[..length].to_vec())).await.is_err() {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

fn add(sum: &mut LinkStats, stats: LinkStats) {
    sum.passed += stats.passed;
    sum.passed_bytes += stats.passed_bytes;
    sum.lost += stats.lost;
    sum.dropped += stats.dropped;
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Down => "down",
            Direction::Up => "up",
        })
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parameter::Rate(bps) => write!(f, "rate {bps}"),
            Parameter::Queue(ms) => write!(f, "queue {ms}"),
            Parameter::Delay(ms) => write!(f, "delay {ms}"),
            Parameter::Jitter(ms) => write!(f, "jitter {ms}"),
            Parameter::Loss(share) => write!(f, "loss {share}"),
            Parameter::Burst(packets) => write!(f, "burst {packets}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Setup {
        server: UdpSocket,
        relay: SocketAddr,
        orders: mpsc::Sender<Order>,
    }

    async fn set_up(down: LinkConfig, up: LinkConfig) -> Setup {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = UdpSocket::bind(loopback).await.unwrap();
        let config = RelayConfig { listen: loopback, to: server.local_addr().unwrap(), down, up, seed: 1 };
        let relay = Relay::bind(config).await.unwrap();
        let address = relay.address().unwrap();
        let (orders, receiver) = mpsc::channel(1);
        tokio::spawn(relay.run(receiver));
        Setup { server, relay: address, orders }
    }

    impl Setup {
        async fn client(&self) -> UdpSocket {
            let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            client.connect(self.relay).await.unwrap();
            client
        }

        async fn order(&self, line: &str) -> String {
            let (sender, answer) = oneshot::channel();
            self.orders.send((line.parse().unwrap(), sender)).await.unwrap();
            answer.await.unwrap()
        }

        async fn received_by_server(&self) -> (Vec<u8>, SocketAddr) {
            let mut buffer = [0; 2_000];
            let receive = self.server.recv_from(&mut buffer);
            let (length, source) =
                tokio::time::timeout(Duration::from_secs(5), receive).await.unwrap().unwrap();
            (buffer[..length].to_vec(), source)
        }
    }

    async fn received_by(client: &UdpSocket) -> Option<Vec<u8>> {
        let mut buffer = [0; 2_000];
        let length =
            tokio::time::timeout(Duration::from_millis(500), client.recv(&mut buffer)).await.ok()?.unwrap();
        Some(buffer[..length].to_vec())
    }

    #[tokio::test]
    async fn clients_are_told_apart_and_answered() {
        let setup = set_up(LinkConfig::default(), LinkConfig::default()).await;
        let (one, two) = (setup.client().await, setup.client().await);
        one.send(b"one").await.unwrap();
        let (packet, source_one) = setup.received_by_server().await;
        assert_eq!(packet, b"one");
        two.send(b"two").await.unwrap();
        let (packet, source_two) = setup.received_by_server().await;
        assert_eq!(packet, b"two");
        assert_ne!(source_one, source_two);

        setup.server.send_to(b"to two", source_two).await.unwrap();
        setup.server.send_to(b"to one", source_one).await.unwrap();
        assert_eq!(received_by(&one).await.unwrap(), b"to one");
        assert_eq!(received_by(&two).await.unwrap(), b"to two");
        assert!(
            setup.order("stats").await.starts_with("ok clients=2 refused=0 down passed=2 bytes=12 lost=0")
        );
    }

    #[tokio::test]
    async fn parameters_change_while_packets_flow() {
        let delay = Duration::from_millis(50);
        let setup = set_up(LinkConfig::default(), LinkConfig { delay, ..LinkConfig::default() }).await;
        let client = setup.client().await;
        let sent_at = Instant::now();
        client.send(b"hello").await.unwrap();
        let (_, source) = setup.received_by_server().await;
        assert!(sent_at.elapsed() >= delay, "{:?}", sent_at.elapsed());

        assert_eq!(setup.order("down loss 1").await, "ok down loss 1");
        setup.server.send_to(b"lost", source).await.unwrap();
        assert_eq!(received_by(&client).await, None);
        assert_eq!(setup.order("down loss 0").await, "ok down loss 0");

        assert_eq!(setup.order("down link loss=100").await, "ok down link loss=100");
        setup.server.send_to(b"lost", source).await.unwrap();
        assert_eq!(received_by(&client).await, None);
        assert_eq!(setup.order("down link loss=0 delay=0").await, "ok down link delay=0 loss=0");

        // 100 kbit/s: 1,250 bytes with headers take 100 ms each.
        assert_eq!(setup.order("down rate 100000").await, "ok down rate 100000");
        let sent_at = Instant::now();
        for _ in 0..3 {
            setup.server.send_to(&[0; 1_222], source).await.unwrap();
        }
        for _ in 0..3 {
            assert_eq!(received_by(&client).await.unwrap().len(), 1_222);
        }
        let elapsed = sent_at.elapsed().as_millis();
        assert!((300..450).contains(&elapsed), "{elapsed} ms");
    }

    #[test]
    fn commands_are_parsed_or_refused_with_a_reason() {
        use {Direction::*, Parameter::*};
        for (line, direction, parameter) in [
            ("down rate 300000", Down, Rate(300_000)),
            ("up loss 0.05", Up, Loss(0.05)),
            ("  up   delay 30 ", Up, Delay(30)),
            ("down burst 3", Down, Burst(3)),
            ("down queue 99999999", Down, Queue(60_000)),
        ] {
            assert_eq!(line.parse(), Ok(Command::Set(direction, parameter)));
        }
        let change = "loss=5 delay=100".parse().unwrap();
        assert_eq!("down link loss=5  delay=100".parse(), Ok(Command::Change(Down, change)));
        for (line, reason) in [
            ("", "expected"),
            ("down link", "expected"),
            ("down link loss", "NAME=VALUE"),
            ("left link loss=1", "down or up"),
            ("down rate", "expected"),
            ("left rate 1", "down or up"),
            ("up speed 1", "not \"speed\""),
            ("up rate fast", "whole number"),
            ("up loss 1.5", "0 to 1"),
            ("up loss NaN", "0 to 1"),
        ] {
            let error = line.parse::<Command>().expect_err(line);
            assert!(error.contains(reason), "{error}");
        }
    }
}
