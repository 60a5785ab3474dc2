use std::collections::BTreeMap;
use std::time::Duration;

use broletto_loadtest::link::Random;
use proptest::prelude::*;

use super::*;
use crate::codec::PacketInfo;
use crate::codec::ids::Tl0PicIdx;

const MILLISECOND: Duration = Duration::from_millis(1);

fn packet(sequence_number: u64, timestamp: u32) -> IncomingPacket {
    IncomingPacket { encoding: 0, sequence_number, timestamp, info: PacketInfo::default() }
}

fn vp8_packet(sequence_number: u64, picture_id: u16, tl0_pic_idx: u8) -> IncomingPacket {
    let ids = Ids {
        picture_id: Some(PictureId { value: picture_id, long: true, offset: 2 }),
        tl0_pic_idx: Some(Tl0PicIdx { value: tl0_pic_idx, offset: 4 }),
    };
    let info = PacketInfo { vp8: Some(ids), ..PacketInfo::default() };
    IncomingPacket { info, ..packet(sequence_number, 0) }
}

fn number(rewritten: Result<Rewritten, NotSent>) -> Result<u64, NotSent> {
    rewritten.map(|rewritten| rewritten.sequence_number)
}

fn ids(rewritten: Rewritten) -> (u16, u8) {
    let vp8 = rewritten.vp8.expect("the packet is VP8");
    (vp8.picture_id.expect("it has a picture id"), vp8.tl0_pic_idx.expect("it has a TL0PICIDX"))
}

#[test]
fn loss_is_a_gap_and_what_is_left_out_is_none() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 7, 0);
    assert_eq!(rewriter.start(&packet(100, 0), now).sequence_number, 7);
    assert_eq!(number(rewriter.rewrite(&packet(101, 0), now)), Ok(8));
    assert_eq!(rewriter.skip(&packet(103, 0)), None);
    assert_eq!(number(rewriter.rewrite(&packet(104, 0), now)), Ok(10));
    assert_eq!(number(rewriter.rewrite(&packet(102, 0), now)), Ok(9));
    assert_eq!(number(rewriter.rewrite(&packet(105, 0), now)), Ok(11));
}

#[test]
fn no_number_is_sent_twice() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 7, 0);
    rewriter.start(&packet(100, 0), now);
    assert_eq!(number(rewriter.rewrite(&packet(100, 0), now)), Err(NotSent::Repeated));
    assert_eq!(rewriter.skip(&packet(101, 0)), None);
    assert_eq!(number(rewriter.rewrite(&packet(101, 0), now)), Err(NotSent::Repeated));
    assert_eq!(rewriter.skip(&packet(100, 0)), None);
    assert_eq!(number(rewriter.rewrite(&packet(99, 0), now)), Err(NotSent::BeforeSwitch));
    assert_eq!(number(rewriter.rewrite(&packet(1_124, 0), now)), Ok(7 + 1_023));
    assert_eq!(number(rewriter.rewrite(&packet(100, 0), now)), Err(NotSent::TooLate));
    assert_eq!(number(rewriter.rewrite(&packet(102, 0), now)), Ok(8));
}

#[test]
fn a_gap_that_was_left_for_an_unwanted_packet_is_filled() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, 500);
    rewriter.start(&packet(100, 3_000), now);
    assert_eq!(number(rewriter.rewrite(&packet(102, 6_000), now)), Ok(2));
    assert_eq!(rewriter.skip(&packet(101, 3_000)), Some(Filler { sequence_number: 1, timestamp: 500 }));
    assert_eq!(rewriter.skip(&packet(101, 3_000)), None);
    assert_eq!(number(rewriter.rewrite(&packet(101, 3_000), now)), Err(NotSent::Repeated));
}

