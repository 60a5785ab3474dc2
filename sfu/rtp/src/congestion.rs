//! How much a path carries, and when to send what (RFC 8836 has the requirements).
//!
//! [`Estimator`] reads transport-wide feedback and says what the path carries. It looks at the
//! standing queue (the delay beyond the least there was, of the first packet of each burst, and its
//! trend) and at loss, as in draft-ietf-rmcat-gcc-02, with other means: see `delay`, `loss`, `probe`.
//! [`Pacer`] spreads what is sent, voices first.
//!
//! ```text
//! packets -> Pacer -> note_sent -> network -> feedback -> Estimator -> estimate_bps -> allocator
//!              ^                                            |  |
//!              +-------- set_pace, begin_probe -------------+  +-> poll_probe, state
//! ```
//!
//! All are pure: `Instant`s come in, nothing reads a clock.

mod delay;
mod estimator;
mod history;
mod loss;
mod pacer;
mod probe;
mod rate;

pub use estimator::{Config, Estimator, LimitedBy, State};
pub use history::{FeedbackOutcome, Kind};
pub use pacer::{Class, Pace, Pacer, PacerConfig, PacerCounters, Released};
pub use probe::{ClusterId, Probe};
