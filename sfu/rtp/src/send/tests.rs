use std::time::UNIX_EPOCH;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ntp::{NtpTime, to_short};

const MILLISECOND: Duration = Duration::from_millis(1);
const RTT: Duration = Duration::from_millis(50);
const CONFIG: SendConfig = SendConfig {
    ssrc: 7,
    clock_rate: 90_000,
    history_packets: 100,
    history_age: Duration::from_secs(2),
    resend_percent: 20,
    rtx_number: 500,
};

fn sent(sequence_number: u64) -> Sent {
    Sent { sequence_number, payload_bytes: 1_000 }
}

/// A stream whose packets are their own numbers.
fn stream(numbers: impl IntoIterator<Item = u64>, now: Instant) -> SendStream<u64> {
    let mut stream = SendStream::new(CONFIG);
    for number in numbers {
        stream.handle_sent(sent(number), Some(number), now);
    }
    stream
}

fn resent(stream: &mut SendStream<u64>, numbers: &[u16], now: Instant) -> Vec<u64> {
    let mut resends = Vec::new();
    stream.handle_nack(numbers.iter().copied(), RTT, now, &mut resends);
    assert!(resends.iter().all(|resend| resend.packet == resend.sequence_number));
    resends.into_iter().map(|resend| resend.packet).collect()
}

#[test]
fn a_packet_is_sent_again_once_in_a_round_trip() {
    let now = Instant::now();
    let mut stream = stream(65_530..65_545, now);
    assert_eq!(resent(&mut stream, &[65_535, 0, 65_535], now), [65_535, 65_536]);
    assert_eq!(resent(&mut stream, &[65_535, 1], now + 49 * MILLISECOND), [65_537]);
    assert_eq!(resent(&mut stream, &[65_535], now + RTT), [65_535]);
    // Ahead of all, or before all.
    assert_eq!(resent(&mut stream, &[9, 65_529], now + RTT), []);
    assert_eq!((stream.counters.asked, stream.counters.resent, stream.counters.unknown), (8, 4, 2));
    assert_eq!((stream.next_rtx_number(), stream.next_rtx_number()), (500, 501));
}

#[test]
fn history_is_bounded_by_packets_and_by_age() {
    let start = Instant::now();
    let mut stream = stream((0..150).chain([149, 20]), start);
    assert_eq!(stream.history.len(), 100);
    assert_eq!(resent(&mut stream, &[49, 50, 149], start), [50, 149]);
    let later = start + Duration::from_secs(1);
    stream.handle_sent(sent(200), Some(200), later);
    stream.handle_sent(sent(199), Some(199), later);
    stream.handle_sent(sent(201), None, later);
    assert_eq!(stream.latest().map(|resend| resend.packet), Some(200), "201 may not be asked for");
    assert_eq!(resent(&mut stream, &[199, 200, 201], later), [199, 200]);
    stream.forget(start + Duration::from_secs(2));
    assert_eq!(stream.history.len(), 2);
    stream.forget(start + Duration::from_secs(3));
    assert_eq!((stream.history.len(), stream.latest()), (0, None));
}

#[test]
fn retransmissions_have_a_share_of_what_is_sent() {
    let start = Instant::now();
    let mut stream = stream(0..100, start);
    let all: Vec<u16> = (0..100).collect();
    assert_eq!(resent(&mut stream, &all, start).len(), 100, "what was saved up");
    let later = start + RTT;
    assert_eq!(resent(&mut stream, &all, later).len(), 0);
    for number in 100..150 {
        stream.handle_sent(sent(number), Some(number), later);
    }
    assert_eq!(resent(&mut stream, &all, later), (50..60).collect::<Vec<_>>(), "a fifth of fifty");
    assert_eq!(stream.counters.refused, 100 + 40);
}

