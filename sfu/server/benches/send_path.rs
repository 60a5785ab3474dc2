//! Processor time of a 1,200-byte packet through the way out, by how many packets of one
//! destination stand together. Run it in a network namespace of its own, where nothing taps packets.

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use broletto_sfu_core::io::{Class, Protocol, Transmit};
use broletto_sfu_server::Metrics;
use broletto_sfu_server::egress::Egress;
use broletto_sfu_server::sys::udp::{SendBatch, UdpSocket};

const PACKET_BYTES: usize = 1_200;
const RECEIVERS: usize = 32;
const PACKETS: usize = 400_000;

fn main() {
    let bind = || UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("loopback can be bound");
    let receivers: Vec<UdpSocket> = (0..RECEIVERS).map(|_| bind()).collect();
    for group in [1, 2, 4, 8, 16] {
        let socket = bind();
        let source = socket.local_address();
        let (mut egress, mut batch, metrics) =
            (Egress::new(socket), SendBatch::new(), Metrics::new().worker(0));
        let (mut busy_ns, mut wall_ns) = (0, 0);
        for _ in 0..PACKETS / (RECEIVERS * group) {
            let mut transmits: Vec<_> =
                receivers.iter().map(|receiver| transmit(source, receiver.local_address(), group)).collect();
            let (busy, wall) = (thread_busy_ns(), Instant::now());
            egress.send(&mut transmits, &mut Vec::new(), &mut batch, &metrics);
            busy_ns += thread_busy_ns() - busy;
            wall_ns += wall.elapsed().as_nanos() as u64;
        }
        let packets = (PACKETS / (RECEIVERS * group) * RECEIVERS * group) as u64;
        let line = format!(
            "groups of {group:>2}: {:>5} ns of processor time a packet, {:>5} ns by the clock\n",
            busy_ns / packets,
            wall_ns / packets,
        );
        std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).expect("standard output is open");
    }
}

fn transmit(source: SocketAddr, destination: SocketAddr, group: usize) -> Transmit {
    let (segment_bytes, contents) = (PACKET_BYTES, vec![0x80; PACKET_BYTES * group]);
    Transmit { protocol: Protocol::Udp, source, destination, class: Class::Video, segment_bytes, contents }
}

/// The first number is the time on the processor, in nanoseconds.
fn thread_busy_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts processor time");
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("its first word is a number")
}
