//! Clients join a running node over real sockets, by UDP and by TCP, and hear each other.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use broletto_control::{
    Codec, ConsumerId, ConsumerRule, ConsumerSlot, Content, ControlError, Epoch, Frame, Id, ProducerId,
    ProducerSlot, Request, RequestFrame, RequestId, Response, RouterConfig, RouterId, TransportId, VERSION,
};
use broletto_sfu_core::io::Protocol;
use broletto_sfu_server::{Link, NodeHandle, SfuConfig, start};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol as Wire, Receive, TcpType};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};

const ROUTER: RouterId = RouterId(Id { epoch: Epoch(1), serial: 1 });
const PACKETS: usize = 50;
const WITHIN: Duration = Duration::from_secs(20);

fn id(serial: u32) -> Id {
    Id::new(Epoch(1), serial)
}

/// Signaling, as far as this test needs it.
struct Signaling {
    link: Link,
    next_id: u64,
}

impl Signaling {
    fn ask(&mut self, request: Request) -> Result<Response, ControlError> {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        let frame = Frame::Request(RequestFrame { id, epoch: Epoch(1), request });
        self.link.requests.blocking_send(frame).expect("the node takes requests");
        loop {
            match self.link.frames.blocking_recv().expect("the node answers") {
                Frame::Response(response) if response.id == id => return response.result,
                Frame::Response(_) | Frame::Notification { .. } => {}
                Frame::Request(_) => panic!("a node asks nothing"),
            }
        }
    }
}

enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, inbox: Vec<u8> },
}

/// A browser with a microphone and one audio slot.
struct Client {
    rtc: Rtc,
    socket: Socket,
    local: SocketAddr,
    microphone: Mid,
    connected: bool,
    sent: u32,
    next_packet: Instant,
    heard: Vec<Vec<u8>>,
    deadline: Instant,
}

impl Client {
    /// Joins as participant `serial`, who hears participant `other`.
    fn join(
        node: &NodeHandle,
        signaling: &mut Signaling,
        protocol: Protocol,
        serial: u32,
        other: u32,
    ) -> Self {
        let now = Instant::now();
        let mut rtc = Rtc::builder().set_rtp_mode(true).clear_codecs().enable_opus(true, false).build(now);
        let (socket, local, candidate) = match protocol {
            Protocol::Udp => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
                socket.set_nonblocking(true).expect("non-blocking");
                let local = socket.local_addr().expect("it is bound");
                (Socket::Udp(socket), local, Candidate::host(local, "udp"))
            }
            Protocol::Tcp => {
                let address = node.addresses().iter().find(|address| address.protocol == Protocol::Tcp);
                let stream = TcpStream::connect(address.expect("TCP is on").bound).expect("it is accepted");
                stream.set_nonblocking(true).expect("non-blocking");
                let local = stream.local_addr().expect("it is connected");
                let candidate = Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build();
                (Socket::Tcp { stream, inbox: Vec::new() }, local, candidate)
            }
        };
        rtc.add_local_candidate(candidate.expect("loopback is a host's address"));
        let mut api = rtc.sdp_api();
        let microphone = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let slot = api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().expect("m-lines were added");
        let answer = signaling.ask(Request::Offer {
            router: ROUTER,
            transport: TransportId(id(serial)),
            sdp: offer.to_sdp_string(),
            producers: vec![ProducerSlot {
                mid: microphone.to_string(),
                producer: ProducerId(id(serial + 1)),
                content: Content::Microphone,
                paused: false,
            }],
            consumers: vec![ConsumerSlot {
                mid: slot.to_string(),
                consumer: ConsumerId(id(serial + 2)),
                rule: ConsumerRule::Producer { producer: ProducerId(id(other + 1)) },
            }],
        });
        let Ok(Response::Answer { sdp, .. }) = answer else { panic!("an offer is answered, not {answer:?}") };
        let answer = SdpAnswer::from_sdp_string(&sdp).expect("the answer is SDP");
        rtc.sdp_api().accept_answer(pending, answer).expect("the answer fits the offer");
        Client {
            rtc,
            socket,
            local,
            microphone,
            connected: false,
            sent: 0,
            next_packet: now,
            heard: Vec::new(),
            deadline: now,
        }
    }

    fn turn(&mut self, node: &NodeHandle) {
        for (source, wire, packet) in self.receive(node) {
            let now = Instant::now();
            let receive = Receive::new(wire, source, self.local, &packet).expect("the node sends packets");
            self.rtc.handle_input(Input::Receive(now, receive)).expect("the node sends what is right");
            self.drain();
        }
        let now = Instant::now();
        if self.connected && now >= self.next_packet {
            self.next_packet += Duration::from_millis(20);
            self.speak(now);
        }
        if now >= self.deadline || self.connected {
            self.rtc.handle_input(Input::Timeout(now)).expect("time goes on");
            self.drain();
        }
    }

    fn receive(&mut self, node: &NodeHandle) -> Vec<(SocketAddr, Wire, Vec<u8>)> {
        let mut buffer = [0; 2_048];
        let mut packets = Vec::new();
        match &mut self.socket {
            Socket::Udp(socket) => {
                while let Ok((count, source)) = socket.recv_from(&mut buffer) {
                    packets.push((source, Wire::Udp, buffer[..count].to_vec()));
                }
            }
            Socket::Tcp { stream, inbox } => {
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    inbox.extend(&buffer[..count]);
                }
                let source = stream.peer_addr().expect("it is connected");
                assert!(node.addresses().iter().any(|address| address.announced == source));
                while let [high, low, rest @ ..] = &inbox[..] {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let Some(packet) = rest.get(..length) else { break };
                    packets.push((source, Wire::Tcp, packet.to_vec()));
                    inbox.drain(..2 + length);
                }
            }
        }
        packets
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("str0m has no error to tell") {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
                Output::Transmit(transmit) => match &mut self.socket {
                    Socket::Udp(socket) => {
                        socket.send_to(&transmit.contents, transmit.destination).expect("loopback takes it");
                    }
                    Socket::Tcp { stream, .. } => {
                        let length = (transmit.contents.len() as u16).to_be_bytes();
                        write_all(stream, &[&length[..], &transmit.contents].concat());
                    }
                },
                Output::Event(Event::Connected) => {
                    self.connected = true;
                    self.next_packet = Instant::now();
                }
                Output::Event(Event::RtpPacket(packet)) => self.heard.push(packet.payload.to_vec()),
                Output::Event(_) => {}
            }
        }
    }

    fn speak(&mut self, now: Instant) {
        let media = self.rtc.media(self.microphone).expect("it was offered");
        let payload_type = *media.remote_pts().first().expect("Opus was accepted");
        self.sent += 1;
        let payload = [&self.local.port().to_be_bytes()[..], &[7; 58]].concat();
        let packet = RtpWrite::new(payload_type, u64::from(self.sent).into(), self.sent * 960, now, payload);
        let mut api = self.rtc.direct_api();
        api.stream_tx_by_mid(self.microphone, None).expect("it was offered").write_rtp(packet);
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("the node closed the connection: {error}"),
        }
    }
}

