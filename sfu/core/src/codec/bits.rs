//! Bits of headers, most significant first. (H.264's reader is its own: it steps over emulation
//! prevention.)

/// Reads numbers of a few bits each.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits from the start.
    position: usize,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, position: 0 }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.position / 8)?;
        let flag = byte >> (7 - self.position % 8) & 1 == 1;
        self.position += 1;
        Some(flag)
    }

    /// At most 32 bits.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// One of `values` values, the small ones in fewer bits: ns(n) of the AV1 specification, section
    /// 4.10.7.
    pub fn one_of(&mut self, values: u32) -> Option<u32> {
        let width = u32::BITS - values.leading_zeros();
        let short = (1 << width) - values;
        let value = self.take(width.checked_sub(1)?)?;
        if value < short { Some(value) } else { Some((value << 1) - short + self.take(1)?) }
    }
}

/// Copies `count` bits of `from`, starting at bit `at`, to bit `to_at` of `to`, which is zero there.
pub(super) fn copy(from: &[u8], at: usize, to: &mut [u8], to_at: usize, count: usize) {
    for index in 0..count {
        let bit = from[(at + index) / 8] >> (7 - (at + index) % 8) & 1;
        to[(to_at + index) / 8] |= bit << (7 - (to_at + index) % 8);
    }
}

/// Writes the low `count` bits of `value` to bit `at` of `to`, which is zero there.
pub(super) fn put(value: u32, to: &mut [u8], at: usize, count: usize) {
    for index in 0..count {
        let bit = (value >> (count - 1 - index) & 1) as u8;
        to[(at + index) / 8] |= bit << (7 - (at + index) % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_most_significant_bit_first() {
        let mut bits = Bits::new(&[0b1010_0110, 0xff]);
        assert_eq!((bits.flag(), bits.take(3), bits.take(6)), (Some(true), Some(2), Some(0b01_1011)));
        assert_eq!((bits.position(), bits.take(7)), (10, None));
    }

    #[test]
    fn one_of_a_few_takes_as_few_bits_as_it_can() {
        // Of five: 00, 01, 10, 110, 111. Of one: nothing.
        let mut bits = Bits::new(&[0b0001_1011, 0b0111_0000]);
        assert_eq!([(); 5].map(|()| bits.one_of(5)), [0, 1, 2, 3, 4].map(Some));
        assert_eq!((bits.one_of(1), bits.position()), (Some(0), 12));
    }

    #[test]
    fn bits_are_copied_and_put_anywhere() {
        let mut to = [0; 3];
        copy(&[0xff, 0x0f], 4, &mut to, 3, 12);
        put(0b101, &mut to, 15, 3);
        assert_eq!(to, [0b0001_1110, 0b0001_1111, 0b0100_0000]);
    }
}
