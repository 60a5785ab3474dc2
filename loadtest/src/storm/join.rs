//! Full joins.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use broletto_protocol::client::{ClientMessage, ReceiveSlot, SendSlot};
use broletto_protocol::server::ServerMessage;
use broletto_protocol::{MediaKind, Publishing, Source};
use str0m::config::DtlsCert;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep_until, timeout};

use super::StormArguments;
use super::arrival::Arrivals;
use crate::client::{Session, open_page};
use crate::link::LinkConfig;
use crate::peer::{Happening, Line, Peer, certificate};
use crate::progress::Progress;
use crate::report::{Report, Sampler, duration};
use crate::server::Server;

/// For ICE and DTLS after the answer.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(30);
/// As PROTOCOL.md asks for.
const PING_PERIOD: Duration = Duration::from_secs(20);

/// How far a join came, and when.
#[derive(Debug, Default, Clone, Copy)]
struct Steps {
    page: Duration,
    joined: Duration,
    answered: Duration,
    connected: Duration,
}

#[derive(Default)]
struct Counts {
    started: Cell<u64>,
    present: Cell<u64>,
    connected: Cell<u64>,
    failed: Cell<u64>,
}

fn change(cell: &Cell<u64>, by: i64) {
    cell.set(cell.get().wrapping_add_signed(by));
}

/// A participant of the storm.
struct Visitor {
    server: SocketAddr,
    room: String,
    name: String,
    certificate: DtlsCert,
    stay: Duration,
    counts: Rc<Counts>,
}

pub(super) async fn run(
    arguments: &StormArguments,
    server: &Server,
    rooms: &[String],
    print: fn(&str),
) -> anyhow::Result<Report> {
    LocalSet::new().run_until(storm(arguments, server, rooms, print)).await
}

async fn storm(
    arguments: &StormArguments,
    server: &Server,
    rooms: &[String],
    print: fn(&str),
) -> anyhow::Result<Report> {
    let certificate = certificate()?;
    let counts = Rc::new(Counts::default());
    let begun = Instant::now();
    let mut visitors = JoinSet::new();
    let mut arrivals =
        Arrivals::new(arguments.rate(), arguments.seed).take(arguments.count as usize).zip(0_usize..);
    let mut next = arrivals.next();
    let mut sampler = Sampler::new(server.process(), &["present", "joins a second", "failed"]);
    let mut samples = tokio::time::interval(Duration::from_secs(1));
    let progress = Progress::new("joins", u64::from(arguments.count), print);
    let (mut steps, mut failures): (Vec<Steps>, BTreeMap<String, u64>) = Default::default();
    let (mut late_max, mut joined_before) = (Duration::ZERO, 0);
    while next.is_some() || !visitors.is_empty() {
        let at = next.map(|(at, _)| begun + at);
        tokio::select! {
            biased;
            _ = samples.tick() => {
                let joined = counts.connected.get();
                let (present, failed) = (counts.present.get(), counts.failed.get());
                sampler.sample(&[present as f64, (joined - joined_before) as f64, failed as f64]);
                joined_before = joined;
                progress.set(counts.started.get(), &format!("{present} present, {failed} failed"));
            }
            () = sleep_until(at.unwrap_or(begun).into()), if at.is_some() => {
                if let Some((at, serial)) = next {
                    late_max = late_max.max(begun.elapsed().saturating_sub(at));
                    change(&counts.started, 1);
                    let visitor = Visitor {
                        server: server.address(),
                        room: rooms[serial % rooms.len()].clone(),
                        name: format!("Visitor {serial}"),
                        certificate: certificate.clone(),
                        stay: arguments.stay(),
                        counts: counts.clone(),
                    };
                    visitors.spawn_local(visitor.visit(serial as u64));
                }
                next = arrivals.next();
            }
            Some(done) = visitors.join_next(), if !visitors.is_empty() => match done? {
                Ok(done) => steps.push(done),
                Err(error) => {
                    change(&counts.failed, 1);
                    *failures.entry(format!("{error:#}")).or_default() += 1;
                }
            }
        }
    }
    progress.finish();

    let mut report = Report::new("storm", "Join storm");
    let elapsed = begun.elapsed();
    report.fact("joins", arguments.count.to_string());
    report.fact("arrivals a second", format!("{} (Poisson, seed {})", arguments.rate(), arguments.seed));
    report.fact("rooms", rooms.len().to_string());
    report.fact("each stays", duration(arguments.stay()));
    report.fact("took", duration(elapsed));
    report.fact("the tester started a join late by at most", duration(late_max));
    let ms = |of: fn(&Steps) -> Duration| steps.iter().map(|one| of(one).as_secs_f64() * 1e3).collect();
    let connected = report.distribution("time to join", "ms", ms(|steps| steps.connected));
    report.distribution("page", "ms", ms(|steps| steps.page));
    report.distribution("page and join", "ms", ms(|steps| steps.joined));
    report.distribution("page, join and answer", "ms", ms(|steps| steps.answered));
    let failed: u64 = failures.values().sum();
    report.check("R13: joins that failed", failed as f64, "", 0.0);
    report.check("R13: time to join, p95", connected.p95, "ms", arguments.p95_ms_max as f64);
    for (reason, count) in failures {
        report.fact(&format!("failed {count} times"), reason);
    }
    let charts: [(&str, &str, &[&str]); 2] =
        [("Participants", "", &["present"]), ("Joins a second", "", &["joins a second"])];
    sampler.into_report(&mut report, &charts);
    Ok(report)
}

