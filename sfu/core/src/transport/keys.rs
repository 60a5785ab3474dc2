//! The SRTP keys of a session, taken from under str0m.
//!
//! str0m does the handshake and keeps what DTLS exports to itself. So its DTLS provider is wrapped:
//! the keys go to the session's owner, and str0m is handed random bytes in their place. What it
//! might still seal cannot be under our keys, and our nonces have one owner.
//!
//! ```text
//! dimpl -- keys --> Tapped -- keys --------> SessionKeys (once)
//!                          -- random bytes --> str0m
//! ```

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

use broletto_rtp::srtp::{MasterKey, Profile, from_dtls};
use rand::RngCore;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion, SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};

/// What str0m is given to work with: its own provider, but for DTLS.
pub(crate) fn crypto_provider() -> CryptoProvider {
    static PROVIDER: LazyLock<TappedProvider> =
        LazyLock::new(|| TappedProvider(from_feature_flags().dtls_provider));
    CryptoProvider { dtls_provider: &*PROVIDER, ..from_feature_flags() }
}

/// Runs `build`, which makes one [`str0m::Rtc`] with [`crypto_provider`], and returns beside it
/// what its keys come out of. The provider is one for all sessions, and `build` runs on this thread
/// to its end, which is how the two find each other.
pub(crate) fn capture<T>(random: &mut impl RngCore, build: impl FnOnce() -> T) -> (T, SessionKeys) {
    let (cell, mut stand_in) = (Cell::default(), [0; MATERIAL_BYTES_MAX]);
    random.fill_bytes(&mut stand_in);
    EXPECTED.set(Some(Tap { cell: cell.clone(), stand_in }));
    let built = build();
    EXPECTED.take();
    (built, SessionKeys(cell))
}

/// Where the keys of one session come out.
#[derive(Debug)]
pub(crate) struct SessionKeys(Cell);

/// What DTLS agreed on.
#[derive(Debug)]
pub(crate) struct DtlsKeys {
    /// Seals what we send.
    pub ours: MasterKey,
    /// Opens what the peer sends.
    pub theirs: MasterKey,
}

impl SessionKeys {
    /// The keys, once. They are there as soon as the handshake is done, which may be before the
    /// peer's fingerprint is checked (M5): use them only when str0m says that it is connected.
    pub fn take(&self) -> Option<DtlsKeys> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match mem::replace(&mut *state, State::Taken) {
            State::Ready(keys) => Some(keys),
            State::Taken => None,
            State::Awaited => {
                *state = State::Awaited;
                None
            }
        }
    }
}

/// Shared by a session and its DTLS. str0m asks that it can go to another thread, which it never
/// does, so that the lock is always free.
type Cell = Arc<Mutex<State>>;

/// Of the profile with the longest keys (RFC 7714 section 12).
const MATERIAL_BYTES_MAX: usize = 2 * (32 + 12);

#[derive(Debug, Default)]
enum State {
    #[default]
    Awaited,
    Ready(DtlsKeys),
    Taken,
}

thread_local! {
    /// For the session that is being built on this thread.
    static EXPECTED: RefCell<Option<Tap>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct TappedProvider(&'static dyn DtlsProvider);

impl DtlsProvider for TappedProvider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.0.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let Some(tap) = EXPECTED.take() else {
            return Err(CryptoError::Other("nobody waits for the keys of this session".to_owned()));
        };
        Ok(Box::new(Tapped { inner: self.0.new_dtls(certificate, now, version, mtu)?, tap }))
    }

    fn is_test(&self) -> bool {
        self.0.is_test()
    }
}

#[derive(Debug)]
struct Tapped {
    inner: Box<dyn DtlsInstance>,
    tap: Tap,
}

struct Tap {
    cell: Cell,
    /// What str0m is handed.
    stand_in: [u8; MATERIAL_BYTES_MAX],
}

impl Tap {
    /// Keeps the keys and returns what stands in for them. Only the first keys of a session count.
    fn take(&self, material: &KeyingMaterial, profile: SrtpProfile, active: bool) -> KeyingMaterial {
        let keys = profile_of(profile).and_then(|profile| from_dtls(profile, material, active).ok());
        let mut state = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let (State::Awaited, Some((ours, theirs))) = (&*state, keys) {
            *state = State::Ready(DtlsKeys { ours, theirs });
        }
        KeyingMaterial::new(&self.stand_in[..material.len().min(MATERIAL_BYTES_MAX)])
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("cell", &self.cell).finish_non_exhaustive()
    }
}

/// None: a profile that str0m knows and we don't, which then carries no media.
fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        _ => None,
    }
}

