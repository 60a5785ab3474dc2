//! SDP of legs (RFC 8866): what an endpoint offers, and what is agreed (RFC 3264).
//!
//! [`answer`] reads an offer and chooses by a [`Policy`]; [`offer`] makes one, and [`Offered::accept`]
//! reads its answer. Either gives a [`LegMedia`], which says all that a transport has to know.

mod answer;
mod choose;
mod codec;
mod description;
mod encryption;
mod floor;
mod h264;
mod leg;
mod offer;
mod write;

pub use answer::answer;
pub use codec::{AudioChoice, AudioCodec, OpusLimits};
pub use description::{Description, SdpError};
pub use encryption::{DtlsRole, Encryption, EncryptionPolicy, Fingerprint, SdesKey, SrtpSuite};
pub use floor::{Floor, FloorRole, FloorTransport};
pub use h264::{H264Choice, H264Limits, H264Profile};
pub use leg::{Feedback, LegMedia, Local, LocalFloor, LocalStream, Policy, Refusal, Stream};
pub use offer::{Offered, offer};