#[test]
fn a_gap_that_nobody_could_fill_is_cut_short() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, 0);
    rewriter.start(&packet(100, 0), now);
    assert_eq!(number(rewriter.rewrite(&packet(100_000, 0), now)), Ok(1_024));
    assert_eq!(number(rewriter.rewrite(&packet(99_999, 0), now)), Ok(1_023));
    assert_eq!(number(rewriter.rewrite(&packet(98_977, 0), now)), Ok(1));
    assert_eq!(number(rewriter.rewrite(&packet(98_976, 0), now)), Err(NotSent::TooLate));
}

#[test]
fn the_first_number_leaves_the_rollover_counter_at_zero() {
    for sequence_number in [0, 1, 0x7fff, 0x8000, 0xffff] {
        let mut rewriter = Rewriter::new(48_000, sequence_number, 0);
        let first = rewriter.start(&packet(u64::MAX / 2, 0), Instant::now());
        assert_eq!(first.sequence_number, u64::from(sequence_number & 0x7fff));
    }
}

#[test]
fn a_switch_goes_on_by_the_time_that_passed_whatever_the_new_clock_shows() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, 1_000_000);
    assert_eq!(rewriter.start(&packet(1, 4_000_000_000), start).timestamp, 1_000_000);
    let frame = rewriter.rewrite(&packet(2, 4_000_003_000), start + 33 * MILLISECOND);
    assert_eq!(frame.map(|rewritten| rewritten.timestamp), Ok(1_003_000));

    // The new clock is far behind.
    let later = start + 133 * MILLISECOND;
    let switched = rewriter.start(&packet(9, 5), later);
    assert_eq!(switched.timestamp, 1_000_000 + 11_970);
    assert_eq!(switched.sequence_number, 2);
    assert_eq!(rewriter.rewrite(&packet(10, 3_005), later).map(|r| r.timestamp), Ok(1_014_970));

    // No time at all: one tick, or else two pictures would be one.
    assert_eq!(rewriter.start(&packet(9, 77), later).timestamp, 1_014_971);
}

#[test]
fn a_pause_of_a_day_does_not_run_time_backwards() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, 0);
    rewriter.start(&packet(1, 0), start);
    let switched = rewriter.start(&packet(1, 0), start + Duration::from_secs(86_400));
    assert_eq!(switched.timestamp, 1 << 30);
}

#[test]
fn a_late_packet_does_not_turn_the_clock_back() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, 0);
    rewriter.start(&packet(1, 0), start);
    rewriter.rewrite(&packet(3, 6_000), start + 66 * MILLISECOND).expect("it is new");
    let late = rewriter.rewrite(&packet(2, 3_000), start + 100 * MILLISECOND);
    assert_eq!(late.map(|rewritten| rewritten.timestamp), Ok(3_000));
    assert_eq!(rewriter.start(&packet(7, 0), start + 166 * MILLISECOND).timestamp, 14_940);
}

#[test]
fn timestamps_and_picture_ids_wrap_with_their_source() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, u32::MAX - 10);
    rewriter.start(&packet(1, u32::MAX - 2_000), now);
    assert_eq!(rewriter.rewrite(&packet(2, 999), now).map(|r| r.timestamp), Ok(2_989));

    let mut rewriter = Rewriter::new(90_000, 0, 0);
    assert_eq!(ids(rewriter.start(&vp8_packet(1, 0x7ffe, 254), now)), (0, 0));
    for (nth, picture) in [0x7fff, 0, 1].into_iter().enumerate() {
        let tl0 = 255u8.wrapping_add(nth as u8);
        let rewritten = rewriter.rewrite(&vp8_packet(2 + nth as u64, picture, tl0), now).expect("it is new");
        assert_eq!(ids(rewritten), (1 + nth as u16, 1 + nth as u8));
    }
}

