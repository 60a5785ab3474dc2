//! Each subcommand in small, against the program itself. They assert what came out, and no times:
//! whether thousands fit into seconds is for the long forms.
//!
//! `broletto` has to be built beside this program, or in BROLETTO_BIN_DIR, as `.ci/test` does it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_broletto-loadtest")).args(arguments).output();
    output.expect("the program was built with this test")
}

/// What it printed, when it ended well.
fn passed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("broletto-short-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn result(dir: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(dir.join("result.json")).expect("it was written");
    serde_json::from_str(&text).expect("JSON")
}

fn count(result: &serde_json::Value, distribution: &str) -> u64 {
    let all = result["distributions"].as_array().expect("a list");
    let found = all.iter().find(|one| one["name"] == distribution);
    found.and_then(|one| one["summary"]["count"].as_u64()).expect("it was measured")
}

#[test]
fn every_codec_passes_through_another_implementation() {
    let text = passed(&["interop", "--frames", "25"]);
    for codec in ["opus", "vp8", "vp9", "h264", "av1"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("ok     {codec}"))), "{text}");
    }
}

#[test]
fn whoever_joins_in_a_storm_is_let_in() {
    let dir = Scratch::new("storm");
    let out = dir.0.to_str().expect("text");
    passed(&[
        "storm",
        "--count",
        "40",
        "--rate",
        "20",
        "--present",
        "20",
        "--p95-ms-max",
        "60000",
        "--out",
        out,
    ]);
    let result = result(&dir.0);
    assert_eq!(count(&result, "time to join"), 40);
    assert!(std::fs::read_to_string(dir.0.join("report.html")).expect("written").contains("Passed"));
    assert!(std::fs::read_to_string(dir.0.join("series.csv")).expect("written").contains("Memory,server,"));
}

#[test]
fn whoever_loses_the_server_comes_back() {
    let dir = Scratch::new("idle");
    let out = dir.0.to_str().expect("text");
    // So few share what a server needs anyway, so their memory says nothing.
    let bytes = ["--bytes-max", "10000000"];
    passed(&[&["storm", "--idle", "--count", "60", "--out", out], &bytes[..]].concat());
    assert_eq!(count(&result(&dir.0), "time until back"), 60);
}

#[test]
fn what_a_packet_costs_is_measured_and_reported() {
    let dir = Scratch::new("forward");
    let out = dir.0.to_str().expect("text");
    let load = ["--subscribers", "3", "--publishers", "2", "--packets-per-frame", "2"];
    let times = ["--seconds", "2", "--windows", "1", "--warm-up-seconds", "1"];
    let text = passed(&[&["forward", "--no-limit", "--no-pin", "--out", out][..], &load, &times].concat());
    assert!(text.lines().last().is_some_and(|line| line.ends_with("ns of CPU a forwarded packet")), "{text}");
    assert!(count(&result(&dir.0), "forwarding latency") > 0);
    let series = std::fs::read_to_string(dir.0.join("series.csv")).expect("it was written");
    for line in ["Packets a second,forwarded,", "Latency,p99,", "Processor,server,", "Memory,server,"] {
        assert!(series.contains(line), "{series}");
    }
    assert!(std::fs::read_to_string(dir.0.join("report.html")).expect("written").contains("Measured"));
}

const MEETING: &str = r#"
title = "Two who see each other"
duration_s = 6
talk_s = 3
video_codecs = ["vp8"]

[limits]
mos_min = 1

[[group]]
name = "somebody"
count = 2
sees = 1
"#;

#[test]
fn participants_of_a_meeting_hear_and_see_each_other() {
    let dir = Scratch::new("meet");
    let (scenario, out) = (dir.0.join("scenario.toml"), dir.0.join("out"));
    std::fs::write(&scenario, MEETING).expect("written");
    let (scenario, out) = (scenario.to_str().expect("text"), out.to_str().expect("text"));
    passed(&["meet", scenario, "--link", "delay=10", "--down", "delay=5", "--out", out]);
    let result = result(Path::new(out));
    assert_eq!(count(&result, "time to join"), 2);
    assert_eq!(count(&result, "frames a second"), 2);
    assert!(count(&result, "voice MOS") >= 2);
}

#[test]
fn a_limit_that_does_not_hold_is_exit_1_and_a_mistake_is_exit_2() {
    let dir = Scratch::new("failing");
    let scenario = dir.0.join("scenario.toml");
    std::fs::write(&scenario, MEETING.replace("mos_min = 1", "mos_min = 5")).expect("written");
    let output = run(&["meet", scenario.to_str().expect("text"), "--duration-s", "4"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAILED voice MOS"));

    std::fs::write(&scenario, "title = 'nothing'").expect("written");
    let output = run(&["meet", scenario.to_str().expect("text")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing field"), "a mistake is named");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
