//! A participant without a browser: real ICE, DTLS and SRTP, synthetic media, and the feedback that
//! a browser gives.
//!
//! [`session`] makes the connection, by str0m; from then on media goes past it, because a tester must
//! be cheap: [`publisher`] makes frames and seals them, [`subscriber`] counts what comes and reports it.
//! Nothing here knows how an offer reaches its server: whoever starts participants carries the SDP.

pub mod dtls;
pub mod negotiated;
pub mod payload;
pub mod publisher;
pub mod rtcp;
pub mod rtp;
pub mod session;
pub mod srtp;
pub mod subscriber;

pub use dtls::Cipher;
pub use publisher::{Media, Publisher};
pub use session::{Session, Wish};
pub use subscriber::{Behaviour, Received, Subscriber};
