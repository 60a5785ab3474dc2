//! Idle WebSockets that all lose the server at the same moment.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use broletto_protocol::VERSION;
use broletto_protocol::client::ClientMessage;
use broletto_protocol::server::{ErrorCode, ServerMessage};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{interval_at, sleep, sleep_until, timeout_at};

use super::StormArguments;
use super::arrival::{Arrivals, pause};
use crate::client::{Session, SessionError};
use crate::link::Random;
use crate::progress::Progress;
use crate::report::{Report, Sampler, duration};
use crate::server::Server;

/// As PROTOCOL.md asks for.
const PING_PERIOD: Duration = Duration::from_secs(20);
/// Until the server's memory is measured after the last one came.
const SETTLE: Duration = Duration::from_secs(3);
/// Nobody waits longer to get in, or to get back.
const GIVE_UP: Duration = Duration::from_secs(180);

#[derive(Default)]
struct Crowd {
    joined: Cell<u64>,
    back: Cell<u64>,
    /// Came back as somebody new, because the server did not know them any more.
    new: Cell<u64>,
    attempts: Cell<u64>,
    /// How long each was away.
    away: RefCell<Vec<Duration>>,
}

struct Idler {
    server: SocketAddr,
    room: String,
    name: String,
    crowd: Rc<Crowd>,
    /// Becomes true when they are to break their WebSockets themselves.
    cut: watch::Receiver<bool>,
    random: Random,
}

pub(super) async fn run(
    arguments: &StormArguments,
    server: &mut Server,
    rooms: &[String],
    print: fn(&str),
) -> anyhow::Result<Report> {
    LocalSet::new().run_until(crowd(arguments, server, rooms, print)).await
}

async fn crowd(
    arguments: &StormArguments,
    server: &mut Server,
    rooms: &[String],
    print: fn(&str),
) -> anyhow::Result<Report> {
    let crowd = Rc::new(Crowd::default());
    let (cut, cuts) = watch::channel(false);
    let count = u64::from(arguments.count);
    let mut idlers = JoinSet::new();
    let mut sampler = Sampler::new(server.process(), &["connected"]);
    let before = server.usage();
    let begun = Instant::now();

    let progress = Progress::new("connected", count, print);
    let arrivals =
        Arrivals::new(arguments.rate(), arguments.seed).zip(0_usize..).take(arguments.count as usize);
    let mut samples = tokio::time::interval(Duration::from_millis(500));
    for (at, serial) in arrivals {
        while !sleep_or_sample(begun + at, &mut samples).await {
            sampler.sample(&[crowd.joined.get() as f64]);
            progress.set(crowd.joined.get(), "");
            fail_early(&mut idlers)?;
        }
        let idler = Idler {
            server: server.address(),
            room: rooms[serial % rooms.len()].clone(),
            name: format!("Idler {serial}"),
            crowd: crowd.clone(),
            cut: cuts.clone(),
            random: Random::new(arguments.seed ^ (serial as u64) << 20),
        };
        idlers.spawn_local(idler.idle());
    }
    let give_up = Instant::now() + GIVE_UP;
    while crowd.joined.get() < count && Instant::now() < give_up {
        samples.tick().await;
        sampler.sample(&[crowd.joined.get() as f64]);
        progress.set(crowd.joined.get(), "");
        fail_early(&mut idlers)?;
    }
    progress.finish();
    if crowd.joined.get() < count {
        bail!("{} of {count} joined", crowd.joined.get());
    }
    sleep(SETTLE).await;
    let after = server.usage();

    let lost = Instant::now();
    match server.process() {
        Some(_) => server.restart().await?,
        None => drop(cut.send_replace(true)),
    }
    let down = lost.elapsed();
    sampler.process(server.process());
    let progress = Progress::new("back", count, print);
    let give_up = lost + GIVE_UP.max(Duration::from_secs(2 * arguments.back_s_max));
    while crowd.back.get() < count && Instant::now() < give_up {
        samples.tick().await;
        sampler.sample(&[crowd.back.get() as f64]);
        progress.set(crowd.back.get(), "");
        fail_early(&mut idlers)?;
    }
    progress.finish();
    idlers.abort_all();

    let mut report = Report::new("storm-idle", "Idle WebSockets that lose the server");
    report.fact("WebSockets", count.to_string());
    report.fact("rooms", rooms.len().to_string());
    report.fact("the server was away for", duration(down));
    report.fact("tries to come back", crowd.attempts.get().to_string());
    let away: Vec<f64> = crowd.away.borrow().iter().map(|away| away.as_secs_f64()).collect();
    let spread = report.distribution("time until back", "s", away);
    let missing = count - crowd.back.get();
    report.check("R14: not back", missing as f64, "", 0.0);
    report.check("R14: came back as somebody new", crowd.new.get() as f64, "", 0.0);
    report.check("R14: the last one back", spread.max, "s", arguments.back_s_max as f64);
    if let (Some(before), Some(after)) = (before, after) {
        let bytes = after.resident_bytes.saturating_sub(before.resident_bytes) as f64 / count as f64;
        report.check("R14: memory of the server for each", bytes, "bytes", arguments.bytes_max as f64);
    }
    sampler.into_report(&mut report, &[("Participants", "", &["connected"])]);
    Ok(report)
}

