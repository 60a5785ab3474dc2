//! Digest authentication (RFC 7616 and 8760), of either side.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::message::Head;
use crate::random::{Random, hexadecimal};
use crate::scan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Md5,
}

impl Algorithm {
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Md5 => "MD5",
        }
    }

    fn parse(text: &str) -> Option<Algorithm> {
        [Algorithm::Sha256, Algorithm::Md5]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
    }

    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Sha256 => hexadecimal(&Sha256::digest(text)),
            Algorithm::Md5 => hexadecimal(&Md5::digest(text)),
        }
    }
}

/// A password in the form that is kept: the hashes of user, realm and password (`A1`).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    sha256: String,
    md5: String,
}

impl Secret {
    pub fn new(user: &str, realm: &str, password: &str) -> Secret {
        let a1 = format!("{user}:{realm}:{password}");
        Secret { sha256: Algorithm::Sha256.hash(&a1), md5: Algorithm::Md5.hash(&a1) }
    }

    fn of(&self, algorithm: Algorithm) -> &str {
        match algorithm {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Md5 => &self.md5,
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What an Authorization says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) realm: String,
    pub(crate) nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    /// Nonce count and client nonce, where `qop=auth` was chosen.
    pub(crate) protection: Option<(u32, String, String)>,
}

impl Credentials {
    pub(crate) fn parse(text: &str) -> Option<Credentials> {
        let fields = fields(text)?;
        let text = |name: &str| fields.get(name).cloned();
        let algorithm = text("algorithm").map_or(Some(Algorithm::Md5), |name| Algorithm::parse(&name))?;
        let protection = match text("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let count = text("nc")?;
                Some((u32::from_str_radix(&count, 16).ok()?, count, text("cnonce")?))
            }
            Some(_) => return None,
        };
        Some(Credentials {
            username: text("username")?,
            realm: text("realm")?,
            nonce: text("nonce")?,
            uri: text("uri")?,
            response: text("response")?.to_ascii_lowercase(),
            algorithm,
            protection,
        })
    }

    /// Whether they prove the secret, for this method.
    pub(crate) fn prove(&self, secret: &Secret, method: &str) -> bool {
        let protection = self.protection.as_ref().map(|(_, count, cnonce)| (count.as_str(), cnonce.as_str()));
        let expected =
            response(self.algorithm, secret.of(self.algorithm), &self.nonce, protection, method, &self.uri);
        same(&expected, &self.response)
    }
}

/// What the other side asks with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    pub(crate) algorithm: Algorithm,
    auth: bool,
    pub(crate) stale: bool,
}

