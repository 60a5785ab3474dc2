//! From the text of a WebSocket message to a [`ClientFrame`], or to an error that names the field.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{ClientFrame, MESSAGE_BYTES_MAX};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ParseError {
    /// `id` of the message, where it could be read.
    pub id: Option<u64>,
    pub message: String,
}

/// Refuses duplicate keys at every depth (W5), unknown fields, and anything over
/// [`MESSAGE_BYTES_MAX`].
pub fn client_frame(text: &str) -> Result<ClientFrame, ParseError> {
    if text.len() > MESSAGE_BYTES_MAX {
        let message =
            format!("a message is at most {MESSAGE_BYTES_MAX} bytes, and this one has {}", text.len());
        return Err(ParseError { id: None, message });
    }
    let value = serde_json::from_str::<StrictValue>(text)
        .map_err(|error| ParseError { id: None, message: format!("not a JSON message: {error}") })?;
    let Value::Object(mut object) = value.0 else {
        return Err(ParseError { id: None, message: "a message is a JSON object".to_owned() });
    };
    let Some(id) = object.remove("id").as_ref().and_then(Value::as_u64) else {
        return Err(ParseError { id: None, message: "id: expected a whole number".to_owned() });
    };
    let message = serde_json::from_value(Value::Object(object))
        .map_err(|error| ParseError { id: Some(id), message: error.to_string() })?;
    Ok(ClientFrame { id, message })
}

/// A JSON value none of whose objects has the same key twice.
struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strict;

        impl<'de> Visitor<'de> for Strict {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(StrictValue(value)) = seq.next_element()? {
                    values.push(value);
                }
                Ok(values.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    let StrictValue(value) = map.next_value()?;
                    if object.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("field {key:?} stands twice")));
                    }
                    object.insert(key, value);
                }
                Ok(object.into())
            }
        }

        deserializer.deserialize_any(Strict).map(StrictValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientMessage;

    #[test]
    fn a_message_is_read() {
        let frame = client_frame(r#"{"id":4,"type":"leave"}"#).expect("well formed");
        assert_eq!(frame, ClientFrame { id: 4, message: ClientMessage::Leave {} });
    }

    #[test]
    fn w5_a_key_that_stands_twice_is_refused_at_every_depth() {
        let error = client_frame(r#"{"id":4,"type":"leave","type":"ping"}"#).expect_err("twice");
        assert!(error.message.contains(r#"field "type" stands twice"#), "{error}");
        let text = r#"{"id":4,"type":"publish","publishing":{"camera":true,"camera":false}}"#;
        let error = client_frame(text).expect_err("twice");
        assert!(error.message.contains(r#"field "camera" stands twice"#), "{error}");
    }

    #[test]
    fn w5_a_message_over_64_kib_is_refused() {
        let text = format!(r#"{{"id":1,"type":"text","text":"{}"}}"#, "x".repeat(MESSAGE_BYTES_MAX));
        let error = client_frame(&text).expect_err("too long");
        assert!(error.message.contains("at most 65536 bytes"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_the_id_of_its_message() {
        for (text, id, part) in [
            ("", None, "not a JSON message"),
            ("[]", None, "a message is a JSON object"),
            (r#"{"type":"leave"}"#, None, "id: expected a whole number"),
            (r#"{"id":-1,"type":"leave"}"#, None, "id: expected a whole number"),
            (r#"{"id":1}"#, Some(1), "missing field `type`"),
            (r#"{"id":1,"type":"fly"}"#, Some(1), "unknown variant `fly`"),
            (r#"{"id":1,"type":"leave","now":1}"#, Some(1), "unknown field `now`"),
            (
                r#"{"id":1,"type":"offer","sdp":"","fresh":true,"receive":[]}"#,
                Some(1),
                "missing field `send`",
            ),
            (r#"{"id":1,"type":"join","version":"1"}"#, Some(1), "invalid type: string"),
        ] {
            let error = client_frame(text).expect_err(text);
            assert_eq!(error.id, id, "{text}");
            assert!(error.message.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let text = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(client_frame(&text).is_err());
    }
}
