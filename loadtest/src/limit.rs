//! What a packet costs at least on this machine: sending it, sealing it, and both.
//!
//! All figures are processor time of one thread as the kernel accounts it, over loopback, without
//! an SFU in between. What an SFU needs is told as a ratio to them, measured in the same run.

use std::fmt;
use std::io;

use serde::Serialize;

/// What is measured, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Length of a sent datagram, with its RTP header and authentication tag.
    pub packet_bytes: usize,
    /// Packets of one round of one measurement.
    pub packets: usize,
    /// The best round counts: what disturbs a round only ever makes it slower.
    pub rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { packet_bytes: 1_200, packets: 32_768, rounds: 7 }
    }
}

/// Processor time of a packet, over several rounds, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    pub best_ns: f64,
    pub median_ns: f64,
    pub worst_ns: f64,
}

/// What this machine can do. Every cost is of one packet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    pub packet_bytes: usize,
    pub packets: usize,
    pub rounds: usize,
    /// One system call for each packet.
    pub sendto: Cost,
    /// One system call for 64 packets.
    pub sendmmsg: Cost,
    /// One system call for 64 packets, in messages that the kernel splits. Empty where it cannot.
    pub gso: Vec<GsoCost>,
    /// Why `gso` is empty.
    pub gso_missing: Option<String>,
    pub gcm: CipherLimits,
    pub cm: CipherLimits,
    /// Share of all processors' time that the host took away meanwhile, 0 to 1.
    pub stolen: f64,
}

/// Messages of so many packets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GsoCost {
    pub segments: usize,
    pub cost: Cost,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CipherLimits {
    pub seal: Cost,
    /// Sealing and sending in messages of [`COMBINED_SEGMENTS`] packets, or in single packets where
    /// the kernel does not split messages. This is the limit that a forwarder is compared with.
    pub combined: Cost,
}

/// Packets of a message in [`CipherLimits::combined`].
pub const COMBINED_SEGMENTS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cipher {
    /// AEAD_AES_128_GCM.
    Gcm,
    /// AES128_CM_HMAC_SHA1_80.
    Cm,
}

impl Limits {
    pub fn cipher(&self, cipher: Cipher) -> &CipherLimits {
        match cipher {
            Cipher::Gcm => &self.gcm,
            Cipher::Cm => &self.cm,
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Measures on the calling thread, which it keeps busy for some seconds.
///
/// # Errors
/// When sockets on loopback cannot be had.
pub fn measure(_options: &Options) -> io::Result<Limits> {
    Err(io::ErrorKind::Unsupported.into())
}
