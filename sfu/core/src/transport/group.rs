//! Which packets of one path leave as one message of the kernel, which splits it into datagrams of
//! one length (generic segmentation offload). The walk down the stack is most of what a datagram
//! costs, and a message walks once.
//!
//! Encoders cut a frame into packets that differ by a byte or two: those are padded (RFC 3550 section
//! 5.1) to the length of the longest. The last of a group may be shorter as it is.

use crate::io::Class;

/// More padding than this costs the path more than it saves us.
pub(super) const PADDING_MAX: usize = 16;

/// A packet that is to leave, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sized {
    /// Sealed.
    pub bytes: usize,
    pub class: Class,
}

/// The first packets of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub packets: usize,
    pub segment_bytes: usize,
}

impl Group {
    /// How long a packet of the group is made.
    pub fn padding(&self, index: usize, bytes: usize) -> usize {
        if index + 1 < self.packets { self.segment_bytes - bytes } else { 0 }
    }
}

/// `batch` is not empty.
pub(super) fn first_group(batch: &[Sized]) -> Group {
    let first = batch[0];
    let (mut shortest, mut longest) = (first.bytes, first.bytes);
    let mut packets = 1;
    for packet in &batch[1..] {
        if packet.class != first.class {
            break;
        }
        let (shorter, longer) = (shortest.min(packet.bytes), longest.max(packet.bytes));
        if packet.class == Class::Video && longer - shorter <= PADDING_MAX || longer == shorter {
            (shortest, longest) = (shorter, longer);
            packets += 1;
        } else {
            packets += usize::from(packet.bytes <= longest);
            break;
        }
    }
    Group { packets, segment_bytes: longest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn video(sizes: &[usize]) -> Vec<Sized> {
        sizes.iter().map(|bytes| Sized { bytes: *bytes, class: Class::Video }).collect()
    }

    #[test]
    fn groups_have_one_class_and_nearly_one_length() {
        let of = |sizes: &[usize]| {
            let group = first_group(&video(sizes));
            (group.packets, group.segment_bytes)
        };
        assert_eq!(of(&[1_200]), (1, 1_200));
        assert_eq!(of(&[1_170, 1_171, 1_170, 700]), (4, 1_171));
        assert_eq!(of(&[1_200, 700, 700]), (2, 1_200));
        assert_eq!(of(&[700, 1_200]), (1, 700));
        assert_eq!(of(&[1_000, 1_010, 1_020]), (2, 1_010), "the first would need too much padding");
        let mixed = [Sized { bytes: 100, class: Class::Audio }, Sized { bytes: 100, class: Class::Video }];
        assert_eq!(first_group(&mixed).packets, 1);
        let audio = [100, 99, 98].map(|bytes| Sized { bytes, class: Class::Audio });
        assert_eq!(first_group(&audio), Group { packets: 2, segment_bytes: 100 }, "audio is not padded");
    }

    proptest! {
        #[test]
        fn all_but_the_last_become_one_length(
            batch in proptest::collection::vec((40..60usize, any::<bool>()), 1..12),
        ) {
            let class = |audio| if audio { Class::Audio } else { Class::Video };
            let batch: Vec<Sized> =
                batch.into_iter().map(|(bytes, audio)| Sized { bytes, class: class(audio) }).collect();
            let group = first_group(&batch);
            prop_assert!((1..=batch.len()).contains(&group.packets));
            for (index, packet) in batch[..group.packets].iter().enumerate() {
                prop_assert_eq!(packet.class, batch[0].class);
                let padding = group.padding(index, packet.bytes);
                prop_assert!(padding <= PADDING_MAX && (padding == 0 || packet.class == Class::Video));
                let made = packet.bytes + padding;
                prop_assert!(made == group.segment_bytes
                    || index + 1 == group.packets && made < group.segment_bytes);
            }
        }
    }
}
