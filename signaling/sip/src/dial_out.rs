//! Whom this server may call (S2). Nobody, unless the operator says so: toll fraud is the commonest
//! attack on whoever speaks SIP.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::uri::Uri;

/// What one tenant may call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DialOut {
    /// Beginnings of numbers, in the international form with `+`.
    pub prefixes: Vec<String>,
    /// Beginnings that are refused although a prefix allows them, such as premium rates.
    pub refused_prefixes: Vec<String>,
    /// Domains of room systems that are called by URI. Lower case.
    pub domains: Vec<String>,
    pub calls_per_hour_max: usize,
}

#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum DialError {
    #[error("calling out is switched off")]
    Off,
    #[error("this number or domain is not among those that may be called")]
    NotAllowed,
    #[error("too many calls within the hour")]
    TooMany,
    #[error("too many calls at once")]
    Full,
    #[error("no address of ours speaks this transport")]
    NoAddress,
    #[error("the device is not registered any more")]
    NotRegistered,
}

/// Calls that were begun within the hour.
#[derive(Debug, Default)]
pub(crate) struct Ledger(VecDeque<Instant>);

const HOUR: Duration = Duration::from_secs(3_600);
/// The longest number (ITU-T E.164), with its plus sign.
const NUMBER_CHARACTERS_MAX: usize = 16;

impl Ledger {
    /// Counts the call if it may be made. Without a target it goes to a registered device, which needs
    /// no entry in a list.
    pub(crate) fn admit(
        &mut self,
        policy: Option<&DialOut>,
        target: Option<&Uri>,
        now: Instant,
    ) -> Result<(), DialError> {
        let policy = policy.ok_or(DialError::Off)?;
        if target.is_some_and(|target| !allows(policy, target)) {
            return Err(DialError::NotAllowed);
        }
        while self.0.front().is_some_and(|at| now.saturating_duration_since(*at) >= HOUR) {
            self.0.pop_front();
        }
        if self.0.len() >= policy.calls_per_hour_max {
            return Err(DialError::TooMany);
        }
        self.0.push_back(now);
        Ok(())
    }
}

fn allows(policy: &DialOut, target: &Uri) -> bool {
    let Some(user) = target.user() else { return false };
    if let Some(number) = number(&user) {
        // A gateway takes digits for a number whatever the domain says.
        let begins = |prefixes: &[String]| prefixes.iter().any(|prefix| number.starts_with(prefix.as_str()));
        return begins(&policy.prefixes) && !begins(&policy.refused_prefixes);
    }
    target.host().is_some_and(|host| policy.domains.contains(&host))
}

/// The number that a user part is, in the international form; None: it is a name.
fn number(user: &str) -> Option<String> {
    let digits: String = user.chars().filter(|character| !"-.() ".contains(*character)).collect();
    let digits = digits.strip_prefix("00").map_or_else(|| digits.clone(), |rest| format!("+{rest}"));
    let body = digits.strip_prefix('+').unwrap_or(&digits);
    let numeric = !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_digit() || b"*#".contains(&byte));
    (numeric && digits.len() <= NUMBER_CHARACTERS_MAX).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
        Instant::now()
    }

    fn policy() -> DialOut {
        DialOut {
            prefixes: vec!["+39".to_owned()],
            refused_prefixes: vec!["+39899".to_owned()],
            domains: vec!["rooms.example.org".to_owned()],
            calls_per_hour_max: 3,
        }
    }

    #[test]
    fn s2_calling_out_is_off_unless_the_operator_says_whom() {
        let uri = Uri::parse("sip:sala@rooms.example.org").unwrap();
        assert_eq!(Ledger::default().admit(None, Some(&uri), start()), Err(DialError::Off));
        let nobody = DialOut { calls_per_hour_max: 10, ..DialOut::default() };
        assert_eq!(Ledger::default().admit(Some(&nobody), Some(&uri), start()), Err(DialError::NotAllowed));
    }

    #[test]
    fn s2_only_listed_prefixes_and_domains_are_called() {
        for (target, allowed) in [
            ("tel:+39021234", true),
            ("sip:0039021234@pbx.example.org", true),
            ("sip:+39-02.12(34)@pbx.example.org", true),
            ("sip:sala@rooms.example.org", true),
            ("sip:sala@ROOMS.example.org", true),
            ("tel:+39899123", false),
            ("sip:0039899123@rooms.example.org", false),
            ("tel:+882123", false),
            ("sip:+44123@rooms.example.org", false),
            ("sip:39021234@rooms.example.org", false),
            ("sip:%2b44123@rooms.example.org", false),
            ("sip:+44123;ext=1@rooms.example.org", false),
            ("sip:sala@example.net", false),
            ("sip:sala@rooms.example.org.evil.net", false),
            ("sip:rooms.example.org", false),
            ("mailto:a@rooms.example.org", false),
        ] {
            assert_eq!(allows(&policy(), &Uri::parse(target).unwrap()), allowed, "{target}");
        }
    }

    #[test]
    fn s2_calls_of_an_hour_are_counted() {
        let (mut ledger, now, policy) = (Ledger::default(), start(), policy());
        let uri = Uri::parse("tel:+3902").unwrap();
        let mut admit = |second| ledger.admit(Some(&policy), Some(&uri), now + Duration::from_secs(second));
        assert_eq!([admit(0), admit(10), admit(20)], [Ok(()); 3]);
        assert_eq!(admit(3_599), Err(DialError::TooMany));
        assert_eq!(admit(3_600), Ok(()));
        assert_eq!(admit(3_601), Err(DialError::TooMany));
    }
}
