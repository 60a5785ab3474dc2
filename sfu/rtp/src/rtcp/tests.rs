use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::feedback::TransportFeedback;
use crate::ntp::NtpTime;

const US: Ssrc = 1;
const THEM: Ssrc = 0xdead_beef;

fn only(compound: &[u8]) -> Packet<'_> {
    let mut packets = parse(compound);
    let packet = packets.next().expect("there is one").expect("it is well-formed");
    assert!(packets.next().is_none(), "there is no other");
    packet
}

fn all(compound: &[u8]) -> Vec<Packet<'_>> {
    parse(compound).collect::<Result<_, _>>().expect("all are well-formed")
}

/// A packet of every kind that we write.
fn everything() -> Vec<u8> {
    let mut out = Vec::new();
    let report = SenderReport { ssrc: US, time: NtpTime(7), timestamp: 2, packets: 3, octets: 4 };
    write::sender_report(&mut out, &report, &[ReportBlock::default(); 2]);
    write::receiver_report(&mut out, US, &[ReportBlock::default()]);
    write::description(&mut out, US, "name");
    write::nack(&mut out, US, THEM, [1, 2, 40]);
    write::pli(&mut out, US, THEM);
    write::fir(&mut out, US, THEM, 5);
    let arrivals = vec![Some(0), None, Some(1_000), Some(900_000)];
    let feedback = TransportFeedback { arrivals, ..TransportFeedback::default() };
    write::transport_feedback(&mut out, &feedback);
    write::reference_time(&mut out, US, NtpTime(9));
    write::delay(&mut out, US, &Delay { ssrc: THEM, last_report: 1, delay: 2 });
    write::bye(&mut out, &[US, THEM]);
    out
}

/// Reads whatever there is, to the last item. Returns how many items that were.
fn read_out(compound: &[u8]) -> usize {
    parse(compound)
        .flatten()
        .map(|packet| match packet {
            Packet::SenderReport(report) => report.blocks().count(),
            Packet::ReceiverReport(report) => report.blocks().count(),
            Packet::Descriptions(descriptions) => descriptions.names().count(),
            Packet::Bye(bye) => bye.ssrcs().count(),
            Packet::Nack(nack) => nack.numbers().count(),
            Packet::Pli(_) => 1,
            Packet::Fir(requests) => requests.entries().count(),
            Packet::Tmmbr(limits) | Packet::Tmmbn(limits) => limits.entries().count(),
            Packet::Remb(remb) => remb.ssrcs().count(),
            Packet::TransportFeedback(feedback) => feedback.decode().map_or(0, |read| read.arrivals.len()),
            Packet::ExtendedReport(report) => report.blocks().count(),
        })
        .sum()
}

#[test]
fn a_compound_is_read_packet_by_packet() {
    let compound = everything();
    let packets = all(&compound);
    assert_eq!(packets.len(), 10);
    assert_eq!(packets[4], Packet::Pli(FeedbackPacket { sender_ssrc: US, media_ssrc: THEM }));
    let Packet::Fir(requests) = packets[5] else { panic!("it is {:?}", packets[5]) };
    assert_eq!(requests.entries().collect::<Vec<_>>(), [(THEM, 5)]);
    let Packet::ExtendedReport(report) = packets[7] else { panic!("it is {:?}", packets[7]) };
    assert_eq!(report.blocks().collect::<Vec<_>>(), [ExtendedBlock::ReferenceTime(NtpTime(9))]);
    let Packet::ExtendedReport(report) = packets[8] else { panic!("it is {:?}", packets[8]) };
    let delay = Delay { ssrc: THEM, last_report: 1, delay: 2 };
    assert_eq!(report.blocks().collect::<Vec<_>>(), [ExtendedBlock::Delay(delay)]);
    let Packet::Bye(bye) = packets[9] else { panic!("it is {:?}", packets[9]) };
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [US, THEM]);
}

