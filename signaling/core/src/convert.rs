//! Words of the client protocol and of the control protocol, one into the other.

use broletto_control as control;
use broletto_protocol as protocol;
use broletto_protocol::server::{ErrorCode, MediaState};

use crate::error::ClientError;

pub(crate) fn codec_to_control(codec: protocol::Codec) -> control::Codec {
    match codec {
        protocol::Codec::H264 => control::Codec::H264,
        protocol::Codec::Vp8 => control::Codec::Vp8,
        protocol::Codec::Vp9 => control::Codec::Vp9,
        protocol::Codec::Av1 => control::Codec::Av1,
    }
}

/// None: not a video codec.
pub(crate) fn video_codec(codec: control::Codec) -> Option<protocol::Codec> {
    match codec {
        control::Codec::Opus => None,
        control::Codec::H264 => Some(protocol::Codec::H264),
        control::Codec::Vp8 => Some(protocol::Codec::Vp8),
        control::Codec::Vp9 => Some(protocol::Codec::Vp9),
        control::Codec::Av1 => Some(protocol::Codec::Av1),
    }
}

pub(crate) fn content(source: protocol::Source) -> control::Content {
    match source {
        protocol::Source::Microphone => control::Content::Microphone,
        protocol::Source::Camera => control::Content::Camera,
        protocol::Source::Screen => control::Content::Screen,
        protocol::Source::ScreenAudio => control::Content::ScreenAudio,
    }
}

pub(crate) fn media_state(state: control::TransportState) -> MediaState {
    match state {
        control::TransportState::Connecting => MediaState::Connecting,
        control::TransportState::Connected => MediaState::Connected,
        control::TransportState::Disconnected => MediaState::Disconnected,
    }
}

/// What a client is told when the node refuses its offer: its own mistakes by field, ours without
/// the inner workings.
pub(crate) fn offer_refused(error: control::ControlError) -> ClientError {
    use control::ControlError as E;
    match error {
        E::Invalid { field, message } => {
            // The node speaks of producers and consumers where the client wrote send and receive.
            let field = field.replacen("producers[", "send[", 1).replacen("consumers[", "receive[", 1);
            ClientError { code: ErrorCode::Invalid, field: Some(field), message }
        }
        E::Limit { .. } => ClientError::new(ErrorCode::Limit, error.to_string()),
        E::Unavailable { .. } | E::Fenced { .. } => {
            ClientError::new(ErrorCode::Unavailable, "no media server can take the offer now")
        }
        E::Version { .. }
        | E::StaleSync { .. }
        | E::Unknown { .. }
        | E::Taken { .. }
        | E::Internal { .. } => {
            ClientError::new(ErrorCode::Internal, "the media server could not take the offer")
        }
    }
}