impl DtlsInstance for Tapped {
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.inner.poll_output(buffer) {
            DtlsOutput::KeyingMaterial(material, profile) => {
                let active = self.inner.is_active();
                DtlsOutput::KeyingMaterial(self.tap.take(&material, profile, active), profile)
            }
            other => other,
        }
    }

    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use broletto_rtp::srtp::{Opener, Sealer, TAG_BYTES_MAX};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use str0m::RtcConfig;

    use super::*;

    fn random() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    const HEADER: [u8; 12] = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5];

    fn instance(provider: &CryptoProvider, active: bool) -> Box<dyn DtlsInstance> {
        let certificate = provider.dtls_provider.generate_certificate().unwrap();
        let dtls = provider.dtls_provider.new_dtls(&certificate, Instant::now(), DtlsVersion::Dtls12, None);
        let mut dtls = dtls.unwrap();
        dtls.set_active(active);
        dtls
    }

    /// Polls until there is nothing more, and returns the packets and what str0m would get as keys.
    fn drain(
        dtls: &mut dyn DtlsInstance,
        material: &mut Option<(KeyingMaterial, SrtpProfile)>,
    ) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            let mut buffer = [0; 4_096];
            match dtls.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => packets.push(packet.to_vec()),
                DtlsOutput::KeyingMaterial(keys, profile) => *material = Some((keys, profile)),
                DtlsOutput::Timeout(_) => return packets,
                _ => {}
            }
        }
    }

    /// Both sides' keying material, as str0m would get it.
    fn shake_hands(
        client: &mut dyn DtlsInstance,
        server: &mut dyn DtlsInstance,
    ) -> [(KeyingMaterial, SrtpProfile); 2] {
        let (mut at_client, mut at_server) = (None, None);
        server.handle_timeout(Instant::now()).unwrap();
        for _ in 0..20 {
            client.handle_timeout(Instant::now()).unwrap();
            drain(client, &mut at_client).iter().for_each(|packet| server.handle_packet(packet).unwrap());
            server.handle_timeout(Instant::now()).unwrap();
            drain(server, &mut at_server).iter().for_each(|packet| client.handle_packet(packet).unwrap());
        }
        [at_client.unwrap(), at_server.unwrap()]
    }

    fn assert_fit(ours: MasterKey, theirs: MasterKey) {
        let mut stream = Sealer::new(ours).stream(5).unwrap();
        let mut packet = [&HEADER[..], b"hello", &[0; TAG_BYTES_MAX]].concat();
        let length = stream.seal_rtp(&mut packet, HEADER.len(), HEADER.len() + 5, 1).unwrap();
        let mut out = [0; 100];
        let opened = Opener::new(theirs).open_rtp(&packet[..length], HEADER.len(), &mut out).unwrap();
        assert_eq!(out[HEADER.len()..opened.length], *b"hello");
    }

    #[test]
    fn both_sides_take_keys_that_fit_each_other_once() {
        let provider = crypto_provider();
        let (mut client, client_keys) = capture(&mut random(), || instance(&provider, true));
        let (mut server, server_keys) = capture(&mut random(), || instance(&provider, false));
        assert!(client_keys.take().is_none());
        shake_hands(&mut *client, &mut *server);
        let (client, server) = (client_keys.take().unwrap(), server_keys.take().unwrap());
        assert!(client_keys.take().is_none());
        assert_fit(client.ours, server.theirs);
        assert_fit(server.ours, client.theirs);
    }

    /// The client is str0m's own, which says what was exported.
    #[test]
    fn what_str0m_gets_are_not_the_keys() {
        for client_is_tapped in [false, true] {
            let (tapped, keys) = capture(&mut random(), || instance(&crypto_provider(), client_is_tapped));
            let plain = instance(&from_feature_flags(), !client_is_tapped);
            let (mut client, mut server) = if client_is_tapped { (tapped, plain) } else { (plain, tapped) };
            let [at_client, at_server] = shake_hands(&mut *client, &mut *server);
            let (exported, handed) =
                if client_is_tapped { (at_server, at_client) } else { (at_client, at_server) };
            assert_eq!(exported.1, handed.1);
            assert_eq!(exported.0.len(), handed.0.len());
            for part in handed.0.chunks(12) {
                assert!(exported.0.windows(12).all(|window| window != part), "a part of the keys came out");
            }

            let keys = keys.take().unwrap();
            let profile = keys.ours.profile();
            let (theirs_ours, theirs_theirs) = from_dtls(profile, &exported.0, !client_is_tapped).unwrap();
            assert_fit(keys.ours, theirs_theirs);
            assert_fit(theirs_ours, keys.theirs);
        }
    }

    #[test]
    fn a_session_whose_keys_nobody_takes_is_refused() {
        let (provider, now) = (crypto_provider(), Instant::now());
        let certificate = provider.dtls_provider.generate_certificate().unwrap();
        provider.dtls_provider.new_dtls(&certificate, now, DtlsVersion::Dtls12, None).unwrap_err();
    }

    #[test]
    fn each_session_has_keys_of_its_own() {
        let provider = Arc::new(crypto_provider());
        let rtc = || RtcConfig::new().set_crypto_provider(provider.clone()).build(Instant::now());
        let (_first, first_keys) = capture(&mut random(), rtc);
        let (_second, second_keys) = capture(&mut random(), rtc);
        assert!(!Arc::ptr_eq(&first_keys.0, &second_keys.0));
        // The other owner of the cell is str0m's DTLS.
        assert_eq!((Arc::strong_count(&first_keys.0), Arc::strong_count(&second_keys.0)), (2, 2));
    }
}
