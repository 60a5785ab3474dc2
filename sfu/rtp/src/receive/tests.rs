use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ntp::NtpTime;
use crate::sequence::CYCLE;

const MILLISECOND: Duration = Duration::from_millis(1);
const RTT: Duration = Duration::from_millis(50);
const CONFIG: ReceiveConfig = ReceiveConfig { ssrc: 7, clock_rate: 90_000, has_nack: true };

/// A stream, of which packet 0 came at the start.
struct Scene {
    stream: ReceiveStream,
    start: Instant,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Scene { stream: ReceiveStream::new(CONFIG), start: Instant::now() };
        assert_eq!(scene.packet(0, 0), Arrival::New(CYCLE));
        scene
    }

    fn at(&self, ms: u32) -> Instant {
        self.start + ms * MILLISECOND
    }

    fn packet(&mut self, number: u16, ms: u32) -> Arrival {
        self.stream.handle_packet(number, ms * 90, 1_000, self.at(ms))
    }

    fn asked(&mut self, ms: u32) -> Vec<u16> {
        let mut numbers = Vec::new();
        self.stream.poll_nacks(RTT, self.at(ms), &mut numbers);
        numbers
    }
}

#[test]
fn a_packet_that_two_others_overtake_is_not_asked_for() {
    let mut scene = Scene::new();
    scene.packet(2, 1);
    scene.packet(3, 1);
    assert_eq!(scene.asked(2), []);
    assert_eq!(scene.packet(1, 3), Arrival::New(CYCLE + 1));
    assert_eq!((scene.stream.poll_timeout(), scene.stream.counters.late), (None, 1));
    scene.packet(5, 4);
    scene.packet(6, 4);
    scene.packet(7, 4);
    assert_eq!(scene.asked(4), [4], "three came after it");
}

#[test]
fn what_is_missing_is_asked_for_each_round_trip_and_then_given_up() {
    let mut scene = Scene::new();
    scene.packet(3, 1);
    assert_eq!(scene.stream.poll_timeout(), Some(scene.at(16)));
    assert_eq!(scene.asked(15), []);
    let mut times = Vec::new();
    for ms in 16..1_100 {
        let asked = scene.asked(ms);
        if !asked.is_empty() {
            assert_eq!(asked, [1, 2]);
            times.push(ms);
        }
    }
    // A round trip of 50 ms, and 10 ms more; ten times.
    assert_eq!(times, (0..10).map(|at| 16 + 60 * at).collect::<Vec<_>>());
    assert_eq!(scene.stream.poll_timeout(), None);
    assert_eq!((scene.stream.counters.given_up, scene.stream.counters.asked), (2, 20));
}

#[test]
fn on_a_long_path_it_is_given_up_by_its_age() {
    let mut scene = Scene::new();
    scene.packet(2, 0);
    let mut numbers = Vec::new();
    for ms in 0..1_500 {
        scene.stream.poll_nacks(10 * RTT, scene.at(ms), &mut numbers);
    }
    assert_eq!(numbers.len(), 4, "at 15, 315, 615 and 915 ms");
    assert_eq!(scene.stream.counters.given_up, 1);
}

#[test]
fn a_packet_is_handed_on_once_however_it_came() {
    let mut scene = Scene::new();
    scene.packet(3, 1);
    assert_eq!(scene.stream.handle_repair(1, scene.at(2)), Arrival::New(CYCLE + 1));
    assert_eq!(scene.stream.handle_repair(1, scene.at(2)), Arrival::Duplicate);
    assert_eq!(scene.packet(1, 3), Arrival::Duplicate);
    assert_eq!(scene.packet(2, 3), Arrival::New(CYCLE + 2));
    assert_eq!(scene.stream.handle_repair(2, scene.at(4)), Arrival::Duplicate);
    assert_eq!(scene.packet(3, 4), Arrival::Duplicate);
    assert_eq!(scene.asked(900), []);
    // The last of a burst is known by its repair only, and shows a gap as any other.
    assert_eq!(scene.stream.handle_repair(5, scene.at(901)), Arrival::New(CYCLE + 5));
    assert_eq!(scene.asked(1_000), [4]);
    assert_eq!(scene.stream.handle_repair(30_000, scene.at(1_000)), Arrival::Stray);
    let counters = scene.stream.counters;
    assert_eq!((counters.packets, counters.repaired, counters.late, counters.duplicates), (3, 2, 1, 4));
}

