//! From the worker's transmits to messages of the kernel, and what happens when it takes none.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use broletto_sfu_core::io::{Class, Transmit};

use crate::metrics::WorkerMetrics;
use crate::sys::udp::{Message, SendBatch, UdpSocket};

/// Transmits that wait for room in a socket's buffer. What does not fit is dropped: a queue on this
/// side would only add delay to media that is late already.
pub const BACKLOG_MAX: usize = 1_024;

/// Expedited forwarding for audio, AF41 for interactive video of high priority (RFC 8837 section 5);
/// what is no media gets the default.
pub fn tos(class: Class) -> u8 {
    let dscp = match class {
        Class::Audio => 46,
        Class::Video => 34,
        Class::Control => 0,
    };
    dscp << 2
}

/// One socket's way out.
pub struct Egress {
    socket: UdpSocket,
    /// Oldest first; not empty only while the socket's buffer is full.
    backlog: VecDeque<Transmit>,
    /// Bytes of the oldest that were sent already.
    sent_bytes: usize,
    /// False after the device said that it cannot segment.
    segmenting: bool,
}

/// How far a run of transmits was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    transmit: usize,
    bytes: usize,
}

impl Egress {
    pub fn new(socket: UdpSocket) -> Self {
        Egress { socket, backlog: VecDeque::new(), sent_bytes: 0, segmenting: true }
    }

    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }

    /// True: call [`Egress::flush`] when the socket is writable.
    pub fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Sends, or keeps for later, or drops and counts. What is done with goes to `spent`, and
    /// `transmits` is empty afterwards.
    pub fn send(
        &mut self,
        transmits: &mut Vec<Transmit>,
        spent: &mut Vec<Vec<u8>>,
        batch: &mut SendBatch,
        metrics: &WorkerMetrics,
    ) {
        let start = Position { transmit: 0, bytes: 0 };
        let done = if self.is_blocked() { start } else { self.hand_over(transmits, start, batch, metrics) };
        if !self.is_blocked() {
            self.sent_bytes = done.bytes;
        }
        let room = BACKLOG_MAX - self.backlog.len();
        for (index, transmit) in transmits.drain(..).enumerate() {
            if index < done.transmit {
                spent.push(transmit.contents);
            } else if index < done.transmit + room {
                self.backlog.push_back(transmit);
            } else {
                metrics.dropped_send_queue.inc_by(transmit.datagrams().len() as u64);
                spent.push(transmit.contents);
            }
        }
    }

    /// Tries what had to wait.
    pub fn flush(&mut self, spent: &mut Vec<Vec<u8>>, batch: &mut SendBatch, metrics: &WorkerMetrics) {
        let mut backlog = std::mem::take(&mut self.backlog);
        let start = Position { transmit: 0, bytes: self.sent_bytes };
        let done = self.hand_over(backlog.make_contiguous(), start, batch, metrics);
        spent.extend(backlog.drain(..done.transmit).map(|transmit| transmit.contents));
        self.sent_bytes = done.bytes;
        self.backlog = backlog;
    }

    /// From where on the transmits need further care.
    fn hand_over(
        &mut self,
        transmits: &[Transmit],
        start: Position,
        batch: &mut SendBatch,
        metrics: &WorkerMetrics,
    ) -> Position {
        let mut done = start;
        // A transmit that goes out one by one, because the kernel took it no other way.
        let mut refused = None;
        while done.transmit < transmits.len() {
            let segmenting = self.segmenting;
            let messages = || {
                let mut next = done;
                std::iter::from_fn(move || {
                    let grouped = segmenting && refused != Some(next.transmit);
                    let (message, after) = message_at(transmits, next, grouped)?;
                    next = after;
                    Some(message)
                })
            };
            match batch.send(&self.socket, messages()) {
                Ok(count) => {
                    for message in messages().take(count) {
                        metrics.udp_packets_sent.inc_by(message.datagrams() as u64);
                        metrics.udp_bytes_sent.inc_by(message.contents.len() as u64);
                    }
                    metrics.messages_sent.inc_by(count as u64);
                    done = skip(transmits, done, count, |transmit| segmenting && refused != Some(transmit));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let first = messages().next().expect("there is one that is not done");
                    if first.datagrams() > 1 && is_refused_group(&error) {
                        // EIO is the device's word for good; the others are about this path or message.
                        self.segmenting &= error.raw_os_error() != Some(libc::EIO);
                        refused = Some(done.transmit);
                        metrics.groups_refused.inc();
                        continue;
                    }
                    tracing::trace!(%error, "a message could not be sent");
                    metrics.dropped_send_error.inc_by(first.datagrams() as u64);
                    done = skip(transmits, done, 1, |transmit| segmenting && refused != Some(transmit));
                }
            }
        }
        done
    }
}

