//! Keys of a telephone: events beside the voice (RFC 4733), tones in the voice (ITU-T Q.23, Q.24).

mod detector;
mod event;
mod tone;

pub use self::detector::ToneDetector;
pub use self::event::{Event, EventDecoder};
pub use self::tone::ToneGenerator;

/// A key that was pressed: one of `0` to `9`, `*`, `#`, `A` to `D`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    pub key: char,
}

/// By the number of their event (RFC 4733 section 3.2).
const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// In Hz; one of each sounds together.
const LOW_TONES: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_TONES: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// By low tone and high tone.
const KEYPAD: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