/// Whether it is `until`, and not time for a sample.
async fn sleep_or_sample(until: Instant, samples: &mut tokio::time::Interval) -> bool {
    tokio::select! {
        biased;
        _ = samples.tick() => false,
        () = sleep_until(until.into()) => true,
    }
}

/// An idler ends only if something is wrong.
fn fail_early(idlers: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    match idlers.try_join_next() {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

impl Idler {
    async fn idle(mut self) -> anyhow::Result<()> {
        let (mut session, mut secret) = self.enter().await?;
        change(&self.crowd.joined);
        loop {
            self.wait(&mut session).await;
            drop(session);
            let lost = Instant::now();
            (session, secret) = self.come_back(secret, lost).await?;
            change(&self.crowd.back);
            self.crowd.away.borrow_mut().push(lost.elapsed());
        }
    }

    async fn enter(&mut self) -> anyhow::Result<(Session, String)> {
        let mut session = Session::open(self.server).await.context("WebSocket")?;
        let ServerMessage::Joined { resume, .. } =
            session.join(&self.room, &self.name).await.context("join")?
        else {
            bail!("join: not answered by joined");
        };
        Ok((session, resume))
    }

    /// Until the WebSocket ends.
    async fn wait(&mut self, session: &mut Session) {
        let first = PING_PERIOD.mul_f64(self.random.share());
        let mut pings = interval_at(tokio::time::Instant::now() + first, PING_PERIOD);
        loop {
            tokio::select! {
                message = session.news() => match message {
                    Ok(ServerMessage::Closed { .. }) | Err(_) => return,
                    Ok(_) => {}
                },
                _ = pings.tick() => if session.send(ClientMessage::Ping {}).await.is_err() { return },
                () = cut(&mut self.cut) => return,
            }
        }
    }

    async fn come_back(&mut self, secret: String, lost: Instant) -> anyhow::Result<(Session, String)> {
        let give_up = lost + GIVE_UP;
        for attempt in 0.. {
            sleep(pause(attempt, &mut self.random)).await;
            change(&self.crowd.attempts);
            match timeout_at(give_up.into(), self.resume(&secret)).await.context("not back in time")? {
                Ok(back) => return Ok(back),
                Err(error) if is_not_resumable(&error) => {
                    change(&self.crowd.new);
                    return self.enter().await;
                }
                // It is not there yet, or has too much to do.
                Err(_) => {}
            }
        }
        unreachable!("the tries have no end")
    }

    async fn resume(&self, secret: &str) -> anyhow::Result<(Session, String)> {
        let mut session = Session::open(self.server).await?;
        let message = ClientMessage::Resume { version: VERSION, resume: secret.to_owned(), chat_after: None };
        match session.ask(message).await? {
            ServerMessage::Joined { resume, .. } => Ok((session, resume)),
            _ => bail!("resume: not answered by joined"),
        }
    }
}

/// Fires once.
async fn cut(cut: &mut watch::Receiver<bool>) {
    if cut.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_not_resumable(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(SessionError::Refused { code: ErrorCode::NotResumable | ErrorCode::NotAdmitted, .. })
    )
}

fn change(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}
