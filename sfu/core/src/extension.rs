//! The dependency descriptor as str0m takes and gives it: a header extension that it does not know,
//! whose bytes go through its values for users.

use std::sync::Arc;

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use crate::codec::dependency::{BYTES_MAX, Place, URI};

/// As it came.
#[derive(Debug)]
struct Came(Arc<[u8]>);

/// As it is to leave: written when its packet is.
#[derive(Debug)]
pub(crate) struct Leaves {
    pub bytes: Arc<[u8]>,
    pub place: Place,
    pub frame_number: u16,
    pub active: Option<u32>,
}

impl Leaves {
    fn length(&self) -> usize {
        self.place.written_length(self.bytes.len(), self.active)
    }
}

pub(crate) fn dependency_descriptor() -> Extension {
    Extension::with_serializer(URI, Serializer)
}

pub(crate) fn came(values: &ExtensionValues) -> Option<Arc<[u8]>> {
    values.user_values.get::<Came>().map(|came| came.0.clone())
}

pub(crate) fn leave(values: &mut ExtensionValues, leaves: Leaves) {
    values.user_values.set(leaves);
}

#[derive(Debug)]
struct Serializer;

impl ExtensionSerializer for Serializer {
    fn write_to(&self, to: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(leaves) = values.user_values.get::<Leaves>() else { return 0 };
        let Leaves { bytes, place, frame_number, active } = leaves;
        place.write(bytes, *frame_number, *active, to)
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        let fits = (1..=BYTES_MAX).contains(&bytes.len());
        if fits {
            values.user_values.set(Came(bytes.into()));
        }
        fits
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    /// The one-byte form has room for 16 bytes (RFC 8285 section 4.2).
    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<Leaves>().is_some_and(|leaves| leaves.length() > 16)
    }
}