#[test]
fn padding_is_counted_and_neither_handed_on_nor_asked_for() {
    let mut scene = Scene::new();
    let now = scene.at(1);
    assert_eq!(scene.stream.handle_packet(1, 0, 0, now), Arrival::Padding(CYCLE + 1));
    assert_eq!(scene.stream.handle_packet(3, 0, 0, now), Arrival::Padding(CYCLE + 3));
    assert_eq!(scene.asked(100), [2]);
    let report = scene.stream.report(now).expect("some came");
    assert_eq!((report.highest, report.lost), (3, 1));
}

#[test]
fn without_nack_nothing_is_asked_for() {
    let mut stream = ReceiveStream::new(ReceiveConfig { has_nack: false, ..CONFIG });
    let start = Instant::now();
    stream.handle_packet(0, 0, 1, start);
    stream.handle_packet(9, 0, 1, start);
    assert_eq!(stream.poll_timeout(), None);
    assert_eq!(stream.lost(), 8);
}

#[test]
fn a_stream_that_begins_anew_goes_on_above() {
    let mut scene = Scene::new();
    scene.packet(10_000 - 7_000, 1);
    assert_eq!(scene.packet(10_000, 2), Arrival::New(CYCLE + 10_000), "a leap");
    assert_eq!(scene.asked(100).len(), 0, "of what it left out, and of what was missing before");
    assert_eq!(scene.packet(500, 101), Arrival::Stray);
    assert_eq!(scene.packet(10_001, 102), Arrival::New(CYCLE + 10_001), "one alone is nothing");
    assert_eq!(scene.packet(501, 103), Arrival::Stray);
    assert_eq!(scene.packet(502, 104), Arrival::New(2 * CYCLE + 502));
    assert_eq!(scene.packet(501, 105), Arrival::New(2 * CYCLE + 501), "sent again after all");
    assert_eq!(scene.packet(503, 106), Arrival::New(2 * CYCLE + 503));
    let report = scene.stream.report(scene.at(200)).expect("some came");
    assert_eq!((report.lost, report.fraction_lost, scene.stream.counters.restarts), (0, 0, 2));
}

#[test]
fn reports_tell_of_each_interval_and_of_the_whole() {
    let mut scene = Scene::new();
    for number in (1..100).filter(|number| number % 4 != 0) {
        scene.packet(number, u32::from(number));
    }
    let report = scene.stream.report(scene.at(100)).expect("some came");
    assert_eq!((report.ssrc, report.highest, report.lost), (7, 99, 24));
    assert_eq!(report.fraction_lost, (24 * 256 / 100) as u8);
    assert_eq!((report.jitter, report.last_report, report.delay), (0, 0, 0));
    let sent =
        SenderReport { ssrc: 7, time: NtpTime(0x1234_5678 << 16), timestamp: 1, packets: 2, octets: 3 };
    scene.stream.handle_sender_report(sent, scene.at(150));
    scene.packet(100, 200);
    let report = scene.stream.report(scene.at(650)).expect("some came");
    assert_eq!((report.fraction_lost, report.lost), (0, 24), "none since the one before");
    assert_eq!((report.last_report, report.delay), (0x1234_5678, 1 << 15), "half a second ago");
    assert_eq!(scene.stream.sender_report(), Some((sent, scene.at(150))));
    assert_eq!(ReceiveStream::new(CONFIG).report(scene.at(0)), None);
}

