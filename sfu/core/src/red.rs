//! Redundant audio (RFC 2198): a packet carries its frame and, before it, frames that were sent
//! already, so that a loss is made good by the packet after it.
//!
//! ```text
//!  0                   1                   2                   3
//! |1| block PT    |  timestamp offset         |   block length    |  for each older frame
//! |0| block PT    |                                                  for the frame itself
//! |  older frames, then the frame itself ...
//! ```

/// Browsers put one or two older frames in.
const BLOCKS_MAX: usize = 16;

/// A payload that is well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundant {
    /// Headers of older frames.
    older: u8,
    /// Where the frame itself begins.
    primary: u16,
}

impl Redundant {
    /// None: the payload is not what RFC 2198 allows, or holds frames of different formats.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (mut older, mut lengths) = (0, 0);
        loop {
            let header = payload.get(4 * older..)?;
            let first = *header.first()?;
            if first & 0x7f != payload[0] & 0x7f {
                return None;
            }
            if first & 0x80 == 0 {
                break;
            }
            let [_, _, high, low] = *header.first_chunk()?;
            lengths += usize::from(u16::from_be_bytes([high & 0x03, low]));
            older += 1;
            if older > BLOCKS_MAX {
                return None;
            }
        }
        let primary = 4 * older + 1 + lengths;
        let is_whole = primary <= payload.len();
        let primary = u16::try_from(primary).ok().filter(|_| is_whole)?;
        Some(Redundant { older: older as u8, primary })
    }

    /// The frame itself.
    pub fn primary<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        &payload[self.primary_at()..]
    }

    /// Where the frame itself begins.
    pub fn primary_at(&self) -> usize {
        self.primary.into()
    }

    /// Gives the frames of a payload that this was read from another payload type.
    pub fn retype(&self, payload: &mut [u8], payload_type: u8) {
        for header in 0..=usize::from(self.older) {
            payload[4 * header] = payload[4 * header] & 0x80 | payload_type & 0x7f;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two older frames of 2 bytes and 1, and one of 3.
    const PAYLOAD: [u8; 15] = [0x80 | 111, 0x1e, 0, 2, 0x80 | 111, 0x0f, 0, 1, 111, 1, 2, 3, 4, 5, 6];

    #[test]
    fn the_frame_itself_comes_last() {
        let red = Redundant::parse(&PAYLOAD).expect("it is well formed");
        assert_eq!(red.primary(&PAYLOAD), [4, 5, 6]);
        let alone = [111, 9];
        assert_eq!(Redundant::parse(&alone).map(|red| red.primary(&alone).to_vec()), Some(vec![9]));
    }

    #[test]
    fn only_the_payload_types_change() {
        let red = Redundant::parse(&PAYLOAD).expect("it is well formed");
        let mut retyped = PAYLOAD;
        red.retype(&mut retyped, 96);
        assert_eq!([retyped[0], retyped[4], retyped[8]], [0x80 | 96, 0x80 | 96, 96]);
        Redundant::parse(&retyped).expect("it is as before").retype(&mut retyped, 111);
        assert_eq!(retyped, PAYLOAD);
    }

    #[test]
    fn what_is_cut_short_or_mixed_is_refused() {
        for length in 0..12 {
            assert_eq!(Redundant::parse(&PAYLOAD[..length]), None, "{length} bytes");
        }
        let mut mixed = PAYLOAD;
        mixed[4] = 0x80 | 13;
        assert_eq!(Redundant::parse(&mixed), None);
        assert_eq!(Redundant::parse(&[0x80 | 111; 200]), None, "headers without end");
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(red) = Redundant::parse(&payload) {
                prop_assert!(red.primary(&payload).len() < payload.len());
                let mut retyped = payload;
                red.retype(&mut retyped, 96);
                prop_assert_eq!(Redundant::parse(&retyped).expect("as before"), red);
            }
        }
    }
}
