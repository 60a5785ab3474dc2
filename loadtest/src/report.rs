//! What a run found: lines for the terminal, JSON and CSV for programs, and a page for people.
//!
//! Any subcommand fills a [`Report`]: facts, checks against limits, distributions, and charts over
//! time; [`Sampler`] takes CPU and memory of the server and of the tester once in a while.

mod chart;
mod distribution;
mod page;
mod sampler;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

pub use distribution::Summary;
pub use sampler::Sampler;

use distribution::Distribution;

/// Of the server's log, that are printed.
const LOG_LINES_MAX: usize = 10;

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// A word for programs, such as `storm`.
    pub name: String,
    pub title: String,
    facts: Vec<Fact>,
    checks: Vec<Check>,
    distributions: Vec<Distribution>,
    charts: Vec<Chart>,
}

#[derive(Debug, Clone, Serialize)]
struct Fact {
    name: String,
    value: String,
}

/// Something that was measured and must not be above, or below, its limit.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: String,
    measured: f64,
    limit: f64,
    unit: String,
    /// The limit is a minimum.
    at_least: bool,
    passed: bool,
}

/// Lines over time.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    pub title: String,
    pub unit: String,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub name: String,
    /// Seconds since the beginning, and the value then.
    pub points: Vec<(f64, f64)>,
}

impl Report {
    pub fn new(name: &str, title: &str) -> Self {
        Report {
            name: name.to_owned(),
            title: title.to_owned(),
            facts: Vec::new(),
            checks: Vec::new(),
            distributions: Vec::new(),
            charts: Vec::new(),
        }
    }

    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push(Fact { name: name.to_owned(), value: value.into() });
    }

    /// Passes if `measured` is at most `limit`. What could not be measured (NaN) does not pass.
    pub fn check(&mut self, name: &str, measured: f64, unit: &str, limit: f64) {
        self.add_check(name, measured, unit, limit, false);
    }

    /// Passes if `measured` is at least `limit`.
    pub fn check_at_least(&mut self, name: &str, measured: f64, unit: &str, limit: f64) {
        self.add_check(name, measured, unit, limit, true);
    }

    fn add_check(&mut self, name: &str, measured: f64, unit: &str, limit: f64, at_least: bool) {
        let passed = if at_least { measured >= limit } else { measured <= limit };
        let (name, unit) = (name.to_owned(), unit.to_owned());
        self.checks.push(Check { name, measured, limit, unit, at_least, passed });
    }

    /// Adds a distribution and returns its percentiles.
    pub fn distribution(&mut self, name: &str, unit: &str, values: Vec<f64>) -> Summary {
        self.add_distribution(Distribution::new(name, unit, values))
    }

    /// The same of a histogram; `one` of what it counts are one of the unit.
    pub fn histogram(&mut self, name: &str, unit: &str, histogram: &Histogram<u64>, one: f64) -> Summary {
        self.add_distribution(Distribution::of_histogram(name, unit, histogram, one))
    }

    fn add_distribution(&mut self, distribution: Distribution) -> Summary {
        let summary = distribution.summary;
        self.distributions.push(distribution);
        summary
    }

    pub fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// For a terminal, or for a log.
    pub fn lines(&self) -> Vec<String> {
        let facts = self.facts.iter().map(|fact| format!("{}: {}", fact.name, fact.value));
        let distributions = self.distributions.iter().map(|distribution| {
            let Summary { count, p50, p95, p99, max, .. } = distribution.summary;
            let [p50, p95, p99, max] = [p50, p95, p99, max].map(number);
            let unit = &distribution.unit;
            format!("{}: p50 {p50}, p95 {p95}, p99 {p99}, max {max} {unit} (of {count})", distribution.name)
        });
        facts.chain(distributions).chain(self.checks.iter().map(Check::line)).collect()
    }

    /// Of the checks that did not pass.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.checks.iter().filter(|check| !check.passed).map(Check::line)
    }

    /// Prints it with what the server logged, and writes it where that was wished. Whether it passed.
    pub fn finish(&self, out: Option<&Path>, log: &str, print: fn(&str)) -> anyhow::Result<bool> {
        self.lines().iter().for_each(|line| print(line));
        let mut log = log.lines();
        log.by_ref().take(LOG_LINES_MAX).for_each(|line| print(&format!("server: {line}")));
        match log.count() {
            0 => {}
            more => print(&format!("server: … and {more} lines more")),
        }
        self.save(out, print)?;
        Ok(self.passed())
    }

    /// Writes it where that was wished, and prints where it is.
    pub fn save(&self, out: Option<&Path>, print: impl FnOnce(&str)) -> anyhow::Result<()> {
        let Some(dir) = out else { return Ok(()) };
        self.write(dir).with_context(|| format!("no report in {}", dir.display()))?;
        print(&format!("report: {}", dir.join("report.html").display()));
        Ok(())
    }

    /// `result.json`, `result.csv`, `series.csv` and `report.html`, in a directory that is made.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("result.json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(dir.join("result.csv"), self.result_csv())?;
        std::fs::write(dir.join("series.csv"), self.series_csv())?;
        std::fs::write(dir.join("report.html"), page::render(self))
    }

    fn result_csv(&self) -> String {
        let mut text = String::from("name,value,unit,limit,passed\n");
        for check in &self.checks {
            let Check { measured, unit, limit, passed, .. } = check;
            line(&mut text, &[&check.name, measured, unit, limit, passed]);
        }
        for distribution in &self.distributions {
            for (percentile, value) in distribution.summary.named() {
                let name = format!("{} {percentile}", distribution.name);
                line(&mut text, &[&name, &value, &distribution.unit, &"", &""]);
            }
        }
        text
    }

    fn series_csv(&self) -> String {
        let mut text = String::from("chart,line,second,value\n");
        for chart in &self.charts {
            for series in &chart.lines {
                for (second, value) in &series.points {
                    line(&mut text, &[&chart.title, &series.name, second, value]);
                }
            }
        }
        text
    }
}

