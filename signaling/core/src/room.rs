//! One room and who is in it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use broletto_control::{ConsumerRule, Id, ProducerId, Request, RouterConfig, RouterId, RouterWish};
use broletto_protocol::client::Show;
use broletto_protocol::server::{ServerMessage, SlotSource};
use broletto_protocol::{Allowed, Codec, Kind, Lobby, ParticipantId, rest, server};

use crate::chat::Chat;
use crate::codec_policy;
use crate::convert;
use crate::limiter::Pace;
use crate::lobby::Waiting;
use crate::out::Out;
use crate::participant::{Media, Participant};

pub(crate) struct Room {
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) code: String,
    pub(crate) title: String,
    /// In order of preference; never empty.
    pub(crate) video_codecs: Vec<Codec>,
    /// What publishers were last told to send.
    pub(crate) video_codec: Codec,
    /// While somebody has media.
    pub(crate) router: Option<RouterId>,
    /// Whether the node was told of the router since it last connected.
    pub(crate) router_told: bool,
    /// Whether anybody ever joined.
    pub(crate) joined: bool,
    /// Seconds since 1970 at which the room was made, or the last participant left it.
    pub(crate) empty_since_unix_s: u64,
    /// While the room is empty: when it is removed.
    pub(crate) unused_at: Option<Instant>,
    /// By id, which is the order of arrival.
    pub(crate) participants: BTreeMap<Id, Participant>,
    pub(crate) lobby: Lobby,
    pub(crate) locked: bool,
    /// To who is no moderator.
    pub(crate) allowed: Allowed,
    /// Whom everybody sees in front, first to last. All of them are in the room.
    pub(crate) spotlight: Vec<Id>,
    /// By id, which is the order of arrival.
    pub(crate) waiting: BTreeMap<Id, Waiting>,
    pub(crate) lobby_pace: Pace,
    pub(crate) quality_pace: Pace,
    pub(crate) chat: Chat,
    /// Who sends what.
    pub(crate) producers: HashMap<ProducerId, SlotSource>,
}

impl Room {
    pub(crate) fn rule(&self, wish: &Show) -> ConsumerRule {
        match wish {
            Show::Off => ConsumerRule::Off,
            Show::Speaker => ConsumerRule::Speaker,
            Show::Participant { participant, source } => {
                let id = participant.0.parse().ok();
                let media = id.and_then(|id| self.participants.get(&id)).and_then(|one| one.media.as_ref());
                let producer =
                    media.and_then(|media| media.producers.iter().find(|one| one.source == *source));
                match producer {
                    Some(producer) => ConsumerRule::Producer { producer: producer.producer },
                    // The wish stays and is applied when the source appears.
                    None => ConsumerRule::Off,
                }
            }
        }
    }

    /// Puts `media` in the place of the participant's former one, which comes back.
    pub(crate) fn set_media(&mut self, id: Id, media: Option<Media>) -> Option<Media> {
        self.producers.retain(|_, owner| owner.participant.0.parse() != Ok(id));
        let participant = self.participants.get_mut(&id)?;
        for producer in media.iter().flat_map(|media| &media.producers) {
            let source = SlotSource { participant: participant.public_id(), source: producer.source };
            self.producers.insert(producer.producer, source);
        }
        std::mem::replace(&mut participant.media, media)
    }

    /// For each participant but `id` that wishes to see `id`: tells its transport which producers
    /// these are now.
    pub(crate) fn rewired(&self, id: Id) -> Vec<Request> {
        let public_id = id.to_string();
        let shows =
            |wish: &Show| matches!(wish, Show::Participant { participant, .. } if participant.0 == public_id);
        let viewers = self.participants.values().filter(|viewer| viewer.id != id);
        let media = viewers.filter_map(|viewer| viewer.media.as_ref());
        media
            .filter_map(|media| {
                let touched = media.consumers.iter().filter(|consumer| shows(&consumer.wish));
                let wishes: Vec<_> = touched.map(|consumer| consumer.wish(self)).collect();
                let transport = media.transport;
                (!wishes.is_empty()).then_some(Request::SetConsumers { transport, wishes })
            })
            .collect()
    }