impl Challenge {
    /// None: of an algorithm or quality of protection that is not spoken here.
    pub(crate) fn parse(text: &str) -> Option<Challenge> {
        let fields = fields(text)?;
        let text = |name: &str| fields.get(name).cloned();
        let algorithm = text("algorithm").map_or(Some(Algorithm::Md5), |name| Algorithm::parse(&name))?;
        let qop = text("qop");
        let auth =
            qop.as_ref().is_some_and(|qop| qop.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")));
        if qop.is_some() && !auth {
            return None;
        }
        Some(Challenge {
            realm: text("realm")?,
            nonce: text("nonce")?,
            opaque: text("opaque"),
            algorithm,
            auth,
            stale: text("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The value of the Authorization that answers it.
    pub(crate) fn answer(&self, user: &str, password: &str, method: &str, uri: &str, cnonce: &str) -> String {
        let secret = Secret::new(user, &self.realm, password);
        let protection = self.auth.then_some(("00000001", cnonce));
        let response =
            response(self.algorithm, secret.of(self.algorithm), &self.nonce, protection, method, uri);
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}",
            scan::quote(user),
            scan::quote(&self.realm),
            scan::quote(&self.nonce),
            scan::quote(uri),
            self.algorithm.as_str()
        );
        if self.auth {
            value.push_str(&format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque={}", scan::quote(opaque)));
        }
        value
    }
}

/// RFC 7616, section 3.4.1; without protection, as RFC 2069 had it.
fn response(
    algorithm: Algorithm,
    secret: &str,
    nonce: &str,
    protection: Option<(&str, &str)>,
    method: &str,
    uri: &str,
) -> String {
    let a2 = algorithm.hash(&format!("{method}:{uri}"));
    algorithm.hash(&match protection {
        Some((count, cnonce)) => format!("{secret}:{nonce}:{count}:{cnonce}:auth:{a2}"),
        None => format!("{secret}:{nonce}:{a2}"),
    })
}

/// Compares without telling by time where the difference is.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len() && left.bytes().zip(right.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn fields(text: &str) -> Option<HashMap<String, String>> {
    let (scheme, rest) = text.trim().split_once(char::is_whitespace)?;
    scheme.eq_ignore_ascii_case("Digest").then_some(())?;
    let mut fields = HashMap::new();
    for piece in scan::split(rest, b',').filter(|piece| !piece.is_empty()) {
        let (name, value) = piece.split_once('=')?;
        let value = scan::unquote(value.trim());
        if fields.len() > 32 || fields.insert(name.trim().to_ascii_lowercase(), value).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// What a nonce is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceState {
    Good,
    /// It is too old, or was used with this count before: the other side should take a new one.
    Stale,
    /// It was not issued here.
    Foreign,
}

const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Requests overtake each other by less than this.
const COUNT_WINDOW: u32 = 64;

/// Issues nonces without remembering them: each carries its time and a seal. Remembered are those
/// that were used, so that no Authorization is good twice.
#[derive(Debug)]
pub(crate) struct Nonces {
    key: [u8; 32],
    start: Instant,
    used: HashMap<String, Counts>,
    by_age: BTreeSet<(u64, String)>,
    used_max: usize,
}

/// Which nonce counts came: the highest, and which of the 64 below it.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    highest: u32,
    seen: u64,
}

impl Nonces {
    pub(crate) fn new(key: [u8; 32], used_max: usize, start: Instant) -> Self {
        Nonces { key, start, used: HashMap::new(), by_age: BTreeSet::new(), used_max: used_max.max(1) }
    }

    pub(crate) fn issue(&self, random: &mut Random, now: Instant) -> String {
        let mut bytes = self.age(now).to_be_bytes().to_vec();
        bytes.extend_from_slice(&random.bytes::<8>());
        let seal = self.seal(&bytes);
        hexadecimal(&bytes) + &seal
    }

    /// Whether a nonce is one of ours and still good, without marking it as used.
    pub(crate) fn state(&self, credentials: &Credentials, now: Instant) -> NonceState {
        let Some(issued_at) = self.issued_at(&credentials.nonce) else { return NonceState::Foreign };
        let lifetime = NONCE_LIFETIME.as_millis() as u64;
        if self.age(now).saturating_sub(issued_at) > lifetime {
            return NonceState::Stale;
        }
        let fresh = match (self.used.get(&credentials.nonce), &credentials.protection) {
            (None, Some((count, ..))) => *count > 0,
            (None, None) => true,
            (Some(counts), Some((count, ..))) => counts.is_fresh(*count),
            // Without a count a nonce is good once.
            (Some(_), None) => false,
        };
        if fresh { NonceState::Good } else { NonceState::Stale }
    }

    /// Credentials with this nonce were proven: they are not good again.
    pub(crate) fn mark(&mut self, credentials: &Credentials) {
        let Some(issued_at) = self.issued_at(&credentials.nonce) else { return };
        let count = credentials.protection.as_ref().map_or(u32::MAX, |(count, ..)| *count);
        self.by_age.insert((issued_at, credentials.nonce.clone()));
        self.used.entry(credentials.nonce.clone()).or_default().mark(count);
    }

    /// Whether another nonce can be remembered as used. With a full table replays could not be told, so
    /// nobody else authenticates until the oldest has run out.
    pub(crate) fn has_room(&mut self, credentials: &Credentials, now: Instant) -> bool {
        let oldest = self.age(now).saturating_sub(NONCE_LIFETIME.as_millis() as u64);
        while let Some((age, _)) = self.by_age.first()
            && *age < oldest
        {
            let (_, nonce) = self.by_age.pop_first().expect("it was just looked at");
            self.used.remove(&nonce);
        }
        self.used.len() < self.used_max || self.used.contains_key(&credentials.nonce)
    }

    fn issued_at(&self, nonce: &str) -> Option<u64> {
        let body = nonce.get(..32)?;
        let bytes: Option<Vec<u8>> =
            (0..16).map(|at| u8::from_str_radix(body.get(2 * at..2 * at + 2)?, 16).ok()).collect();
        let bytes = bytes?;
        same(&self.seal(&bytes), nonce.get(32..)?).then_some(())?;
        Some(u64::from_be_bytes(bytes[..8].try_into().ok()?))
    }

    fn seal(&self, bytes: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(bytes);
        hexadecimal(&mac.finalize().into_bytes()[..16])
    }

    /// A secret for users that there are not, so that they are answered as late as others (S3).
    pub(crate) fn nobody(&self, user: &str) -> Secret {
        Secret::new(user, "nobody", &self.seal(user.as_bytes()))
    }

    /// A tag that is the same whenever the same request comes, so that nothing need be remembered of it
    /// (RFC 3261, section 8.2.7), and that nobody can guess.
    pub(crate) fn tag(&self, head: &Head) -> String {
        let branch = head.via.branch().unwrap_or_default();
        let from = head.from.tag().unwrap_or_default();
        self.seal(format!("{} {branch} {from} {}", head.call_id, head.cseq).as_bytes())
    }

    fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_millis() as u64
    }
}

impl Counts {
    fn is_fresh(&self, count: u32) -> bool {
        if count > self.highest {
            return true;
        }
        let behind = self.highest - count;
        count > 0 && behind < COUNT_WINDOW && self.seen & (1 << behind) == 0
    }

    fn mark(&mut self, count: u32) {
        if count > self.highest {
            self.seen = self.seen.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
        } else if self.highest - count < COUNT_WINDOW {
            self.seen |= 1 << (self.highest - count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_agree_with_the_vectors_of_rfc_7616_section_3_9_1() {
        let secret = Secret::new("Mufasa", "http-auth@example.org", "Circle of Life");
        for (algorithm, expected) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
            let protection = Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"));
            let response =
                response(algorithm, secret.of(algorithm), nonce, protection, "GET", "/dir/index.html");
            assert_eq!(response, expected);
        }
    }

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
        Instant::now()
    }

    fn credentials(nonce: &str, count: u32, password: &str) -> Credentials {
        let challenge =
            format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth,auth-int\", algorithm=SHA-256");
        let answer = Challenge::parse(&challenge).unwrap().answer("u", password, "REGISTER", "sip:r", "c");
        let mut credentials = Credentials::parse(&answer).unwrap();
        let text = format!("{count:08x}");
        credentials.response = response(
            Algorithm::Sha256,
            Secret::new("u", "r", password).of(Algorithm::Sha256),
            nonce,
            Some((&text, "c")),
            "REGISTER",
            "sip:r",
        );
        credentials.protection = Some((count, text, "c".to_owned()));
        credentials
    }

    #[test]
    fn only_the_right_password_and_method_are_proof() {
        let secret = Secret::new("u", "r", "p");
        assert!(credentials("n", 1, "p").prove(&secret, "REGISTER"));
        assert!(!credentials("n", 1, "p").prove(&secret, "INVITE"));
        assert!(!credentials("n", 1, "q").prove(&secret, "REGISTER"));
    }

    #[test]
    fn s1_a_nonce_count_is_good_once() {
        let (mut random, now) = (Random::new([1; 32]), start());
        let mut nonces = Nonces::new([2; 32], 100, now);
        let nonce = nonces.issue(&mut random, now);
        for (count, state) in [
            (2, NonceState::Good),
            (2, NonceState::Stale),
            (1, NonceState::Good),
            (1, NonceState::Stale),
            (0, NonceState::Stale),
            (90, NonceState::Good),
            (3, NonceState::Stale),
            (27, NonceState::Good),
        ] {
            let credentials = credentials(&nonce, count, "p");
            assert_eq!(nonces.state(&credentials, now), state, "{count}");
            if state == NonceState::Good {
                nonces.mark(&credentials);
            }
        }
        let mut without = credentials(&nonces.issue(&mut random, now), 1, "p");
        without.protection = None;
        assert_eq!(nonces.state(&without, now), NonceState::Good);
        nonces.mark(&without);
        assert_eq!(nonces.state(&without, now), NonceState::Stale);
    }

    #[test]
    fn s1_a_nonce_is_good_here_and_for_its_time() {
        let (mut random, now) = (Random::new([1; 32]), start());
        let nonces = Nonces::new([2; 32], 100, now);
        let nonce = nonces.issue(&mut random, now);
        assert_eq!(nonces.state(&credentials(&nonce, 1, "p"), now + NONCE_LIFETIME), NonceState::Good);
        let late = now + NONCE_LIFETIME + Duration::from_millis(1);
        assert_eq!(nonces.state(&credentials(&nonce, 1, "p"), late), NonceState::Stale);
        let foreign = Nonces::new([3; 32], 100, now).issue(&mut random, now);
        for nonce in [foreign.as_str(), "", "zz", &nonce[..60], "ä".repeat(40).as_str()] {
            assert_eq!(nonces.state(&credentials(nonce, 1, "p"), now), NonceState::Foreign, "{nonce}");
        }
    }

    #[test]
    fn used_nonces_are_forgotten_with_their_time() {
        let (mut random, now) = (Random::new([1; 32]), start());
        let mut nonces = Nonces::new([2; 32], 2, now);
        for second in 0..1_000 {
            let now = now + Duration::from_secs(second * 200);
            let credentials = credentials(&nonces.issue(&mut random, now), 1, "p");
            assert!(nonces.has_room(&credentials, now), "{second}");
            nonces.mark(&credentials);
            assert!(nonces.used.len() <= 2 && nonces.by_age.len() == nonces.used.len());
        }
    }

    #[test]
    fn challenges_that_are_not_spoken_here_are_left() {
        for text in [
            "Basic realm=x",
            "Digest realm=\"x\"",
            "Digest realm=\"x\", nonce=\"y\", algorithm=SHA-512-256",
            "Digest realm=\"x\", nonce=\"y\", qop=\"auth-int\"",
            "Digest realm=\"x\", realm=\"z\", nonce=\"y\"",
        ] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }
}