#[test]
fn sender_reports_tell_the_time_of_capture() {
    let start = Instant::now() + Duration::from_secs(100);
    let wall = WallClock { instant: start, time: UNIX_EPOCH + Duration::from_secs(1_000_000) };
    let mut stream = SendStream::<u64>::new(CONFIG);
    assert_eq!(stream.sender_report(&wall, start), None);
    let captured_at = start - 100 * MILLISECOND;
    let first = Sent { sequence_number: 9, payload_bytes: 700 };
    stream.note_captured(captured_at, u32::MAX - 8_999);
    assert_eq!(stream.sender_report(&wall, start), None, "nothing was sent");
    stream.handle_sent(first, Some(1), start);
    stream.handle_sent(Sent { sequence_number: 8, ..first }, Some(1), start);
    let now = start + Duration::from_secs(1);
    let report = stream.sender_report(&wall, now).expect("some were sent");
    let time = NtpTime::from_system(wall.time + Duration::from_secs(1));
    // Captured 1.1 s ago.
    let expected = SenderReport { ssrc: 7, time, timestamp: 90_000, packets: 2, octets: 1_400 };
    assert_eq!(report, expected);
}

#[test]
fn a_peers_report_tells_the_round_trip() {
    let now = Instant::now();
    let wall = WallClock { instant: now, time: UNIX_EPOCH + Duration::from_secs(1_000_000) };
    let mut stream = stream([1], now);
    stream.note_captured(now, 3_000);
    let report = stream.sender_report(&wall, now).expect("one was sent");
    let block = ReportBlock {
        ssrc: 7,
        fraction_lost: 64,
        lost: 3,
        highest: 1,
        jitter: 900,
        last_report: report.time.middle(),
        delay: to_short(Duration::from_millis(300)),
    };
    let then = now + 340 * MILLISECOND;
    let heard = stream.handle_report_block(&block, &wall, then).expect("it is of this stream");
    let rtt = heard.rtt.expect("it names our report");
    assert!(rtt.abs_diff(40 * MILLISECOND) < Duration::from_micros(50), "{rtt:?}");
    assert_eq!((heard.fraction_lost, heard.lost, heard.jitter), (64, 3, 10 * MILLISECOND));
    let none = ReportBlock { last_report: 0, ..block };
    assert_eq!(stream.handle_report_block(&none, &wall, then).expect("it is of this stream").rtt, None);
    let other = ReportBlock { ssrc: 8, ..block };
    assert_eq!(stream.handle_report_block(&other, &wall, then), None);
}

proptest! {
    /// Whatever is asked for: what is sent again was sent, is among the latest, and not dearer than its
    /// share.
    #[test]
    fn no_nack_costs_more_than_its_share(
        start in 0..200_000_u64,
        steps in vec((0..4_u64, vec(any::<u16>(), 0..20), vec(0..150_u64, 0..150), 0..20_u32), 1..100),
    ) {
        let mut now = Instant::now();
        let (mut stream, mut next) = (SendStream::new(CONFIG), start);
        let (mut sent_count, mut resent_count) = (0, 0);
        for (skip, noise, back, step) in steps {
            now += step * MILLISECOND;
            next += skip;
            stream.handle_sent(sent(next), Some(next), now);
            sent_count += 1;
            let asked = back.into_iter().map(|back| next.saturating_sub(back) as u16).chain(noise);
            let mut resends = Vec::new();
            stream.handle_nack(asked, RTT, now, &mut resends);
            for resend in &resends {
                prop_assert_eq!(resend.packet, resend.sequence_number);
                prop_assert!(resend.packet >= start && resend.packet <= next);
            }
            resent_count += resends.len() as u64;
            resends.sort_by_key(|resend| resend.packet);
            prop_assert!(resends.windows(2).all(|two| two[0].packet != two[1].packet), "twice at once");
            prop_assert!(stream.history.len() <= CONFIG.history_packets);
            prop_assert!(resent_count * 1_000 <= CREDIT_BYTES_MAX + sent_count * 1_000 / 5);
            next += 1;
        }
    }
}
