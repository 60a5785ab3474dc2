use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::rtcp::{self, Malformed, Packet, write};

const MILLISECOND: Duration = Duration::from_millis(1);
const STREAM: u32 = 77;

fn encoded(compound: &[u8]) -> EncodedFeedback<'_> {
    match rtcp::parse(compound).next() {
        Some(Ok(Packet::TransportFeedback(feedback))) => feedback,
        other => panic!("{other:?} is no feedback"),
    }
}

/// What its receiver reads: times are rounded down to what the wire has.
fn over_the_wire(feedback: &TransportFeedback) -> TransportFeedback {
    let mut out = Vec::new();
    let written = write::transport_feedback(&mut out, feedback);
    assert_eq!(written, feedback.arrivals.len(), "our own messages have room");
    assert!(out.len() <= 1_200, "{} bytes", out.len());
    encoded(&out).decode().expect("it was written by us")
}

fn feedback(arrivals: Vec<Option<i64>>) -> TransportFeedback {
    TransportFeedback { sender_ssrc: 1, media_ssrc: STREAM, count: 3, base: 65_530, arrivals }
}

#[test]
fn the_wire_is_as_the_draft_has_it() {
    let arrivals = vec![Some(64_250), None, None, Some(66_000), Some(65_750), Some(65_750 + 64_000)];
    let mut out = Vec::new();
    write::transport_feedback(&mut out, &feedback(arrivals.clone()));
    let items = &out[12..];
    // Base, packets, reference time 1, count; one vector of two-bit symbols.
    assert_eq!(items[..8], [0xff, 0xfa, 0, 6, 0, 0, 1, 3]);
    assert_eq!(items[8..10], (0b11_01_00_00_01_10_10_00_u16 & 0xfffc).to_be_bytes());
    // 250 µs, 1,750 µs, -250 µs, 64 ms.
    assert_eq!(items[10..16], [1, 7, 0xff, 0xff, 1, 0]);
    assert_eq!(encoded(&out).decode(), Ok(feedback(arrivals)));
}

#[test]
fn every_kind_of_chunk_is_read() {
    let mut message = vec![0x8f, 205, 0, 7, 0, 0, 0, 1, 0, 0, 0, 77, 0, 9, 0, 20, 0xff, 0xff, 0xff, 0];
    // Four that came, a vector of which two came, and the first two of a vector.
    message.extend([0x20, 4, 0xa0, 1, 0xd0, 0]);
    message.extend([1, 1, 1, 1, 1, 1]);
    let claimed = encoded(&message).decode();
    assert_eq!(claimed, Err(Malformed::FeedbackCutOff), "one delta is missing");
    message[3] = 8;
    message.extend([4, 0, 0, 0]);
    let read = encoded(&message).decode().expect("it is whole");
    let came: Vec<_> = read.arrivals.iter().map(Option::is_some).collect();
    let mut expected = [false; 20];
    for at in [0, 1, 2, 3, 4, 17, 18] {
        expected[at] = true;
    }
    assert_eq!(came, expected);
    assert_eq!(read.arrivals[0], Some(-64_000 + 250), "the reference time is signed");
    assert_eq!(read.arrivals[18], Some(-64_000 + 250 * 10));
}

