//! The reports that a participant sends and the requests that it takes (RFC 3550, RFC 4585, RFC 5104,
//! draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::Duration;

use super::rtp::{long, short};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Formats of transport feedback.
const NACK: u8 = 1;
const TRANSPORT_WIDE: u8 = 15;
/// Formats of payload feedback.
const PLI: u8 = 1;
const FIR: u8 = 4;
/// Blocks of one report (the count has five bits).
pub const REPORT_BLOCKS_MAX: usize = 31;
/// Unix time 0 in NTP's (RFC 5905 figure 4), in seconds.
const NTP_UNIX_S: u64 = 2_208_988_800;

/// What a far side told or asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// `ntp_middle`: the middle 32 bits of its NTP time, which reception reports repeat.
    SenderReport {
        ssrc: u32,
        ntp_middle: u32,
    },
    /// PLI or FIR.
    KeyFrameRequest {
        ssrc: u32,
    },
    Nack {
        ssrc: u32,
        packets: u32,
    },
}

/// Calls back for each message of a compound packet that is of interest here.
pub fn parse(compound: &[u8], mut note: impl FnMut(Message)) {
    let mut rest = compound;
    while rest.len() >= 8 && rest[0] >> 6 == 2 {
        let length = 4 * (usize::from(short(&rest[2..])) + 1);
        let Some(packet) = rest.get(..length).filter(|packet| packet.len() >= 8) else { return };
        rest = &rest[length..];
        match (packet[1], packet[0] & 0x1f) {
            (SENDER_REPORT, _) if packet.len() >= 16 => {
                note(Message::SenderReport { ssrc: long(&packet[4..]), ntp_middle: long(&packet[10..]) });
            }
            (PAYLOAD_FEEDBACK, PLI) if packet.len() >= 12 => {
                note(Message::KeyFrameRequest { ssrc: long(&packet[8..]) });
            }
            (PAYLOAD_FEEDBACK, FIR) if packet.len() >= 12 => {
                let entries = packet[12..].chunks_exact(8);
                entries.for_each(|entry| note(Message::KeyFrameRequest { ssrc: long(entry) }));
            }
            (TRANSPORT_FEEDBACK, NACK) if packet.len() >= 12 => {
                let entries = packet[12..].chunks_exact(4);
                let packets = entries.map(|entry| 1 + short(&entry[2..]).count_ones()).sum();
                note(Message::Nack { ssrc: long(&packet[8..]), packets });
            }
            _ => {}
        }
    }
}

/// Of a stream that is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// In 256ths, since the last report.
    pub fraction_lost: u8,
    pub lost: u32,
    pub highest: u32,
    /// Of the last sender report, and how long ago it came.
    pub last_report: Option<(u32, Duration)>,
}

pub fn receiver_report(out: &mut Vec<u8>, sender: u32, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(REPORT_BLOCKS_MAX)];
    header(out, blocks.len() as u8, RECEIVER_REPORT, 1 + 6 * blocks.len());
    out.extend(sender.to_be_bytes());
    for block in blocks {
        out.extend(block.ssrc.to_be_bytes());
        let lost = block.lost.min(0x7f_ffff);
        out.extend((u32::from(block.fraction_lost) << 24 | lost).to_be_bytes());
        out.extend(block.highest.to_be_bytes());
        // Jitter: nothing on the server's side uses it.
        out.extend(0_u32.to_be_bytes());
        let (last, since) = block.last_report.unwrap_or_default();
        out.extend(last.to_be_bytes());
        out.extend(((since.as_micros() * 65_536 / 1_000_000) as u32).to_be_bytes());
    }
}

/// `time` is that of the wall clock since 1970.
pub fn sender_report(out: &mut Vec<u8>, ssrc: u32, time: Duration, timestamp: u32, packets: u32, bytes: u32) {
    header(out, 0, SENDER_REPORT, 6);
    out.extend(ssrc.to_be_bytes());
    out.extend(((time.as_secs() + NTP_UNIX_S) as u32).to_be_bytes());
    out.extend((((u64::from(time.subsec_nanos())) << 32) / 1_000_000_000).to_be_bytes()[4..].iter());
    out.extend(timestamp.to_be_bytes());
    out.extend(packets.to_be_bytes());
    out.extend(bytes.to_be_bytes());
}

