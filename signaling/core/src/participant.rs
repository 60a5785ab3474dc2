//! One participant: who it is, how it is connected, and its media.

use std::time::Instant;

use broletto_control::{
    ConsumerId, ConsumerWish, Id, ProducerId, RequestId, TransportId, TransportWish, VideoSize,
};
use broletto_protocol::client::Show;
use broletto_protocol::server::{self, Slot, SlotSource};
use broletto_protocol::{Codec, Kind, MediaKind, ParticipantId, Publishing, Quality, Role, Source};
use serde::{Deserialize, Serialize};

use crate::ConnectionId;
use crate::join::Newcomer;
use crate::quality::Meter;
use crate::room::Room;
use crate::whip::{HttpOffer, HttpSession};

pub(crate) struct Participant {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) publishing: Publishing,
    /// Raised: lower than those that were raised later.
    pub(crate) hand: Option<u64>,
    /// As the room was told.
    pub(crate) quality: Option<Quality>,
    pub(crate) meter: Meter,
    /// Serial of the last chat message before it came, which it may not see.
    pub(crate) chat_from: u64,
    /// [`crate::chance::hash`] of the secret that resumes this participant.
    pub(crate) resume_hash: String,
    /// Of the secret that resumed it last, which stays good until the client is heard again: the
    /// reply with the new one may be lost with its WebSocket.
    pub(crate) former_hash: Option<String>,
    pub(crate) presence: Presence,
    /// Of one who came by WHIP or WHEP.
    pub(crate) http: Option<HttpSession>,
    /// None: the client must make a fresh offer.
    pub(crate) media: Option<Media>,
    /// The offer that the node is answering.
    pub(crate) offering: Option<Offering>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Connected(ConnectionId),
    /// Its WebSocket broke; it leaves at this time unless it resumes.
    Awaited(Instant),
    /// It has no WebSocket, and leaves when its media is lost for good.
    Media {
        connected: bool,
    },
}

/// A transport with the m-lines that the client offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Media {
    pub(crate) transport: TransportId,
    pub(crate) producers: Vec<Producer>,
    pub(crate) consumers: Vec<Consumer>,
    /// What the client can both send and receive.
    pub(crate) video_codecs: Vec<Codec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Producer {
    pub(crate) mid: String,
    pub(crate) producer: ProducerId,
    pub(crate) source: Source,
    /// As the node was told.
    pub(crate) paused: bool,
    /// Which layers somebody sees, as the node told; it tells again after each `Sync`.
    #[serde(skip)]
    pub(crate) asked: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Consumer {
    pub(crate) mid: String,
    pub(crate) consumer: ConsumerId,
    pub(crate) kind: MediaKind,
    pub(crate) wish: Show,
    pub(crate) size: Option<(u16, u16)>,
    /// As the node told; it tells again after each `Sync`.
    #[serde(skip)]
    pub(crate) shows: Option<SlotSource>,
    /// False: restored, and the node has not told yet. The client still knows.
    #[serde(skip)]
    pub(crate) told: bool,
}

pub(crate) struct Offering {
    pub(crate) request: RequestId,
    /// What [`Participant::media`] becomes when the node says yes.
    pub(crate) media: Media,
    pub(crate) reply_to: ReplyTo,
    pub(crate) until: Instant,
    /// The node has closed the transport again before its answer was seen.
    pub(crate) closed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReplyTo {
    /// The number of a message on the participant's WebSocket.
    Message(u64),
    Http(HttpOffer),
}

impl Participant {
    /// Without media, and without a secret to resume by.
    pub(crate) fn new(id: Id, newcomer: Newcomer, presence: Presence) -> Self {
        let Newcomer { name, kind, role } = newcomer;
        Participant {
            id,
            name,
            kind,
            role,
            publishing: Publishing::default(),
            hand: None,
            quality: None,
            meter: Meter::default(),
            chat_from: 0,
            resume_hash: String::new(),
            former_hash: None,
            presence,
            http: None,
            media: None,
            offering: None,
        }
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.presence {
            Presence::Connected(connection) => Some(connection),
            Presence::Awaited(_) | Presence::Media { .. } => None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        match self.presence {
            Presence::Connected(_) => true,
            Presence::Awaited(_) => false,
            Presence::Media { connected } => connected,
        }
    }

    /// Whether this source is on, and there are m-lines that carry it.
    pub(crate) fn sends(&self, source: Source) -> bool {
        let mut producers = self.media.iter().flat_map(|media| &media.producers);
        self.publishing.is_on(source) && producers.any(|one| one.source == source)
    }

    pub(crate) fn public_id(&self) -> ParticipantId {
        ParticipantId(self.id.to_string())
    }

    pub(crate) fn public(&self) -> server::Participant {
        server::Participant {
            id: self.public_id(),
            name: self.name.clone(),
            kind: self.kind,
            role: self.role,
            publishing: self.publishing,
            connected: self.is_connected(),
            hand: self.hand,
            quality: self.quality,
        }
    }

    /// What `Conference::resumable` knows it by.
    pub(crate) fn resume_hashes(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.resume_hash).chain(&self.former_hash)
    }

    /// Those that are known.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let consumers = self.media.iter().flat_map(|media| &media.consumers);
        consumers.filter(|consumer| consumer.told).map(Consumer::slot).collect()
    }

    /// What the client's next wishes are about: the offer on its way, or else the present media.
    pub(crate) fn newest_media(&mut self) -> Option<&mut Media> {
        match &mut self.offering {
            Some(offering) => Some(&mut offering.media),
            None => self.media.as_mut(),
        }
    }

    pub(crate) fn transports(&self) -> impl Iterator<Item = &Media> {
        let offered = self.offering.as_ref().map(|offering| &offering.media);
        // A renegotiation keeps its transport: what was offered stands for both.
        let renegotiated = |media: &&Media| offered.is_none_or(|new| new.transport != media.transport);
        self.media.as_ref().filter(renegotiated).into_iter().chain(offered)
    }
}

impl Media {
    pub(crate) fn wish(&self, room: &Room) -> TransportWish {
        let paused = self.producers.iter().filter(|producer| producer.paused);
        TransportWish {
            transport: self.transport,
            paused: paused.map(|producer| producer.producer).collect(),
            wishes: self.consumers.iter().map(|consumer| consumer.wish(room)).collect(),
        }
    }
}

impl Consumer {
    /// Of which nothing was wished yet.
    pub(crate) fn new(mid: String, consumer: ConsumerId, kind: MediaKind) -> Self {
        Consumer { mid, consumer, kind, wish: first_wish(kind), size: None, shows: None, told: true }
    }

    pub(crate) fn is_as_it_began(&self) -> bool {
        self.wish == first_wish(self.kind) && self.size.is_none()
    }

    pub(crate) fn slot(&self) -> Slot {
        Slot { mid: self.mid.clone(), shows: self.shows.clone() }
    }

    pub(crate) fn wish(&self, room: &Room) -> ConsumerWish {
        ConsumerWish {
            consumer: self.consumer,
            rule: room.rule(&self.wish),
            size: self.size.map(|(width, height)| VideoSize { width, height }),
        }
    }
}

fn first_wish(kind: MediaKind) -> Show {
    match kind {
        MediaKind::Audio => Show::Speaker,
        MediaKind::Video => Show::Off,
    }
}