/// What goes out next: the rest of a transmit, or one datagram of it.
fn message_at(transmits: &[Transmit], at: Position, grouped: bool) -> Option<(Message<'_>, Position)> {
    let transmit = transmits.get(at.transmit)?;
    let length = transmit.contents.len();
    let end = if grouped { length } else { length.min(at.bytes + transmit.segment_bytes) };
    let message = Message {
        destination: transmit.destination,
        tos: tos(transmit.class),
        segment_bytes: transmit.segment_bytes,
        contents: &transmit.contents[at.bytes..end],
    };
    let after = if end < length {
        Position { transmit: at.transmit, bytes: end }
    } else {
        Position { transmit: at.transmit + 1, bytes: 0 }
    };
    Some((message, after))
}

fn skip(
    transmits: &[Transmit],
    from: Position,
    messages: usize,
    grouped: impl Fn(usize) -> bool,
) -> Position {
    (0..messages)
        .fold(from, |at, _| message_at(transmits, at, grouped(at.transmit)).map_or(at, |(_, after)| after))
}

impl AsRawFd for Egress {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The device has no checksum offload (EIO), or a segment is longer than the path takes.
fn is_refused_group(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

#[cfg(test)]
mod tests {
    use broletto_sfu_core::io::Protocol;

    use super::*;
    use crate::metrics::Metrics;
    use crate::sys::udp::{ReceiveBatch, SEGMENTS_MAX};

    fn transmit(destination: SocketAddr, class: Class, segment_bytes: usize, bytes: usize) -> Transmit {
        let source = "127.0.0.1:1".parse().expect("an address");
        let contents = vec![0; bytes];
        Transmit { protocol: Protocol::Udp, source, destination, class, segment_bytes, contents }
    }

    fn bind() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("bind")
    }

    fn send(egress: &mut Egress, mut transmits: Vec<Transmit>, metrics: &WorkerMetrics) -> usize {
        let mut spent = Vec::new();
        egress.send(&mut transmits, &mut spent, &mut SendBatch::new(), metrics);
        assert!(transmits.is_empty());
        spent.len()
    }

    #[test]
    fn a_group_that_the_kernel_refuses_goes_out_one_by_one() {
        let (mut egress, receiver) = (Egress::new(bind()), bind());
        let metrics = Metrics::new().worker(0);
        // 64 segments of 1,200 bytes are more than one IP packet can hold.
        let refused = transmit(receiver.local_address(), Class::Video, 1_200, SEGMENTS_MAX * 1_200 - 1);
        let taken = transmit(receiver.local_address(), Class::Video, 100, 250);
        assert_eq!(send(&mut egress, vec![refused], &metrics), 1);
        assert_eq!(metrics.groups_refused.get(), 1);
        assert_eq!(metrics.udp_packets_sent.get(), SEGMENTS_MAX as u64);
        let mut batch = ReceiveBatch::new();
        assert_eq!(batch.receive(&receiver).expect("they are there"), SEGMENTS_MAX);
        let lengths: Vec<usize> = batch.datagrams().flatten().map(|d| d.contents.len()).collect();
        assert_eq!(lengths[SEGMENTS_MAX - 1], 1_199);
        assert_eq!(send(&mut egress, vec![taken], &metrics), 1);
        assert_eq!((metrics.groups_refused.get(), metrics.messages_sent.get()), (1, 1 + SEGMENTS_MAX as u64));
        assert_eq!(batch.receive(&receiver).expect("they are there"), 3);
    }

    #[test]
    fn what_cannot_be_sent_at_all_is_counted_and_the_next_goes_out() {
        let (mut egress, receiver) = (Egress::new(bind()), bind());
        let metrics = Metrics::new().worker(0);
        let unreachable = SocketAddr::new("255.255.255.255".parse().expect("an address"), 9);
        let transmits = vec![
            transmit(unreachable, Class::Video, 100, 100),
            transmit(receiver.local_address(), Class::Audio, 100, 100),
        ];
        assert_eq!(send(&mut egress, transmits, &metrics), 2);
        assert_eq!((metrics.dropped_send_error.get(), metrics.udp_packets_sent.get()), (1, 1));
    }

    #[test]
    fn a_full_socket_keeps_a_bounded_backlog_and_its_place_in_it() {
        let socket = bind();
        let destination = socket.local_address();
        let mut egress = Egress::new(socket);
        let metrics = Metrics::new().worker(0);
        egress.backlog.push_back(transmit(destination, Class::Video, 10, 20));
        egress.sent_bytes = 10;
        let transmits = (0..BACKLOG_MAX + 4).map(|_| transmit(destination, Class::Video, 10, 20));
        assert_eq!(send(&mut egress, transmits.collect(), &metrics), 5);
        assert_eq!(metrics.dropped_send_queue.get(), 10);
        egress.flush(&mut Vec::new(), &mut SendBatch::new(), &metrics);
        assert!(!egress.is_blocked());
        assert_eq!(metrics.udp_packets_sent.get(), 2 * BACKLOG_MAX as u64 - 1);
    }
}
