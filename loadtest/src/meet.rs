//! `meet`: rooms full of synthetic participants, as a scenario says, and how good it was for them.

mod media;
mod participant;
mod scenario;
mod slots;

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep_until;

use crate::client::create_room;
use crate::link_text::LinkArguments;
use crate::peer::certificate;
use crate::progress::Progress;
use crate::report::{Report, Sampler, duration};
use crate::server::{Capacity, Server, ServerArguments, raise_open_files};
use participant::{Outcome, Plan};
pub use scenario::{Limits, Scenario};

/// Between the rooms being there and the beginning, which all participants count from.
const LEAD: Duration = Duration::from_millis(200);
/// Between two values over time.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
/// What came to all participants together.
const PACKETS: &str = "received";

#[derive(Debug, Args)]
pub struct MeetArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Scenario file (examples are in loadtest/scenarios)
    pub scenario: PathBuf,
    /// Rooms, in place of the scenario's number
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub rooms: Option<u32>,
    /// Seconds that it lasts, in place of the scenario's
    #[arg(long)]
    pub duration_s: Option<f64>,
    /// For everyone, on top of what the scenario says
    #[command(flatten)]
    pub links: LinkArguments,
    /// Media threads of the server that is started here; 0: one for each processor
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// The same seed makes the same dice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Directory for result.json, result.csv, series.csv and report.html
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Whether the scenario's limits held.
pub async fn run(arguments: &MeetArguments, print: fn(&str)) -> anyhow::Result<bool> {
    let mut scenario = Scenario::read(&arguments.scenario)?;
    scenario.rooms = arguments.rooms.unwrap_or(scenario.rooms);
    scenario.duration_s = arguments.duration_s.unwrap_or(scenario.duration_s);
    raise_open_files().context("the limit of open files cannot be raised")?;
    let participants = scenario.participants() as usize;
    let capacity = Capacity { participants, rooms: scenario.rooms as usize, workers: arguments.workers };
    let server = Server::start(&arguments.server, capacity).await?;
    let report = LocalSet::new().run_until(meetings(&scenario, arguments, &server, print)).await?;
    report.finish(arguments.out.as_deref(), &server.log(), print)
}

