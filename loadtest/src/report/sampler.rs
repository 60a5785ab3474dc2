//! Values over time, with CPU and memory of the server and of the tester.

use std::time::{Duration, Instant};

use super::{Chart, Line, Report};
use crate::usage::Usage;

/// Points that a line has at most: when there are more, every other one is left out.
const POINTS_MAX: usize = 4_096;

pub struct Sampler {
    begun: Instant,
    server: Watched,
    tester: Watched,
    values: Vec<Line>,
}

struct Watched {
    process: Option<u32>,
    before: Option<(Instant, Duration)>,
    cpu: Vec<(f64, f64)>,
    memory: Vec<(f64, f64)>,
}

impl Sampler {
    /// `server` is the process whose cost is looked at; `names` are those of the values.
    pub fn new(server: Option<u32>, names: &[&str]) -> Self {
        let line = |name: &&str| Line { name: (*name).to_owned(), points: Vec::new() };
        Sampler {
            begun: Instant::now(),
            server: Watched::new(server),
            tester: Watched::new(Some(std::process::id())),
            values: names.iter().map(line).collect(),
        }
    }

    /// Another process has taken over.
    pub fn process(&mut self, server: Option<u32>) {
        (self.server.process, self.server.before) = (server, None);
    }

    /// `values` in the order of the names; NaN is left out.
    pub fn sample(&mut self, values: &[f64]) {
        let now = Instant::now();
        let second = (now - self.begun).as_secs_f64();
        for (line, value) in self.values.iter_mut().zip(values) {
            if !value.is_nan() {
                push(&mut line.points, (second, *value));
            }
        }
        self.server.sample(now, second);
        self.tester.sample(now, second);
    }

    /// Charts of these values, each with its title and unit, and of CPU and memory.
    pub fn into_report(self, report: &mut Report, charts: &[(&str, &str, &[&str])]) {
        for (title, unit, names) in charts {
            let lines = self.values.iter().filter(|line| names.contains(&line.name.as_str()));
            let (title, unit) = ((*title).to_owned(), (*unit).to_owned());
            report.chart(Chart { title, unit, lines: lines.cloned().collect() });
        }
        let both = |server: Vec<(f64, f64)>, tester: Vec<(f64, f64)>| {
            let lines = [("server", server), ("tester", tester)].into_iter();
            let lines = lines.filter(|(_, points)| !points.is_empty());
            lines.map(|(name, points)| Line { name: name.to_owned(), points }).collect()
        };
        let (title, unit) = ("Processor".to_owned(), "% of one".to_owned());
        report.chart(Chart { title, unit, lines: both(self.server.cpu, self.tester.cpu) });
        let (title, unit) = ("Memory".to_owned(), "MiB".to_owned());
        report.chart(Chart { title, unit, lines: both(self.server.memory, self.tester.memory) });
    }
}

impl Watched {
    fn new(process: Option<u32>) -> Self {
        Watched { process, before: None, cpu: Vec::new(), memory: Vec::new() }
    }

    fn sample(&mut self, now: Instant, second: f64) {
        let Some(usage) = self.process.and_then(Usage::of) else { return };
        push(&mut self.memory, (second, usage.resident_bytes as f64 / (1 << 20) as f64));
        if let Some((then, cpu)) = self.before.filter(|(then, _)| *then < now) {
            let share = usage.cpu.saturating_sub(cpu).as_secs_f64() / (now - then).as_secs_f64();
            push(&mut self.cpu, (second, share * 100.0));
        }
        self.before = Some((now, usage.cpu));
    }
}

fn push(points: &mut Vec<(f64, f64)>, point: (f64, f64)) {
    points.push(point);
    if points.len() > POINTS_MAX {
        let mut index = 0;
        points.retain(|_| {
            index += 1;
            index % 2 == 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_keep_their_span() {
        let mut points = Vec::new();
        (0..20_000).for_each(|second| push(&mut points, (f64::from(second), 1.0)));
        assert!((POINTS_MAX / 2..=POINTS_MAX).contains(&points.len()));
        assert_eq!(points[0].0, 0.0);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn this_process_is_charted_beside_the_values() {
        let mut sampler = Sampler::new(None, &["present"]);
        sampler.sample(&[3.0]);
        sampler.sample(&[4.0]);
        let mut report = Report::new("x", "x");
        sampler.into_report(&mut report, &[("Participants", "", &["present"])]);
        let titles: Vec<&str> = report.charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(titles, ["Participants", "Processor", "Memory"]);
        assert_eq!(report.charts[0].lines[0].points.len(), 2);
        assert_eq!(report.charts[2].lines.len(), 1, "nothing is known of a server elsewhere");
    }
}
