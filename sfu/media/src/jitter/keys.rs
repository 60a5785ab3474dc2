//! Keys beside a voice (RFC 4733): each is told once, and its sound is left out of the voice.

use std::collections::VecDeque;

use crate::dtmf::{Event, EventDecoder, Press};
use crate::frame::{Frame, milliseconds};

const PRESSED_MAX: usize = 32;
/// Keys whose sound is still to be left out.
const MUTED_MAX: usize = 4;
/// What is left out before a key and after what is known of it: its packets come up to 50 ms apart
/// (RFC 4733 section 2.5.1.2).
const MARGIN: i64 = milliseconds(10) as i64;
const GAP: i64 = milliseconds(60) as i64;
const FADE: usize = milliseconds(2);

#[derive(Debug, Default)]
pub(super) struct Keys {
    events: EventDecoder,
    pressed: VecDeque<Press>,
    muted: VecDeque<Muted>,
}

/// Time in which nothing is heard. Times are samples at 48 kHz.
#[derive(Debug, Clone, Copy)]
struct Muted {
    /// The RTP timestamp, which all packets of one key have.
    key: u32,
    from: i64,
    to: i64,
}

impl Keys {
    /// `from`: when it began, on the clock of the voice. `factor`: samples for each unit of its duration;
    /// None where it counts time by another clock.
    pub(super) fn handle(
        &mut self,
        event: &Event,
        timestamp: u32,
        marker: bool,
        from: i64,
        factor: Option<i64>,
    ) {
        if let Some(press) = self.events.handle(event, timestamp, marker) {
            if self.pressed.len() == PRESSED_MAX {
                self.pressed.pop_front();
            }
            self.pressed.push_back(press);
        }
        let lasted = i64::from(event.duration) * factor.unwrap_or(0);
        let to = from + lasted + if event.end { MARGIN } else { GAP };
        match self.muted.iter_mut().find(|muted| muted.key == timestamp) {
            Some(muted) if event.end && factor.is_some() => muted.to = to,
            Some(muted) => muted.to = muted.to.max(to),
            None => {
                if self.muted.len() == MUTED_MAX {
                    self.muted.pop_front();
                }
                self.muted.push_back(Muted { key: timestamp, from: from - MARGIN, to });
            }
        }
    }

    pub(super) fn poll(&mut self) -> Option<Press> {
        self.pressed.pop_front()
    }

    /// A new stream has another clock. What was pressed stays pressed.
    pub(super) fn restart(&mut self) {
        self.events = EventDecoder::default();
        self.muted.clear();
    }

    /// A frame of the voice that begins then.
    pub(super) fn mute(&mut self, frame: &mut Frame, begin: i64) {
        self.muted.retain(|muted| muted.to > begin);
        for muted in &self.muted {
            for (index, sample) in frame.iter_mut().enumerate() {
                let time = begin + index as i64;
                // 0 within, 1 outside, with short slopes.
                let outside = (muted.from - time).max(time - muted.to).max(0) as f32 / FADE as f32;
                *sample *= outside.min(1.0);
            }
        }
    }
}
