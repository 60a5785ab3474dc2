//! A TCP connection on its worker's thread.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use broletto_sfu_core::io::Class;

use super::Permit;
use super::framing::FrameReader;
use super::write_queue::WriteQueue;
use crate::metrics::WorkerMetrics;

/// A session answers a connectivity check at once; whoever got no answer is not in any session.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// Clients check their consent every five seconds (RFC 7675 section 5.1).
const SILENT_MAX: Duration = Duration::from_secs(30);
/// A peer that takes nothing for so long is gone.
const STUCK_MAX: Duration = Duration::from_secs(10);
/// Reads of one connection before the others have their turn.
const READS_MAX: usize = 8;

/// A connection whose first frame named the worker.
pub(crate) struct Handover {
    pub(crate) stream: TcpStream,
    pub(crate) source: SocketAddr,
    pub(crate) first: Vec<u8>,
    /// May hold what came behind the first frame.
    pub(crate) reader: FrameReader,
    pub(crate) permit: Permit,
}

pub(crate) struct Connection {
    stream: TcpStream,
    reader: FrameReader,
    queue: WriteQueue,
    opened: Instant,
    last_read: Instant,
    /// When the peer last took something, or had nothing to take.
    last_write: Instant,
    answered: bool,
    /// Nothing more can be written: the next flush tells so.
    ended: bool,
    _permit: Permit,
}

/// The connection must be closed.
#[derive(Debug)]
pub(crate) struct Ended;

impl Connection {
    pub(crate) fn new(handover: Handover, now: Instant) -> io::Result<(Self, Vec<u8>)> {
        let Handover { stream, first, reader, permit, .. } = handover;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let connection = Connection {
            stream,
            reader,
            queue: WriteQueue::default(),
            opened: now,
            last_read: now,
            last_write: now,
            answered: false,
            ended: false,
            _permit: permit,
        };
        Ok((connection, first))
    }

    /// Calls with each packet that is there. More may be left for the next turn.
    pub(crate) fn read(&mut self, now: Instant, mut on_packet: impl FnMut(&[u8])) -> Result<(), Ended> {
        for _ in 0..READS_MAX {
            while let Some(packet) = self.reader.next().map_err(|_| Ended)? {
                on_packet(packet);
            }
            match self.stream.read(self.reader.space()) {
                Ok(0) => return Err(Ended),
                Ok(count) => {
                    self.reader.advance(count);
                    self.last_read = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended),
            }
        }
        while let Some(packet) = self.reader.next().map_err(|_| Ended)? {
            on_packet(packet);
        }
        Ok(())
    }

    /// Queues a packet for [`Connection::flush`].
    pub(crate) fn send(&mut self, class: Class, contents: Vec<u8>, metrics: &WorkerMetrics) {
        self.answered = true;
        self.ended |= self.queue.push(class, contents, metrics).is_err();
    }

    /// Writes what waits. True: call again when the socket is writable.
    pub(crate) fn flush(&mut self, now: Instant, metrics: &WorkerMetrics) -> Result<bool, Ended> {
        if self.ended {
            return Err(Ended);
        }
        let was_empty = self.queue.is_empty();
        let written = self.queue.write_to(&mut self.stream, metrics).map_err(|_| Ended)?;
        if written > 0 || was_empty {
            self.last_write = now;
        }
        Ok(!self.queue.is_empty())
    }

    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        (!self.answered && since(self.opened) >= ANSWERED_WITHIN)
            || since(self.last_read) >= SILENT_MAX
            || (!self.queue.is_empty() && since(self.last_write) >= STUCK_MAX)
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