impl Check {
    fn line(&self) -> String {
        let word = if self.passed { "ok    " } else { "FAILED" };
        format!("{word} {}: {}", self.name, self.comparison())
    }

    fn comparison(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let word = if self.at_least { "at least" } else { "at most" };
        format!("{}{unit}, {word} {}{unit}", number(self.measured), number(self.limit))
    }
}

/// One record of CSV (RFC 4180).
fn line(text: &mut String, fields: &[&dyn std::fmt::Display]) {
    for (index, field) in fields.iter().enumerate() {
        let field = field.to_string();
        let quoted = field.contains([',', '"', '\n']);
        let field = if quoted { format!("\"{}\"", field.replace('"', "\"\"")) } else { field };
        // Writing to a text never fails.
        let _ = write!(text, "{}{field}", if index > 0 { "," } else { "" });
    }
    text.push('\n');
}

/// As people read it: three digits or so, thousands apart.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "not measured".to_owned();
    }
    let digits = match value.abs() {
        at if at >= 100.0 || value == value.trunc() => 0,
        at if at >= 10.0 => 1,
        at if at >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), String::new()), |(a, b)| (a, format!(".{b}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

pub fn duration(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s >= 100.0 => format!("{} min {:02} s", s as u64 / 60, s as u64 % 60),
        s if s >= 1.0 => format!("{} s", number(s)),
        s => format!("{} ms", number(s * 1e3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("storm", "Join <storm>");
        report.fact("rooms", "3, & \"more\"");
        report.distribution("time to join", "ms", (1..=100).map(f64::from).collect());
        report.check("p95", 95.0, "ms", 3_000.0);
        report
    }

    #[test]
    fn a_report_passes_when_every_check_does() {
        let mut report = report();
        assert!(report.passed());
        report.check_at_least("MOS", 4.1, "", 4.0);
        assert!(report.passed());
        report.check("not measured", f64::NAN, "", 1.0);
        assert!(!report.passed());
        assert!(report.lines().iter().any(|line| line == "ok     p95: 95 ms, at most 3,000 ms"));
        assert!(report.lines().iter().any(|line| line.starts_with("FAILED not measured: not measured")));
    }

    #[test]
    fn programs_and_people_can_read_it() {
        let dir = std::env::temp_dir().join(format!("broletto-report-{}", std::process::id()));
        let mut report = report();
        let points = vec![(0.0, 1.0), (1.0, 3.5)];
        let lines = vec![Line { name: "present, all".to_owned(), points }];
        report.chart(Chart { title: "Participants".to_owned(), unit: String::new(), lines });
        report.write(&dir).expect("the temporary directory can be written to");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("it was written");
        let json: serde_json::Value = serde_json::from_str(&read("result.json")).expect("JSON");
        assert_eq!(json["checks"][0]["passed"], true);
        assert_eq!(json["distributions"][0]["summary"]["p95"], 95.0);
        assert!(read("result.csv").contains("\np95,95,ms,3000,true\n"));
        assert_eq!(read("series.csv").lines().nth(2), Some("Participants,\"present, all\",1,3.5"));
        let page = read("report.html");
        assert!(page.contains("Join &lt;storm&gt;") && page.contains("3, &amp; &quot;more&quot;"));
        assert!(!page.contains("Join <storm>"));
        assert!(!page.contains("http://") || !page.contains("<script"), "it loads nothing");
        std::fs::remove_dir_all(dir).expect("it is ours");
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        for (value, text) in [
            (0.0, "0"),
            (0.12345, "0.123"),
            (12.34, "12.3"),
            (1_234_567.8, "1,234,568"),
            (-1_500.0, "-1,500"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
    }
}
