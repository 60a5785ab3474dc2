//! What a packet costs at least on this machine: sending it, sealing it, and both.
//!
//! All figures are processor time of one thread as the kernel accounts it, over loopback, without
//! an SFU in between. Nobody reads what is sent, and the kernel drops it at the socket of the
//! receiver: a receiver on another machine costs the sender nothing either. What an SFU needs is
//! told as a ratio to these figures, measured in the same run.

mod loopback;

use std::fmt;
use std::io;

use broletto_rtp::srtp::{MasterKey, Profile, Sealer, StreamSealer, Unsealed};
use serde::Serialize;

use crate::kernel::Ticks;
use loopback::{BATCH, Batch, Loopback, RECEIVERS};

/// What is measured, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Length of a sent datagram, with its RTP header and authentication tag.
    pub packet_bytes: usize,
    /// Packets of one round of one measurement, rounded up to whole blocks of 512.
    pub packets: usize,
    /// The best round counts: what disturbs a round only ever makes it slower.
    pub rounds: usize,
    /// Does as if the kernel did not split messages.
    pub without_gso: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { packet_bytes: 1_200, packets: BLOCK, rounds: 200, without_gso: false }
    }
}

/// The shortest and the longest datagram that [`measure`] takes: a header, a tag and something
/// between; 16 of them make a message.
pub const PACKET_BYTES: std::ops::RangeInclusive<usize> = 64..=4_000;

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

/// What the combined limits are at most on the machine that the project's goals are stated for, in
/// nanoseconds of processor time. A run in which they are higher was disturbed and says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub gcm_ns: f64,
    pub cm_ns: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { gcm_ns: 1_000.0, cm_ns: 1_650.0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("invalid: sealing ({cipher:?}) and sending took {got_ns:.0} ns, which may be {bound_ns:.0}")]
pub struct Disturbed {
    pub cipher: Cipher,
    pub got_ns: f64,
    pub bound_ns: f64,
}

impl Limits {
    pub fn check(&self, bounds: Bounds) -> Result<(), Disturbed> {
        for (cipher, bound_ns) in [(Cipher::Gcm, bounds.gcm_ns), (Cipher::Cm, bounds.cm_ns)] {
            let got_ns = self.cipher(cipher).combined.best_ns;
            if got_ns > bound_ns {
                return Err(Disturbed { cipher, got_ns, bound_ns });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { packet_bytes, packets, rounds, .. } = self;
        writeln!(
            f,
            "Processor time of a packet of {packet_bytes} bytes, {rounds} rounds of {packets} packets"
        )?;
        writeln!(f, "{:<28}{:>9}{:>9}{:>9}  ns", "", "best", "median", "worst")?;
        let mut line = |name: &str, Cost { best_ns, median_ns, worst_ns }: Cost| {
            writeln!(f, "{name:<28}{best_ns:>9.0}{median_ns:>9.0}{worst_ns:>9.0}")
        };
        line("sendto", self.sendto)?;
        line("sendmmsg", self.sendmmsg)?;
        for GsoCost { segments, cost } in &self.gso {
            line(&format!("sendmmsg, groups of {segments}"), *cost)?;
        }
        line("seal, AES-128-GCM", self.gcm.seal)?;
        line("seal, AES-CM with SHA-1", self.cm.seal)?;
        let how = if self.gso.is_empty() { "singly" } else { "in groups of 8" };
        line(&format!("GCM and send {how}"), self.gcm.combined)?;
        line(&format!("CM and send {how}"), self.cm.combined)?;
        if let Some(reason) = &self.gso_missing {
            writeln!(f, "No groups: {reason}")?;
        }
        write!(f, "Taken away by the host: {:.1} % of all processors' time", self.stolen * 100.0)
    }
}

/// Measures on the calling thread, which it keeps busy for some seconds.
///
/// # Errors
/// When sockets on loopback cannot be had or do not send, and for a length of packets that is not
/// within [`PACKET_BYTES`].
pub fn measure(options: &Options) -> io::Result<Limits> {
    let Options { packet_bytes, packets, rounds, .. } = *options;
    if !PACKET_BYTES.contains(&packet_bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "packets of this length are not measured"));
    }
    let loopback = Loopback::new()?;
    let gso_missing = gso_missing(&loopback, options)?;
    loopback.stop_receiving()?;
    let sizes: &[usize] = if gso_missing.is_none() { &GSO_SEGMENTS } else { &[] };
    let combined_segments = if gso_missing.is_none() { COMBINED_SEGMENTS } else { 1 };
    let batch = |segments| Batch::new(&loopback, packet_bytes, segments);

