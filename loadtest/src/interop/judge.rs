//! Whether what arrived is what was sent. A pure function.

use std::collections::BTreeMap;
use std::fmt;

use crate::payload::Stamp;

/// A packet that came through the slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Arrival {
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub marker: bool,
    /// None: the payload is not as it was sent.
    pub stamp: Option<Stamp>,
}

/// The last packet that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    pub publisher: u32,
    pub frame: u32,
}

impl Last {
    pub(super) fn is(self, stamp: Stamp) -> bool {
        (stamp.publisher, stamp.frame, stamp.packet + 1) == (self.publisher, self.frame, stamp.packets)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    packets: usize,
    frames: usize,
    /// Packets that came after one that follows them.
    late: usize,
    /// Packets that came again: a server fills a probe of the path with what it has sent before.
    repeated: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { packets, frames, late, repeated } = self;
        write!(
            f,
            "{frames} frames in {packets} packets, whole and without a gap across the switch; {late} late, {repeated} repeated"
        )
    }
}

/// `pictures`: frames depend on key frames. The publishers are seen one after the other.
pub(super) fn judge(arrivals: &[Arrival], pictures: bool, last: Last) -> Result<Verdict, String> {
    let first = arrivals.first().ok_or("nothing arrived")?;
    let mut by_number = BTreeMap::new();
    let (mut late, mut repeated, mut highest) = (0, 0, 0_i64);
    for arrival in arrivals {
        if (arrival.ssrc, arrival.payload_type) != (first.ssrc, first.payload_type) {
            return Err(format!("the slot changes its SSRC or its payload type: {arrival:?}"));
        }
        let number =
            highest + i64::from(arrival.sequence_number.wrapping_sub(wrapped(first, highest)) as i16);
        match by_number.insert(number, arrival) {
            Some(before) if before == arrival => repeated += 1,
            Some(before) => return Err(format!("a number comes twice: {before:?}, and {arrival:?}")),
            None => late += usize::from(number < highest),
        }
        highest = highest.max(number);
    }
    let mut packets = by_number.iter();
    let (mut number, mut packet) =
        packets.next().map(|(number, packet)| (*number, *packet)).ok_or("nothing")?;
    let mut before = stamp(packet)?;
    starts(before, pictures)?;
    let (mut frames, mut switches) = (1, 0);
    for (next_number, next) in packets {
        let now = stamp(next)?;
        if *next_number != number + 1 {
            return Err(format!("{} numbers are missing before {next:?}", next_number - number - 1));
        }
        let switched = now.publisher != before.publisher;
        if switched {
            starts(now, pictures)?;
            switches += 1;
        } else if !follows(before, now) {
            return Err(format!("{now:?} does not follow {before:?}"));
        }
        let new_frame = (now.publisher, now.frame) != (before.publisher, before.frame);
        frames += usize::from(new_frame);
        let forward = next.timestamp.wrapping_sub(packet.timestamp) as i32;
        if (new_frame && forward <= 0) || (!new_frame && forward != 0) {
            return Err(format!("the timestamp is wrong: {next:?} after {packet:?}"));
        }
        if pictures && next.marker != (now.packet + 1 == now.packets) {
            return Err(format!("the marker is wrong: {next:?}"));
        }
        (number, packet, before) = (*next_number, next, now);
    }
    if switches != 1 {
        return Err(format!("one switch was asked for, and {switches} came"));
    }
    if !last.is(before) {
        return Err(format!(
            "the last packet is missing: frame {} was sent, and {before:?} came",
            last.frame
        ));
    }
    Ok(Verdict { packets: by_number.len(), frames, late, repeated })
}

/// The number of 16 bits that stands for this one.
fn wrapped(first: &Arrival, number: i64) -> u16 {
    first.sequence_number.wrapping_add(number as u16)
}

fn stamp(arrival: &Arrival) -> Result<Stamp, String> {
    arrival.stamp.ok_or_else(|| format!("a payload is not as it was sent: {arrival:?}"))
}

fn starts(stamp: Stamp, pictures: bool) -> Result<(), String> {
    let right = !pictures || (stamp.key_frame && stamp.packet == 0);
    if right { Ok(()) } else { Err(format!("what is shown starts in the middle: {stamp:?}")) }
}

fn follows(before: Stamp, now: Stamp) -> bool {
    match before.packet + 1 == before.packets {
        true => now.frame == before.frame + 1 && now.packet == 0,
        false => now.frame == before.frame && now.packet == before.packet + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two publishers, three frames of two packets each, the first of which are key frames.
    fn stream() -> Vec<Arrival> {
        let stamps = [1, 2].into_iter().flat_map(|publisher| {
            (0..6).map(move |index| Stamp {
                publisher,
                encoding: 0,
                key_frame: index < 2,
                frame: 10 + index / 2,
                packet: (index % 2) as u16,
                packets: 2,
                made_us: 0,
            })
        });
        let arrival = |(index, stamp): (usize, Stamp)| Arrival {
            ssrc: 1,
            payload_type: 96,
            sequence_number: 65_530_u16.wrapping_add(index as u16),
            timestamp: (index as u32 / 2).wrapping_mul(3_600),
            marker: stamp.packet == 1,
            stamp: Some(stamp),
        };
        stamps.enumerate().map(arrival).collect()
    }

    const LAST: Last = Last { publisher: 2, frame: 12 };

    #[test]
    fn a_whole_stream_passes_also_where_one_packet_came_late() {
        assert_eq!(
            judge(&stream(), true, LAST),
            Ok(Verdict { packets: 12, frames: 6, late: 0, repeated: 0 })
        );
        let mut late = stream();
        late.swap(3, 5);
        assert_eq!(judge(&late, true, LAST), Ok(Verdict { packets: 12, frames: 6, late: 2, repeated: 0 }));
        let mut repeated = stream();
        repeated.push(repeated[3]);
        assert_eq!(
            judge(&repeated, true, LAST),
            Ok(Verdict { packets: 12, frames: 6, late: 0, repeated: 1 })
        );
        let mut first_late = stream();
        first_late.swap(0, 1);
        assert_eq!(
            judge(&first_late, true, LAST),
            Ok(Verdict { packets: 12, frames: 6, late: 1, repeated: 0 })
        );
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        type Change = fn(&mut Vec<Arrival>);
        let changes: [(Change, &str); 11] = [
            (|all| all.clear(), "nothing arrived"),
            (|all| all.retain(|one| one.sequence_number != 65_534), "1 numbers are missing"),
            (|all| all.push(Arrival { timestamp: 9, ..all[3] }), "comes twice"),
            (|all| all[2].stamp = None, "not as it was sent"),
            (|all| all[7].ssrc = 2, "changes its SSRC"),
            (|all| all[5].timestamp += 1, "the timestamp is wrong"),
            (|all| all[8].timestamp = 0, "the timestamp is wrong"),
            (|all| all[4].marker = true, "the marker is wrong"),
            (|all| all.truncate(6), "one switch"),
            (|all| all.truncate(11), "the last packet is missing"),
            (|all| all[6].stamp.as_mut().unwrap().key_frame = false, "starts in the middle"),
        ];
        for (change, part) in changes {
            let mut arrivals = stream();
            change(&mut arrivals);
            let error = judge(&arrivals, true, LAST).expect_err(part);
            assert!(error.contains(part), "{part}: {error}");
        }
        let mut left_out = stream();
        left_out.drain(2..4);
        left_out[2..].iter_mut().for_each(|one| one.sequence_number = one.sequence_number.wrapping_sub(2));
        assert!(judge(&left_out, true, LAST).unwrap_err().contains("does not follow"));
    }
}
