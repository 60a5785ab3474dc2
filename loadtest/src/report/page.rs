//! The report as one page that needs nothing else.

use std::fmt::Write as _;

use super::distribution::Distribution;
use super::{Chart, Check, Report, chart, number};

const STYLE: &str = include_str!("page.css");

// Writing to a text never fails, here and below.
pub(super) fn render(report: &Report) -> String {
    let title = escape(&report.title);
    let (word, class) = match (report.checks.is_empty(), report.passed()) {
        (true, _) => ("Measured", "measured"),
        (false, true) => ("Passed", "passed"),
        (false, false) => ("Failed", "failed"),
    };
    let mut page = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: {word}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="verdict {class}">{word}</p>
"#
    );
    checks(&mut page, &report.checks);
    if !report.facts.is_empty() {
        page.push_str("<section>\n<h2>How it was run</h2>\n<dl>\n");
        for fact in &report.facts {
            let _ =
                writeln!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escape(&fact.name), escape(&fact.value));
        }
        page.push_str("</dl>\n</section>\n");
    }
    for distribution in report.distributions.iter().filter(|one| one.summary.count > 0) {
        section(&mut page, distribution);
    }
    for chart in report.charts.iter().filter(|chart| chart.lines.iter().any(|line| !line.points.is_empty())) {
        lines(&mut page, chart);
    }
    page + "</main>\n</body>\n</html>\n"
}

fn checks(page: &mut String, checks: &[Check]) {
    if checks.is_empty() {
        return;
    }
    page.push_str(
        "<section>\n<h2>Checks</h2>\n<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr><th>What</th>\
         <th class=\"number\">Measured</th><th class=\"number\">Limit</th><th>Result</th></tr></thead>\n<tbody>\n",
    );
    for check in checks {
        let (word, class) = if check.passed { ("passed", "passed") } else { ("failed", "failed") };
        let bound = if check.at_least { "at least" } else { "at most" };
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td class=\"number\">{} {unit}</td><td class=\"number\">{bound} {} {unit}</td>\
             <td><span class=\"badge {class}\">{word}</span></td></tr>",
            escape(&check.name),
            number(check.measured),
            number(check.limit),
            unit = escape(&check.unit),
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n</section>\n");
}

fn section(page: &mut String, distribution: &Distribution) {
    let unit = escape(&distribution.unit);
    let _ = writeln!(
        page,
        "<section>\n<h2>{}</h2>\n<dl class=\"percentiles\">",
        escape(&sentence(&distribution.name))
    );
    for (name, value) in distribution.summary.named() {
        let unit = if name == "count" { "" } else { &unit };
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{} {unit}</dd></div>", number(value));
    }
    let _ = writeln!(
        page,
        "</dl>\n<figure>{}<figcaption>Share of all that is not above a value.</figcaption></figure>\n</section>",
        chart::curve(distribution)
    );
}

fn lines(page: &mut String, of: &Chart) {
    let _ =
        write!(page, "<section>\n<h2>{}</h2>\n<figure>{}<figcaption>", escape(&of.title), chart::lines(of));
    for (index, line) in of.lines.iter().enumerate() {
        let values = line.points.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
        let (sum, max, count) = values
            .fold((0.0, 0.0_f64, 0.0), |(sum, max, count), value| (sum + value, max.max(value), count + 1.0));
        let _ = write!(
            page,
            "<span class=\"legend\">{}{}: mean {}, highest {} {}</span> ",
            chart::swatch(index),
            escape(&line.name),
            number(sum / count),
            number(max),
            escape(&of.unit)
        );
    }
    page.push_str("</figcaption></figure>\n</section>\n");
}

fn sentence(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
