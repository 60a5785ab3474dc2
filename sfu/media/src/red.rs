//! Redundant audio (RFC 2198), taken apart: a packet carries frames that were sent already, so that
//! a loss is made good by the packet after it.

/// Browsers put one or two older frames in.
pub const OLDER_MAX: usize = 8;

/// One frame of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    pub payload_type: u8,
    /// How much earlier its time is than that of the packet, in units of the RTP clock.
    pub offset: u32,
    pub payload: &'a [u8],
}

/// The frames of a payload, the oldest first; the last is the packet's own. None: the payload is
/// not what RFC 2198 section 3 allows, or has more than [`OLDER_MAX`] older frames.
pub fn split(payload: &[u8]) -> Option<Vec<Block<'_>>> {
    let mut headers = Vec::new();
    let mut rest = payload;
    loop {
        let (&first, after) = rest.split_first()?;
        let payload_type = first & 0x7f;
        if first & 0x80 == 0 {
            headers.push((payload_type, 0, None));
            rest = after;
            break;
        }
        let (&[high, middle, low], after) = after.split_first_chunk()?;
        let offset = u32::from(high) << 6 | u32::from(middle) >> 2;
        headers.push((payload_type, offset, Some(usize::from(middle & 3) << 8 | usize::from(low))));
        if headers.len() > OLDER_MAX {
            return None;
        }
        rest = after;
    }
    let mut blocks = Vec::with_capacity(headers.len());
    for (payload_type, offset, length) in headers {
        let length = length.unwrap_or(rest.len());
        let (payload, after) = rest.split_at_checked(length)?;
        blocks.push(Block { payload_type, offset, payload });
        rest = after;
    }
    Some(blocks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn older_frames_come_first() {
        // 1920 and 960 units earlier, of 2 bytes and of 1; then one of 3.
        let payload = [0x80 | 111, 0x1e, 0, 2, 0x80 | 111, 0x0f, 0, 1, 111, 1, 2, 3, 4, 5, 6];
        let blocks = split(&payload).expect("it is well formed");
        let offsets: Vec<_> = blocks.iter().map(|block| (block.offset, block.payload)).collect();
        assert_eq!(offsets, [(1920, &[1, 2][..]), (960, &[3][..]), (0, &[4, 5, 6][..])]);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(blocks) = split(&payload) {
                prop_assert!(!blocks.is_empty() && blocks.len() <= OLDER_MAX + 1);
            }
        }
    }
}
