//! The m-lines of an offer: what it may have, and the ids they get.

use std::collections::HashSet;

use broletto_control::{ConsumerId, ConsumerSlot, Id, ProducerId, ProducerSlot, TransportId};
use broletto_protocol::client::{ReceiveSlot, SendSlot};
use broletto_protocol::server::ErrorCode;
use broletto_protocol::{MediaKind, Publishing};

use crate::Limits;
use crate::convert;
use crate::error::ClientError;
use crate::participant::{Consumer, Media, Producer};
use crate::room::Room;

/// A `mid` is short, since it travels in a header extension (RFC 8843 section 15.2).
const MID_BYTES_MAX: usize = 16;

/// Refuses m-lines that name one thing twice, and more than `limits` allows (M8).
pub(crate) fn check(send: &[SendSlot], receive: &[ReceiveSlot], limits: &Limits) -> Result<(), ClientError> {
    let (mut mids, mut sources) = (HashSet::new(), HashSet::new());
    let sent = send.iter().enumerate().map(|(index, slot)| (format!("send[{index}].mid"), &slot.mid));
    let received =
        receive.iter().enumerate().map(|(index, slot)| (format!("receive[{index}].mid"), &slot.mid));
    for (kind, max) in
        [(MediaKind::Audio, limits.audio_slots_max), (MediaKind::Video, limits.video_slots_max)]
    {
        let count = receive.iter().filter(|slot| slot.kind == kind).count();
        if count > usize::from(max) {
            let message = format!("at most {max} slots of kind {kind:?}, and the offer has {count}");
            return Err(ClientError::field(ErrorCode::Limit, "receive", message.to_lowercase()));
        }
    }
    for (index, slot) in send.iter().enumerate() {
        if !sources.insert(slot.source) {
            let message = format!("{:?} stands twice", slot.source);
            return Err(ClientError::invalid(format!("send[{index}].source"), message.to_lowercase()));
        }
    }
    for (field, mid) in sent.chain(received) {
        if mid.is_empty() || mid.len() > MID_BYTES_MAX || !mid.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("a mid is 1 to {MID_BYTES_MAX} visible ASCII characters");
            return Err(ClientError::invalid(field, message));
        }
        if !mids.insert(mid) {
            return Err(ClientError::invalid(field, format!("mid {mid:?} stands twice")));
        }
    }
    Ok(())
}

/// The media that the offer describes. M-lines that `former`, the same transport, has already keep
/// their ids and wishes; `new_id` makes the others.
pub(crate) fn media(
    former: Option<&Media>,
    send: Vec<SendSlot>,
    receive: Vec<ReceiveSlot>,
    publishing: Publishing,
    mut new_id: impl FnMut() -> Id,
) -> Media {
    let transport = former.map(|media| media.transport).unwrap_or_else(|| TransportId(new_id()));
    let former_producers = former.map(|media| media.producers.as_slice()).unwrap_or_default();
    let former_consumers = former.map(|media| media.consumers.as_slice()).unwrap_or_default();
    let producers = send.into_iter().map(|SendSlot { mid, source }| {
        let same = former_producers.iter().find(|one| one.mid == mid && one.source == source);
        let producer = same.map(|one| one.producer).unwrap_or_else(|| ProducerId(new_id()));
        let asked = same.and_then(|one| one.asked.clone());
        Producer { mid, producer, source, paused: !publishing.is_on(source), asked }
    });
    let producers = producers.collect();
    let consumers = receive.into_iter().map(|ReceiveSlot { mid, kind }| {
        let same = former_consumers.iter().find(|one| one.mid == mid && one.kind == kind);
        same.cloned().unwrap_or_else(|| Consumer::new(mid, ConsumerId(new_id()), kind))
    });
    Media { transport, producers, consumers: consumers.collect(), video_codecs: Vec::new() }
}

pub(crate) fn producer_slots(media: &Media) -> Vec<ProducerSlot> {
    let slot = |one: &Producer| ProducerSlot {
        mid: one.mid.clone(),
        producer: one.producer,
        content: convert::content(one.source),
        paused: one.paused,
    };
    media.producers.iter().map(slot).collect()
}

pub(crate) fn consumer_slots(media: &Media, room: &Room) -> Vec<ConsumerSlot> {
    let slot = |one: &Consumer| ConsumerSlot {
        mid: one.mid.clone(),
        consumer: one.consumer,
        rule: room.rule(&one.wish),
    };
    media.consumers.iter().map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use broletto_control::Epoch;
    use broletto_protocol::Source;
    use broletto_protocol::client::Show;

    fn send(mid: &str, source: Source) -> SendSlot {
        SendSlot { mid: mid.to_owned(), source }
    }

    fn receive(mid: &str, kind: MediaKind) -> ReceiveSlot {
        ReceiveSlot { mid: mid.to_owned(), kind }
    }

    #[test]
    fn m8_what_an_offer_may_not_have_is_named() {
        let limits = Limits { audio_slots_max: 1, video_slots_max: 2, ..Limits::default() };
        use MediaKind::*;
        let rows = [
            (
                vec![],
                vec![receive("0", Audio), receive("1", Audio)],
                "receive",
                "at most 1 slots of kind audio",
            ),
            (vec![send("0", Source::Camera), send("1", Source::Camera)], vec![], "send[1].source", "twice"),
            (vec![send("0", Source::Camera)], vec![receive("0", Video)], "receive[0].mid", "twice"),
            (vec![send("", Source::Camera)], vec![], "send[0].mid", "1 to 16"),
            (vec![], vec![receive("0", Video), receive("a b", Video)], "receive[1].mid", "1 to 16"),
            (vec![], vec![receive(&"x".repeat(17), Video)], "receive[0].mid", "1 to 16"),
        ];
        for (send, receive, field, part) in rows {
            let error = check(&send, &receive, &limits).expect_err(field);
            assert_eq!(error.field.as_deref(), Some(field));
            assert!(error.message.contains(part), "{error:?}");
        }
        assert_eq!(check(&[send("0", Source::Camera)], &[receive("1", Audio)], &limits), Ok(()));
    }

    #[test]
    fn a_renegotiation_keeps_the_ids_of_the_lines_it_names_again() {
        let mut serial = 0;
        let mut new_id = || {
            serial += 1;
            Id::new(Epoch(1), serial)
        };
        let first = media(
            None,
            vec![send("0", Source::Camera)],
            vec![receive("1", MediaKind::Video)],
            Publishing::default(),
            &mut new_id,
        );
        let sent = vec![send("0", Source::Camera), send("2", Source::Screen)];
        let received = vec![receive("1", MediaKind::Video), receive("3", MediaKind::Audio)];
        let second = media(Some(&first), sent, received, Publishing::default(), &mut new_id);
        assert_eq!(second.transport, first.transport);
        assert_eq!(second.producers[0], first.producers[0]);
        assert_eq!(second.consumers[0], first.consumers[0]);
        assert_ne!(second.producers[1].producer, first.producers[0].producer);
        assert_eq!(second.consumers[1].wish, Show::Speaker);
    }
}
