//! The dependency descriptor in str0m's words, which negotiates it.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use crate::codec::dependency::URI;

pub(crate) fn dependency_descriptor() -> Extension {
    Extension::with_serializer(URI, Negotiated)
}

/// Packets do not go through str0m, so it has nothing to read or write.
#[derive(Debug)]
struct Negotiated;

impl ExtensionSerializer for Negotiated {
    fn write_to(&self, _to: &mut [u8], _values: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, _bytes: &[u8], _values: &mut ExtensionValues) -> bool {
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, _values: &ExtensionValues) -> bool {
        false
    }
}
