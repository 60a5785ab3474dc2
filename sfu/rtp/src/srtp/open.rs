//! Opening. Nothing that is not authentic makes a stream, moves one or takes the place of one.

use std::collections::HashMap;
use std::fmt;

use super::cipher::{Cipher, Forged};
use super::replay::{Refused, ReplayWindow};
use super::{
    ENCRYPTED, MasterKey, Profile, RTCP_HEADER_BYTES, RTP_HEADER_BYTES, STREAMS_MAX, u16_at, u32_at,
};

/// What is sent to us under one master key.
pub struct Opener {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    /// By SSRC, of which only authentic packets count.
    rtp_streams: HashMap<u32, ReplayWindow>,
    rtcp_streams: HashMap<u32, ReplayWindow>,
}

/// An authentic packet of RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Of header and payload.
    pub length: usize,
    /// The extended number: what is above its lowest 16 bits is the roll-over counter.
    pub sequence_number: u64,
}

/// Why a packet was refused. It changed nothing, except what `out` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the packet has {length} bytes, and needs {needed}")]
    TooShort { needed: usize, length: usize },
    #[error("the opened packet needs {needed} bytes, and there are {room}")]
    NoRoom { needed: usize, room: usize },
    #[error("the packet came before")]
    Replayed,
    #[error("the packet is so old that it may have come before")]
    TooOld,
    #[error("the packet is not authentic")]
    Forged,
    #[error("RTCP came unencrypted, and encryption was agreed")]
    Unencrypted,
    #[error("the peer sends more than {STREAMS_MAX} streams")]
    TooManyStreams,
}

impl From<Forged> for OpenError {
    fn from(_: Forged) -> Self {
        OpenError::Forged
    }
}

impl From<Refused> for OpenError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Replayed => OpenError::Replayed,
            Refused::TooOld => OpenError::TooOld,
        }
    }
}

impl Opener {
    pub fn new(key: MasterKey) -> Self {
        Opener {
            profile: key.profile(),
            rtp: key.rtp_cipher(),
            rtcp: key.rtcp_cipher(),
            rtp_streams: HashMap::new(),
            rtcp_streams: HashMap::new(),
        }
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Opens an RTP packet into `out`, which needs no more room than the datagram has.
    /// `header_length` counts contributing sources and extensions, and comes from the datagram.
    ///
    /// The index is the one nearest to the highest that came, and for the first packet of a stream
    /// its sequence number (RFC 3711 section 3.3.1).
    pub fn open_rtp(
        &mut self,
        datagram: &[u8],
        header_length: usize,
        out: &mut [u8],
    ) -> Result<Opened, OpenError> {
        let needed = header_length.max(RTP_HEADER_BYTES) + self.rtp.tag_bytes();
        let too_short = OpenError::TooShort { needed, length: datagram.len() };
        if datagram.len() < needed || header_length < RTP_HEADER_BYTES {
            return Err(too_short);
        }
        let (Some(number), Some(ssrc)) = (u16_at(datagram, 2), u32_at(datagram, 8)) else {
            return Err(too_short);
        };
        let (length, room) = (datagram.len() - self.rtp.tag_bytes(), out.len());
        let out = out.get_mut(..length).ok_or(OpenError::NoRoom { needed: length, room })?;

        let full = self.rtp_streams.len() >= STREAMS_MAX;
        let Some(stream) = self.rtp_streams.get_mut(&ssrc) else {
            let index = u64::from(number);
            self.rtp.open_rtp(ssrc, index, datagram, header_length, out)?;
            if full {
                return Err(OpenError::TooManyStreams);
            }
            self.rtp_streams.insert(ssrc, ReplayWindow::new(index));
            return Ok(Opened { length, sequence_number: index });
        };
        let index = stream.guess(number).ok_or(OpenError::TooOld)?;
        stream.check(index)?;
        self.rtp.open_rtp(ssrc, index, datagram, header_length, out)?;
        stream.insert(index);
        Ok(Opened { length, sequence_number: index })
    }

    /// Opens a compound RTCP packet into `out`, which needs no more room than the datagram has, and
    /// returns its length.
    pub fn open_rtcp(&mut self, datagram: &[u8], out: &mut [u8]) -> Result<usize, OpenError> {
        let growth = self.rtcp.tag_bytes() + 4;
        let too_short = OpenError::TooShort { needed: RTCP_HEADER_BYTES + growth, length: datagram.len() };
        if datagram.len() < RTCP_HEADER_BYTES + growth {
            return Err(too_short);
        }
        let ssrc = u32_at(datagram, 4).ok_or(too_short)?;
        let (length, room) = (datagram.len() - growth, out.len());
        let out = out.get_mut(..length).ok_or(OpenError::NoRoom { needed: length, room })?;
        let trailer = u32::from_be_bytes(self.rtcp.rtcp_trailer(datagram));
        if trailer & ENCRYPTED == 0 {
            return Err(OpenError::Unencrypted);
        }
        let index = trailer & !ENCRYPTED;

        let full = self.rtcp_streams.len() >= STREAMS_MAX;
        let Some(stream) = self.rtcp_streams.get_mut(&ssrc) else {
            self.rtcp.open_rtcp(ssrc, index, datagram, out)?;
            if full {
                return Err(OpenError::TooManyStreams);
            }
            self.rtcp_streams.insert(ssrc, ReplayWindow::new(index.into()));
            return Ok(length);
        };
        stream.check(index.into())?;
        self.rtcp.open_rtcp(ssrc, index, datagram, out)?;
        stream.insert(index.into());
        Ok(length)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Opener");
        out.field("profile", &self.profile).field("rtp_streams", &self.rtp_streams.len());
        out.field("rtcp_streams", &self.rtcp_streams.len()).finish_non_exhaustive()
    }
}
