//! Header extensions (RFC 8285).
//!
//! ```text
//! one byte:   |  id   | len-1 |  value ...       profile 0xbede
//! two bytes:  |      id       |      len      |  value ...       profile 0x100_
//! ```

use std::time::Duration;

use thiserror::Error;

use crate::packet::Block;

/// Profile and length, in front of the extensions.
pub(crate) const HEADER_BYTES: usize = 4;
const ONE_BYTE: u16 = 0xbede;
/// The lowest four bits are for applications.
const TWO_BYTE: u16 = 0x1000;
/// What the one-byte form has room for (RFC 8285 section 4.2); id 15 ends it.
const ONE_BYTE_ID_MAX: u8 = 14;
const ONE_BYTE_VALUE_MAX: usize = 16;
const ONE_BYTE_END: u8 = 15;

/// Those that we read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Which m-line the stream is of (RFC 9143 section 15).
    Mid,
    /// Which of the m-line's streams it is (RFC 8852).
    Rid,
    /// Whose retransmissions the stream carries (RFC 8852).
    RepairedRid,
    /// RFC 6464.
    AudioLevel,
    /// The number that a packet has on its transport
    /// (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportNumber,
    AbsSendTime,
    /// RTP Payload Format For AV1, appendix A.
    DependencyDescriptor,
}

const COUNT: usize = 7;

impl Extension {
    pub const ALL: [Extension; COUNT] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::AudioLevel,
        Extension::TransportNumber,
        Extension::AbsSendTime,
        Extension::DependencyDescriptor,
    ];

    /// As in an `a=extmap` line.
    pub fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::TransportNumber => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    pub fn from_uri(uri: &str) -> Option<Self> {
        Extension::ALL.into_iter().find(|extension| extension.uri() == uri)
    }
}

/// Why an id was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadId {
    #[error("id 0 is padding")]
    Zero,
    #[error("id {id} is already that of {by:?}")]
    Taken { id: u8, by: Extension },
}

/// Which id each extension has on a transport, 0 if it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds([u8; COUNT]);

impl ExtensionIds {
    /// Ids above 14 need the two-byte form, which a peer takes if it negotiated such an id.
    ///
    /// # Errors
    /// The id is zero, or that of another extension.
    pub fn set(&mut self, extension: Extension, id: u8) -> Result<(), BadId> {
        if id == 0 {
            return Err(BadId::Zero);
        }
        match self.extension(id).filter(|by| *by != extension) {
            Some(by) => Err(BadId::Taken { id, by }),
            None => {
                self.0[extension as usize] = id;
                Ok(())
            }
        }
    }

    pub fn id(&self, extension: Extension) -> Option<u8> {
        Some(self.0[extension as usize]).filter(|id| *id != 0)
    }

    fn extension(&self, id: u8) -> Option<Extension> {
        let at = self.0.iter().position(|known| id != 0 && *known == id)?;
        Some(Extension::ALL[at])
    }
}

/// RFC 6464 section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// 0 to 127, in -dBov: 127 is silence.
    pub level: u8,
    pub is_voice: bool,
}

/// What the extensions of one packet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Values<'a> {
    pub mid: Option<&'a str>,
    pub rid: Option<&'a str>,
    pub repaired_rid: Option<&'a str>,
    pub audio_level: Option<AudioLevel>,
    pub transport_number: Option<u16>,
    /// Of 24 bits, in 2^-18 s; it wraps every 64 s.
    pub abs_send_time: Option<u32>,
    pub dependency_descriptor: Option<&'a [u8]>,
}

/// The absolute send time of a packet that leaves `since_epoch`, of whatever epoch.
pub fn abs_send_time(since_epoch: Duration) -> u32 {
    let fraction = (u64::from(since_epoch.subsec_nanos()) << 18) / 1_000_000_000;
    ((since_epoch.as_secs() & 0x3f) << 18 | fraction) as u32
}

