//! From the worker's transmits to messages of the kernel, and what happens when it takes none.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use broletto_sfu_core::io::{Class, Transmit};

use crate::metrics::WorkerMetrics;
use crate::sys::udp::{MESSAGE_BYTES_MAX, Message, SEGMENTS_MAX, SEND_BATCH, SendBatch, UdpSocket};

/// Datagrams that wait for room in a socket's buffer. What does not fit is dropped: a queue on this
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

/// How many of the first transmits may go out as one message: one way, one class, all as long as
/// the first, but the last, which may be shorter.
pub fn group_length(transmits: &[Transmit], segments_max: usize, bytes_max: usize) -> usize {
    let Some(first) = transmits.first() else { return 0 };
    let size = first.contents.len();
    let mut length = 1;
    for transmit in transmits.iter().take(segments_max.min(bytes_max / size.max(1))).skip(1) {
        let same_way = transmit.destination == first.destination && transmit.class == first.class;
        if !same_way || transmit.contents.is_empty() || transmit.contents.len() > size {
            break;
        }
        length += 1;
        if transmit.contents.len() < size {
            break;
        }
    }
    length
}

/// One socket's way out.
pub struct Egress {
    socket: UdpSocket,
    /// Oldest first; not empty only while the socket's buffer is full.
    backlog: VecDeque<Transmit>,
    /// False after the device said that it cannot segment.
    segmenting: bool,
    message_bytes_max: usize,
}

