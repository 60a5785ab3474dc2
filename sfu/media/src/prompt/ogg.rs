//! Opus packets out of an Ogg file (RFC 3533, RFC 7845). It reads our own files, so checksums are left
//! to the repository that keeps them.

/// What a file has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) packets: Vec<Vec<u8>>,
    /// Samples at 48 kHz before the sound begins, and where it ends, counted from the first.
    pub(super) skipped: usize,
    pub(super) end: usize,
}

/// None: it is no Ogg Opus in mono.
pub(super) fn read(file: &[u8]) -> Option<Stream> {
    let (mut packets, mut end) = (Vec::new(), 0);
    let (mut rest, mut packet) = (file, Vec::new());
    while !rest.is_empty() {
        let (header, after) = rest.split_first_chunk::<27>()?;
        if !header.starts_with(b"OggS\0") {
            return None;
        }
        end = u64::from_le_bytes(*header[6..].first_chunk()?) as usize;
        let (lengths, mut after) = after.split_at_checked(usize::from(header[26]))?;
        for length in lengths {
            let (segment, others) = after.split_at_checked(usize::from(*length))?;
            packet.extend_from_slice(segment);
            after = others;
            // A segment that is not full ends a packet.
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = after;
    }
    if packets.len() < 2 || !packets[1].starts_with(b"OpusTags") {
        return None;
    }
    let head = packets[0].strip_prefix(b"OpusHead")?;
    let [_version, 1, low, high, ..] = *head else { return None };
    packets.drain(..2);
    Some(Stream { packets, skipped: usize::from(u16::from_le_bytes([low, high])), end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{Language, Prompt};

    #[test]
    fn a_file_that_is_cut_short_is_refused_or_shorter() {
        let file = Prompt::Muted.file(Language::English);
        let whole = read(file).expect("it is ours").packets.len();
        for length in 0..file.len() {
            assert!(read(&file[..length]).is_none_or(|stream| stream.packets.len() < whole), "{length}");
        }
        assert_eq!(read(b"RIFF"), None);
    }
}