/// What a packet says. Of a block that is cut off nothing is believed, and of a value that is not
/// what its extension has, that one is not.
pub fn parse<'a>(ids: &ExtensionIds, block: Block<'a>) -> Values<'a> {
    try_parse(ids, block).unwrap_or_default()
}

fn try_parse<'a>(ids: &ExtensionIds, block: Block<'a>) -> Option<Values<'a>> {
    let is_one_byte = block.profile == ONE_BYTE;
    if !is_one_byte && block.profile & 0xfff0 != TWO_BYTE {
        return None;
    }
    let mut values = Values::default();
    let mut rest = block.bytes;
    while let Some((&first, behind)) = rest.split_first() {
        if first == 0 {
            rest = behind;
            continue;
        }
        let (id, length, behind) = if is_one_byte {
            (first >> 4, usize::from(first & 0xf) + 1, behind)
        } else {
            let (&length, behind) = behind.split_first()?;
            (first, usize::from(length), behind)
        };
        if is_one_byte && id == ONE_BYTE_END {
            break;
        }
        let (value, behind) = behind.split_at_checked(length)?;
        rest = behind;
        if let Some(extension) = ids.extension(id) {
            values.read(extension, value);
        }
    }
    Some(values)
}

impl<'a> Values<'a> {
    fn read(&mut self, extension: Extension, value: &'a [u8]) {
        let text = || std::str::from_utf8(value).ok().filter(|text| !text.is_empty());
        match extension {
            Extension::Mid => self.mid = text(),
            Extension::Rid => self.rid = text(),
            Extension::RepairedRid => self.repaired_rid = text(),
            Extension::AudioLevel => {
                self.audio_level =
                    value.first().map(|byte| AudioLevel { level: byte & 0x7f, is_voice: byte & 0x80 != 0 });
            }
            Extension::TransportNumber => {
                self.transport_number = value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
            }
            Extension::AbsSendTime => {
                self.abs_send_time = value
                    .first_chunk()
                    .map(|[high, middle, low]| u32::from_be_bytes([0, *high, *middle, *low]));
            }
            Extension::DependencyDescriptor => {
                self.dependency_descriptor = Some(value).filter(|value| !value.is_empty());
            }
        }
    }
}

/// Writes the whole block, profile and length included, of those `values` that have an id. It is of
/// the one-byte form where that has room for all of them. Returns how long it became, 0 if there is
/// nothing to write; None if it has no room in `out`, or a value is longer than 255 bytes.
pub fn write(ids: &ExtensionIds, values: &Values<'_>, out: &mut [u8]) -> Option<usize> {
    match Writer::new(ONE_BYTE, ids, out).write(values) {
        Err(Stop::Form) => Writer::new(TWO_BYTE, ids, out).write(values).ok(),
        written => written.ok(),
    }
}

/// Why a block cannot be written.
enum Stop {
    /// Its form has no room for an id or a value.
    Form,
    /// There is no room where it is to go.
    Room,
}

