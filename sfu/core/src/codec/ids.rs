//! Numbers in the payload descriptors of VP8 and VP9 that a rewriter replaces.

/// A picture id is 7 or 15 bits long.
pub const PICTURE_ID_MAX: u16 = 0x7fff;
pub const PICTURE_ID_SHORT_MAX: u16 = 0x7f;

/// The numbers, and where they are in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids {
    pub picture_id: Option<PictureId>,
    pub tl0_pic_idx: Option<Tl0PicIdx>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    pub value: u16,
    /// 15 bits in two bytes, with the top bit set, and not 7 bits in one.
    pub long: bool,
    pub offset: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tl0PicIdx {
    pub value: u8,
    pub offset: u8,
}

/// Numbers to put in the place of those of an [`Ids`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdRewrite {
    /// Fits the length that the descriptor has for it.
    pub picture_id: Option<u16>,
    pub tl0_pic_idx: Option<u8>,
}

impl IdRewrite {
    /// Whether it would change anything.
    pub fn changes(&self, ids: &Ids) -> bool {
        self.picture_id != ids.picture_id.map(|id| id.value)
            || self.tl0_pic_idx != ids.tl0_pic_idx.map(|index| index.value)
    }

    /// Writes the numbers into `payload`, a copy of the one that `ids` was read from.
    pub fn apply(&self, ids: &Ids, payload: &mut [u8]) {
        if let (Some(field), Some(value)) = (ids.picture_id, self.picture_id) {
            let offset = usize::from(field.offset);
            let [high, low] = value.to_be_bytes();
            if field.long {
                payload[offset] = 0x80 | high;
                payload[offset + 1] = low;
            } else {
                payload[offset] = low & 0x7f;
            }
        }
        if let (Some(field), Some(value)) = (ids.tl0_pic_idx, self.tl0_pic_idx) {
            payload[usize::from(field.offset)] = value;
        }
    }
}

/// Reads a descriptor. What it holds of ids is within its first bytes, so an offset fits a `u8`.
pub(super) struct Reader<'a> {
    pub payload: &'a [u8],
    pub offset: usize,
}

impl<'a> Reader<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Reader { payload, offset: 0 }
    }

    pub fn byte(&mut self) -> Result<u8, super::PayloadError> {
        let byte = self.payload.get(self.offset);
        self.offset += 1;
        byte.copied().ok_or(super::PayloadError::Truncated { length: self.payload.len() })
    }

    pub fn picture_id(&mut self) -> Result<PictureId, super::PayloadError> {
        let offset = self.offset as u8;
        let first = self.byte()?;
        let long = first & 0x80 != 0;
        let value = match long {
            true => u16::from_be_bytes([first & 0x7f, self.byte()?]),
            false => u16::from(first),
        };
        Ok(PictureId { value, long, offset })
    }

    pub fn tl0_pic_idx(&mut self) -> Result<Tl0PicIdx, super::PayloadError> {
        let offset = self.offset as u8;
        Ok(Tl0PicIdx { value: self.byte()?, offset })
    }
}
