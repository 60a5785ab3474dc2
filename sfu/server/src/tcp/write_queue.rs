//! What waits to be written to a TCP connection, and what is given up when it is too much.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use broletto_sfu_core::io::Class;
use thiserror::Error;

use super::framing::PREFIX_BYTES;
use crate::metrics::WorkerMetrics;

/// A second of 2 Mbit/s: more than that is too late to be of use.
pub(crate) const QUEUE_BYTES_MAX: usize = 256 * 1024;
/// Packets in one system call, of two parts each.
const PACKETS_PER_WRITE: usize = 64;

/// Nothing is left to drop.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the peer reads too slowly even for what is no media")]
pub(crate) struct Overflow;

struct Packet {
    prefix: [u8; PREFIX_BYTES],
    class: Class,
    contents: Vec<u8>,
}

impl Packet {
    fn length(&self) -> usize {
        PREFIX_BYTES + self.contents.len()
    }
}

/// Which video frame a packet is of: its SSRC and timestamp (RFC 3550 section 5.1), which SRTP
/// leaves readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameKey([u8; 8]);

impl FrameKey {
    fn of(contents: &[u8]) -> Option<Self> {
        Some(FrameKey(contents.get(4..12)?.try_into().expect("eight bytes were taken")))
    }
}

/// Packets oldest first. Whole video frames are dropped first and audio last; what is neither is
/// never dropped.
#[derive(Default)]
pub(crate) struct WriteQueue {
    packets: VecDeque<Packet>,
    bytes: usize,
    /// Bytes of the first packet that are written already, with its prefix.
    written: usize,
    /// The last video frame that was given up: the rest of it is of no use.
    given_up: Option<FrameKey>,
}