/// Asks for packets again (RFC 4585 section 6.2.1). The numbers are in order.
pub fn nack(out: &mut Vec<u8>, sender: u32, media: u32, numbers: &[u16]) {
    let mut entries: Vec<(u16, u16)> = Vec::new();
    for number in numbers {
        match entries.last_mut() {
            Some((first, mask)) if (1..=16).contains(&number.wrapping_sub(*first)) => {
                *mask |= 1 << (number.wrapping_sub(*first) - 1);
            }
            _ => entries.push((*number, 0)),
        }
    }
    header(out, NACK, TRANSPORT_FEEDBACK, 2 + entries.len());
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
    for (first, mask) in entries {
        out.extend(first.to_be_bytes());
        out.extend(mask.to_be_bytes());
    }
}

/// Packets that one transport-wide feedback tells of, so that it fits into a datagram.
pub const FEEDBACK_PACKETS_MAX: usize = 400;

/// When packets came, by their transport-wide numbers.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// In the order in which they came: extended number, time.
    packets: Vec<(u64, Duration)>,
    highest: Option<u64>,
    /// The next that is to be told of.
    next: Option<u64>,
    count: u8,
}

impl Arrivals {
    /// `at` is by any clock that runs evenly.
    pub fn note(&mut self, number: u16, at: Duration) {
        let number = self.highest.map_or(u64::from(number), |highest| super::rtp::extend(number, highest));
        self.highest = self.highest.max(Some(number));
        // What is late was told of as lost.
        if self.next.is_none_or(|next| number >= next) {
            self.packets.push((number, at));
        }
    }

    /// Writes feedback about all that came since the last, in as many messages as it takes, each
    /// handed over when it is complete.
    pub fn write(&mut self, sender: u32, media: u32, mut send: impl FnMut(Vec<u8>)) {
        self.packets.sort_unstable_by_key(|(number, _)| *number);
        self.packets.dedup_by_key(|(number, _)| *number);
        let packets = std::mem::take(&mut self.packets);
        let mut rest = &packets[..];
        while let Some((first, _)) = rest.first() {
            let base = self.next.unwrap_or(*first).max(first.saturating_sub(FEEDBACK_PACKETS_MAX as u64 / 2));
            let take = rest.partition_point(|(number, _)| *number < base + FEEDBACK_PACKETS_MAX as u64);
            let (told, untold) = rest.split_at(take);
            let Some((last, _)) = told.last() else { return };
            send(self.message(sender, media, base, told));
            self.next = Some(last + 1);
            rest = untold;
        }
        // Their room is used again.
        self.packets = packets;
        self.packets.clear();
    }

    fn message(&mut self, sender: u32, media: u32, base: u64, told: &[(u64, Duration)]) -> Vec<u8> {
        const TICK_US: u128 = 250;
        const REFERENCE_TICKS: u128 = 256;
        let ticks = |at: &Duration| at.as_micros() / TICK_US;
        let reference = told.iter().map(|(_, at)| ticks(at)).next().unwrap_or(0) / REFERENCE_TICKS;
        let mut time = (reference * REFERENCE_TICKS) as i128;
        let last = told.last().map_or(base, |(number, _)| *number);
        let mut statuses = vec![0_u8; (last - base + 1) as usize];
        let mut deltas = Vec::with_capacity(told.len() * 2);
        for (number, at) in told {
            let delta = ticks(at) as i128 - time;
            time = ticks(at) as i128;
            statuses[(number - base) as usize] = match u8::try_from(delta) {
                Ok(delta) => {
                    deltas.push(delta);
                    1
                }
                Err(_) => {
                    let delta = delta.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                    deltas.extend(delta.to_be_bytes());
                    2
                }
            };
        }
        let mut out = Vec::with_capacity(32 + statuses.len() / 3 + deltas.len());
        header(&mut out, TRANSPORT_WIDE, TRANSPORT_FEEDBACK, 0);
        out.extend(sender.to_be_bytes());
        out.extend(media.to_be_bytes());
        out.extend((base as u16).to_be_bytes());
        out.extend((statuses.len() as u16).to_be_bytes());
        out.extend(&((reference as u32) & 0xff_ffff).to_be_bytes()[1..]);
        out.push(self.count);
        self.count = self.count.wrapping_add(1);
        chunks(&mut out, &statuses);
        out.extend(deltas);
        // Padding by zeros, of which deltas need no more (section 3.1).
        out.resize(out.len().next_multiple_of(4), 0);
        let words = (out.len() / 4 - 1) as u16;
        out[2..4].copy_from_slice(&words.to_be_bytes());
        out
    }
}