#[test]
fn picture_ids_of_frames_that_are_left_out_are_closed_and_of_lost_ones_are_not() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, 0);
    assert_eq!(ids(rewriter.start(&vp8_packet(1, 100, 7), now)), (0, 0));
    assert_eq!(rewriter.skip(&vp8_packet(2, 101, 7)), None);
    assert_eq!(rewriter.skip(&vp8_packet(3, 101, 7)), None);
    assert_eq!(rewriter.rewrite(&vp8_packet(4, 102, 8), now).map(ids), Ok((1, 1)));
    assert_eq!(rewriter.rewrite(&vp8_packet(5, 102, 8), now).map(ids), Ok((1, 1)));
    // Picture 103 in packet 6 is lost for now.
    assert_eq!(rewriter.rewrite(&vp8_packet(7, 104, 8), now).map(ids), Ok((3, 1)));
    assert_eq!(rewriter.rewrite(&vp8_packet(6, 103, 8), now).map(ids), Ok((2, 1)));

    // Another source goes on after the last picture and the last base layer frame.
    assert_eq!(ids(rewriter.start(&vp8_packet(50, 9, 200), now)), (4, 2));
    // H.264 in between has neither.
    assert_eq!(rewriter.start(&packet(3, 0), now).vp8, None);
    assert_eq!(ids(rewriter.start(&vp8_packet(70, 0, 0), now)), (5, 3));
}

fn vp9_packet(sequence_number: u64, picture_id: u16, frame_number: u16) -> IncomingPacket {
    let mut packet = vp8_packet(sequence_number, picture_id, 250);
    packet.info.vp9 = packet.info.vp8.take();
    packet.info.descriptor =
        crate::codec::dependency::Place::read(&[0xc0, (frame_number >> 8) as u8, frame_number as u8]);
    packet
}

fn vp9_numbers(rewritten: Rewritten) -> (u16, u8, u16) {
    let ids = rewritten.vp9.expect("the packet is VP9");
    let (picture_id, tl0) = (ids.picture_id.expect("it has one"), ids.tl0_pic_idx.expect("it has one"));
    (picture_id, tl0, rewritten.frame_number.expect("it has a descriptor"))
}

#[test]
fn vp9_and_frame_numbers_keep_their_differences_and_go_on_with_the_next_source() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 0, 0);
    // The first source keeps its numbers, across their end and whatever is left out.
    assert_eq!(vp9_numbers(rewriter.start(&vp9_packet(1, 0x7ffe, 0xfffe), now)), (0x7ffe, 250, 0xfffe));
    rewriter.skip(&vp9_packet(2, 0x7ffe, 0xffff));
    let numbers = rewriter.rewrite(&vp9_packet(3, 1, 2), now).map(vp9_numbers);
    assert_eq!(numbers, Ok((1, 250, 2)));
    // A late one, which does not turn back where the next source goes on.
    assert_eq!(rewriter.rewrite(&vp9_packet(2, 0x7fff, 0xffff), now), Err(NotSent::Repeated));
    assert_eq!(vp9_numbers(rewriter.start(&vp9_packet(9, 500, 40_000), now)), (2, 251, 3));
    let numbers = rewriter.rewrite(&vp9_packet(10, 503, 40_009), now).map(vp9_numbers);
    assert_eq!(numbers, Ok((5, 251, 12)));
    assert_eq!(vp9_numbers(rewriter.start(&vp9_packet(70, 500, 40_000), now)), (6, 252, 13));
}

#[test]
fn a_short_picture_id_gets_a_number_that_fits() {
    let now = Instant::now();
    let short = |sequence_number, value| {
        let mut packet = vp8_packet(sequence_number, 0, 0);
        let picture_id = Some(PictureId { value, long: false, offset: 2 });
        packet.info.vp8 = Some(Ids { picture_id, tl0_pic_idx: None });
        packet
    };
    let mut rewriter = Rewriter::new(90_000, 0, 0);
    rewriter.start(&short(0, 120), now);
    for nth in 1..300u16 {
        let packet = short(u64::from(nth), (120 + nth) & 0x7f);
        let rewritten = rewriter.rewrite(&packet, now).expect("it is new").vp8.expect("it is VP8");
        assert_eq!(rewritten, IdRewrite { picture_id: Some(nth & 0x7f), tl0_pic_idx: None });
    }
}

