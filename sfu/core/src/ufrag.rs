//! How an ICE ufrag names its worker, so that a first packet finds its way without a look-up table.

use std::fmt::Write;

/// Characters of a ufrag that name the worker: its index in hexadecimal.
const INDEX_LENGTH: usize = 4;

/// RFC 8489 section 5.
const STUN_HEADER_LENGTH: usize = 20;
const STUN_MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// RFC 8489 section 14.3.
const STUN_ATTRIBUTE_USERNAME: u16 = 0x0006;

/// A ufrag of this worker; `random` are ice-chars (RFC 8839 section 5.4) that make it unique.
pub fn compose(worker: u16, random: &str) -> String {
    let mut ufrag = String::with_capacity(INDEX_LENGTH + random.len());
    write!(ufrag, "{worker:04x}").expect("writing to a string never fails");
    ufrag + random
}

/// The worker that a ufrag names. None: no worker made this ufrag.
pub fn worker(ufrag: &str) -> Option<u16> {
    let digits = ufrag.get(..INDEX_LENGTH)?;
    // `from_str_radix` alone would take a sign and capitals.
    let is_ours = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    if !digits.bytes().all(is_ours) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// Our ufrag out of a STUN message that names us: the part of `USERNAME` before the colon
/// (RFC 8445 section 7.2.2). None for everything else; nothing is authenticated here.
pub fn of_stun(packet: &[u8]) -> Option<&str> {
    if packet.len() < STUN_HEADER_LENGTH || packet[0] > 3 || packet[4..8] != STUN_MAGIC_COOKIE {
        return None;
    }
    let mut attributes = &packet[STUN_HEADER_LENGTH..];
    while let [type_high, type_low, length_high, length_low, rest @ ..] = attributes {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([*type_high, *type_low]) == STUN_ATTRIBUTE_USERNAME {
            let (ufrag, _) = std::str::from_utf8(value).ok()?.split_once(':')?;
            return Some(ufrag);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding_request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut packet = vec![0x00, 0x01];
        packet.extend((body.len() as u16).to_be_bytes());
        packet.extend(STUN_MAGIC_COOKIE);
        packet.extend([7; 12]);
        packet.extend(body);
        packet
    }

    #[test]
    fn a_ufrag_names_its_worker() {
        for index in [0, 1, 255, u16::MAX] {
            assert_eq!(worker(&compose(index, "x9Kd")), Some(index));
        }
        for other in ["", "00", "000", "00g0abcd", "+001abcd", "00FFabcd", "000é"] {
            assert_eq!(worker(other), None, "{other}");
        }
    }

    #[test]
    fn the_ufrag_is_read_out_of_a_binding_request() {
        let packet = binding_request(&[(0x8022, b"abc"), (STUN_ATTRIBUTE_USERNAME, b"0001abcd:peer")]);
        assert_eq!(of_stun(&packet), Some("0001abcd"));
    }

    #[test]
    fn what_is_no_stun_or_is_cut_short_has_no_ufrag() {
        let packet = binding_request(&[(STUN_ATTRIBUTE_USERNAME, b"0001abcd:peer")]);
        for length in 0..packet.len() - 3 {
            assert_eq!(of_stun(&packet[..length]), None, "{length} bytes");
        }
        assert_eq!(of_stun(&binding_request(&[(STUN_ATTRIBUTE_USERNAME, b"no colon")])), None);
        assert_eq!(of_stun(&binding_request(&[(STUN_ATTRIBUTE_USERNAME, &[0xff, b':'])])), None);
        assert_eq!(of_stun(&[0x80; 64]), None);
    }
}