/// Runs where they are long, vectors of seven symbols elsewhere.
fn chunks(out: &mut Vec<u8>, statuses: &[u8]) {
    let mut rest = statuses;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|status| *status == first).count();
        if run >= 7 || run == rest.len() {
            let run = run.min(0x1fff);
            out.extend((u16::from(*first) << 13 | run as u16).to_be_bytes());
            rest = &rest[run..];
        } else {
            let symbols = &rest[..rest.len().min(7)];
            let bits = symbols.iter().enumerate().map(|(at, status)| u16::from(*status) << (12 - 2 * at));
            out.extend((0xc000 | bits.fold(0, |all, bits| all | bits)).to_be_bytes());
            rest = &rest[symbols.len()..];
        }
    }
}

/// `words` follow.
fn header(out: &mut Vec<u8>, count: u8, kind: u8, words: usize) {
    out.push(0x80 | count);
    out.push(kind);
    out.extend((words as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(compound: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        parse(compound, |message| messages.push(message));
        messages
    }

    #[test]
    fn a_compound_is_parsed_to_its_end_and_not_beyond() {
        let mut compound = Vec::new();
        sender_report(&mut compound, 7, Duration::from_secs(1), 90_000, 1, 1_200);
        nack(&mut compound, 1, 9, &[65_535, 0, 16, 40]);
        compound.extend([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9]);
        let ntp_middle = ((NTP_UNIX_S as u32 + 1) & 0xffff) << 16;
        let all = [
            Message::SenderReport { ssrc: 7, ntp_middle },
            Message::Nack { ssrc: 9, packets: 4 },
            Message::KeyFrameRequest { ssrc: 9 },
        ];
        assert_eq!(messages(&compound), all);
        for length in 0..compound.len() {
            assert!(messages(&compound[..length]).len() < 3);
        }
    }

    #[test]
    fn feedback_tells_of_each_packet_once() {
        let mut arrivals = Arrivals::default();
        let at = |ms| Duration::from_secs(5) + Duration::from_millis(ms);
        for (number, ms) in [(65_534, 0), (65_535, 1), (1, 3), (0, 2), (5, 300)] {
            arrivals.note(number, at(ms));
        }
        let mut sent = Vec::new();
        arrivals.write(1, 9, |message| sent.push(message));
        let [message] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(message.len(), 4 * (usize::from(short(&message[2..])) + 1));
        assert_eq!((short(&message[12..]), short(&message[14..])), (65_534, 8));
        // 5 s are 78 times 64 ms and 8 ms: then 32, 4, 4, 4 ticks, and 297 ms in two bytes.
        assert_eq!(long(&message[16..]) >> 8, 78);
        assert_eq!(short(&message[20..]), 0xc000 | 0b01_01_01_01_00_00_00);
        assert_eq!(short(&message[22..]), 2 << 13 | 1);
        assert_eq!(message[24..30], [32, 4, 4, 4, 0x04, 0xa4]);

        sent.clear();
        arrivals.note(4, at(301));
        arrivals.note(6, at(302));
        arrivals.write(1, 9, |message| sent.push(message));
        assert_eq!((short(&sent[0][12..]), short(&sent[0][14..])), (6, 1));
        sent.clear();
        arrivals.write(1, 9, |message| sent.push(message));
        assert!(sent.is_empty());
    }
}
