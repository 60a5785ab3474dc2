//! What is agreed with a leg, and what it is agreed by.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::codec::{AudioChoice, AudioCodec};
use super::description::SdpError;
use super::encryption::{Encryption, EncryptionPolicy, Fingerprint, KEY_BYTES_MAX};
use super::floor::Floor;
use super::h264::{H264Choice, H264Limits, H264Profile};

/// What may be agreed with an endpoint or a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// In the order of preference.
    pub audio: Vec<AudioCodec>,
    /// In the order of preference; empty: no video.
    pub h264: Vec<H264Profile>,
    /// A second video stream.
    pub slides: bool,
    pub encryption: EncryptionPolicy,
    /// By which keys. Those of SDES are as secret as the signalling that carries them.
    pub sdes: bool,
    pub dtls: bool,
    /// What we decode.
    pub h264_receive: H264Limits,
    /// What the peer may send as video, for each stream.
    pub video_bps_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            audio: vec![AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcma, AudioCodec::Pcmu],
            // What browsers decode (RFC 7742, section 5).
            h264: vec![H264Profile::ConstrainedBaseline, H264Profile::Baseline, H264Profile::Main],
            slides: true,
            encryption: EncryptionPolicy::BestEffort,
            sdes: true,
            dtls: true,
            h264_receive: H264Limits::of_level(40).expect("level 4 is in the table"),
            video_bps_max: 4_000_000,
        }
    }
}

/// Our side of the media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Where the peer sends to: of the family of [`super::Description::media_address`].
    pub address: IpAddr,
    /// `o=`: the id stays for a session, the version grows with each change.
    pub session_id: u64,
    pub session_version: u64,
    /// None: such a line is refused.
    pub audio: Option<LocalStream>,
    pub video: Option<LocalStream>,
    pub slides: Option<LocalStream>,
    pub floor: Option<LocalFloor>,
    /// Of our certificate; None: no DTLS.
    pub fingerprint: Option<Fingerprint>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct LocalStream {
    pub port: u16,
    /// Where RTCP goes if it does not share the port.
    pub rtcp_port: u16,
    pub send: bool,
    pub receive: bool,
    /// Random bytes, for a key of SDES. Never used for another stream.
    pub key: [u8; KEY_BYTES_MAX],
}

impl std::fmt::Debug for LocalStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStream").field("port", &self.port).finish_non_exhaustive()
    }
}

/// The floor of the slides, where the meeting is the chair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalFloor {
    pub port: u16,
    pub conference: u32,
    /// What the endpoint is called in it.
    pub user: u16,
    pub floor: u16,
}

/// What was agreed: all that a transport has to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LegMedia {
    pub audio: Option<Stream<AudioChoice>>,
    /// The camera, and what is shown for the meeting.
    pub video: Option<Stream<H264Choice>>,
    /// The second stream.
    pub slides: Option<Stream<H264Choice>>,
    pub floor: Option<Floor>,
    /// What the peer takes at most of all streams together.
    pub bitrate_bps_max: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream<C> {
    /// Which m-line it is, from 0.
    pub line: usize,
    pub codec: C,
    /// Where the peer wants it. None: nowhere, as endpoints of RFC 2543 say that they hold.
    pub remote: Option<SocketAddr>,
    pub remote_rtcp: Option<SocketAddr>,
    pub rtcp_mux: bool,
    pub send: bool,
    pub receive: bool,
    /// The peer wants to hear or see nothing for now.
    pub held: bool,
    pub encryption: Encryption,
    /// What the peer takes of it at most.
    pub bitrate_bps_max: Option<u64>,
    pub feedback: Feedback,
    pub label: Option<String>,
}

/// What the peer understands in RTCP (RFC 4585 and 5104).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    pub tmmbr: bool,
}

/// Why nothing was agreed.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error(transparent)]
    Malformed(#[from] SdpError),
    #[error("no audio or video that both sides have, with the encryption that is asked for")]
    NoMedia,
}

impl Refusal {
    /// Of the response that says so.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Malformed(_) => 400,
            Refusal::NoMedia => 488,
        }
    }
}
