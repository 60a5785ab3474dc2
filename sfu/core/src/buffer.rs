//! Packets as they came, kept once for all who still need them: the consumers that send them, and
//! the histories that send them again.

use std::collections::VecDeque;
use std::ops::{self, Deref};
use std::sync::Arc;

/// The longest datagram that is taken.
pub const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Buffers that are kept to be used again: some seconds of a full worker. What is above is freed.
const KEPT_MAX: usize = 32_768;
/// Buffers that are looked at before a fresh one is made: a history that rests holds back a few.
const LOOKED_AT: usize = 4;

type Bytes = [u8; DATAGRAM_BYTES_MAX];

/// A part of a packet that nobody changes any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    /// None: it is empty.
    buffer: Option<Arc<Bytes>>,
    range: Range,
}

/// Where in its buffer a part of a packet is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Range {
    start: u16,
    end: u16,
}

impl Shared {
    /// A part of this part.
    pub fn slice(&self, range: ops::Range<usize>) -> Shared {
        debug_assert!(range.start <= range.end && range.end <= self.len());
        let at = |offset: usize| self.range.start + offset as u16;
        let range = Range { start: at(range.start), end: at(range.end) };
        Shared { buffer: self.buffer.clone(), range }
    }

    pub fn range(&self) -> Range {
        self.range
    }

    /// Another part of the packet that this is a part of.
    pub fn of_buffer(&self, range: Range) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[range.start.into()..range.end.into()])
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.of_buffer(self.range)
    }
}

/// The buffers of a worker. They come back in the order in which they were given out, so the oldest
/// is the one that is most likely free.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    kept: VecDeque<Arc<Bytes>>,
}

impl Buffers {
    /// Lets `fill` write into a free buffer, and shares what it says it wrote. None: it wrote nothing.
    pub fn fill(&mut self, fill: impl FnOnce(&mut Bytes) -> Option<usize>) -> Option<Shared> {
        let mut buffer = self.take();
        let bytes = Arc::get_mut(&mut buffer).expect("a buffer that was taken has no other owner");
        let written = fill(bytes);
        if self.kept.len() < KEPT_MAX {
            self.kept.push_back(buffer.clone());
        }
        written.map(|length| Shared { buffer: Some(buffer), range: Range { start: 0, end: length as u16 } })
    }

    fn take(&mut self) -> Arc<Bytes> {
        for _ in 0..LOOKED_AT {
            let Some(mut buffer) = self.kept.pop_front() else { break };
            if Arc::get_mut(&mut buffer).is_some() {
                return buffer;
            }
            self.kept.push_back(buffer);
        }
        Arc::new([0; DATAGRAM_BYTES_MAX])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(buffers: &mut Buffers, bytes: &[u8]) -> Shared {
        let fill = |buffer: &mut Bytes| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            Some(bytes.len())
        };
        buffers.fill(fill).expect("something was written")
    }

    #[test]
    fn what_is_held_is_not_written_to_and_what_is_free_is_used_again() {
        let mut buffers = Buffers::default();
        let held = written(&mut buffers, b"first");
        for _ in 0..100 {
            written(&mut buffers, b"other");
        }
        assert_eq!(&*held, b"first");
        assert_eq!(&*held.slice(1..3), b"ir");
        assert_eq!(buffers.kept.len(), 2, "the one that is held, and one that was free each time");
        drop(held);
        written(&mut buffers, b"again");
        assert_eq!(buffers.kept.len(), 2);
    }

    #[test]
    fn nothing_written_is_nothing_shared() {
        let mut buffers = Buffers::default();
        assert!(buffers.fill(|_| None).is_none());
        assert_eq!(buffers.kept.len(), 1);
        assert!(Shared::default().is_empty());
    }
}