    /// The codec that the policy asks for now.
    pub(crate) fn policy_codec(&self) -> Codec {
        // Who publishes by WHIP decodes nothing.
        let receivers = self.participants.values().filter(|participant| participant.kind != Kind::Whip);
        let media = receivers.filter_map(|participant| participant.media.as_ref());
        codec_policy::publish_codec(&self.video_codecs, media.map(|media| media.video_codecs.as_slice()))
    }

    pub(crate) fn control_codecs(&self) -> Vec<broletto_control::Codec> {
        let codecs = codec_policy::with_first(&self.video_codecs, self.video_codec);
        codecs.into_iter().map(convert::codec_to_control).collect()
    }

    pub(crate) fn router_config(&self) -> RouterConfig {
        RouterConfig { tenant: self.tenant.clone(), video_codecs: self.control_codecs(), opaque: false }
    }

    pub(crate) fn router_wish(&self) -> Option<RouterWish> {
        let media = self.participants.values().flat_map(Participant::transports);
        Some(RouterWish {
            router: self.router?,
            config: self.router_config(),
            transports: media.map(|media| media.wish(self)).collect(),
        })
    }

    /// Nobody waits any more for somebody who left. The node need not be told: its rules name
    /// producers that went with their transport, whose ids nobody gets again.
    pub(crate) fn forget(&mut self, gone: &ParticipantId, out: &mut Out) {
        for viewer in self.participants.values_mut() {
            let offered = viewer.offering.iter_mut().map(|offering| &mut offering.media);
            let media = viewer.media.iter_mut().chain(offered);
            for consumer in media.flat_map(|media| &mut media.consumers) {
                if matches!(&consumer.wish, Show::Participant { participant, .. } if participant == gone) {
                    consumer.wish = Show::Off;
                }
            }
        }
        self.forget_sources(gone, out);
    }

    /// Empties the slots that show somebody whose media ended, and says so.
    pub(crate) fn forget_sources(&mut self, gone: &ParticipantId, out: &mut Out) {
        for viewer in self.participants.values_mut() {
            let connection = viewer.connection();
            let offered = viewer.offering.iter_mut().map(|offering| &mut offering.media);
            for consumer in offered.flat_map(|media| &mut media.consumers) {
                consumer.shows.take_if(|shows| shows.participant == *gone);
            }
            let consumers = viewer.media.iter_mut().flat_map(|media| &mut media.consumers);
            let emptied = consumers.filter_map(|consumer| {
                consumer.shows.take_if(|shows| shows.participant == *gone)?;
                Some(consumer.slot())
            });
            let slots: Vec<_> = emptied.collect();
            if let (Some(connection), false) = (connection, slots.is_empty()) {
                out.tell(connection, None, ServerMessage::Slots { slots });
            }
        }
    }

    pub(crate) fn url(&self, public_url: &str) -> String {
        format!("{public_url}/r/{}", self.id)
    }

    pub(crate) fn public(&self, public_url: &str) -> server::RoomInfo {
        server::RoomInfo {
            id: self.id.clone(),
            code: self.code.clone(),
            title: self.title.clone(),
            video_codec: self.video_codec,
            url: self.url(public_url),
            lobby: self.lobby,
            locked: self.locked,
            allowed: self.allowed,
            spotlight: self.spotlight.iter().map(|id| ParticipantId(id.to_string())).collect(),
        }
    }

    pub(crate) fn rest(&self, public_url: &str) -> rest::Room {
        rest::Room {
            id: self.id.clone(),
            code: self.code.clone(),
            title: self.title.clone(),
            video_codecs: self.video_codecs.clone(),
            url: self.url(public_url),
            participants: u32::try_from(self.participants.len()).expect("a room's capacity is small"),
        }
    }
}
