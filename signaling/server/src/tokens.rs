//! Signed grants: JSON Web Tokens (RFC 7519) with one pinned algorithm and a fixed set of keys (W1).
//!
//! The signature is checked here. What the claims allow is judged by the conference plane, whose
//! clock they are compared with.

use broletto_signaling_core::{Claims, TokenError};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use thiserror::Error;

use crate::config;
use crate::secrets;
use crate::store::{Store, StoreError};

/// Who tokens of this server are for.
pub const AUDIENCE: &str = "broletto";
/// As `room` of a token that lets its bearer make rooms.
pub const ANY_ROOM: &str = "*";
const ALGORITHM: Algorithm = Algorithm::HS256;
/// Longest token taken, in bytes; ours have some 300.
const TOKEN_BYTES_MAX: usize = 4_096;

/// The keys, of which the first signs and all verify.
pub struct Tokens {
    signing_kid: String,
    signing_key: EncodingKey,
    keys: Vec<(String, DecodingKey)>,
}

#[derive(Debug, Error)]
#[error("the token cannot be signed: {0}")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

impl Tokens {
    /// The configured keys, or else the store's, where one is made if there is none.
    pub async fn load(config: &config::Tokens, store: &Store) -> Result<Self, StoreError> {
        if !config.keys.is_empty() {
            let keys = config.keys.iter().map(|key| (key.kid.clone(), key.secret.clone().into_bytes()));
            return Ok(Tokens::new(keys.collect()));
        }
        let mut keys = store.signing_keys().await?;
        if keys.is_empty() {
            let (kid, secret) = (secrets::word(8), secrets::bytes::<32>().to_vec());
            store.add_signing_key(&kid, &secret).await?;
            keys.push((kid, secret));
        }
        Ok(Tokens::new(keys))
    }

    /// `keys` is not empty.
    pub fn new(keys: Vec<(String, Vec<u8>)>) -> Self {
        let (signing_kid, secret) = keys.first().expect("the caller gives at least one key");
        Tokens {
            signing_kid: signing_kid.clone(),
            signing_key: EncodingKey::from_secret(secret),
            keys: keys.iter().map(|(kid, secret)| (kid.clone(), DecodingKey::from_secret(secret))).collect(),
        }
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        let header = Header { kid: Some(self.signing_kid.clone()), ..Header::new(ALGORITHM) };
        Ok(jsonwebtoken::encode(&header, claims, &self.signing_key)?)
    }

    /// Checks the signature and reads the claims. Everything that a header may say about where a
    /// key is, or what else must be understood, is refused.
    pub fn open(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return unreadable(format!("a token is at most {TOKEN_BYTES_MAX} bytes, not {}", token.len()));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|error| TokenError::Unreadable(format!("its header: {error}")))?;
        if header.alg != ALGORITHM {
            return unreadable(format!("expected the algorithm {ALGORITHM:?}, not {:?}", header.alg));
        }
        let foreign = [
            ("jku", header.jku.is_some()),
            ("jwk", header.jwk.is_some()),
            ("x5u", header.x5u.is_some()),
            ("x5c", header.x5c.is_some()),
            ("crit", header.crit.is_some()),
        ];
        if let Some((name, _)) = foreign.iter().find(|(_, there)| *there) {
            return unreadable(format!("its header has {name}"));
        }
        let Some((_, key)) = self.keys.iter().find(|(kid, _)| Some(kid) == header.kid.as_ref()) else {
            return unreadable("its kid is none of this server's keys".to_owned());
        };
        let data = jsonwebtoken::decode::<Claims>(token, key, &signature_only())
            .map_err(|error| TokenError::Unreadable(error.to_string()))?;
        Ok(data.claims)
    }
}

fn unreadable<T>(message: String) -> Result<T, TokenError> {
    Err(TokenError::Unreadable(message))
}

