//! `interop`: participants on a WebRTC implementation that has nothing in common with ours publish
//! and receive every codec.
//!
//! Two publish and one receives, through one slot: first the one, then the other. What arrives must
//! be what was sent: every packet whole, in order, numbered without a gap, also across the switch.

mod judge;
mod participant;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_protocol::client::{ClientMessage, Show, ViewSlot};
use broletto_protocol::{Codec, Source};
use clap::{Args, ValueEnum};
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::create_room;
use crate::payload::Picture;
use crate::server::{Capacity, Server, ServerArguments};
use judge::{Arrival, Verdict, judge};
use participant::{Feed, Participant, Publisher, Receiver};

/// For frames to arrive after they were asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the last packets, some of which may have to be sent again.
const REST: Duration = Duration::from_secs(5);
const WIDTH: u16 = 640;
const HEIGHT: u16 = 360;
/// Levels of a voice and of silence, in -dBov (RFC 6464).
const VOICE: u8 = 30;
const SILENCE: u8 = 127;

#[derive(Debug, Args)]
pub struct InteropArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Codecs to try
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["opus", "vp8", "vp9", "h264", "av1"])]
    pub codecs: Vec<Medium>,
    /// Frames that must arrive of each publisher; a voice has 50 a second, a picture 25
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub frames: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Medium {
    Opus,
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl Medium {
    fn name(self) -> &'static str {
        match self {
            Medium::Opus => "opus",
            Medium::Vp8 => "vp8",
            Medium::Vp9 => "vp9",
            Medium::H264 => "h264",
            Medium::Av1 => "av1",
        }
    }

    /// None: a voice.
    fn codec(self) -> Option<Codec> {
        match self {
            Medium::Opus => None,
            Medium::Vp8 => Some(Codec::Vp8),
            Medium::Vp9 => Some(Codec::Vp9),
            Medium::H264 => Some(Codec::H264),
            Medium::Av1 => Some(Codec::Av1),
        }
    }

    fn source(self) -> Source {
        match self.codec() {
            None => Source::Microphone,
            Some(_) => Source::Camera,
        }
    }

    fn picture(self) -> Option<Picture> {
        self.codec().map(|codec| Picture { codec, width: WIDTH, height: HEIGHT })
    }
}

/// Prints a line for each codec. Whether all passed.
pub async fn run(arguments: &InteropArguments, mut print: impl FnMut(&str)) -> anyhow::Result<bool> {
    let capacity = Capacity { participants: 8, rooms: arguments.codecs.len(), workers: 1 };
    let server = Server::start(&arguments.server, capacity).await?;
    let mut passed = true;
    for medium in &arguments.codecs {
        match exchange(&server, *medium, arguments.frames).await {
            Ok(verdict) => print(&format!("ok     {:<5} {verdict}", medium.name())),
            Err(error) => {
                passed = false;
                print(&format!("FAILED {:<5} {error:#}", medium.name()));
            }
        }
    }
    let log = server.log();
    if !passed && !log.is_empty() {
        print(&format!("the server's log:\n{log}"));
    }
    Ok(passed)
}

async fn exchange(server: &Server, medium: Medium, frames: u32) -> anyhow::Result<Verdict> {
    let address = server.address();
    let codecs: Vec<Codec> = medium.codec().into_iter().collect();
    let room = create_room(address, "interop", &codecs).await?.room.id;
    let feed = |publisher| Feed { publisher, picture: medium.picture() };
    let mut first = Publisher::join(address, &room, feed(1)).await.context("the first publisher")?;
    let mut second = Publisher::join(address, &room, feed(2)).await.context("the second publisher")?;
    let mut receiver =
        Receiver::join(address, &room, medium.picture().is_some()).await.context("the receiver")?;
    let mut arrivals = Vec::new();

    first.level(VOICE);
    second.level(SILENCE);
    first.start();
    second.start();
    show(&mut receiver, medium, &first.participant).await?;
    receive(&mut receiver, &mut arrivals, 1, frames).await.context("before the switch")?;
    first.level(SILENCE);
    second.level(VOICE);
    show(&mut receiver, medium, &second.participant).await?;
    receive(&mut receiver, &mut arrivals, 2, frames).await.context("after the switch")?;
    let last = second.stop().await?;
    first.stop().await?;
    rest(&mut receiver, &mut arrivals, last).await;
    for participant in [first.participant, second.participant, receiver.participant] {
        participant.leave().await;
    }
    judge(&arrivals, medium.picture().is_some(), last).map_err(anyhow::Error::msg)
}

/// Voices need no wish.
async fn show(receiver: &mut Receiver, medium: Medium, whom: &Participant) -> anyhow::Result<()> {
    if medium.codec().is_none() {
        return Ok(());
    }
    let show = Show::Participant { participant: whom.id.clone(), source: medium.source() };
    let slot = ViewSlot { mid: receiver.mid.clone(), show, width: Some(WIDTH), height: Some(HEIGHT) };
    receiver.participant.session.ask(ClientMessage::View { slots: vec![slot] }).await?;
    Ok(())
}

/// Until so many frames of this publisher have come.
async fn receive(
    receiver: &mut Receiver,
    arrivals: &mut Vec<Arrival>,
    publisher: u32,
    frames: u32,
) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut seen = BTreeSet::new();
    while seen.len() < frames as usize {
        let Ok(arrival) = timeout_at(until, receiver.arrivals.recv()).await else {
            bail!("{} of {frames} frames came, and {} packets in all", seen.len(), arrivals.len());
        };
        let arrival = arrival.context("the receiver's connection ended")?;
        seen.extend(arrival.stamp.filter(|stamp| stamp.publisher == publisher).map(|stamp| stamp.frame));
        arrivals.push(arrival);
    }
    Ok(())
}

/// What is still on its way, until the last packet is there and nothing more came for a moment.
async fn rest(receiver: &mut Receiver, arrivals: &mut Vec<Arrival>, last: judge::Last) {
    let until = Instant::now() + REST;
    let is_last = |arrival: &Arrival| arrival.stamp.is_some_and(|stamp| last.is(stamp));
    while !arrivals.iter().any(is_last) {
        match timeout_at(until, receiver.arrivals.recv()).await {
            Ok(Some(arrival)) => arrivals.push(arrival),
            Ok(None) | Err(_) => return,
        }
    }
    sleep(Duration::from_millis(200)).await;
    while let Ok(arrival) = receiver.arrivals.try_recv() {
        arrivals.push(arrival);
    }
}