#[test]
fn what_is_unknown_is_skipped_and_what_is_malformed_is_named() {
    let mut compound = vec![0x80, 204, 0, 1, 0, 0, 0, 9];
    // A receiver report that claims a block which it has not.
    compound.extend([0x81, 201, 0, 1, 0, 0, 0, 9]);
    write::pli(&mut compound, US, THEM);
    // Feedback of a format that nobody knows, then a header whose packet is cut off.
    compound.extend([0x9e, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 9]);
    compound.extend([0x80, 200, 0, 6, 0]);
    let read: Vec<_> = parse(&compound).collect();
    let pli = Packet::Pli(FeedbackPacket { sender_ssrc: US, media_ssrc: THEM });
    let body = Malformed::Body { packet_type: 201, count: 1, got: 4 };
    assert_eq!(read, [Err(body), Ok(pli), Err(Malformed::Short { needed: 28, got: 5 })]);
    let old = [0x40, 201, 0, 1, 0, 0, 0, 9];
    assert_eq!(parse(&old).collect::<Vec<_>>(), [Err(Malformed::Version { got: 1 })]);
}

#[test]
fn padding_is_no_part_of_a_packet() {
    let mut padded = vec![0xa1, 203, 0, 3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 8];
    let Packet::Bye(bye) = only(&padded) else { panic!("it is a farewell") };
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [9]);
    padded[15] = 16;
    let malformed = Malformed::Padding { claimed: 16, got: 12 };
    assert_eq!(parse(&padded).collect::<Vec<_>>(), [Err(malformed)]);
}

#[test]
fn reports_that_have_no_room_in_one_packet_get_more() {
    let blocks: Vec<_> = (0..70).map(|ssrc| ReportBlock { ssrc, ..ReportBlock::default() }).collect();
    let report = SenderReport { ssrc: US, time: NtpTime(7), timestamp: 2, packets: 3, octets: 4 };
    let mut out = Vec::new();
    write::sender_report(&mut out, &report, &blocks);
    let packets = all(&out);
    assert_eq!(packets.len(), 3);
    let read: Vec<_> = packets
        .iter()
        .flat_map(|packet| match packet {
            Packet::SenderReport(report) => report.blocks().collect::<Vec<_>>(),
            Packet::ReceiverReport(report) => report.blocks().collect(),
            other => panic!("{other:?} is no report"),
        })
        .collect();
    assert_eq!(read, blocks);
}

#[test]
fn a_compound_has_few_transport_wide_feedbacks() {
    let (mut out, feedback) = (Vec::new(), TransportFeedback::default());
    for _ in 0..20 {
        write::transport_feedback(&mut out, &feedback);
    }
    let read: Vec<_> = parse(&out).collect();
    assert_eq!(read.len(), TRANSPORT_FEEDBACKS_MAX + 1);
    assert_eq!(read[TRANSPORT_FEEDBACKS_MAX], Err(Malformed::TooManyFeedbacks));
}

#[test]
fn limits_are_scaled() {
    // 3 << 10 bit/s, 40 bytes of overhead.
    let limit = 10_u32 << 26 | 3 << 9 | 40;
    let mut tmmbr = vec![0x83, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
    tmmbr.extend(limit.to_be_bytes());
    let Packet::Tmmbr(limits) = only(&tmmbr) else { panic!("it is a request") };
    let expected = BitrateLimit { ssrc: 7, bitrate_bps: 3_072, overhead_bytes: 40 };
    assert_eq!(limits.entries().collect::<Vec<_>>(), [expected]);
    let remb = |scale| {
        vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, scale, 0, 5, 0, 0, 0, 7]
    };
    let most = remb(0xfc);
    let Packet::Remb(most) = only(&most) else { panic!("it is an estimate") };
    assert_eq!(most.bitrate_bps, u64::MAX, "5 << 63 has no room");
    let some = remb(1 << 2);
    let Packet::Remb(some) = only(&some) else { panic!("it is an estimate") };
    assert_eq!((some.bitrate_bps, some.ssrcs().collect::<Vec<_>>()), (10, vec![7]));
}

#[test]
fn a_name_is_cut_at_a_letter_and_found_among_other_items() {
    let mut out = Vec::new();
    write::description(&mut out, US, &"è".repeat(200));
    let Packet::Descriptions(descriptions) = only(&out) else { panic!("it is a description") };
    let name = "è".repeat(127);
    assert_eq!(descriptions.names().collect::<Vec<_>>(), [(US, name.as_bytes())]);
    // A chunk without a name, then one that has it behind a note.
    let two = [0x82, 202, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 7, 1, b'x', 1, 1, b'n', 0, 0];
    let Packet::Descriptions(descriptions) = only(&two) else { panic!("it is a description") };
    assert_eq!(descriptions.names().collect::<Vec<_>>(), [(2, &b"n"[..])]);
}