#[test]
fn few_bytes_cannot_claim_many_packets() {
    let mut message = vec![0x8f, 205, 0, 8, 0, 0, 0, 1, 0, 0, 0, 77, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    message.extend([0x1f, 0xff].repeat(8));
    let malformed = Malformed::TooManyPackets { claimed: 65_535, max: ARRIVALS_MAX };
    assert_eq!(encoded(&message).decode(), Err(malformed));
    message[14..16].copy_from_slice(&[0x10, 0]);
    assert_eq!(encoded(&message).decode().expect("it is within the bound").arrivals, [None; 4_096]);
    // Runs of no packets end with the message, and so do packets that have no deltas.
    message[20..].fill(0);
    assert_eq!(encoded(&message).decode(), Err(Malformed::FeedbackCutOff));
    message[20] = 0x3f;
    assert_eq!(encoded(&message).decode(), Err(Malformed::FeedbackCutOff));
    message[20] = 0x60;
    message[21] = 0xff;
    assert_eq!(encoded(&message).decode(), Err(Malformed::FeedbackCutOff));
    message[14..16].copy_from_slice(&[0, 1]);
    assert_eq!(encoded(&message).decode(), Err(Malformed::ReservedSymbol));
}

#[test]
fn what_came_is_told_after_a_while_and_what_is_late_with_its_neighbours() {
    let start = Instant::now();
    let mut recorder = ArrivalRecorder::new(1);
    assert_eq!(recorder.poll_timeout(), None);
    recorder.note(STREAM, 65_535, start);
    recorder.note(STREAM, 65_535, start + MILLISECOND);
    recorder.note(STREAM, 1, start + 2 * MILLISECOND);
    assert_eq!(recorder.poll_timeout(), Some(start + 100 * MILLISECOND));
    assert_eq!(recorder.poll(start + 99 * MILLISECOND), None);
    let told = recorder.poll(start + 100 * MILLISECOND).expect("it is due");
    assert_eq!((told.sender_ssrc, told.media_ssrc, told.count, told.base), (1, STREAM, 0, 65_535));
    assert_eq!(told.arrivals, [Some(0), None, Some(2_000)], "the first of the same number counts");
    assert_eq!(recorder.poll_timeout(), None);
    recorder.note(STREAM, 0, start + 110 * MILLISECOND);
    recorder.note(STREAM, 3, start + 120 * MILLISECOND);
    let told = recorder.poll(start + 210 * MILLISECOND).expect("it is due");
    assert_eq!((told.count, told.base), (1, 0));
    assert_eq!(told.arrivals, [Some(110_000), Some(2_000), None, Some(120_000)]);
}

#[test]
fn many_packets_are_told_sooner_and_in_several_messages() {
    let start = Instant::now();
    let mut recorder = ArrivalRecorder::new(1);
    for number in 0..600_u16 {
        recorder.note(STREAM, number, start);
    }
    let now = start + 50 * MILLISECOND;
    assert_eq!(recorder.poll_timeout(), Some(now));
    let mut told = Vec::new();
    while let Some(message) = recorder.poll(now) {
        assert_eq!(usize::from(message.base), told.len());
        told.extend(message.arrivals.iter().copied());
    }
    assert_eq!(told, vec![Some(0); 600]);
}

#[test]
fn a_leap_begins_anew_and_costs_no_memory() {
    let start = Instant::now();
    let mut recorder = ArrivalRecorder::new(1);
    for number in [0, 30_000, 20_000, 60_000, 60_001] {
        recorder.note(STREAM, number, start);
    }
    let told = recorder.poll(start + 100 * MILLISECOND).expect("it is due");
    assert_eq!((told.base, &told.arrivals[..]), (60_000, &[Some(0); 2][..]));
    for number in 0..100_000_u32 {
        recorder.note(STREAM, (60_002 + number * 2_047) as u16, start);
        assert!(recorder.arrivals.len() as u64 <= WINDOW && recorder.arrivals.capacity() <= 8_192);
    }
}

#[test]
fn a_long_silence_has_messages_of_its_own() {
    let start = Instant::now();
    let mut recorder = ArrivalRecorder::new(1);
    recorder.note(STREAM, 1, start);
    recorder.note(STREAM, 2, start + Duration::from_secs(60));
    let now = start + Duration::from_secs(61);
    let first = over_the_wire(recorder.poll(now).expect("it is due"));
    assert_eq!((first.base, &first.arrivals[..]), (1, &[Some(0)][..]));
    let second = over_the_wire(recorder.poll(now).expect("it is due"));
    assert_eq!((second.base, &second.arrivals[..]), (2, &[Some(60_000_000)][..]));
}

proptest! {
    /// Arrivals as they may be, on all kinds of paths: what has no room in the message is told apart.
    #[test]
    fn arrivals_come_back(
        steps in vec((prop_oneof![4 => Just(0), 1 => 0..40_usize, 1 => 0..500_usize],
                      prop_oneof![6 => 0..60_000_i64, 2 => -9_000..9_000_i64, 1 => 0..9_000_000_i64]), 1..300),
        start in -(1_i64 << 38)..1_i64 << 38,
    ) {
        let (mut arrivals, mut now) = (Vec::new(), start);
        for (lost, step) in steps {
            arrivals.extend(std::iter::repeat_n(None, lost));
            now += step;
            arrivals.push(Some(now));
        }
        let sent = feedback(arrivals);
        let mut out = Vec::new();
        let written = write::transport_feedback(&mut out, &sent);
        prop_assert!(written >= 1 && written <= sent.arrivals.len());
        prop_assert!(out.len() <= 1_200, "{} bytes", out.len());
        let received = encoded(&out).decode().expect("it was written by us");
        let rounded: Vec<_> =
            sent.arrivals[..written].iter().map(|at| at.map(|at| at.div_euclid(250) * 250)).collect();
        prop_assert_eq!(received, feedback(rounded));
    }

    /// Whatever the order, each packet that came is told, once or with the time of the first, and no
    /// other is.
    #[test]
    fn every_packet_is_told(
        start: u16, order in vec((0..400_u16, 0..20_000_u64), 1..300), poll_each in 1..40_usize,
    ) {
        let (origin, mut now) = (Instant::now(), Instant::now());
        let mut recorder = ArrivalRecorder::new(1);
        let mut came = std::collections::BTreeMap::new();
        let mut told = std::collections::BTreeMap::new();
        // Nothing is known of what is before the first.
        recorder.note(STREAM, start.wrapping_sub(1), now);
        let mut tell = |recorder: &mut ArrivalRecorder, now| {
            while let Some(message) = recorder.poll(now) {
                let message = over_the_wire(message);
                for (at, arrival) in message.arrivals.iter().enumerate() {
                    let Some(arrival) = arrival else { continue };
                    let before = told.insert(message.base.wrapping_add(at as u16), *arrival);
                    assert!(before.is_none_or(|before| before == *arrival));
                }
            }
        };
        let first = now;
        for (at, (ahead, step_us)) in order.into_iter().enumerate() {
            now += Duration::from_micros(step_us);
            let number = start.wrapping_add(ahead);
            let is_young = now.duration_since(origin) < HISTORY;
            if is_young {
                recorder.note(STREAM, number, now);
                came.entry(number).or_insert((now.duration_since(first).as_micros() as i64) / 250 * 250);
            }
            if at % poll_each == 0 {
                tell(&mut recorder, now);
            }
        }
        tell(&mut recorder, now + Duration::from_secs(1));
        told.remove(&start.wrapping_sub(1));
        prop_assert_eq!(told, came);
    }
}
