//! Which video codec the publishers of a room send.

use broletto_protocol::Codec;

/// The first of the room's list that every participant can handle; where there is none, the one
/// that most can, the earlier in the list at a tie. A participant without video has no say.
///
/// `preference` is not empty; `abilities` holds what each participant can both send and receive.
pub(crate) fn publish_codec<'a>(preference: &[Codec], abilities: impl Iterator<Item = &'a [Codec]>) -> Codec {
    let mut counts = vec![0_usize; preference.len()];
    for ability in abilities {
        for (codec, count) in preference.iter().zip(&mut counts) {
            *count += usize::from(ability.contains(codec));
        }
    }
    // `max_by_key` takes the last of equals, so the list is walked from its end.
    let best = (0..preference.len()).rev().max_by_key(|&index| counts[index]);
    preference[best.expect("a room's list of codecs is not empty")]
}

/// The room's list with `first` at its head: what an answer should prefer.
pub(crate) fn with_first(preference: &[Codec], first: Codec) -> Vec<Codec> {
    let others = preference.iter().copied().filter(|&codec| codec != first);
    std::iter::once(first).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Codec::*;

    #[test]
    fn the_first_that_everyone_can_else_the_one_that_most_can() {
        type Row<'a> = (&'a [Codec], &'a [&'a [Codec]], Codec);
        let rows: &[Row] = &[
            (&[H264, Vp8], &[], H264),
            (&[H264, Vp8], &[&[H264, Vp8], &[Vp8, H264]], H264),
            (&[H264, Vp8], &[&[H264, Vp8], &[Vp8]], Vp8),
            (&[H264, Vp8], &[&[H264], &[Vp8]], H264),
            (&[H264, Vp8], &[&[H264], &[Vp8], &[Vp8]], Vp8),
            (&[H264, Vp8], &[&[], &[Vp8]], Vp8),
            (&[H264, Vp8], &[&[], &[]], H264),
            (&[Vp8, H264], &[&[H264, Vp8]], Vp8),
            (&[H264], &[&[Vp8]], H264),
            (&[Av1, Vp9, Vp8], &[&[Vp8, Vp9], &[Vp9, Vp8, Av1]], Vp9),
        ];
        for (preference, abilities, expected) in rows {
            let got = publish_codec(preference, abilities.iter().copied());
            assert_eq!(got, *expected, "{preference:?} {abilities:?}");
        }
    }

    #[test]
    fn the_published_codec_goes_to_the_head_and_none_is_lost() {
        assert_eq!(with_first(&[H264, Vp8, Vp9], Vp8), [Vp8, H264, Vp9]);
        assert_eq!(with_first(&[H264, Vp8], H264), [H264, Vp8]);
    }
}