prop_compose! {
    fn report_block()(
        ssrc: u32, fraction_lost: u8, lost in -(1 << 23)..1 << 23, highest: u32, jitter: u32,
        last_report: u32, delay: u32,
    ) -> ReportBlock {
        ReportBlock { ssrc, fraction_lost, lost, highest, jitter, last_report, delay }
    }
}

proptest! {
    #[test]
    fn reports_come_back(
        blocks in vec(report_block(), 0..=31), time: u64, timestamp: u32, packets: u32, octets: u32,
    ) {
        let report = SenderReport { ssrc: US, time: NtpTime(time), timestamp, packets, octets };
        let mut out = Vec::new();
        write::sender_report(&mut out, &report, &blocks);
        write::receiver_report(&mut out, THEM, &blocks);
        let packets = all(&out);
        let [Packet::SenderReport(sent), Packet::ReceiverReport(received)] = packets[..] else {
            panic!("{packets:?}");
        };
        prop_assert_eq!(sent.report, report);
        prop_assert!(sent.blocks().eq(blocks.iter().copied()));
        prop_assert_eq!(received.sender_ssrc, THEM);
        prop_assert!(received.blocks().eq(blocks));
    }

    /// In as few items as there can be, wherever they wrap.
    #[test]
    fn numbers_that_are_asked_for_come_back(start: u16, ahead in btree_set(0..2_000_u16, 1..100)) {
        let numbers: Vec<_> = ahead.iter().map(|ahead| start.wrapping_add(*ahead)).collect();
        let mut out = Vec::new();
        write::nack(&mut out, US, THEM, numbers.iter().copied());
        let (mut items, mut covered) = (0, None);
        for ahead in ahead {
            if covered.is_none_or(|covered| ahead > covered) {
                (items, covered) = (items + 1, Some(ahead + 16));
            }
        }
        prop_assert_eq!(out.len(), 12 + 4 * items);
        let Packet::Nack(nack) = only(&out) else { panic!("it is a NACK") };
        prop_assert_eq!((nack.sender_ssrc, nack.media_ssrc), (US, THEM));
        prop_assert!(nack.numbers().eq(numbers));
    }

    #[test]
    fn names_and_farewells_come_back(name in ".{0,60}", ssrcs in vec(any::<u32>(), 1..80)) {
        let mut out = Vec::new();
        write::description(&mut out, THEM, &name);
        write::bye(&mut out, &ssrcs);
        let packets = all(&out);
        let Packet::Descriptions(descriptions) = packets[0] else { panic!("{packets:?}") };
        prop_assert!(descriptions.names().eq([(THEM, name.as_bytes())]));
        let gone = packets[1..].iter().flat_map(|packet| match packet {
            Packet::Bye(bye) => bye.ssrcs().collect::<Vec<_>>(),
            other => panic!("{other:?} is no farewell"),
        });
        prop_assert!(gone.eq(ssrcs));
    }

    /// Whatever is done to a compound, it is read without panic, and what is read is in proportion to
    /// its length.
    #[test]
    fn nothing_panics(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), length: prop::sample::Index,
    ) {
        let mut compound = everything();
        for (at, byte) in changes {
            let at = at.index(compound.len());
            compound[at] = byte;
        }
        compound.truncate(length.index(compound.len() + 1));
        let items = read_out(&compound);
        prop_assert!(items <= crate::feedback::ARRIVALS_MAX * TRANSPORT_FEEDBACKS_MAX + 5 * compound.len());
    }

    #[test]
    fn noise_does_not_panic(noise in vec(any::<u8>(), 0..200), packet_type in 200..=207_u8) {
        let mut noise = noise;
        read_out(&noise);
        // As a well-framed packet of a type that is known.
        noise.truncate(noise.len() / 4 * 4);
        let words = (noise.len() / 4) as u8;
        let mut framed = vec![0x80 | noise.first().map_or(0, |first| first & 0x1f), packet_type, 0, words];
        framed.extend(noise);
        read_out(&framed);
    }
}
