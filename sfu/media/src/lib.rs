//! What needs decoded media, sans IO and without threads of its own: packets, frames and `now` go in,
//! frames and payloads come out. It runs beside the packet threads and knows no room.
//!
//! A voice goes `jitter::Receiver` (packets to frames) -> `mix::Mixer` (frames of all to one for each
//! listener) -> `outlet::Outlets` (frames to payloads, once for all who hear the same). Everything in
//! between is a [`frame::Frame`]: 20 ms of mono at 48 kHz.
//!
//! A picture goes `compose::VideoDecoder` -> `compose::Composer` -> `compose::VideoEncoder`.

// Any start will do in tests: only differences count.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod codec;
pub mod compose;
pub mod dtmf;
pub mod frame;
pub mod jitter;
pub mod mix;
pub mod outlet;
pub mod prompt;
pub mod red;
pub mod resample;
