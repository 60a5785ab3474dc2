//! Telephone events (RFC 4733). Each key is many packets with one timestamp, the last of them three
//! times; any of them may be lost.

use super::{KEYS, Press};

/// A payload:
///
/// ```text
/// |     event     |E|R| volume    |          duration             |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub code: u8,
    pub end: bool,
    /// Below 0 dBm0, in dB.
    pub volume: u8,
    /// Since its timestamp, in units of the RTP clock.
    pub duration: u16,
}

impl Event {
    /// The first of a payload. None: it is too short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [code, flags, high, low] = *payload.first_chunk()?;
        let duration = u16::from_be_bytes([high, low]);
        Some(Event { code, end: flags & 0x80 != 0, volume: flags & 0x3f, duration })
    }

    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, u8::from(self.end) << 7 | self.volume & 0x3f, high, low]
    }

    /// None: it is no key.
    pub fn key(self) -> Option<char> {
        KEYS.get(usize::from(self.code)).copied()
    }
}

/// From packets to keys, each once.
#[derive(Debug, Clone, Default)]
pub struct EventDecoder {
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    timestamp: u32,
    event: Event,
}

impl EventDecoder {
    /// A key, by the first packet of it that comes.
    pub fn handle(&mut self, event: &Event, timestamp: u32, marker: bool) -> Option<Press> {
        if let Some(last) = &mut self.last {
            let later = timestamp.wrapping_sub(last.timestamp);
            if later == 0 && event.code == last.event.code {
                last.event.end |= event.end;
                last.event.duration = last.event.duration.max(event.duration);
                return None;
            }
            // Of one that is over: it was overtaken.
            if later > u32::MAX / 2 {
                return None;
            }
            // A long key is said in segments (section 2.5.1.3). Some also count the timestamp up from
            // packet to packet. Either way there is no marker, and no end before.
            let continued = !marker && !last.event.end && event.code == last.event.code;
            if continued && later <= u32::from(last.event.duration).max(SEGMENT_MIN) {
                *last = Last { timestamp, event: *event };
                return None;
            }
        }
        self.last = Some(Last { timestamp, event: *event });
        event.key().map(|key| Press { key })
    }
}

/// 100 ms at 8 kHz: keys are further apart.
const SEGMENT_MIN: u32 = 800;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The packets of one key: code, timestamp, marker, end, duration.
    fn key(code: u8, timestamp: u32) -> Vec<(Event, u32, bool)> {
        let at = |duration, end| Event { code, end, volume: 10, duration };
        let mut packets = vec![(at(160, false), timestamp, true)];
        packets.extend((2..5).map(|n| (at(160 * n, false), timestamp, false)));
        packets.extend(std::iter::repeat_n((at(800, true), timestamp, false), 3));
        packets
    }

    fn keys(packets: &[(Event, u32, bool)]) -> String {
        let mut decoder = EventDecoder::default();
        packets
            .iter()
            .filter_map(|(event, at, marker)| decoder.handle(event, *at, *marker))
            .map(|p| p.key)
            .collect()
    }

    fn typed() -> Vec<(Event, u32, bool)> {
        [5, 5, 1, 11]
            .iter()
            .zip((0_u32..).map(|n| (u32::MAX - 2_000).wrapping_add(n * 1_600)))
            .flat_map(|(code, at)| key(*code, at))
            .collect()
    }

    #[test]
    fn each_key_is_heard_once_though_its_end_is_sent_three_times() {
        assert_eq!(keys(&typed()), "551#");
    }

    #[test]
    fn one_packet_of_seven_is_enough() {
        let packets = typed();
        for kept in 0..7 {
            let some: Vec<_> = packets.iter().skip(kept).step_by(7).copied().collect();
            assert_eq!(keys(&some), "551#", "only packet {kept} of each came");
        }
    }

    #[test]
    fn packets_that_were_overtaken_and_repeated_add_nothing() {
        let mut packets = typed();
        packets.swap(6, 7);
        packets.swap(5, 9);
        packets.push(packets[3]);
        assert_eq!(keys(&packets), "551#");
    }

    #[test]
    fn a_key_that_is_held_is_one_key() {
        let segment = u32::from(u16::MAX);
        let mut packets = Vec::new();
        for n in 0..3 {
            let event = Event { code: 9, end: n == 2, volume: 0, duration: u16::MAX };
            packets.push((event, n * segment, n == 0));
        }
        packets.extend(key(9, 4 * segment));
        assert_eq!(keys(&packets), "99");
    }

    #[test]
    fn a_timestamp_that_counts_up_is_no_new_key() {
        let event = |n: u16| Event { code: 3, end: n == 5, volume: 0, duration: 160 * n };
        let packets: Vec<_> = (1..=5).map(|n| (event(n), 160 * u32::from(n), n == 1)).collect();
        assert_eq!(keys(&packets), "3");
    }

    #[test]
    fn what_is_no_key_is_none() {
        let flash = Event { code: 16, end: true, volume: 0, duration: 400 };
        assert_eq!(keys(&[(flash, 0, true)]), "");
        assert_eq!(Event::parse(&[1, 2, 3]), None);
        assert_eq!(Event::parse(&flash.to_bytes()), Some(flash));
    }

    proptest! {
        #[test]
        fn any_losses_leave_a_part_of_what_was_typed(lost in proptest::collection::vec(any::<bool>(), 28)) {
            let some: Vec<_> = typed().into_iter().zip(lost).filter(|(_, lost)| !lost).map(|(p, _)| p).collect();
            let heard = keys(&some);
            let mut typed = "551#".chars();
            prop_assert!(heard.chars().all(|key| typed.any(|other| other == key)), "{}", heard);
        }
    }
}