/// Packets of one source in the order in which they arrive.
#[derive(Debug, Clone)]
struct Source {
    first: u64,
    /// Each number behind `first` that arrives, and whether the selector lets it through. A number
    /// may come twice or never; the first is always there.
    arrivals: Vec<(u64, bool)>,
}

fn source() -> impl Strategy<Value = Source> {
    let fates = proptest::collection::vec((0..100u32, 0..40u64, any::<bool>()), 1..300);
    (0..u64::from(u32::MAX), fates).prop_map(|(first, fates)| {
        let mut arrivals: Vec<(u64, u64, bool)> = Vec::new();
        for (number, (dice, delay, passes)) in (1u64..).zip(fates) {
            let (lost, late, twice) = (dice < 10, dice < 30, dice > 95);
            if !lost {
                arrivals.push((number + if late { delay } else { 0 }, number, passes));
            }
            if twice {
                arrivals.push((number + delay, number, passes));
            }
        }
        arrivals.sort_by_key(|(at, _, _)| *at);
        Source { first, arrivals: arrivals.into_iter().map(|(_, number, passes)| (number, passes)).collect() }
    })
}

proptest! {
    /// Whatever comes: no number twice, the order of the source kept, and as many numbers missing
    /// as packets are.
    #[test]
    fn the_output_reproduces_the_input_without_what_was_left_out(
        sources in proptest::collection::vec(source(), 1..4),
    ) {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(90_000, 0x7fff, 0);
        let mut next = 0x7fff;
        for source in sources {
            let started = rewriter.start(&packet(source.first, 0), now);
            prop_assert_eq!(started.sequence_number, next);
            // Output number by input number, and the filled gaps.
            let mut sent = BTreeMap::from([(0, started.sequence_number)]);
            let mut filled = BTreeMap::new();
            for (number, passes) in &source.arrivals {
                let packet = packet(source.first + number, 0);
                if *passes {
                    match rewriter.rewrite(&packet, now) {
                        Ok(rewritten) => prop_assert_eq!(sent.insert(*number, rewritten.sequence_number), None),
                        Err(error) => {
                            prop_assert_eq!(error, NotSent::Repeated);
                            prop_assert!(sent.contains_key(number));
                        }
                    }
                } else if let Some(filler) = rewriter.skip(&packet) {
                    prop_assert_eq!(filled.insert(*number, filler.sequence_number), None);
                }
            }

            let mut all = sent.clone();
            all.extend(filled);
            prop_assert!(all.values().is_sorted_by(|a, b| a < b), "{all:?}");
            let last = *all.values().next_back().expect("the first is there");
            let newest = source.arrivals.iter().map(|(number, _)| *number).max().unwrap_or(0);
            let arrived = |number: &u64| source.arrivals.iter().any(|(other, _)| other == number);
            let lost = (1..newest).filter(|number| !arrived(number)).count() as u64;
            // Packets lost after the last one sent show only when the next source starts.
            let trailing = rewriter.sequence.next - 1 - last;
            prop_assert_eq!(last + 1 - next + trailing, all.len() as u64 + lost);
            next = rewriter.sequence.next;
        }
    }

    #[test]
    fn any_numbers_at_all_never_repeat_one(
        packets in proptest::collection::vec((any::<u32>(), any::<u16>(), any::<u8>(), 0..8u8), 1..200),
    ) {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(90_000, 0, 0);
        let mut used = std::collections::HashSet::new();
        used.insert(rewriter.start(&vp8_packet(1 << 31, 5, 5), now).sequence_number);
        for (sequence_number, picture, tl0, action) in packets {
            let packet = vp8_packet(u64::from(sequence_number), picture & PICTURE_ID_MAX, tl0);
            let number = match action {
                0 => Some(rewriter.start(&packet, now).sequence_number),
                1 | 2 => rewriter.skip(&packet).map(|filler| filler.sequence_number),
                _ => rewriter.rewrite(&packet, now).ok().map(|rewritten| rewritten.sequence_number),
            };
            prop_assert!(number.is_none_or(|number| used.insert(number)));
        }
    }
}