fn meet(udp_port_base: u16, first: Protocol, second: Protocol) {
    let node = start(SfuConfig {
        workers: 2,
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        udp_port_base,
        ..SfuConfig::default()
    })
    .expect("the ports are free");
    let mut signaling = Signaling { link: node.link(), next_id: 0 };
    signaling.ask(Request::Hello { version: VERSION }).expect("the version is spoken");
    let config = RouterConfig { tenant: "default".into(), video_codecs: vec![Codec::H264], opaque: false };
    // The first router is on worker 0, so that a TCP connection to worker 0's port has to move.
    let other = RouterId(id(2));
    signaling.ask(Request::CreateRouter { router: other, config: config.clone() }).expect("it is made");
    signaling.ask(Request::CreateRouter { router: ROUTER, config }).expect("it is made");
    let mut clients = [
        Client::join(&node, &mut signaling, first, 100, 200),
        Client::join(&node, &mut signaling, second, 200, 100),
    ];
    let start = Instant::now();
    while clients.iter().any(|client| client.heard.len() < PACKETS) {
        let state = clients.each_ref().map(|client| (client.connected, client.sent, client.heard.len()));
        assert!(start.elapsed() < WITHIN, "{first:?} and {second:?}: {state:?}");
        clients.iter_mut().for_each(|client| client.turn(&node));
        std::thread::sleep(Duration::from_millis(1));
    }
    for (client, other) in [(&clients[0], &clients[1]), (&clients[1], &clients[0])] {
        let is_of_other = |payload: &Vec<u8>| payload[..2] == other.local.port().to_be_bytes();
        assert!(client.heard.iter().all(is_of_other), "each hears the other and nobody else");
    }
    let text = format!("{:?}", node.metrics().gather());
    assert!(text.contains("broletto_sfu_packets_sent_total"));
    node.shutdown();
}

#[test]
fn two_clients_hear_each_other_over_udp() {
    meet(23_000, Protocol::Udp, Protocol::Udp);
}

#[test]
fn a_client_over_tcp_and_one_over_udp_hear_each_other() {
    meet(23_010, Protocol::Tcp, Protocol::Udp);
}