impl WriteQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(crate) fn push(
        &mut self,
        class: Class,
        contents: Vec<u8>,
        metrics: &WorkerMetrics,
    ) -> Result<(), Overflow> {
        let Ok(length) = u16::try_from(contents.len()) else { return Ok(()) };
        let packet = Packet { prefix: length.to_be_bytes(), class, contents };
        if class == Class::Video && self.given_up.is_some() && FrameKey::of(&packet.contents) == self.given_up
        {
            metrics.dropped_tcp_video.inc();
            return Ok(());
        }
        while self.bytes + packet.length() > QUEUE_BYTES_MAX {
            if self.drop_oldest_frame(metrics) {
                continue;
            }
            match class {
                Class::Video => {
                    self.given_up = FrameKey::of(&packet.contents);
                    metrics.dropped_tcp_video.inc();
                    return Ok(());
                }
                Class::Audio | Class::Control if self.drop_oldest_audio(metrics) => {}
                Class::Audio => {
                    metrics.dropped_tcp_audio.inc();
                    return Ok(());
                }
                Class::Control => return Err(Overflow),
            }
        }
        self.bytes += packet.length();
        self.packets.push_back(packet);
        Ok(())
    }

    /// Writes until nothing is left or the stream takes no more. How much was written comes back.
    pub(crate) fn write_to(&mut self, stream: &mut impl Write, metrics: &WorkerMetrics) -> io::Result<usize> {
        let mut total = 0;
        while !self.packets.is_empty() {
            let mut parts: Vec<_> = self
                .packets
                .iter()
                .take(PACKETS_PER_WRITE)
                .flat_map(|packet| [IoSlice::new(&packet.prefix), IoSlice::new(&packet.contents)])
                .collect();
            let mut parts = &mut parts[..];
            IoSlice::advance_slices(&mut parts, self.written);
            match stream.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    total += count;
                    self.advance(count, metrics);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn advance(&mut self, count: usize, metrics: &WorkerMetrics) {
        self.written += count;
        while let Some(packet) = self.packets.front().filter(|packet| packet.length() <= self.written) {
            self.written -= packet.length();
            self.bytes -= packet.length();
            metrics.tcp_packets_sent.inc();
            metrics.tcp_bytes_sent.inc_by(packet.contents.len() as u64);
            self.packets.pop_front();
        }
    }

    fn drop_oldest_frame(&mut self, metrics: &WorkerMetrics) -> bool {
        let Some(index) = self.oldest(Class::Video) else { return false };
        let key = FrameKey::of(&self.packets[index].contents);
        let is_of_it =
            |packet: &Packet| packet.class == Class::Video && FrameKey::of(&packet.contents) == key;
        let dropped = self.remove(is_of_it);
        metrics.dropped_tcp_video.inc_by(dropped as u64);
        self.given_up = key;
        true
    }

    fn drop_oldest_audio(&mut self, metrics: &WorkerMetrics) -> bool {
        let Some(index) = self.oldest(Class::Audio) else { return false };
        let packet = self.packets.remove(index).expect("it was found there");
        self.bytes -= packet.length();
        metrics.dropped_tcp_audio.inc();
        true
    }

    /// A packet that is written in part must be written whole, or the stream is out of step.
    fn first_whole(&self) -> usize {
        usize::from(self.written > 0)
    }

    fn oldest(&self, class: Class) -> Option<usize> {
        let first = self.first_whole();
        self.packets.iter().skip(first).position(|packet| packet.class == class).map(|index| first + index)
    }

    fn remove(&mut self, which: impl Fn(&Packet) -> bool) -> usize {
        let (first, before) = (self.first_whole(), self.packets.len());
        let mut index = 0;
        self.packets.retain(|packet| {
            index += 1;
            let kept = index <= first || !which(packet);
            self.bytes -= if kept { 0 } else { packet.length() };
            kept
        });
        before - self.packets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const SIZE: usize = 1_000;

    fn video(frame: u8) -> Vec<u8> {
        let mut contents = vec![0; SIZE];
        contents[4..8].fill(frame);
        contents
    }

    /// Fills a queue with as many packets as it holds, three to a frame.
    fn full_of_video(metrics: &WorkerMetrics) -> (WriteQueue, usize) {
        let mut queue = WriteQueue::default();
        let count = QUEUE_BYTES_MAX / (SIZE + PREFIX_BYTES);
        for index in 0..count {
            queue.push(Class::Video, video((index / 3) as u8), metrics).expect("there is room");
        }
        (queue, count)
    }

    #[test]
    fn a_whole_frame_goes_first_and_its_rest_does_not_come_in() {
        let metrics = Metrics::new().worker(0);
        let (mut queue, count) = full_of_video(&metrics);
        queue.push(Class::Audio, vec![1; SIZE], &metrics).expect("video makes room");
        assert_eq!(metrics.dropped_tcp_video.get(), 3);
        assert_eq!(queue.packets.len(), count - 3 + 1);
        queue.push(Class::Video, video(0), &metrics).expect("it is dropped");
        assert_eq!(metrics.dropped_tcp_video.get(), 4);
        assert_eq!(queue.bytes, queue.packets.iter().map(Packet::length).sum::<usize>());
    }

    #[test]
    fn audio_goes_last_and_then_the_connection() {
        let metrics = Metrics::new().worker(0);
        let (mut queue, count) = full_of_video(&metrics);
        for _ in 0..count {
            queue.push(Class::Audio, vec![1; SIZE], &metrics).expect("video makes room");
        }
        assert_eq!(metrics.dropped_tcp_video.get(), count as u64);
        assert_eq!(metrics.dropped_tcp_audio.get(), 0);
        queue.push(Class::Video, video(200), &metrics).expect("it is dropped");
        assert_eq!(metrics.dropped_tcp_video.get(), count as u64 + 1);
        for _ in 0..count {
            queue.push(Class::Control, vec![2; SIZE], &metrics).expect("audio makes room");
        }
        assert_eq!(metrics.dropped_tcp_audio.get(), count as u64);
        assert_eq!(queue.push(Class::Control, vec![2; SIZE], &metrics), Err(Overflow));
        assert!(queue.bytes <= QUEUE_BYTES_MAX);
    }

    /// Takes a few bytes, then none.
    struct Narrow(usize, Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.0);
            self.0 -= count;
            self.1.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_packet_that_is_half_written_is_never_dropped() {
        let metrics = Metrics::new().worker(0);
        let (mut queue, _) = full_of_video(&metrics);
        let mut stream = Narrow(7, Vec::new());
        assert_eq!(queue.write_to(&mut stream, &metrics).expect("it takes some"), 7);
        queue.push(Class::Audio, vec![1; SIZE], &metrics).expect("video makes room");
        assert_eq!(metrics.dropped_tcp_video.get(), 2, "two of the first frame's three");
        stream.0 = usize::MAX;
        queue.write_to(&mut stream, &metrics).expect("it takes all");
        assert!(queue.is_empty() && queue.bytes == 0);
        assert!(stream.1.chunks(SIZE + PREFIX_BYTES).all(|frame| frame[..2] == (SIZE as u16).to_be_bytes()));
    }
}
