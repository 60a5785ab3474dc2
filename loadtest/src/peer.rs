//! The media connection of one synthetic participant: str0m, a socket, and an emulated network
//! between the two.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};
use tokio::net::UdpSocket;

use crate::link::{Link, LinkConfig};

const DATAGRAM_MAX: usize = 2_048;
/// str0m asks to be called again at once while it has something to do.
const TIMEOUT_MIN: Duration = Duration::from_micros(200);

/// A certificate for any number of participants: making one costs more than the handshake.
pub fn certificate() -> anyhow::Result<DtlsCert> {
    let provider = str0m::crypto::from_feature_flags();
    provider.dtls_provider.generate_certificate().context("no certificate can be made")
}

/// An m-line to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Receives(MediaKind),
    /// With the RIDs of its encodings, from the smallest; none: it is one.
    Sends(MediaKind, Vec<&'static str>),
}

#[derive(Debug)]
pub enum Happening {
    /// ICE and DTLS are up.
    Connected,
    Packet(Mid, Box<RtpPacket>),
    KeyFrameWanted(Mid, Option<Rid>),
    /// The path, or the server's side of it, is gone.
    Lost,
}

pub struct Peer {
    pub rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    /// Where the server is, for what the link delays.
    remote: Option<SocketAddr>,
    up: Link,
    down: Link,
    deadline: Instant,
    pending: Option<SdpPendingOffer>,
    happenings: VecDeque<Happening>,
    buffer: Vec<u8>,
}

impl Peer {
    pub async fn new(
        server: SocketAddr,
        certificate: DtlsCert,
        up: LinkConfig,
        down: LinkConfig,
        seed: u64,
    ) -> anyhow::Result<Peer> {
        let socket = UdpSocket::bind((address_towards(server)?, 0)).await.context("no UDP socket")?;
        let local = socket.local_addr()?;
        let now = Instant::now();
        let config = Rtc::builder().set_rtp_mode(true).set_dtls_cert(certificate).clear_codecs();
        // With redundant audio (RFC 2198), as browsers have it.
        let config = config.enable_opus(true, true).enable_h264(true).enable_vp8(true);
        let mut rtc = config.enable_vp9(true).enable_av1(true).build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        Ok(Peer {
            rtc,
            socket,
            local,
            remote: None,
            up: Link::new(up, seed),
            down: Link::new(down, seed ^ 0x5eed),
            deadline: now,
            pending: None,
            happenings: VecDeque::new(),
            buffer: vec![0; DATAGRAM_MAX],
        })
    }

    /// The SDP, and the `mid` of each line.
    pub fn offer(&mut self, lines: &[Line]) -> anyhow::Result<(String, Vec<Mid>)> {
        let mut api = self.rtc.sdp_api();
        let mids = lines.iter().map(|line| match line {
            Line::Receives(kind) => api.add_media(*kind, Direction::RecvOnly, None, None, None),
            Line::Sends(kind, rids) => {
                let layers = rids.iter().map(|rid| SimulcastLayer::new(rid)).collect();
                let simulcast = (!rids.is_empty()).then_some(Simulcast { send: layers, recv: Vec::new() });
                api.add_media(*kind, Direction::SendOnly, None, None, simulcast)
            }
        });
        let mids = mids.collect();
        let (offer, pending) = api.apply().context("an offer has m-lines")?;
        self.pending = Some(pending);
        Ok((offer.to_sdp_string(), mids))
    }