/// `Claims` itself requires every claim to be there; their values are the conference plane's.
fn signature_only() -> Validation {
    let mut validation = Validation::new(ALGORITHM);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

#[cfg(test)]
mod tests {
    use super::*;
    use broletto_protocol::Role;
    use broletto_signaling_core::{Audience, grant};
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;

    fn tokens(kids: &[&str]) -> Tokens {
        Tokens::new(kids.iter().map(|kid| (kid.to_string(), format!("{kid:_<32}").into_bytes())).collect())
    }

    fn claims() -> Claims {
        Claims {
            aud: Audience::One(AUDIENCE.to_owned()),
            exp: NOW + 600,
            nbf: NOW,
            tenant: None,
            room: "abc".to_owned(),
            role: Role::Moderator,
            name: None,
        }
    }

    /// A token with any header and claims, signed with the right key of `tokens(&["a"])`.
    fn forged(header: Header, claims: &Value) -> String {
        let key = EncodingKey::from_secret(format!("{:_<32}", "a").as_bytes());
        jsonwebtoken::encode(&header, claims, &key).expect("signed")
    }

    fn header() -> Header {
        Header { kid: Some("a".to_owned()), ..Header::new(ALGORITHM) }
    }

    fn refused(token: &str) -> String {
        let tokens = tokens(&["a"]);
        match tokens.open(token).and_then(|claims| grant(claims, AUDIENCE, NOW)) {
            Ok(grant) => panic!("{token} gave {grant:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn w1_what_was_signed_is_read() {
        let tokens = tokens(&["a"]);
        let token = tokens.sign(&claims()).expect("signed");
        let grant = grant(tokens.open(&token).expect("opened"), AUDIENCE, NOW).expect("granted");
        assert_eq!((grant.room.as_str(), grant.role), ("abc", Role::Moderator));
    }

    #[test]
    fn w1_only_the_pinned_algorithm_and_no_key_from_the_header() {
        let good = json!(claims());
        let string = || Some("https://evil.example/keys".to_owned());
        for (header, part) in [
            (Header { alg: Algorithm::HS384, ..header() }, "expected the algorithm HS256, not HS384"),
            (Header { jku: string(), ..header() }, "its header has jku"),
            (Header { x5u: string(), ..header() }, "its header has x5u"),
            (Header { x5c: Some(vec!["AAAA".to_owned()]), ..header() }, "its header has x5c"),
            (Header { crit: Some(vec!["exp".to_owned()]), ..header() }, "its header has crit"),
            (Header { kid: None, ..header() }, "its kid is none of this server's keys"),
            (Header { kid: Some("b".to_owned()), ..header() }, "its kid is none"),
            (Header { kid: Some("../a".to_owned()), ..header() }, "its kid is none"),
        ] {
            let error = refused(&forged(header, &good));
            assert!(error.contains(part), "{error}");
        }
        // `{"alg":"none","kid":"a"}`, and the same with a jwk, in base64url.
        let claims = forged(header(), &good).split('.').nth(1).expect("claims").to_owned();
        for header in [
            "eyJhbGciOiJub25lIiwia2lkIjoiYSJ9",
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImEiLCJqd2siOnsia3R5Ijoib2N0IiwiayI6IkFBIn19",
        ] {
            assert!(refused(&format!("{header}.{claims}.")).contains("its header"), "{header}");
        }
    }

    #[test]
    fn w1_every_claim_is_required_and_judged() {
        assert!(tokens(&["a"]).open(&forged(header(), &json!(claims()))).is_ok());
        for name in ["aud", "exp", "nbf", "room", "role"] {
            let mut claims = json!(claims());
            claims.as_object_mut().expect("an object").remove(name);
            let error = refused(&forged(header(), &claims));
            assert!(error.contains("cannot be opened"), "{name}: {error}");
        }
        for (name, value, part) in [
            ("aud", json!("somebody"), "for another audience"),
            ("exp", json!(NOW - 600), "ended 600 s ago"),
            ("nbf", json!(NOW + 100), "begins in 100 s"),
            ("exp", json!("never"), "cannot be opened"),
            ("exp", json!(NOW * 2), "lives for"),
            ("room", json!(""), "names no room"),
            ("role", json!("king"), "cannot be opened"),
        ] {
            let mut claims = json!(claims());
            claims[name] = value;
            let error = refused(&forged(header(), &claims));
            assert!(error.contains(part), "{name}: {error}");
        }
    }

    #[test]
    fn w1_a_changed_token_is_refused() {
        let token = forged(header(), &json!(claims()));
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let flipped = if signature.starts_with('A') { "B" } else { "A" };
        for token in [
            format!("{message}.{flipped}{}", &signature[1..]),
            format!("{message}."),
            message.to_owned(),
            String::new(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
        ] {
            assert!(refused(&token).contains("cannot be opened"), "{token}");
        }
    }

    #[test]
    fn w1_keys_rotate() {
        let old = tokens(&["a"]).sign(&claims()).expect("signed");
        let both = tokens(&["b", "a"]);
        let new = both.sign(&claims()).expect("signed");
        assert!(both.open(&old).is_ok(), "the old key verifies still");
        assert!(tokens(&["b"]).open(&new).is_ok(), "the first key signs");
        assert!(tokens(&["b"]).open(&old).is_err(), "the old key is gone");
    }

    #[tokio::test]
    async fn w1_a_made_key_is_kept() {
        let dir = crate::scratch::Scratch::new("tokens");
        let store = Store::open(dir.path()).await.expect("opened");
        let none = config::Tokens::default();
        let token = Tokens::load(&none, &store).await.expect("made").sign(&claims()).expect("signed");
        assert!(Tokens::load(&none, &store).await.expect("loaded").open(&token).is_ok());
    }
}