struct Writer<'a> {
    profile: u16,
    ids: &'a ExtensionIds,
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    fn new(profile: u16, ids: &'a ExtensionIds, out: &'a mut [u8]) -> Self {
        Writer { profile, ids, out, at: HEADER_BYTES }
    }

    fn write(mut self, values: &Values<'_>) -> Result<usize, Stop> {
        if let Some(mid) = values.mid {
            self.put(Extension::Mid, mid.as_bytes())?;
        }
        if let Some(rid) = values.rid {
            self.put(Extension::Rid, rid.as_bytes())?;
        }
        if let Some(rid) = values.repaired_rid {
            self.put(Extension::RepairedRid, rid.as_bytes())?;
        }
        if let Some(AudioLevel { level, is_voice }) = values.audio_level {
            self.put(Extension::AudioLevel, &[level.min(0x7f) | if is_voice { 0x80 } else { 0 }])?;
        }
        if let Some(number) = values.transport_number {
            self.put(Extension::TransportNumber, &number.to_be_bytes())?;
        }
        if let Some(time) = values.abs_send_time {
            let [_, high, middle, low] = time.to_be_bytes();
            self.put(Extension::AbsSendTime, &[high, middle, low])?;
        }
        if let Some(descriptor) = values.dependency_descriptor {
            self.put(Extension::DependencyDescriptor, descriptor)?;
        }
        self.finish()
    }

    // Every packet that leaves comes through here: values of known length become single stores.
    #[inline(always)]
    fn put(&mut self, extension: Extension, value: &[u8]) -> Result<(), Stop> {
        let Some(id) = self.ids.id(extension) else { return Ok(()) };
        let length = u8::try_from(value.len()).map_err(|_| Stop::Form)?;
        let is_one_byte = self.profile == ONE_BYTE;
        if is_one_byte && (id > ONE_BYTE_ID_MAX || !(1..=ONE_BYTE_VALUE_MAX).contains(&value.len())) {
            return Err(Stop::Form);
        }
        let head = if is_one_byte { 1 } else { 2 };
        let out = self.out.get_mut(self.at..self.at + head + value.len()).ok_or(Stop::Room)?;
        let (header, contents) = out.split_at_mut(head);
        match header {
            [one] => *one = id << 4 | (length - 1),
            two => two.copy_from_slice(&[id, length]),
        }
        contents.copy_from_slice(value);
        self.at += head + value.len();
        Ok(())
    }

    fn finish(self) -> Result<usize, Stop> {
        if self.at == HEADER_BYTES {
            return Ok(0);
        }
        let end = self.at.next_multiple_of(4);
        self.out.get_mut(self.at..end).ok_or(Stop::Room)?.fill(0);
        let words = ((end - HEADER_BYTES) / 4) as u16;
        self.out[..2].copy_from_slice(&self.profile.to_be_bytes());
        self.out[2..HEADER_BYTES].copy_from_slice(&words.to_be_bytes());
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(all: [u8; COUNT]) -> ExtensionIds {
        let mut ids = ExtensionIds::default();
        for (extension, id) in Extension::ALL.into_iter().zip(all) {
            ids.set(extension, id).expect("each has its own");
        }
        ids
    }

    fn block(out: &[u8]) -> Block<'_> {
        Block { profile: u16::from_be_bytes([out[0], out[1]]), bytes: &out[HEADER_BYTES..] }
    }

    #[test]
    fn a_uri_names_one_extension() {
        for extension in Extension::ALL {
            assert_eq!(Extension::from_uri(extension.uri()), Some(extension));
        }
        assert_eq!(Extension::from_uri("urn:ietf:params:rtp-hdrext:toffset"), None);
    }

    #[test]
    fn an_id_is_of_one_extension() {
        let mut ids = ExtensionIds::default();
        assert_eq!(ids.set(Extension::Mid, 0), Err(BadId::Zero));
        assert_eq!(ids.set(Extension::Mid, 4), Ok(()));
        assert_eq!(ids.set(Extension::Rid, 4), Err(BadId::Taken { id: 4, by: Extension::Mid }));
        assert_eq!(ids.set(Extension::Mid, 5), Ok(()), "it may change");
        assert_eq!((ids.id(Extension::Mid), ids.id(Extension::Rid)), (Some(5), None));
    }

    #[test]
    fn the_form_is_the_shortest_that_has_room() {
        let level = AudioLevel { level: 30, is_voice: true };
        let values = Values { mid: Some("a"), audio_level: Some(level), ..Values::default() };
        let mut out = [0xff; 64];
        let low = ids([1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(write(&low, &values, &mut out), Some(8));
        assert_eq!(out[..8], [0xbe, 0xde, 0, 1, 0x10, b'a', 0x40, 0x80 | 30]);
        let high = ids([1, 2, 3, 15, 5, 6, 7]);
        assert_eq!(write(&high, &values, &mut out), Some(12));
        assert_eq!(out[..12], [0x10, 0, 0, 2, 1, 1, b'a', 15, 1, 0x80 | 30, 0, 0]);
        let long = Values { dependency_descriptor: Some(&[7; 17]), ..Values::default() };
        assert_eq!(write(&low, &long, &mut out), Some(4 + 20));
        assert_eq!(out[..6], [0x10, 0, 0, 5, 7, 17]);
        let too_long = Values { dependency_descriptor: Some(&[7; 256]), ..Values::default() };
        assert_eq!(write(&low, &too_long, &mut [0; 512]), None);
        assert_eq!(write(&ExtensionIds::default(), &values, &mut out), Some(0), "nothing was negotiated");
    }

    #[test]
    fn a_block_that_is_cut_off_says_nothing_and_id_15_ends_it() {
        let ids = ids([1, 2, 3, 4, 5, 6, 7]);
        let parse = |profile, bytes: &'static [u8]| parse(&ids, Block { profile, bytes });
        assert_eq!(parse(0xbede, &[0x10, b'a', 0x2f, b'b']), Values::default());
        assert_eq!(parse(0x1000, &[1, 1, b'a', 2]), Values::default());
        assert_eq!(parse(0xbede, &[0x10, b'a', 0xf0, 0x20, b'b']).rid, None);
        assert_eq!(parse(0xbede, &[0, 0x10, b'a', 0]).mid, Some("a"), "padding may be anywhere");
        assert_eq!(parse(0x100f, &[1, 1, b'a', 0]).mid, Some("a"), "the application's bits are free");
        assert_eq!(parse(0x1234, &[0x10, b'a', 0, 0]), Values::default());
        let odd = parse(0xbede, &[0x10, 0xff, 0x50, 1, 0x40, 9, 0, 0]);
        assert_eq!((odd.mid, odd.transport_number), (None, None), "neither is what it should be");
        assert_eq!(odd.audio_level, Some(AudioLevel { level: 9, is_voice: false }));
    }

    #[test]
    fn absolute_send_time_is_in_parts_of_a_second() {
        assert_eq!(abs_send_time(Duration::from_millis(64_500)), 1 << 17);
        assert_eq!(abs_send_time(Duration::from_secs(63)), 63 << 18);
    }

    prop_compose! {
        fn ids_any()(start in 1..=249_u8) -> ExtensionIds {
            ids(std::array::from_fn(|at| start + at as u8))
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ids in ids_any(), mid in prop::option::of("[a-z0-9]{1,20}"), rid in prop::option::of("[a-z]{1,4}"),
            level in prop::option::of((0..128_u8, any::<bool>())), transport_number: Option<u16>,
            abs_send_time in prop::option::of(0..1_u32 << 24),
            descriptor in prop::option::of(prop::collection::vec(any::<u8>(), 1..=255)), room in 0..360_usize,
        ) {
            let values = Values {
                mid: mid.as_deref(), rid: rid.as_deref(), repaired_rid: None,
                audio_level: level.map(|(level, is_voice)| AudioLevel { level, is_voice }),
                transport_number, abs_send_time, dependency_descriptor: descriptor.as_deref(),
            };
            let mut whole = [0xff; 360];
            let length = write(&ids, &values, &mut whole).expect("there is room for all");
            prop_assert_eq!(length % 4, 0);
            if length > 0 {
                prop_assert_eq!(usize::from(u16::from_be_bytes([whole[2], whole[3]])) * 4 + 4, length);
                prop_assert_eq!(parse(&ids, block(&whole[..length])), values);
            }
            let narrow = write(&ids, &values, &mut [0; 360][..room]);
            prop_assert_eq!(narrow, (room >= length).then_some(length));
        }

        #[test]
        fn nothing_panics(
            ids in ids_any(), profile in prop::sample::select(vec![0xbede_u16, 0x1000, 0x1001, 7]),
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            parse(&ids, Block { profile, bytes: &bytes });
        }
    }
}
