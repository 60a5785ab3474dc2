//! A link in words: `loss=5 burst=3 delay=100 jitter=10 rate=2000 queue=200`.
//!
//! | Word | Meaning |
//! |---|---|
//! | `rate` | kbit/s, IP and UDP headers included; 0: no limit |
//! | `queue` | ms that a packet waits at most for its turn |
//! | `delay` | ms |
//! | `jitter` | ms that are added to the delay at random, up to this |
//! | `reorder` | 1: a packet may overtake another by its jitter |
//! | `loss` | per cent of packets |
//! | `burst` | packets in a row that are lost each time |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::link::LinkConfig;

/// Times above are taken for mistakes.
const MS_MAX: u64 = 60_000;
const BURST_MAX: u64 = 1_000;

/// What a link is to be like from now on; what is not named stays.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkChange {
    rate_kbps: Option<u64>,
    queue_ms: Option<u64>,
    delay_ms: Option<u64>,
    jitter_ms: Option<u64>,
    reorder: Option<bool>,
    loss_percent: Option<f64>,
    burst: Option<u32>,
}

/// The options for both directions of a link.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct LinkArguments {
    /// What both ways are like, such as "loss=5 burst=3 delay=100 jitter=10 rate=2000 queue=200" (per
    /// cent, packets, ms, ms, kbit/s, ms)
    #[arg(long, default_value_t, hide_default_value = true, value_name = "WORDS")]
    link: LinkChange,
    /// What the way from the server is like; its words come after those of --link
    #[arg(long, default_value_t, hide_default_value = true, value_name = "WORDS")]
    down: LinkChange,
    /// What the way to the server is like; its words come after those of --link
    #[arg(long, default_value_t, hide_default_value = true, value_name = "WORDS")]
    up: LinkChange,
}

impl LinkArguments {
    pub fn down(self) -> LinkChange {
        self.link.then(self.down)
    }

    pub fn up(self) -> LinkChange {
        self.link.then(self.up)
    }
}

impl LinkChange {
    /// Both, of which the later one is right where they differ.
    pub fn then(self, later: LinkChange) -> LinkChange {
        LinkChange {
            rate_kbps: later.rate_kbps.or(self.rate_kbps),
            queue_ms: later.queue_ms.or(self.queue_ms),
            delay_ms: later.delay_ms.or(self.delay_ms),
            jitter_ms: later.jitter_ms.or(self.jitter_ms),
            reorder: later.reorder.or(self.reorder),
            loss_percent: later.loss_percent.or(self.loss_percent),
            burst: later.burst.or(self.burst),
        }
    }

    pub fn apply(self, config: LinkConfig) -> LinkConfig {
        let rate_bps = self.rate_kbps.map(|kbps| (kbps > 0).then(|| kbps.saturating_mul(1_000)));
        let time = |ms: Option<u64>, before| ms.map_or(before, Duration::from_millis);
        LinkConfig {
            rate_bps: rate_bps.unwrap_or(config.rate_bps),
            queue: time(self.queue_ms, config.queue),
            queue_bytes_max: config.queue_bytes_max,
            delay: time(self.delay_ms, config.delay),
            jitter: time(self.jitter_ms, config.jitter),
            reorder: self.reorder.unwrap_or(config.reorder),
            loss: self.loss_percent.map_or(config.loss, |percent| percent / 100.0),
            burst: self.burst.unwrap_or(config.burst),
        }
    }
}

impl FromStr for LinkChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut change = LinkChange::default();
        for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("expected NAME=VALUE, not {word:?}"))?;
            let whole = |max: u64| {
                let value = value.parse().ok().filter(|value| *value <= max);
                value.ok_or_else(|| format!("{name} is a whole number up to {max}, not {word:?}"))
            };
            match name {
                "rate" => change.rate_kbps = Some(whole(u64::MAX / 1_000)?),
                "queue" => change.queue_ms = Some(whole(MS_MAX)?),
                "delay" => change.delay_ms = Some(whole(MS_MAX)?),
                "jitter" => change.jitter_ms = Some(whole(MS_MAX)?),
                "reorder" => change.reorder = Some(whole(1)? == 1),
                "burst" => change.burst = Some(whole(BURST_MAX)?.max(1) as u32),
                "loss" => {
                    let percent = value.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
                    let wrong = || format!("loss is 0 to 100 per cent, not {word:?}");
                    change.loss_percent = Some(percent.ok_or_else(wrong)?);
                }
                _ => {
                    return Err(format!(
                        "a link has rate, queue, delay, jitter, reorder, loss and burst, not {name:?}"
                    ));
                }
            }
        }
        Ok(change)
    }
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reorder = self.reorder.map(u64::from);
        let burst = self.burst.map(u64::from);
        let whole = [
            ("rate", self.rate_kbps),
            ("queue", self.queue_ms),
            ("delay", self.delay_ms),
            ("jitter", self.jitter_ms),
            ("reorder", reorder),
            ("burst", burst),
        ];
        let words = whole.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let words = words.chain(self.loss_percent.map(|percent| format!("loss={percent}")));
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn every_word_is_read_and_what_is_not_named_stays() {
        let all: LinkChange =
            "loss=5 burst=3 delay=100 jitter=10 rate=2000 queue=200 reorder=1".parse().unwrap();
        let config = all.apply(LinkConfig::default());
        let expected = LinkConfig {
            rate_bps: Some(2_000_000),
            queue: 200 * MILLISECOND,
            delay: 100 * MILLISECOND,
            jitter: 10 * MILLISECOND,
            reorder: true,
            loss: 0.05,
            burst: 3,
            ..LinkConfig::default()
        };
        assert_eq!(config, expected);
        let some: LinkChange = " rate=0,loss=0.5 ".parse().unwrap();
        assert_eq!(some.apply(config), LinkConfig { rate_bps: None, loss: 0.005, ..expected });
        assert_eq!("".parse::<LinkChange>().unwrap().apply(config), config);
    }

    #[test]
    fn one_direction_is_told_apart_from_both() {
        let read = |text: &str| text.parse::<LinkChange>().unwrap();
        let arguments =
            LinkArguments { link: read("delay=50 loss=1"), down: read("rate=2000 loss=0"), up: read("") };
        assert_eq!(arguments.down(), read("delay=50 rate=2000 loss=0"));
        assert_eq!(arguments.up(), read("delay=50 loss=1"));
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        let text = "rate=2000 queue=200 delay=100 jitter=10 reorder=0 burst=3 loss=2.5";
        assert_eq!(text.parse::<LinkChange>().unwrap().to_string(), text);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("loss", "NAME=VALUE"),
            ("loss=101", "0 to 100"),
            ("loss=NaN", "0 to 100"),
            ("delay=1.5", "whole number"),
            ("delay=60001", "up to 60000"),
            ("speed=1", "not \"speed\""),
            ("reorder=2", "up to 1"),
        ] {
            let error = text.parse::<LinkChange>().expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
