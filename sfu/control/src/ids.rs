//! Ids, all chosen by signaling: the epoch that made them and a serial number within it, so that
//! no id is ever used twice, not even after a restart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Fencing epoch of a signaling process: one above the highest known when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// Counts the wished states that one epoch has sent; a `Sync` older than the last is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// Names one request within an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// What every id is made of. Its text form is `epoch.serial`, in decimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id {
    pub epoch: Epoch,
    pub serial: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an id is two decimal numbers joined by a dot, such as 3.17, not {0:?}")]
pub struct IdError(String);

impl Id {
    pub fn new(epoch: Epoch, serial: u32) -> Self {
        Id { epoch, serial }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.serial)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError(text.chars().take(32).collect());
        let (epoch, serial) = text.split_once('.').ok_or_else(wrong)?;
        let number = |digits: &str| {
            // `u32::from_str` takes a sign, which would give one id two spellings.
            if digits.starts_with('+') { Err(wrong()) } else { digits.parse().map_err(|_| wrong()) }
        };
        Ok(Id::new(Epoch(number(epoch)?), number(serial)?))
    }
}

impl TryFrom<String> for Id {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.to_string()
    }
}

/// The media of one room on one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouterId(pub Id);

/// How one participant's packets reach a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransportId(pub Id);

/// One incoming stream, with all its encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerId(pub Id);

/// One outgoing stream, whose source may be switched while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConsumerId(pub Id);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = Id::new(Epoch(7), u32::MAX);
        assert_eq!(id.to_string(), "7.4294967295");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn anything_else_is_refused_with_the_text_that_came() {
        for text in ["", "7", "7.", ".7", "+7.1", "7.+1", "7.4294967296", "7.1.2", "a.b", " 7.1"] {
            let error = text.parse::<Id>().expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