impl Egress {
    pub fn new(socket: UdpSocket) -> Self {
        Egress { socket, backlog: VecDeque::new(), segmenting: true, message_bytes_max: MESSAGE_BYTES_MAX }
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

    /// Sends, or keeps for later, or drops and counts. `transmits` is empty afterwards.
    pub fn send(&mut self, transmits: &mut Vec<Transmit>, batch: &mut SendBatch, metrics: &WorkerMetrics) {
        let done = if self.is_blocked() { 0 } else { self.hand_over(transmits, batch, metrics) };
        let room = BACKLOG_MAX - self.backlog.len();
        let mut rest = transmits.drain(..).skip(done);
        self.backlog.extend(rest.by_ref().take(room));
        metrics.dropped_send_queue.inc_by(rest.count() as u64);
    }

    /// Tries what had to wait.
    pub fn flush(&mut self, batch: &mut SendBatch, metrics: &WorkerMetrics) {
        let mut backlog = std::mem::take(&mut self.backlog);
        let done = self.hand_over(backlog.make_contiguous(), batch, metrics);
        backlog.drain(..done);
        self.backlog = backlog;
    }

    /// How many of the first transmits need no further care comes back.
    fn hand_over(&mut self, transmits: &[Transmit], batch: &mut SendBatch, metrics: &WorkerMetrics) -> usize {
        let mut segments_max = if self.segmenting { SEGMENTS_MAX } else { 1 };
        let mut messages = Vec::with_capacity(SEND_BATCH);
        let mut done = 0;
        while done < transmits.len() {
            messages.clear();
            let mut rest = &transmits[done..];
            while !rest.is_empty() && messages.len() < SEND_BATCH {
                let (group, others) = rest.split_at(group_length(rest, segments_max, self.message_bytes_max));
                let (destination, tos) = (group[0].destination, tos(group[0].class));
                messages.push(Message { destination, tos, segments: group });
                rest = others;
            }
            match batch.send(&self.socket, &messages) {
                Ok(count) => {
                    for message in &messages[..count] {
                        let bytes: usize =
                            message.segments.iter().map(|segment| segment.contents.len()).sum();
                        metrics.udp_packets_sent.inc_by(message.segments.len() as u64);
                        metrics.udp_bytes_sent.inc_by(bytes as u64);
                        done += message.segments.len();
                    }
                    metrics.messages_sent.inc_by(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if messages[0].segments.len() > 1 && is_refused_group(&error) => {
                    // EIO is the device's word for good; the others are about this path or message.
                    self.segmenting &= error.raw_os_error() != Some(libc::EIO);
                    segments_max = 1;
                    metrics.groups_refused.inc();
                }
                Err(error) => {
                    tracing::trace!(%error, "a message could not be sent");
                    metrics.dropped_send_error.inc_by(messages[0].segments.len() as u64);
                    done += messages[0].segments.len();
                }
            }
        }
        done
    }
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
    use crate::sys::udp::ReceiveBatch;

    fn transmit(destination: SocketAddr, class: Class, size: usize) -> Transmit {
        let source = "127.0.0.1:1".parse().expect("an address");
        Transmit { protocol: Protocol::Udp, source, destination, class, contents: vec![0; size] }
    }

    #[test]
    fn groups_have_one_way_one_class_and_one_size() {
        let a: SocketAddr = "127.0.0.1:1000".parse().expect("an address");
        let b: SocketAddr = "127.0.0.1:1001".parse().expect("an address");
        let video = |size| transmit(a, Class::Video, size);
        let table = [
            (vec![], 0),
            (vec![video(1_200)], 1),
            (vec![video(1_200), video(1_200), video(1_200)], 3),
            (vec![video(1_200), video(700), video(700)], 2),
            (vec![video(700), video(1_200)], 1),
            (vec![video(1_200), transmit(b, Class::Video, 1_200)], 1),
            (vec![video(1_200), transmit(a, Class::Audio, 1_200)], 1),
            (vec![video(1_200), video(0)], 1),
            (vec![video(0), video(0)], 1),
            ((0..10).map(|_| video(10)).collect(), 8),
            ((0..3).map(|_| video(9_000)).collect(), 2),
            (vec![video(30_000)], 1),
        ];
        for (transmits, expected) in table {
            let sizes: Vec<_> = transmits.iter().map(|transmit| transmit.contents.len()).collect();
            assert_eq!(group_length(&transmits, 8, 20_000), expected, "{sizes:?}");
        }
    }

    #[test]
    fn a_group_that_the_kernel_refuses_goes_out_one_by_one() {
        let bind = || UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
        let (mut egress, receiver) = (Egress::new(bind()), bind());
        // 64 segments of 1,200 bytes are more than one IP packet can hold.
        egress.message_bytes_max = usize::MAX;
        let metrics = Metrics::new().worker(0);
        let mut transmits: Vec<_> =
            (0..SEGMENTS_MAX).map(|_| transmit(receiver.local_address(), Class::Video, 1_200)).collect();
        egress.send(&mut transmits, &mut SendBatch::new(), &metrics);
        assert_eq!(metrics.groups_refused.get(), 1);
        assert_eq!(metrics.udp_packets_sent.get(), SEGMENTS_MAX as u64);
        assert_eq!(ReceiveBatch::new().receive(&receiver).expect("they are there"), SEGMENTS_MAX);
    }

    #[test]
    fn what_cannot_be_sent_at_all_is_counted_and_the_next_goes_out() {
        let bind = || UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
        let (mut egress, receiver) = (Egress::new(bind()), bind());
        let metrics = Metrics::new().worker(0);
        let unreachable = SocketAddr::new("255.255.255.255".parse().expect("an address"), 9);
        let mut transmits = vec![
            transmit(unreachable, Class::Video, 100),
            transmit(receiver.local_address(), Class::Audio, 100),
        ];
        egress.send(&mut transmits, &mut SendBatch::new(), &metrics);
        assert_eq!((metrics.dropped_send_error.get(), metrics.udp_packets_sent.get()), (1, 1));
        assert!(transmits.is_empty());
    }

    #[test]
    fn a_full_socket_keeps_a_bounded_backlog() {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
        let destination = socket.local_address();
        let mut egress = Egress::new(socket);
        let metrics = Metrics::new().worker(0);
        egress.backlog.push_back(transmit(destination, Class::Video, 10));
        let mut transmits: Vec<_> =
            (0..BACKLOG_MAX + 4).map(|_| transmit(destination, Class::Video, 10)).collect();
        egress.send(&mut transmits, &mut SendBatch::new(), &metrics);
        assert_eq!(metrics.dropped_send_queue.get(), 5);
        egress.flush(&mut SendBatch::new(), &metrics);
        assert!(!egress.is_blocked());
        assert_eq!(metrics.udp_packets_sent.get(), BACKLOG_MAX as u64);
    }
}
