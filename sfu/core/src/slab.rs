//! Values in numbered slots, so that the packet path indexes and never searches.

/// A slot keeps its index until its value is removed; then another value may get it.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    vacant: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// The index that the next [`Slab::insert`] returns.
    pub fn next_index(&self) -> usize {
        self.vacant.last().copied().unwrap_or(self.slots.len())
    }

    pub fn insert(&mut self, value: T) -> usize {
        match self.vacant.pop() {
            Some(index) => {
                self.slots[index] = Some(value);
                index
            }
            None => {
                self.slots.push(Some(value));
                self.slots.len() - 1
            }
        }
    }

    pub fn remove(&mut self, index: usize) -> Option<T> {
        let value = self.slots.get_mut(index)?.take()?;
        self.vacant.push(index);
        Some(value)
    }

    pub fn get(&self, index: usize) -> Option<&T> {
        self.slots.get(index)?.as_ref()
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// All that ever had a value.
    pub fn indexes(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }

    /// In the order of their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| Some((index, slot.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_slot_is_used_again_and_the_others_stay() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.next_index(), a);
        let c = slab.insert('c');
        assert_eq!((c, slab.len()), (a, 2));
        assert_eq!(slab.get(b), Some(&'b'));
        assert_eq!(slab.iter().map(|(_, value)| *value).collect::<String>(), "cb");
    }
}