    pub fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(answer).map_err(|error| anyhow!("the answer: {error}"))?;
        let pending = self.pending.take().context("there was no offer")?;
        self.rtc.sdp_api().accept_answer(pending, answer).context("the answer does not fit the offer")?;
        self.wake();
        Ok(())
    }

    /// Something was written: it is sent by the next [`Peer::next`].
    pub fn wake(&mut self) {
        self.deadline = Instant::now();
    }

    pub fn set_links(&mut self, up: LinkConfig, down: LinkConfig) {
        let now = Instant::now();
        self.up.set_config(up, now);
        self.down.set_config(down, now);
    }

    /// What happens next, or None when it is `until`. Nothing is lost if the future is dropped.
    pub async fn next(&mut self, until: Instant) -> anyhow::Result<Option<Happening>> {
        loop {
            let now = Instant::now();
            self.advance(now)?;
            if let Some(happening) = self.happenings.pop_front() {
                return Ok(Some(happening));
            }
            if now >= until {
                return Ok(None);
            }
            let links = [self.up.poll_timeout(), self.down.poll_timeout()];
            let due = links.into_iter().flatten().chain([self.deadline, until]).min().unwrap_or(until);
            tokio::select! {
                received = self.socket.recv_from(&mut self.buffer) => {
                    // An error tells that an earlier packet was refused, which ICE notices by itself.
                    if let Ok((length, source)) = received {
                        self.remote = Some(source);
                        self.down.handle_packet(Instant::now(), self.buffer[..length].to_vec());
                    }
                }
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    fn advance(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(packet) = self.down.poll_packet(now) {
            let Some(remote) = self.remote else { continue };
            if let Ok(receive) = Receive::new(Protocol::Udp, remote, self.local, &packet) {
                self.rtc
                    .handle_input(Input::Receive(now, receive))
                    .context("str0m does not take a packet")?;
                self.drain(now)?;
            }
        }
        if now >= self.deadline {
            self.rtc.handle_input(Input::Timeout(now)).context("str0m does not go on")?;
            self.drain(now)?;
        }
        while let Some(packet) = self.up.poll_packet(now) {
            let (to, datagram) = unwrap(&packet);
            // What a socket does not take is lost, as it is on a network.
            let _ = self.socket.try_send_to(datagram, to);
        }
        Ok(())
    }

    fn drain(&mut self, now: Instant) -> anyhow::Result<()> {
        loop {
            match self.rtc.poll_output().context("str0m fails")? {
                Output::Timeout(at) => {
                    self.deadline = at.max(now + TIMEOUT_MIN);
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    self.up.handle_packet(now, wrap(transmit.destination, &transmit.contents));
                }
                Output::Event(event) => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Connected => self.happenings.push_back(Happening::Connected),
            Event::RtpPacket(packet) => {
                let stream = self.rtc.direct_api().stream_rx(&packet.header.ssrc).map(|stream| stream.mid());
                if let Some(mid) = stream {
                    self.happenings.push_back(Happening::Packet(mid, Box::new(packet)));
                }
            }
            Event::KeyframeRequest(request) => {
                self.happenings.push_back(Happening::KeyFrameWanted(request.mid, request.rid));
            }
            Event::Closed | Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.happenings.push_back(Happening::Lost);
            }
            _ => {}
        }
    }
}

/// Of this machine, as that server sees it.
fn address_towards(server: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

/// A link carries bytes only, so where they go goes before them. The links count it as payload:
/// 18 bytes too many, less than what Ethernet adds.
fn wrap(to: SocketAddr, contents: &[u8]) -> Vec<u8> {
    let ip = match to.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    [&ip.octets()[..], &to.port().to_be_bytes(), contents].concat()
}

fn unwrap(packet: &[u8]) -> (SocketAddr, &[u8]) {
    let (ip, rest) = packet.split_first_chunk::<16>().expect("`wrap` put it there");
    let (port, contents) = rest.split_first_chunk::<2>().expect("`wrap` put it there");
    let ip = Ipv6Addr::from(*ip).to_canonical();
    (SocketAddr::new(ip, u16::from_be_bytes(*port)), contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_packet_goes_survives_the_link() {
        for address in ["192.0.2.1:10000", "[2001:db8::1]:1"] {
            let to: SocketAddr = address.parse().expect("an address");
            assert_eq!(unwrap(&wrap(to, b"abc")), (to, &b"abc"[..]));
        }
    }
}