    let mut sendto = Measured::new(batch(1), None, Way::Each);
    let mut sendmmsg = Measured::new(batch(1), None, Way::Batch);
    let mut gso: Vec<_> =
        sizes.iter().map(|segments| Measured::new(batch(*segments), None, Way::Batch)).collect();
    let mut ciphers = [Cipher::Gcm, Cipher::Cm].map(|cipher| {
        [Way::None, Way::Batch]
            .map(|way| Measured::new(batch(combined_segments), Some(Sealers::new(cipher, packet_bytes)), way))
    });

    let before = Ticks::now()?;
    // Once for the caches, uncounted.
    for round in 0..=rounds.max(1) {
        let all =
            [&mut sendto, &mut sendmmsg].into_iter().chain(&mut gso).chain(ciphers.iter_mut().flatten());
        for measured in all {
            measured.run(&loopback, packets, round > 0)?;
        }
    }
    let after = Ticks::now()?;

    let [gcm, cm] =
        ciphers.map(|[seal, combined]| CipherLimits { seal: seal.cost(), combined: combined.cost() });
    Ok(Limits {
        packet_bytes,
        packets: packets.div_ceil(BLOCK) * BLOCK,
        rounds: rounds.max(1),
        sendto: sendto.cost(),
        sendmmsg: sendmmsg.cost(),
        gso: sizes
            .iter()
            .zip(gso)
            .map(|(segments, gso)| GsoCost { segments: *segments, cost: gso.cost() })
            .collect(),
        gso_missing,
        gcm,
        cm,
        stolen: after.stolen_since(before),
    })
}

const GSO_SEGMENTS: [usize; 4] = [2, 4, 8, 16];
/// Packets between two looks at the clock, which cost as much as a packet.
const BLOCK: usize = 8 * BATCH;

fn gso_missing(loopback: &Loopback, options: &Options) -> io::Result<Option<String>> {
    if options.without_gso {
        return Ok(Some("they were not wanted".to_owned()));
    }
    let sent = Batch::new(loopback, options.packet_bytes, COMBINED_SEGMENTS).send();
    let arrived = loopback.drain()?;
    Ok(match sent {
        Ok(()) if arrived == BATCH => None,
        Ok(()) => Some(format!("{arrived} of {BATCH} packets arrived")),
        Err(error) => Some(error.to_string()),
    })
}

/// How packets are handed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    None,
    Each,
    Batch,
}

/// One thing that is measured, and what each round of it took.
struct Measured<'a> {
    batch: Batch<'a>,
    sealers: Option<Sealers>,
    way: Way,
    rounds_ns: Vec<f64>,
}

impl<'a> Measured<'a> {
    fn new(batch: Batch<'a>, sealers: Option<Sealers>, way: Way) -> Self {
        Measured { batch, sealers, way, rounds_ns: Vec::new() }
    }

    fn run(&mut self, loopback: &Loopback, packets: usize, counts: bool) -> io::Result<()> {
        let blocks = packets.div_ceil(BLOCK).max(1);
        let mut busy_ns = 0;
        for _ in 0..blocks {
            let before = thread_busy_ns()?;
            for _ in 0..BLOCK / BATCH {
                if let Some(sealers) = &mut self.sealers {
                    sealers.seal(&mut self.batch);
                }
                match self.way {
                    Way::None => {}
                    Way::Each => loopback.send_each(self.batch.slab(), self.batch.datagram_bytes())?,
                    Way::Batch => self.batch.send()?,
                }
            }
            busy_ns += thread_busy_ns()? - before;
        }
        if counts {
            self.rounds_ns.push(busy_ns as f64 / (blocks * BLOCK) as f64);
        }
        Ok(())
    }

    fn cost(mut self) -> Cost {
        self.rounds_ns.sort_by(f64::total_cmp);
        let rounds = &self.rounds_ns;
        Cost { best_ns: rounds[0], median_ns: rounds[rounds.len() / 2], worst_ns: rounds[rounds.len() - 1] }
    }
}

/// A stream with keys of its own for each receiver, all of one packet.
struct Sealers {
    streams: Vec<StreamSealer>,
    /// Header and payload.
    packet: Vec<u8>,
    sequence_number: u64,
}

/// As long as a forwarded packet's.
const HEADER_BYTES: usize = 24;
const SSRC: u32 = 0x5eed_cafe;