impl Visitor {
    async fn visit(self, seed: u64) -> anyhow::Result<Steps> {
        let begun = Instant::now();
        let mut steps = Steps::default();
        open_page(self.server, &self.room).await.context("page")?;
        steps.page = begun.elapsed();
        let mut session = Session::open(self.server).await.context("WebSocket")?;
        let ServerMessage::Joined { .. } = session.join(&self.room, &self.name).await.context("join")? else {
            bail!("join: not answered by joined");
        };
        steps.joined = begun.elapsed();
        let link = LinkConfig::default();
        let mut peer = Peer::new(self.server, self.certificate.clone(), link, link, seed).await?;
        let (sdp, send, receive) = pool(&mut peer)?;
        let offer = ClientMessage::Offer { sdp, fresh: true, send, receive };
        let ServerMessage::Answer { sdp } = session.ask(offer).await.context("offer")? else {
            bail!("offer: not answered by answer");
        };
        steps.answered = begun.elapsed();
        peer.accept(&sdp)?;
        let publishing = Publishing { microphone: true, ..Publishing::default() };
        session.send(ClientMessage::Publish { publishing }).await.context("publish")?;
        timeout(MEDIA_TIMEOUT, connect(&mut peer)).await.context("media: not connected in time")??;
        steps.connected = begun.elapsed();
        change(&self.counts.connected, 1);
        change(&self.counts.present, 1);
        let stayed = stay(&mut peer, &mut session, Instant::now() + self.stay).await;
        change(&self.counts.present, -1);
        stayed?;
        session.leave().await;
        Ok(steps)
    }
}

/// A microphone, a camera in three sizes, and slots as a page has them.
fn pool(peer: &mut Peer) -> anyhow::Result<(String, Vec<SendSlot>, Vec<ReceiveSlot>)> {
    let sends =
        [(str0m::media::MediaKind::Audio, vec![]), (str0m::media::MediaKind::Video, vec!["q", "h", "f"])];
    let slots = [MediaKind::Audio; 3].into_iter().chain([MediaKind::Video; 6]);
    let slots: Vec<MediaKind> = slots.collect();
    let lines = sends.into_iter().map(|(kind, rids)| Line::Sends(kind, rids));
    let lines = lines.chain(slots.iter().map(|kind| Line::Receives(wire_kind(*kind))));
    let (sdp, mids) = peer.offer(&lines.collect::<Vec<_>>())?;
    let sources = [Source::Microphone, Source::Camera].into_iter();
    let send = sources.zip(&mids).map(|(source, mid)| SendSlot { mid: mid.to_string(), source }).collect();
    let receive = slots.into_iter().zip(&mids[2..]);
    let receive = receive.map(|(kind, mid)| ReceiveSlot { mid: mid.to_string(), kind }).collect();
    Ok((sdp, send, receive))
}

fn wire_kind(kind: MediaKind) -> str0m::media::MediaKind {
    match kind {
        MediaKind::Audio => str0m::media::MediaKind::Audio,
        MediaKind::Video => str0m::media::MediaKind::Video,
    }
}

async fn connect(peer: &mut Peer) -> anyhow::Result<()> {
    loop {
        match peer.next(Instant::now() + MEDIA_TIMEOUT).await? {
            Some(Happening::Connected) => return Ok(()),
            Some(Happening::Lost) => bail!("media: lost before it was connected"),
            Some(Happening::Packet(..) | Happening::KeyFrameWanted(..)) | None => {}
        }
    }
}

/// Until then nothing may end.
async fn stay(peer: &mut Peer, session: &mut Session, until: Instant) -> anyhow::Result<()> {
    let mut pings = tokio::time::interval(PING_PERIOD);
    pings.reset();
    loop {
        tokio::select! {
            happening = peer.next(until) => match happening? {
                Some(Happening::Lost) => bail!("media: lost while present"),
                Some(Happening::Connected | Happening::Packet(..) | Happening::KeyFrameWanted(..)) => {}
                None => return Ok(()),
            },
            message = session.news() => match message.context("WebSocket: while present")? {
                ServerMessage::OfferNeeded => bail!("media: the server lost it"),
                ServerMessage::Closed { reason } => bail!("WebSocket: closed, {reason:?}"),
                ServerMessage::Error { code, message, .. } => bail!("refused: {code:?}, {message}"),
                _ => {}
            },
            _ = pings.tick() => drop(session.send(ClientMessage::Ping {}).await.context("ping")?),
        }
    }
}