#[test]
fn jitter_settles_at_the_mean_of_the_differences() {
    let mut scene = Scene::new();
    for frame in 1..200_u16 {
        // Sent every 20 ms, and every other one takes 4 ms longer; two packets each.
        let timestamp = u32::from(frame) * 1_800;
        let now = scene.at(u32::from(frame) * 20 + u32::from(frame % 2) * 4);
        scene.stream.handle_packet(frame * 2, timestamp, 1, now);
        scene.stream.handle_packet(frame * 2 + 1, timestamp, 1, now + 3 * MILLISECOND);
    }
    let settled = scene.stream.jitter();
    assert!((350..=360).contains(&settled), "{settled} ticks, 4 ms are 360");
    scene.stream.handle_packet(1_000, 5_000_000, 1, scene.at(5_000));
    assert_eq!(scene.stream.jitter(), settled, "other timestamps are no jitter");
}

proptest! {
    /// On a path that loses, doubles and shuffles, with repairs for whatever is asked for: each packet
    /// is handed on once, under its number, and only what is missing is asked for.
    #[test]
    fn a_bad_path_is_repaired(
        start: u16,
        ways in vec((0..100_u8, prop_oneof![3 => Just(0_u32), 1 => 0..30_u32], 0..100_u8), 2..400),
    ) {
        let origin = Instant::now();
        let mut stream = ReceiveStream::new(CONFIG);
        // What comes when: a packet each millisecond, one in ten lost, one in ten twice.
        let mut arrivals: BTreeMap<u32, Vec<(u64, bool)>> = BTreeMap::new();
        let first = CYCLE + u64::from(start);
        let mut sent = 0..ways.len() as u64;
        for (at, (lost, late_ms, twice)) in ways.iter().enumerate() {
            let comes = at as u32 + if at == 0 { 0 } else { *late_ms };
            let is_end = at == 0 || at + 1 == ways.len();
            for _ in 0..u8::from(*lost >= 10 || is_end) + u8::from(*twice < 10) {
                arrivals.entry(comes).or_default().push((first + at as u64, false));
            }
        }
        let mut handed_on = BTreeSet::new();
        let mut highest = 0;
        for ms in 0..2_000 {
            let now = origin + ms * MILLISECOND;
            for (number, is_repair) in arrivals.remove(&ms).unwrap_or_default() {
                let arrival = if is_repair {
                    stream.handle_repair(number as u16, now)
                } else {
                    stream.handle_packet(number as u16, ms * 90, 1, now)
                };
                let is_new = handed_on.insert(number);
                prop_assert_eq!(arrival, if is_new { Arrival::New(number) } else { Arrival::Duplicate });
                highest = highest.max(number);
            }
            let mut asked = Vec::new();
            stream.poll_nacks(RTT, now, &mut asked);
            for number in asked {
                let number = first + u64::from(number.wrapping_sub(start));
                prop_assert!(number < highest && !handed_on.contains(&number), "{} is not missing", number);
                arrivals.entry(ms + 50).or_default().push((number, true));
            }
        }
        prop_assert!(sent.all(|at| handed_on.contains(&(first + at))));
        prop_assert_eq!(stream.poll_timeout(), None);
        prop_assert_eq!(stream.counters.given_up, 0);
        prop_assert_eq!(stream.counters.packets + stream.counters.repaired, ways.len() as u64);
    }

    /// Any numbers at any time: nothing overflows, lists stay bounded, and numbers are handed on once.
    #[test]
    fn no_numbers_break_it(packets in vec((any::<u16>(), any::<u32>(), any::<bool>(), 0..50_u32), 1..300)) {
        let mut now = Instant::now();
        let mut stream = ReceiveStream::new(CONFIG);
        let mut handed_on = BTreeSet::new();
        for (number, timestamp, is_repair, step) in packets {
            now += step * MILLISECOND;
            let arrival = if is_repair {
                stream.handle_repair(number, now)
            } else {
                stream.handle_packet(number, timestamp, 1, now)
            };
            if let Arrival::New(extended) = arrival {
                prop_assert_eq!(extended as u16, number);
                prop_assert!(handed_on.insert(extended));
            }
            let mut asked = Vec::new();
            stream.poll_nacks(RTT, now, &mut asked);
            prop_assert!(asked.len() <= 256);
            stream.report(now);
        }
    }
}
