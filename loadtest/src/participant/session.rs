//! One WebRTC session: SDP, ICE and DTLS by str0m; once connected, media goes past it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use broletto_control::Codec;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::dtls::{self, Cipher};
use super::negotiated::{self, Line};
use super::srtp::Srtp;
use crate::udp;

/// Longer than any run.
const LONG: Duration = Duration::from_secs(24 * 3_600);

/// Of a simulcast, from the smallest.
pub const RIDS: [&str; 3] = ["q", "h", "f"];

/// An m-line that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub audio: bool,
    pub sends: bool,
    /// It sends in three sizes.
    pub simulcast: bool,
}

pub struct Session {
    pub socket: UdpSocket,
    local: SocketAddr,
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    lines: Vec<Line>,
    /// Where DTLS goes, and so media.
    remote: Option<SocketAddr>,
    srtp: Option<Srtp>,
    deadline: Instant,
    failure: Option<String>,
}

/// What a datagram is by its first byte (RFC 7983).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// STUN or DTLS.
    Session,
    Rtp,
    Rtcp,
}

impl Kind {
    pub fn of(datagram: &[u8]) -> Kind {
        match datagram {
            // Types 64 to 95 of RTP are left free for RTCP (RFC 5761 section 4).
            [128..=191, 192..=223, ..] => Kind::Rtcp,
            [128..=191, ..] => Kind::Rtp,
            _ => Kind::Session,
        }
    }
}

impl Session {
    /// Binds a socket of this address.
    pub fn new(
        ip: IpAddr,
        cipher: Cipher,
        video_codec: Option<Codec>,
        now: Instant,
    ) -> anyhow::Result<Session> {
        let socket = udp::bind(ip).context("no socket is left")?;
        let local = socket.local_addr()?;
        let config = Rtc::builder()
            .set_rtp_mode(true)
            .set_crypto_provider(dtls::provider(cipher))
            .clear_codecs()
            .enable_opus(true, false);
        let mut rtc = match video_codec {
            Some(Codec::H264) => config.enable_h264(true),
            Some(Codec::Vp8) => config.enable_vp8(true),
            Some(other) => bail!("participants have no {other:?}"),
            None => config,
        }
        .build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp").context("not an address of a host")?);
        Ok(Session {
            socket,
            local,
            rtc,
            pending: None,
            lines: Vec::new(),
            remote: None,
            srtp: None,
            deadline: now,
            failure: None,
        })
    }

    /// An offer with these m-lines; their mids are in the same order. It is to be the active side of
    /// DTLS, which is the one that names the profiles.
    pub fn offer(&mut self, wishes: &[Wish]) -> (String, Vec<String>) {
        let mut api = self.rtc.sdp_api();
        let mids = wishes.iter().map(|wish| {
            let kind = if wish.audio { MediaKind::Audio } else { MediaKind::Video };
            let direction = if wish.sends { Direction::SendOnly } else { Direction::RecvOnly };
            let send = RIDS.iter().map(|rid| SimulcastLayer::new(rid)).collect();
            let simulcast = wish.simulcast.then_some(Simulcast { send, recv: Vec::new() });
            api.add_media(kind, direction, None, None, simulcast).to_string()
        });
        let mids = mids.collect();
        let (offer, pending) = api.apply().expect("there is an m-line at least");
        self.pending = Some(pending);
        (offer.to_sdp_string().replace("a=setup:actpass", "a=setup:active"), mids)
    }

    pub fn accept_answer(&mut self, sdp: &str) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(sdp).context("the answer is no SDP")?;
        let pending = self.pending.take().context("nothing was offered")?;
        self.rtc.sdp_api().accept_answer(pending, answer).context("the answer does not fit")?;
        self.lines = negotiated::lines(sdp);
        Ok(())
    }

    /// Answers an offer, as the active side too.
    pub fn answer(&mut self, sdp: &str) -> anyhow::Result<String> {
        let passive = sdp.replace("a=setup:actpass", "a=setup:passive");
        let offer = SdpOffer::from_sdp_string(&passive).context("the offer is no SDP")?;
        let answer = self.rtc.sdp_api().accept_offer(offer).context("the offer cannot be answered")?;
        self.lines = negotiated::lines(sdp);
        Ok(answer.to_sdp_string())
    }

    /// What the far side said of its m-lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The SSRC that was offered for an m-line that sends.
    pub fn ssrc(&mut self, mid: &str, rid: Option<&str>) -> Option<u32> {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(Mid::from(mid), rid.map(Rid::from))?;
        Some(*stream.ssrc())
    }

    /// STUN or DTLS.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, datagram) else { return };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input)
            && let Err(error) = self.rtc.handle_input(input)
        {
            self.fail(&error);
        }
        self.drain(now);
    }

    /// To be called when [`Session::deadline`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            self.fail(&error);
        }
        self.drain(now);
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// Why it is over, if it is.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Once connected.
    pub fn srtp(&mut self) -> Option<&mut Srtp> {
        self.srtp.as_mut()
    }

    /// Once connected.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Seals reports and sends them.
    pub fn send_rtcp(&mut self, mut compound: Vec<u8>) -> io::Result<()> {
        if let (Some(srtp), Some(remote)) = (&mut self.srtp, self.remote) {
            srtp.seal_rtcp(&mut compound);
            self.socket.send_to(&compound, remote)?;
        }
        Ok(())
    }

    pub fn close(&mut self, now: Instant) {
        if let Err(error) = self.rtc.close() {
            self.fail(&error);
        }
        self.handle_timeout(now);
    }

    fn fail(&mut self, reason: &dyn std::fmt::Display) {
        self.failure.get_or_insert_with(|| reason.to_string());
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    // Media and reports are ours, from one source only: a second would use the same
                    // keys and numbers.
                    if Kind::of(&transmit.contents) == Kind::Session {
                        if transmit.contents[0] >= 20 {
                            self.remote = Some(transmit.destination);
                        }
                        // Lost ones are sent again by their protocols.
                        let _ = self.socket.send_to(&transmit.contents, transmit.destination);
                    }
                }
                Ok(Output::Event(Event::Connected)) => {
                    self.srtp = dtls::take_keys().map(|keys| Srtp::new(&keys, true));
                    if self.srtp.is_none() {
                        self.fail(&"no SRTP profile was agreed on");
                    }
                }
                Ok(Output::Event(_)) => {}
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        if !self.rtc.is_alive() {
            self.fail(&"the far side ended it");
        }
        if self.failure.is_some() {
            // What is over has no deadline of its own.
            self.deadline = now + LONG;
        }
    }
}