impl Sealers {
    fn new(cipher: Cipher, packet_bytes: usize) -> Self {
        let profile = match cipher {
            Cipher::Gcm => Profile::AeadAes128Gcm,
            Cipher::Cm => Profile::Aes128CmSha1_80,
        };
        let stream = |index: usize| {
            let secret = vec![index as u8; profile.key_bytes() + profile.salt_bytes()];
            let key = MasterKey::new(profile, &secret).expect("it is as long as the profile says");
            Sealer::new(key).stream(SSRC).expect("nobody else has it")
        };
        // An extension of three words follows the fixed header (RFC 3550 section 5.3.1).
        let mut packet = vec![0x90, 96, 0, 0, 0, 0, 0, 0];
        packet.extend(SSRC.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 2, 0x11, 0, 0, 0x22, 0, 0, 0, 0]);
        assert_eq!(packet.len(), HEADER_BYTES);
        packet.resize(packet_bytes - profile.rtp_tag_bytes(), 0x5a);
        Sealers { streams: (0..RECEIVERS).map(stream).collect(), packet, sequence_number: 0 }
    }

    /// Writes header and payload of each packet, and seals them.
    fn seal(&mut self, batch: &mut Batch<'_>) {
        let Sealers { streams, packet, sequence_number } = self;
        let (datagram_bytes, plain_length) = (batch.datagram_bytes(), packet.len());
        for (receiver, message) in batch.messages() {
            let group = message.chunks_exact_mut(datagram_bytes).map(|out| {
                *sequence_number += 1;
                out[..plain_length].copy_from_slice(packet);
                out[2..4].copy_from_slice(&(*sequence_number as u16).to_be_bytes());
                Unsealed { out, header_length: HEADER_BYTES, plain_length, sequence_number: *sequence_number }
            });
            streams[receiver].seal_rtp_group(group).expect("numbers grow, and a datagram has room");
        }
    }
}

/// Processor time of this thread.
fn thread_busy_ns() -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the kernel to write to.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short run of everything.
    fn limits(without_gso: bool) -> Limits {
        measure(&Options { packets: 1_000, rounds: 3, without_gso, ..Options::default() }).unwrap()
    }

    fn costs(limits: &Limits) -> Vec<Cost> {
        let ciphers = [limits.gcm, limits.cm];
        let mut costs = vec![limits.sendto, limits.sendmmsg];
        costs.extend(limits.gso.iter().map(|gso| gso.cost));
        costs.extend(ciphers.iter().flat_map(|cipher| [cipher.seal, cipher.combined]));
        costs
    }

    #[test]
    fn all_is_measured_and_in_order() {
        let limits = limits(false);
        assert_eq!((limits.packets, limits.rounds), (1_024, 3));
        assert_eq!(limits.gso_missing, None);
        assert_eq!(limits.gso.iter().map(|gso| gso.segments).collect::<Vec<_>>(), GSO_SEGMENTS);
        for Cost { best_ns, median_ns, worst_ns } in costs(&limits) {
            assert!(0.0 < best_ns && best_ns <= median_ns && median_ns <= worst_ns);
        }
        for cipher in [limits.gcm, limits.cm] {
            assert!(cipher.seal.best_ns < cipher.combined.best_ns);
        }
        assert!((0.0..=1.0).contains(&limits.stolen));
    }

    #[test]
    fn without_groups_the_rest_is_measured() {
        let limits = limits(true);
        assert!(limits.gso.is_empty());
        assert!(limits.to_string().contains("No groups: they were not wanted"), "{limits}");
        assert!(limits.gcm.combined.best_ns > limits.gcm.seal.best_ns);
    }

    #[test]
    fn a_run_that_was_disturbed_is_refused() {
        let cost = |best_ns| Cost { best_ns, median_ns: best_ns, worst_ns: best_ns };
        let cipher = |best_ns| CipherLimits { seal: cost(1.0), combined: cost(best_ns) };
        let mut limits = Limits {
            packet_bytes: 1_200,
            packets: 512,
            rounds: 1,
            sendto: cost(1.0),
            sendmmsg: cost(1.0),
            gso: Vec::new(),
            gso_missing: None,
            gcm: cipher(1_000.0),
            cm: cipher(1_650.0),
            stolen: 0.0,
        };
        assert_eq!(limits.check(Bounds::default()), Ok(()));
        limits.cm = cipher(1_650.5);
        let disturbed = limits.check(Bounds::default()).unwrap_err();
        assert_eq!((disturbed.cipher, disturbed.bound_ns), (Cipher::Cm, 1_650.0));
        limits.gcm = cipher(1_001.0);
        assert_eq!(limits.check(Bounds::default()).unwrap_err().cipher, Cipher::Gcm);
    }

    #[test]
    fn packets_of_impossible_lengths_are_refused() {
        for packet_bytes in [0, 63, 4_001] {
            let options = Options { packet_bytes, ..Options::default() };
            assert_eq!(measure(&options).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
