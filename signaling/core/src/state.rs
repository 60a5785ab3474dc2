//! The records from which a restarted process goes on. Each kind carries a version.

use broletto_control::{Epoch, Id, RouterId};
use broletto_protocol::{Allowed, Codec, Kind, Lobby, Publishing, Role};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

use crate::participant::{Media, Participant};
use crate::room::Room;
use crate::whip::HttpSession;

const VERSION: u32 = 1;
pub(crate) const EPOCH_KEY: &str = "instance/epoch";

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    version: u32,
    pub(crate) epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    version: u32,
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) code: String,
    pub(crate) title: String,
    pub(crate) video_codecs: Vec<Codec>,
    pub(crate) router: Option<RouterId>,
    /// Records without it are of rooms made before it was kept, which live as if joined.
    #[serde(default = "yes")]
    pub(crate) joined: bool,
    pub(crate) empty_since_unix_s: u64,
    // Rooms made before these were kept had neither.
    #[serde(default)]
    pub(crate) lobby: Lobby,
    #[serde(default)]
    pub(crate) locked: bool,
    #[serde(default)]
    pub(crate) allowed: Allowed,
    #[serde(default)]
    pub(crate) spotlight: Vec<Id>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ParticipantRecord {
    version: u32,
    pub(crate) room: String,
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) publishing: Publishing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hand: Option<u64>,
    /// The secret itself is not saved.
    pub(crate) resume_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<HttpSession>,
    pub(crate) media: Option<Media>,
}

fn yes() -> bool {
    true
}

pub(crate) enum Record {
    Epoch(EpochRecord),
    Room(RoomRecord),
    Participant(ParticipantRecord),
}

pub(crate) fn room_key(room: &Room) -> String {
    format!("tenant/{}/room/{}", room.tenant, room.id)
}

pub(crate) fn participant_key(room: &Room, participant: Id) -> String {
    format!("{}/participant/{participant}", room_key(room))
}

pub(crate) fn epoch_value(epoch: Epoch) -> String {
    encode(&EpochRecord { version: VERSION, epoch })
}

pub(crate) fn room_value(room: &Room) -> String {
    encode(&RoomRecord {
        version: VERSION,
        tenant: room.tenant.clone(),
        id: room.id.clone(),
        code: room.code.clone(),
        title: room.title.clone(),
        video_codecs: room.video_codecs.clone(),
        router: room.router,
        joined: room.joined,
        empty_since_unix_s: room.empty_since_unix_s,
        lobby: room.lobby,
        locked: room.locked,
        allowed: room.allowed,
        spotlight: room.spotlight.clone(),
    })
}

pub(crate) fn participant_value(room: &Room, participant: &Participant) -> String {
    encode(&ParticipantRecord {
        version: VERSION,
        room: room.id.clone(),
        id: participant.id,
        name: participant.name.clone(),
        kind: participant.kind,
        role: participant.role,
        publishing: participant.publishing,
        hand: participant.hand,
        resume_hash: participant.resume_hash.clone(),
        former_hash: participant.former_hash.clone(),
        http: participant.http.clone(),
        media: participant.media.clone(),
    })
}

/// None: a key of another part of the program.
pub(crate) fn read(key: &str, value: &str) -> Result<Option<Record>, serde_json::Error> {
    let parts: Vec<_> = key.split('/').collect();
    Ok(match parts[..] {
        ["instance", "epoch"] => Some(Record::Epoch(decode(value)?)),
        ["tenant", _, "room", _] => Some(Record::Room(decode(value)?)),
        ["tenant", _, "room", _, "participant", _] => Some(Record::Participant(decode(value)?)),
        _ => None,
    })
}

fn encode(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("a record has string keys only and no fallible serializer")
}

fn decode<T: DeserializeOwned>(value: &str) -> Result<T, serde_json::Error> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_str(value)?;
    if version != VERSION {
        return Err(serde_json::Error::custom(format_args!(
            "version {VERSION} was expected and {version} came"
        )));
    }
    serde_json::from_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_version_or_shape_is_refused_and_a_foreign_key_passed_over() {
        assert!(
            matches!(read(EPOCH_KEY, &epoch_value(Epoch(4))), Ok(Some(Record::Epoch(record))) if record.epoch == Epoch(4))
        );
        let error = read(EPOCH_KEY, r#"{"version":2,"epoch":4}"#).err().expect("of another version");
        assert!(error.to_string().contains("version 1 was expected and 2 came"), "{error}");
        assert!(read("tenant/default/room/x", r#"{"version":1}"#).is_err());
        assert!(matches!(read("mail/outbox/1", "anything"), Ok(None)));
    }
}