async fn meetings(
    scenario: &Scenario,
    arguments: &MeetArguments,
    server: &Server,
    print: fn(&str),
) -> anyhow::Result<Report> {
    let mut rooms = Vec::new();
    for _ in 0..scenario.rooms {
        rooms.push(create_room(server.address(), &scenario.title, &scenario.video_codecs).await?.room.id);
    }
    let begun = Instant::now() + LEAD;
    let ends = begun + scenario.duration();
    let certificate = certificate()?;
    let received = Rc::new(Cell::new(0_u64));
    let mut participants = JoinSet::new();
    for (room, id) in rooms.iter().enumerate() {
        let talkers: u32 =
            scenario.group.iter().filter(|group| group.microphone).map(|group| group.count).sum();
        let mut talker = 0;
        for group in &scenario.group {
            for member in 0..group.count {
                let joins = group.joins_at_s + group.joins_every_s * f64::from(member);
                let joins_at = begun + Duration::from_secs_f64(joins);
                if joins_at >= ends {
                    continue;
                }
                let stays = group.stays_s.map(|stays| joins_at + Duration::from_secs_f64(stays));
                let serial = participants.len() as u32;
                let plan = Plan {
                    server: server.address(),
                    room: id.clone(),
                    name: format!("{} {}", group.name, member + 1),
                    publisher: serial + 1,
                    group: group.clone(),
                    extra: (arguments.links.up(), arguments.links.down()),
                    talk: Duration::from_secs_f64(scenario.talk_s),
                    turn: (talker, talkers.max(1)),
                    certificate: certificate.clone(),
                    seed: arguments.seed ^ u64::from(serial) << 24 ^ (room as u64) << 48,
                    begun,
                    leaves_at: stays.map_or(ends, |at| at.min(ends)),
                    received: received.clone(),
                };
                talker += u32::from(group.microphone);
                participants.spawn_local(async move {
                    sleep_until(joins_at.into()).await;
                    let name = plan.name.clone();
                    plan.take_part().await.with_context(|| name)
                });
            }
        }
    }

    let total = participants.len();
    let mut sampler = Sampler::new(server.process(), &["finished", PACKETS]);
    let mut samples = tokio::time::interval(SAMPLE_PERIOD);
    let mut received_before = 0;
    let progress = Progress::new("seconds", scenario.duration().as_secs(), print);
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    while !participants.is_empty() {
        tokio::select! {
            _ = samples.tick() => {
                let packets = received.get() - std::mem::replace(&mut received_before, received.get());
                let finished = outcomes.len() + failures.len();
                sampler.sample(&[finished as f64, packets as f64 / SAMPLE_PERIOD.as_secs_f64()]);
                let seconds = Instant::now().saturating_duration_since(begun).as_secs();
                progress.set(seconds, &format!("{} of {total} there", participants.len()));
            }
            Some(done) = participants.join_next() => match done? {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
    }
    progress.finish();
    let mut report = judge(scenario, &outcomes, &failures);
    report.fact("seed", arguments.seed.to_string());
    sampler.into_report(&mut report, &[("Packets a second", "", &[PACKETS])]);
    Ok(report)
}

fn judge(scenario: &Scenario, outcomes: &[Outcome], failures: &[String]) -> Report {
    let mut report = Report::new("meet", &scenario.title);
    report.fact("rooms", scenario.rooms.to_string());
    report.fact("participants", (outcomes.len() + failures.len()).to_string());
    report.fact("lasts", duration(scenario.duration()));
    report.check("participants that failed", failures.len() as f64, "", 0.0);
    for failure in failures.iter().take(10) {
        report.fact("failed", failure.clone());
    }
    let damaged: u64 = outcomes.iter().map(|outcome| outcome.damaged).sum();
    report.check("packets that were changed on the way", damaged as f64, "", 0.0);

    let join = outcomes.iter().map(|outcome| outcome.join.as_secs_f64() * 1e3);
    let join = report.distribution("time to join", "ms", join.collect());
    let voices = || outcomes.iter().flat_map(|outcome| &outcome.voices);
    let loss = report.distribution("voice loss", "%", voices().map(|voice| voice.loss * 100.0).collect());
    let delay = voices().map(|voice| voice.delay.as_secs_f64() * 1e3);
    report.distribution("voice delay", "ms", delay.collect());
    let mos = report.distribution("voice MOS", "", voices().map(|voice| voice.mos).collect());
    let pictures = || outcomes.iter().filter_map(|outcome| outcome.pictures);
    let rate = pictures().map(|pictures| pictures.frames_per_second());
    let rate = report.distribution("frames a second", "", rate.collect());
    let freeze = pictures().map(|pictures| pictures.freeze_ratio() * 100.0);
    let freeze = report.distribution("frozen", "%", freeze.collect());
    let gap = pictures().map(|pictures| pictures.gap.as_secs_f64() * 1e3);
    let gap = report.distribution("longest gap", "ms", gap.collect());

    let limits = scenario.limits;
    for (name, measured, unit, limit) in [
        ("time to join, p95", join.p95, "ms", limits.join_p95_ms_max),
        ("voice loss of the worst slot", loss.max, "%", limits.voice_loss_percent_max),
        ("frozen, for the worst off", freeze.max, "%", limits.freeze_percent_max),
        ("longest gap of a picture", gap.max, "ms", limits.gap_ms_max),
    ] {
        if let Some(limit) = limit {
            report.check(name, measured, unit, limit);
        }
    }
    for (name, measured, limit) in [
        ("voice MOS of the worst slot", mos.min, limits.mos_min),
        ("frames a second, for the worst off", rate.min, limits.frames_per_second_min),
    ] {
        if let Some(limit) = limit {
            report.check_at_least(name, measured, "", limit);
        }
    }
    report
}
