//! Live progress: a bar in a terminal, and a line now and then where there is none.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines.
const LINE_PERIOD: Duration = Duration::from_secs(10);

pub struct Progress {
    what: &'static str,
    total: u64,
    way: Way,
}

enum Way {
    Bar(ProgressBar),
    Lines { print: fn(&str), next: Cell<Instant> },
}

impl Progress {
    /// `print` takes whole lines, for where standard error is no terminal.
    pub fn new(what: &'static str, total: u64, print: fn(&str)) -> Self {
        let way = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            let style =
                ProgressStyle::with_template("{elapsed_precise} {prefix} {wide_bar} {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(what);
            Way::Bar(bar)
        } else {
            Way::Lines { print, next: Cell::new(Instant::now() + LINE_PERIOD) }
        };
        Progress { what, total, way }
    }

    /// What is planned by time may take longer: more than all is shown as all.
    pub fn set(&self, done: u64, note: &str) {
        let done = done.min(self.total);
        match &self.way {
            Way::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            Way::Lines { print, next } => {
                let now = Instant::now();
                if now < next.get() {
                    return;
                }
                next.set(now + LINE_PERIOD);
                let comma = if note.is_empty() { "" } else { ", " };
                print(&format!("{}: {done} of {}{comma}{note}", self.what, self.total));
            }
        }
    }

    pub fn finish(self) {
        if let Way::Bar(bar) = self.way {
            bar.finish_and_clear();
        }
    }
}
