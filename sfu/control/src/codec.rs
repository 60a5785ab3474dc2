//! Frames as the text messages of a WebSocket: one JSON object each.

use thiserror::Error;

use crate::Frame;

/// Longest frame taken, in bytes. A `Sync` of a full node is the longest there is.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum CodecError {
    #[error("a control frame is at most {FRAME_BYTES_MAX} bytes, and this one has {0}")]
    TooLong(usize),
    #[error("not a control frame: {0}")]
    Malformed(#[from] serde_json::Error),
}

pub fn encode(frame: &Frame) -> String {
    serde_json::to_string(frame).expect("a frame has string keys only and no fallible serializer")
}

pub fn decode(text: &str) -> Result<Frame, CodecError> {
    if text.len() > FRAME_BYTES_MAX {
        return Err(CodecError::TooLong(text.len()));
    }
    Ok(serde_json::from_str(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    fn round_trip(frame: Frame) {
        let text = encode(&frame);
        assert_eq!(decode(&text).expect(&text), frame);
    }

    #[test]
    fn frames_survive_their_text_form() {
        let epoch = Epoch(3);
        let id = |serial| Id::new(epoch, serial);
        round_trip(Frame::Request(RequestFrame {
            id: RequestId(9),
            epoch,
            request: Request::SetConsumers {
                transport: TransportId(id(1)),
                wishes: vec![ConsumerWish {
                    consumer: ConsumerId(id(2)),
                    rule: ConsumerRule::Producer { producer: ProducerId(id(3)) },
                    size: Some(VideoSize { width: 320, height: 180 }),
                }],
            },
        }));
        round_trip(Frame::Response(ResponseFrame {
            id: RequestId(9),
            epoch,
            result: Err(ControlError::invalid("wishes[0].consumer", "no such consumer")),
        }));
        round_trip(Frame::Response(ResponseFrame { id: RequestId(9), epoch, result: Ok(Response::Done) }));
        round_trip(Frame::Notification {
            notification: Notification::TransportClosed {
                transport: TransportId(id(1)),
                reason: CloseReason::Failed { message: "dtls".into() },
            },
        });
    }

    #[test]
    fn what_is_not_a_frame_is_an_error_that_names_the_field() {
        let text = r#"{"frame":"request","id":1,"epoch":1,"request":{"type":"close_router","router":"x"}}"#;
        let error = decode(text).expect_err("the router id is wrong").to_string();
        assert!(error.contains("an id is two decimal numbers"), "{error}");
        let text =
            r#"{"frame":"request","id":1,"epoch":1,"request":{"type":"close_router","router":"1.1","x":1}}"#;
        let error = decode(text).expect_err("x is no field").to_string();
        assert!(error.contains("unknown field `x`"), "{error}");
    }
}
