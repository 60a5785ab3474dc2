use std::net::SocketAddr;

use broletto_control::{Epoch, Frame, Id, Notification, RequestFrame, RequestId, RouterId};
use broletto_sfu_core::io::Class;
use broletto_sfu_core::node::{LinkId, Node, NodeConfig, NodeOutput};

use super::*;
use crate::metrics::Metrics;

/// Sends back what comes in; panics at packets that begin with a `!`, and waits for a time with
/// those that begin with a `t`.
#[derive(Default)]
struct Echo {
    outputs: std::collections::VecDeque<Output>,
    alarm: Option<(Instant, SocketAddr, SocketAddr)>,
}

const DELAY: Duration = Duration::from_micros(1_500);

fn transmit(source: SocketAddr, destination: SocketAddr, contents: &[u8]) -> Output {
    let (protocol, class, segment_bytes) = (Protocol::Udp, Class::Audio, contents.len());
    let contents = contents.to_vec();
    Output::Transmit(Transmit { protocol, source, destination, class, segment_bytes, contents })
}

impl MediaPlane for Echo {
    fn handle_request(&mut self, request: Request, _now: Instant) -> Result<Response, ControlError> {
        assert!(!matches!(request, Request::CreateRouter { .. }), "a fault of the test");
        let router = RouterId(Id::new(Epoch(1), 1));
        self.outputs.push_back(Output::Notification(Notification::RouterAbandoned { router }));
        Ok(Response::Done)
    }

    fn handle_received(&mut self, received: Received<'_>, now: Instant) {
        let (source, destination) = (received.source, received.destination);
        assert!(received.contents[0] != b'!', "a fault of the test");
        if received.contents[0] == b't' {
            self.alarm = Some((now + DELAY, source, destination));
        } else {
            self.outputs.push_back(transmit(destination, source, received.contents));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let (at, to, from) = self.alarm.take().expect("it is called when something is due");
        assert!(now >= at);
        self.outputs.push_back(transmit(from, to, b"alarm"));
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn reuse(&mut self, _contents: Vec<u8>) {}

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.alarm.map(|(at, ..)| at)
    }

    fn stats(&self) -> WorkerStats {
        WorkerStats { forwarded: 3, ..WorkerStats::default() }
    }
}

struct Running {
    handle: WorkerHandle,
    address: SocketAddr,
    metrics: WorkerMetrics,
    events: mpsc::Receiver<WorkerEvent>,
}

fn run(ip: &str) -> Running {
    let socket = UdpSocket::bind(SocketAddr::new(ip.parse().expect("an address"), 0)).expect("bind");
    let address = socket.local_address();
    let (sender, events) = mpsc::channel(16);
    let metrics = Metrics::new().worker(0);
    let setup = WorkerSetup {
        index: 0,
        sockets: vec![socket],
        addresses: vec![LocalAddress { protocol: Protocol::Udp, bound: address, announced: address }],
        events: sender,
        metrics: metrics.clone(),
    };
    let handle = spawn(setup, |_| Echo::default()).expect("a thread");
    Running { handle, address, metrics, events }
}

fn client(ip: &str) -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind((ip, 0)).expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    socket
}

fn receive(socket: &std::net::UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2_048];
    let count = socket.recv(&mut buffer).expect("an answer within 5 s");
    buffer[..count].to_vec()
}

/// A ticket can only be had from a node.
fn request(request: Request) -> Command {
    let mut node = Node::new(NodeConfig { name: "test".into(), workers: 1, routers_max: 1 });
    node.handle_link_opened(LinkId(1));
    for (id, request) in [(1, Request::Hello { version: 1 }), (2, request)] {
        let frame = RequestFrame { id: RequestId(id), epoch: Epoch(1), request };
        node.handle_request(LinkId(1), frame, Instant::now());
    }
    assert!(matches!(node.poll_output(), Some(NodeOutput::Send { frame: Frame::Response(_), .. })));
    match node.poll_output() {
        Some(NodeOutput::ToWorker { ticket, request, .. }) => Command::Request { ticket, request },
        other => panic!("expected a request to the worker, not {other:?}"),
    }
}

#[test]
fn packets_go_through_over_both_families() {
    for ip in ["127.0.0.1", "::1"] {
        let running = run(ip);
        let client = client(ip);
        for size in [1, 1_200, 1_200, 1_200, 700] {
            client.send_to(&vec![b'x'; size], running.address).expect("send");
        }
        for size in [1, 1_200, 1_200, 1_200, 700] {
            assert_eq!(receive(&client), vec![b'x'; size]);
        }
        running.handle.stop();
        assert_eq!(running.metrics.udp_packets_received.get(), 5);
        assert_eq!(running.metrics.udp_bytes_sent.get(), 4_301);
        assert_eq!(running.metrics.forwarded.get(), 3);
    }
}

#[test]
fn a_timer_is_kept_finer_than_the_heartbeat() {
    let running = run("127.0.0.1");
    let client = client("127.0.0.1");
    let waits = (0..20).map(|_| {
        let start = Instant::now();
        client.send_to(b"t", running.address).expect("send");
        assert_eq!(receive(&client), b"alarm");
        start.elapsed()
    });
    let best = waits.min().expect("twenty tries");
    assert!(best >= DELAY && best < Duration::from_millis(20), "{best:?}");
    running.handle.stop();
}

#[test]
fn m6_a_fault_does_not_end_the_thread() {
    let mut running = run("127.0.0.1");
    let client = client("127.0.0.1");
    for _ in 0..3 {
        client.send_to(b"!", running.address).expect("send");
        client.send_to(b"after", running.address).expect("send");
        assert_eq!(receive(&client), b"after");
    }
    let router = RouterId(Id::new(Epoch(1), 1));
    let config = broletto_control::RouterConfig { tenant: "t".into(), video_codecs: vec![], opaque: false };
    assert!(running.handle.sender().send(request(Request::CreateRouter { router, config })));
    let event = running.events.blocking_recv();
    assert!(
        matches!(event, Some(WorkerEvent::Response { result: Err(ControlError::Internal { .. }), .. })),
        "{event:?}"
    );
    running.handle.stop();
    assert_eq!(running.metrics.panics.get(), 4);
}

#[test]
fn a_request_is_answered_after_what_it_set_off() {
    let mut running = run("127.0.0.1");
    assert!(running.handle.sender().send(request(Request::List)));
    assert!(matches!(running.events.blocking_recv(), Some(WorkerEvent::Notification(_))));
    let event = running.events.blocking_recv();
    assert!(matches!(event, Some(WorkerEvent::Response { result: Ok(Response::Done), .. })), "{event:?}");
    running.handle.stop();
}

#[test]
fn the_heartbeat_goes_on_while_nothing_happens() {
    let running = run("127.0.0.1");
    std::thread::sleep(Duration::from_millis(900));
    assert!(running.handle.silence() < Duration::from_millis(800));
    let sender = running.handle.sender();
    running.handle.stop();
    assert!(!sender.send(request(Request::List)), "the thread is gone");
}
