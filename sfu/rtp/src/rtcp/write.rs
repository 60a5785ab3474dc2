//! Writes RTCP packets, each appended to what a compound has so far.

use super::feedback::format;
use super::report::{CNAME, DELAYS, REFERENCE_TIME};
use super::{COUNT_MAX, Delay, HEADER_BYTES, ReportBlock, SenderReport, Ssrc, VERSION, kind};
use crate::feedback::{self, TransportFeedback};
use crate::ntp::NtpTime;

/// A NACK has no more items: so its length has room in its header, whatever is asked for.
const NACK_ITEMS_MAX: usize = 1_024;
/// A name's length has eight bits.
const NAME_BYTES_MAX: usize = 255;

/// A sender report with the first blocks, and receiver reports with those that have no room in it.
pub fn sender_report(out: &mut Vec<u8>, report: &SenderReport, blocks: &[ReportBlock]) {
    let (first, rest) = blocks.split_at(blocks.len().min(COUNT_MAX));
    packet(out, kind::SENDER_REPORT, first.len() as u8, |out| {
        put(out, report.ssrc);
        out.extend(report.time.0.to_be_bytes());
        put(out, report.timestamp);
        put(out, report.packets);
        put(out, report.octets);
        first.iter().for_each(|block| report_block(out, block));
    });
    if !rest.is_empty() {
        receiver_report(out, report.ssrc, rest);
    }
}

/// As many receiver reports as the blocks need: 31 have room in each, and an empty one is a report
/// too.
pub fn receiver_report(out: &mut Vec<u8>, sender_ssrc: Ssrc, blocks: &[ReportBlock]) {
    let mut rest = blocks;
    loop {
        let (some, behind) = rest.split_at(rest.len().min(COUNT_MAX));
        packet(out, kind::RECEIVER_REPORT, some.len() as u8, |out| {
            put(out, sender_ssrc);
            some.iter().for_each(|block| report_block(out, block));
        });
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
}

fn report_block(out: &mut Vec<u8>, block: &ReportBlock) {
    const LOST_MAX: i32 = (1 << 23) - 1;
    let lost = block.lost.clamp(-LOST_MAX - 1, LOST_MAX).cast_unsigned() & 0xff_ffff;
    put(out, block.ssrc);
    put(out, u32::from(block.fraction_lost) << 24 | lost);
    put(out, block.highest);
    put(out, block.jitter);
    put(out, block.last_report);
    put(out, block.delay);
}

/// The canonical name of one source, cut off where it is longer than 255 bytes.
pub fn description(out: &mut Vec<u8>, ssrc: Ssrc, name: &str) {
    let whole = (0..=name.len().min(NAME_BYTES_MAX)).rfind(|at| name.is_char_boundary(*at));
    let name = &name.as_bytes()[..whole.unwrap_or(0)];
    packet(out, kind::DESCRIPTIONS, 1, |out| {
        put(out, ssrc);
        out.extend([CNAME, name.len() as u8]);
        out.extend(name);
        // At least one zero ends the items, and more fill up the word.
        out.push(0);
    });
}

/// As many farewells as the sources need.
pub fn bye(out: &mut Vec<u8>, ssrcs: &[Ssrc]) {
    for some in ssrcs.chunks(COUNT_MAX) {
        packet(out, kind::BYE, some.len() as u8, |out| some.iter().for_each(|ssrc| put(out, *ssrc)));
    }
}

/// Asks for packets again: for the closest of the numbers, 17 an item, if they ascend. Nothing is
/// written if there are none; those behind the 1,024th item are left out.
pub fn nack(out: &mut Vec<u8>, sender_ssrc: Ssrc, media_ssrc: Ssrc, numbers: impl IntoIterator<Item = u16>) {
    let mut numbers = numbers.into_iter();
    let Some(mut first) = numbers.next() else { return };
    feedback_packet(out, kind::TRANSPORT_FEEDBACK, format::NACK, [sender_ssrc, media_ssrc], |out| {
        let (mut following, mut items) = (0_u16, 1);
        for number in numbers {
            match number.wrapping_sub(first) {
                0 => {}
                ahead @ 1..=16 => following |= 1 << (ahead - 1),
                _ if items == NACK_ITEMS_MAX => break,
                _ => {
                    put(out, u32::from(first) << 16 | u32::from(following));
                    (first, following) = (number, 0);
                    items += 1;
                }
            }
        }
        put(out, u32::from(first) << 16 | u32::from(following));
    });
}

pub fn pli(out: &mut Vec<u8>, sender_ssrc: Ssrc, media_ssrc: Ssrc) {
    feedback_packet(out, kind::PAYLOAD_FEEDBACK, format::PLI, [sender_ssrc, media_ssrc], |_| {});
}

/// `number` counts the requests for this stream, and stays when one is repeated.
pub fn fir(out: &mut Vec<u8>, sender_ssrc: Ssrc, media_ssrc: Ssrc, number: u8) {
    feedback_packet(out, kind::PAYLOAD_FEEDBACK, format::FIR, [sender_ssrc, 0], |out| {
        put(out, media_ssrc);
        out.extend([number, 0, 0, 0]);
    });
}

/// Returns how many of the arrivals it has: up to one that is more than 8 s from the one before, or to
/// what a datagram of 1,200 bytes has room for.
pub fn transport_feedback(out: &mut Vec<u8>, feedback: &TransportFeedback) -> usize {
    let ssrcs = [feedback.sender_ssrc, feedback.media_ssrc];
    let mut written = 0;
    feedback_packet(out, kind::TRANSPORT_FEEDBACK, format::TRANSPORT_WIDE, ssrcs, |out| {
        written = feedback::encode(feedback, out);
    });
    written
}

/// When a receiver that sends no media sent this (RFC 3611 section 4.4).
pub fn reference_time(out: &mut Vec<u8>, sender_ssrc: Ssrc, time: NtpTime) {
    packet(out, kind::EXTENDED_REPORT, 0, |out| {
        put(out, sender_ssrc);
        out.extend([REFERENCE_TIME, 0, 0, 2]);
        out.extend(time.0.to_be_bytes());
    });
}

/// Answers the reference time of one receiver (RFC 3611 section 4.5).
pub fn delay(out: &mut Vec<u8>, sender_ssrc: Ssrc, delay: &Delay) {
    packet(out, kind::EXTENDED_REPORT, 0, |out| {
        put(out, sender_ssrc);
        out.extend([DELAYS, 0, 0, 3]);
        put(out, delay.ssrc);
        put(out, delay.last_report);
        put(out, delay.delay);
    });
}

fn feedback_packet(
    out: &mut Vec<u8>,
    packet_type: u8,
    format: u8,
    ssrcs: [Ssrc; 2],
    items: impl FnOnce(&mut Vec<u8>),
) {
    packet(out, packet_type, format, |out| {
        ssrcs.into_iter().for_each(|ssrc| put(out, ssrc));
        items(out);
    });
}

/// A header, and a body that is filled up to whole words with zeros.
fn packet(out: &mut Vec<u8>, packet_type: u8, count: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([VERSION << 6 | count, packet_type, 0, 0]);
    body(out);
    let words = (out.len() - start - HEADER_BYTES).div_ceil(4);
    out.resize(start + HEADER_BYTES + 4 * words, 0);
    out[start + 2..start + HEADER_BYTES].copy_from_slice(&(words as u16).to_be_bytes());
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend(word.to_be_bytes());
}