/// A VP8 publisher: 30 frames a second of 1 to 4 packets, three temporal layers of which the middle
/// and lower are wanted.
struct Publisher {
    sequence_number: u64,
    timestamp: u32,
    picture_id: u16,
    tl0_pic_idx: u8,
    frame: u64,
}

impl Publisher {
    fn frame(&mut self, random: &mut Random) -> Vec<(IncomingPacket, bool)> {
        let layer = [0, 2, 1, 2][(self.frame % 4) as usize];
        self.frame += 1;
        self.timestamp = self.timestamp.wrapping_add(3_000);
        self.picture_id = (self.picture_id + 1) & PICTURE_ID_MAX;
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(u8::from(layer == 0));
        let packets = 1 + random.bits() % 4;
        let first = self.sequence_number;
        self.sequence_number += packets;
        (first..first + packets)
            .map(|sequence_number| {
                let packet = vp8_packet(sequence_number, self.picture_id, self.tl0_pic_idx);
                (IncomingPacket { timestamp: self.timestamp, ..packet }, layer < 2)
            })
            .collect()
    }
}

#[test]
fn an_hour_of_switching_is_one_stream() {
    const FRAMES: u64 = 3_600 * 30;
    let mut random = Random::new(2);
    let mut publishers: Vec<Publisher> = (0..3)
        .map(|nth| Publisher {
            // Each wraps in all its numbers within the hour.
            sequence_number: 65_000 + nth * 300,
            timestamp: u32::MAX - 9_000_000 * nth as u32,
            picture_id: 32_000 + nth as u16,
            tl0_pic_idx: random.bits() as u8,
            frame: 0,
        })
        .collect();

    let start = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 32_000, u32::MAX - 1_000_000);
    let mut present = usize::MAX;
    let mut outputs: Vec<Rewritten> = Vec::new();
    let mut switches = 0;
    for frame in 0..FRAMES {
        let now = start + Duration::from_nanos(frame * 1_000_000_000 / 30);
        let chosen = (frame / 37 % 3) as usize;
        for (nth, publisher) in publishers.iter_mut().enumerate() {
            let packets = publisher.frame(&mut random);
            // A switch waits for a frame of the base layer, as a key frame would be.
            let switches_now = nth == chosen && present != chosen && publisher.frame % 4 == 1;
            if switches_now {
                present = chosen;
                switches += 1;
            }
            if nth != present {
                continue;
            }
            for (index, (packet, wanted)) in packets.iter().enumerate() {
                match (switches_now && index == 0, wanted) {
                    (true, _) => outputs.push(rewriter.start(packet, now)),
                    (false, true) => outputs.push(rewriter.rewrite(packet, now).expect("it is in order")),
                    (false, false) => assert_eq!(rewriter.skip(packet), None),
                }
            }
        }
    }

    assert!(switches > 2_500, "{switches}");
    assert!(outputs.len() > 65_536, "{}", outputs.len());
    let mut ticks = 0u64;
    for pair in outputs.windows(2) {
        let [before, after] = pair else { unreachable!("windows of two") };
        assert_eq!(after.sequence_number, before.sequence_number + 1);
        let (picture_before, tl0_before) = ids(*before);
        let (picture, tl0) = ids(*after);
        let frames = picture.wrapping_sub(picture_before) & PICTURE_ID_MAX;
        let step = after.timestamp.wrapping_sub(before.timestamp);
        assert_eq!(frames > 0, step > 0, "a picture has one timestamp");
        assert!(frames <= 1 && tl0.wrapping_sub(tl0_before) <= 1 && step <= 5 * 3_000, "{pair:?}");
        ticks += u64::from(step);
    }
    let seconds = ticks as f64 / 90_000.0;
    assert!((3_599.0..=3_600.5).contains(&seconds), "{seconds} s");
}
