use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use broletto_control::{Epoch, Request, RequestFrame, RequestId, Response, VERSION};
use broletto_sfu_core::ufrag;

use super::*;
use crate::config::LimitsConfig;

/// Tests of one process run side by side, each with ports of its own, below the ephemeral ones.
fn ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    NEXT.fetch_add(8, Ordering::Relaxed)
}

fn config() -> SfuConfig {
    SfuConfig {
        name: "test".into(),
        workers: 2,
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        udp_port_base: ports(),
        ..SfuConfig::default()
    }
}

fn ask(link: &mut Link, id: u64, request: Request) -> Result<Response, ControlError> {
    let frame = RequestFrame { id: RequestId(id), epoch: Epoch(1), request };
    link.requests.blocking_send(Frame::Request(frame)).expect("the node takes requests");
    loop {
        match link.frames.blocking_recv().expect("the node answers") {
            Frame::Response(response) if response.id == RequestId(id) => return response.result,
            Frame::Response(_) | Frame::Notification { .. } => {}
            Frame::Request(request) => panic!("a node asks nothing, but this came: {request:?}"),
        }
    }
}

#[test]
fn links_in_this_process_say_hello_and_end_with_the_node() {
    let node = start(config()).expect("the ports are free");
    let mut links = [node.link(), node.link()];
    for link in &mut links {
        let hello = ask(link, 1, Request::Hello { version: VERSION }).expect("the version is spoken");
        let expected =
            Response::Hello { version: VERSION, node: "test".into(), epoch_max: Epoch(0), workers: 2 };
        assert_eq!(hello, expected);
    }
    assert_eq!(ask(&mut links[0], 2, Request::Drain), Ok(Response::Done));
    node.shutdown();
    for link in &mut links {
        assert!(link.frames.blocking_recv().is_none());
    }
}

#[test]
fn a_link_that_sends_no_request_is_closed() {
    let node = start(config()).expect("the ports are free");
    let mut link = node.link();
    let notification = broletto_control::Notification::RouterAbandoned {
        router: broletto_control::RouterId(broletto_control::Id::new(Epoch(1), 1)),
    };
    link.requests.blocking_send(Frame::Notification { notification }).expect("the node takes frames");
    assert!(link.frames.blocking_recv().is_none());
}

#[test]
fn ports_are_free_again_after_shutdown() {
    let config = config();
    for _ in 0..3 {
        let node = start(config.clone()).expect("the ports are free");
        assert_eq!(node.addresses().len(), 4, "UDP and TCP of two workers");
        node.shutdown();
    }
}

#[test]
fn a_port_that_is_taken_is_one_sentence_that_names_the_key() {
    let config = config();
    let _node = start(config.clone()).expect("the ports are free");
    let error = start(config).expect_err("the ports are taken").to_string();
    assert!(error.starts_with("media.udp_port_base: UDP 127.0.0.1:"), "{error}");
}

#[test]
fn threads_and_descriptors_are_given_back() {
    let count = || std::fs::read_dir("/proc/self/fd").expect("procfs").count();
    let config = config();
    start(config.clone()).expect("the ports are free").shutdown();
    let before = count();
    for _ in 0..20 {
        start(config.clone()).expect("the ports are free").shutdown();
    }
    // Other tests of this process open a few of their own meanwhile.
    assert!(count() < before + 20 * 6, "{} after {before}", count());
}

fn connect(node: &NodeHandle) -> TcpStream {
    let tcp = node.addresses().iter().find(|address| address.protocol == Protocol::Tcp);
    let stream = TcpStream::connect(tcp.expect("TCP is on").bound).expect("it is accepted");
    stream.set_read_timeout(Some(Duration::from_secs(12))).expect("a time-out");
    stream
}

/// How long until the node closed the connection.
fn closed_after(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let ended = stream.read(&mut [0; 16]);
    assert!(
        matches!(&ended, Ok(0)) || ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    );
    start.elapsed()
}

/// A binding request with nothing but a user name.
fn first_frame(ufrag: &str) -> Vec<u8> {
    let username = format!("{ufrag}:peer");
    let padded = username.len().next_multiple_of(4);
    let mut packet = vec![0, 1, 0, 4 + padded as u8, 0x21, 0x12, 0xa4, 0x42];
    packet.extend([7; 12]);
    packet.extend([0, 6, 0, username.len() as u8]);
    packet.extend(username.as_bytes());
    packet.resize(24 + padded, 0);
    [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
}

#[test]
fn r18_a_tcp_connection_that_says_nothing_is_closed_after_5_s() {
    let node = start(config()).expect("the ports are free");
    let silent = connect(&node);
    let mut slow = connect(&node);
    slow.write_all(&[0]).expect("half a length");
    let after = closed_after(silent);
    assert!(after > Duration::from_secs(4) && after < Duration::from_secs(8), "{after:?}");
    assert!(closed_after(slow) < Duration::from_secs(2));
}

#[test]
fn a_tcp_connection_for_nobody_is_closed_at_once() {
    let node = start(config()).expect("the ports are free");
    for ufrag in ["nobody", &ufrag::compose(7, "abcd")] {
        let mut stream = connect(&node);
        stream.write_all(&first_frame(ufrag)).expect("the frame goes out");
        assert!(closed_after(stream) < Duration::from_secs(2), "{ufrag}");
    }
}

#[test]
fn r18_a_tcp_connection_of_no_session_is_closed_by_its_worker() {
    let node = start(config()).expect("the ports are free");
    let mut stream = connect(&node);
    stream.write_all(&first_frame(&ufrag::compose(1, "abcd"))).expect("the frame goes out");
    let after = closed_after(stream);
    assert!(after > Duration::from_secs(4) && after < Duration::from_secs(10), "{after:?}");
    let received = node.metrics.worker(1).tcp_packets_received.get();
    assert_eq!(received, 1, "accepted on a port of worker 0, it moved to the one it named");
}

#[test]
fn r18_silent_connections_do_not_keep_a_newcomer_out() {
    let limits = LimitsConfig { tcp_connections_per_source: 8, ..LimitsConfig::default() };
    let node = start(SfuConfig { limits, ..config() }).expect("the ports are free");
    let silent: Vec<_> = (0..40).map(|_| connect(&node)).collect();
    let mut newcomer = connect(&node);
    newcomer.write_all(&first_frame(&ufrag::compose(0, "abcd"))).expect("the frame goes out");
    let start = Instant::now();
    while node.metrics.worker(0).tcp_packets_received.get() == 0 {
        assert!(start.elapsed() < Duration::from_secs(2), "a newcomer waits for silent ones");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(silent);
}
