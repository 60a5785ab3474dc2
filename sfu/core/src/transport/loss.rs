//! How much of what a peer sends is lost on the way here, by its sequence numbers.

/// What is known of one incoming stream.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// The highest number, and how many packets came, retransmissions left out.
    highest: u64,
    came: u64,
    /// Both as they were at the last look.
    before: (u64, u64),
}

#[derive(Debug, Default)]
pub(super) struct IncomingLoss(Vec<Stream>);

impl IncomingLoss {
    /// An authentic packet came that is no retransmission.
    pub fn note(&mut self, ssrc: u32, sequence_number: u64) {
        match self.0.iter_mut().find(|stream| stream.ssrc == ssrc) {
            Some(stream) => {
                stream.highest = stream.highest.max(sequence_number);
                stream.came += 1;
            }
            None => self.0.push(Stream {
                ssrc,
                highest: sequence_number,
                came: 1,
                before: (sequence_number.saturating_sub(1), 0),
            }),
        }
    }

    /// Share of packets that were lost since the last call, 0 to 1. None: nothing came. What comes
    /// too late for one interval counts in the next.
    pub fn take(&mut self) -> Option<f32> {
        let (mut sent, mut came) = (0, 0);
        self.0.retain_mut(|stream| {
            let (highest, counted) = std::mem::replace(&mut stream.before, (stream.highest, stream.came));
            sent += stream.highest - highest;
            came += stream.came - counted;
            // A stream that rests is forgotten, so that there are no more of them than flow.
            stream.came > counted
        });
        (sent > 0).then(|| sent.saturating_sub(came) as f32 / sent as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_between_the_numbers_is_lost() {
        let mut loss = IncomingLoss::default();
        assert_eq!(loss.take(), None);
        for number in 100..200 {
            if number % 10 != 5 {
                loss.note(1, number);
                loss.note(2, 7_000_000 + number);
            }
        }
        assert_eq!(loss.take(), Some(0.1));
        assert_eq!(loss.take(), None, "nothing more came");
    }

    #[test]
    fn what_comes_late_is_not_lost() {
        let mut loss = IncomingLoss::default();
        [10, 12, 11, 14, 13].into_iter().for_each(|number| loss.note(1, number));
        assert_eq!(loss.take(), Some(0.0));
        loss.note(1, 16);
        assert_eq!(loss.take(), Some(0.5));
        loss.note(1, 15);
        loss.note(1, 17);
        assert_eq!(loss.take(), Some(0.0));
    }

    #[test]
    fn a_stream_that_begins_anew_has_lost_nothing() {
        let mut loss = IncomingLoss::default();
        loss.note(1, 1);
        assert_eq!(loss.take(), Some(0.0));
        assert_eq!(loss.take(), None);
        loss.note(1, 5_000);
        assert_eq!(loss.take(), Some(0.0));
    }
}
