//! From the claims of a token whose signature was checked to a [`Grant`] (W1).
//!
//! The shell pins the algorithm and the keys; what a token says is judged here.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use broletto_protocol::Role;

use crate::{Grant, TENANT_DEFAULT};

/// Clocks of issuers may differ from ours by this much, in seconds (RFC 7519 section 4.1.4).
const LEEWAY_S: u64 = 30;
/// Longest lifetime taken, from `nbf` to `exp`, in seconds.
const LIFETIME_S_MAX: u64 = 400 * 24 * 3600;

/// What a token says. Claims that are not named here are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Audience,
    /// Seconds since 1970 UTC, as all times of a token.
    pub exp: u64,
    pub nbf: u64,
    /// Left out: the default tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Room id.
    pub room: String,
    pub role: Role,
    /// Name of the bearer, as others see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn contains(&self, audience: &str) -> bool {
        match self {
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// By the shell: not a token, not our algorithm or key, a wrong signature, a claim missing.
    #[error("the token cannot be opened: {0}")]
    Unreadable(String),
    #[error("the token is for another audience than {expected:?}")]
    Audience { expected: String },
    #[error("the token ended {seconds} s ago")]
    Expired { seconds: u64 },
    #[error("the token begins in {seconds} s")]
    NotYet { seconds: u64 },
    #[error("the token lives for {days} days, and at most {} are taken", LIFETIME_S_MAX / 86_400)]
    TooLong { days: u64 },
    #[error("the token names no room")]
    Room,
}

/// Opens a token: checks its signature with the pinned algorithm and reads its claims, which
/// [`grant`] judges; so it must not judge them itself.
pub type OpenToken = Box<dyn Fn(&str) -> Result<Claims, TokenError> + Send>;

pub fn grant(claims: Claims, audience: &str, now_unix_s: u64) -> Result<Grant, TokenError> {
    let Claims { aud, exp, nbf, tenant, room, role, name } = claims;
    if !aud.contains(audience) {
        return Err(TokenError::Audience { expected: audience.to_owned() });
    }
    if now_unix_s >= exp.saturating_add(LEEWAY_S) {
        return Err(TokenError::Expired { seconds: now_unix_s - exp });
    }
    if now_unix_s.saturating_add(LEEWAY_S) < nbf {
        return Err(TokenError::NotYet { seconds: nbf - now_unix_s });
    }
    if exp.saturating_sub(nbf) > LIFETIME_S_MAX {
        return Err(TokenError::TooLong { days: (exp - nbf) / 86_400 });
    }
    if room.is_empty() {
        return Err(TokenError::Room);
    }
    Ok(Grant { tenant: tenant.unwrap_or_else(|| TENANT_DEFAULT.to_owned()), room, role, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn claims() -> Claims {
        Claims {
            aud: Audience::One("meet".to_owned()),
            exp: NOW_S + 60,
            nbf: NOW_S - 60,
            tenant: None,
            room: "room".to_owned(),
            role: Role::Participant,
            name: None,
        }
    }

    #[test]
    fn w1_a_good_token_grants_what_it_says() {
        let several = Audience::Several(vec!["other".to_owned(), "meet".to_owned()]);
        for aud in [claims().aud, several] {
            let granted = grant(Claims { aud, ..claims() }, "meet", NOW_S).expect("good");
            assert_eq!((granted.room.as_str(), granted.role), ("room", Role::Participant));
            assert_eq!(granted.tenant, TENANT_DEFAULT);
        }
    }

    #[test]
    fn w1_audience_times_and_room_are_required() {
        let other = Audience::Several(vec!["other".to_owned()]);
        let rows = [
            (Claims { aud: other, ..claims() }, TokenError::Audience { expected: "meet".to_owned() }),
            (Claims { exp: NOW_S - 30, ..claims() }, TokenError::Expired { seconds: 30 }),
            (Claims { nbf: NOW_S + 31, ..claims() }, TokenError::NotYet { seconds: 31 }),
            (Claims { nbf: 0, ..claims() }, TokenError::TooLong { days: (NOW_S + 60) / 86_400 }),
            (Claims { room: String::new(), ..claims() }, TokenError::Room),
        ];
        for (claims, error) in rows {
            assert_eq!(grant(claims, "meet", NOW_S), Err(error));
        }
        // Clocks may differ by 30 s.
        assert!(grant(Claims { exp: NOW_S - 29, ..claims() }, "meet", NOW_S).is_ok());
        assert!(grant(Claims { nbf: NOW_S + 30, ..claims() }, "meet", NOW_S).is_ok());
        // No time overflows.
        assert!(grant(Claims { exp: u64::MAX, nbf: u64::MAX, ..claims() }, "meet", NOW_S).is_err());
    }

    #[test]
    fn w1_a_claim_that_is_missing_is_named() {
        for missing in ["aud", "exp", "nbf", "room", "role"] {
            let mut value = serde_json::to_value(claims()).expect("claims serialise");
            value.as_object_mut().expect("an object").remove(missing);
            let error = serde_json::from_value::<Claims>(value).expect_err(missing).to_string();
            assert!(error.contains(missing), "{error}");
        }
    }
}
