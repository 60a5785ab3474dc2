//! The STUN and TURN servers that a participant is told, with credentials of its own for the latter.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broletto_control::Id;
use broletto_protocol::server::IceServer;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::{Config, Now};

/// A TURN server that shares a secret with this one, as coturn does with `use-auth-secret`.
#[derive(Clone)]
pub struct Turn {
    pub urls: Vec<String>,
    pub secret: String,
    /// For how long the credentials that a participant gets are good (W7).
    pub lifetime: Duration,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Those of the configuration, and then TURN with new credentials.
pub(crate) fn servers(config: &Config, participant: Id, now: Now) -> Vec<IceServer> {
    let turn = config.turn.as_ref().map(|turn| turn.server(participant, now.unix_s()));
    config.ice_servers.iter().cloned().chain(turn).collect()
}

impl Turn {
    /// The server checks the time in the name, and the name by the password
    /// (draft-uberti-behave-turn-rest-00, section 2.2). The id says whose they are in its log.
    fn server(&self, participant: Id, now_unix_s: u64) -> IceServer {
        let username = format!("{}:{participant}", now_unix_s.saturating_add(self.lifetime.as_secs()));
        let mut mac = Hmac::<Sha1>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes any key");
        mac.update(username.as_bytes());
        let credential = STANDARD.encode(mac.finalize().into_bytes());
        IceServer { urls: self.urls.clone(), username: Some(username), credential: Some(credential) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broletto_control::Epoch;

    #[test]
    fn w7_turn_credentials_are_good_for_a_time_and_signed() {
        let turn = Turn {
            urls: vec!["turn:turn.example.org".to_owned()],
            secret: "a secret that coturn knows too".to_owned(),
            lifetime: Duration::from_secs(3_600),
        };
        let server = turn.server(Id::new(Epoch(3), 17), 1_800_000_000);
        // printf %s 1800003600:3.17 | openssl dgst -sha1 -hmac "$SECRET" -binary | base64
        assert_eq!(server.username.as_deref(), Some("1800003600:3.17"));
        assert_eq!(server.credential.as_deref(), Some("P4Vbfb25YhI7sbaeybsyVl0jUf0="));
        assert_eq!(server.urls, turn.urls);
        assert!(!format!("{turn:?}").contains("secret that"), "a secret is not shown");
    }
}
