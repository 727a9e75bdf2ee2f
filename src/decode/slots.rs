//! The slots of a KV cache: which row of its tensors holds which sequence.
//!
//! The tensors have slots for a number of images, and the same number of slots (the width) for each. The rows in use are the
//! sequences that are decoded; the rows of an image fill its slots from the first, in their order.

#[cfg(test)]
mod tests;

use std::ops::Range;

/// A copy of tokens from one row to another, within the same tensors or from old tensors to reallocated ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowCopy {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) tokens: Range<usize>,
}

/// The copies that reorder the rows of a KV cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reordering {
    /// The copies of self-attention rows, meant to happen all at once. No two are to the same row.
    pub(super) rows: Vec<RowCopy>,
    /// The copies of cross-attention rows if the number of slots has changed, so that all copies are to new tensors.
    pub(super) images: Option<Vec<RowCopy>>,
}

/// The slots of a KV cache and the tokens in them.
#[derive(Debug)]
pub(super) struct Slots {
    images: usize,
    /// Slots of each image.
    width: usize,
    /// The slot of each row in use.
    used: Vec<usize>,
    /// The tokens that each slot holds.
    lengths: Vec<usize>,
    /// `[slots, width]`: the number of first tokens that a slot has in common with each slot of its image.
    shared: Vec<usize>,
    /// The number of encoder tokens in each image's cross-attention row; 1 for a free row, since attention needs at
    /// least one key.
    encoder_lengths: Vec<usize>,
}

impl Slots {
    pub(super) fn new(images: usize, width: usize) -> Self {
        let slots = images.saturating_mul(width);
        Self {
            images,
            width,
            used: Vec::new(),
            lengths: vec![0; slots],
            shared: vec![0; slots.saturating_mul(width)],
            encoder_lengths: vec![1; images],
        }
    }

    /// Returns the number of images that there are slots for.
    pub(super) fn images(&self) -> usize {
        self.images
    }

    /// Returns the number of slots.
    pub(super) fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Returns the slot of each row in use.
    pub(super) fn used(&self) -> &[usize] {
        &self.used
    }

    /// Returns the number of tokens that a slot holds.
    pub(super) fn length(&self, slot: usize) -> usize {
        self.lengths.get(slot).copied().unwrap_or(0)
    }

    /// Returns the number of tokens of the longest row in use.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.used.iter().map(|&slot| self.length(slot));
        lengths.max().unwrap_or(0)
    }

    /// Returns the number of encoder tokens of each image.
    pub(super) fn encoder_lengths(&self) -> &[usize] {
        &self.encoder_lengths
    }

    /// Returns the number of images with rows in use.
    pub(super) fn used_images(&self) -> usize {
        self.used
            .chunk_by(|&a, &b| self.image(a) == self.image(b))
            .count()
    }

    fn image(&self, slot: usize) -> usize {
        slot / self.width.max(1)
    }

    /// Admits an image; its first row, of `length` tokens, follows all other rows. Returns the image's number and the
    /// row's slot; `None` if no image is free.
    pub(super) fn admit(&mut self, length: usize, encoder_length: usize) -> Option<(usize, usize)> {
        let mut images = 0..self.images;
        let image = images.find(|image| !self.used.contains(&(image * self.width)))?;
        let slot = image * self.width;
        self.clear(slot..slot + self.width);
        *self.lengths.get_mut(slot)? = length;
        *self.encoder_lengths.get_mut(image)? = encoder_length;
        self.used.push(slot);
        Some((image, slot))
    }

    /// Forgets the contents of slots that are not in use: a run of the decoder overwrites them.
    pub(super) fn clear_unused(&mut self) {
        for slot in 0..self.count() {
            if !self.used.contains(&slot) {
                self.clear(slot..slot + 1);
            }
        }
    }

    fn clear(&mut self, slots: Range<usize>) {
        for slot in slots {
            self.lengths[slot] = 0;
            let first = slot - slot % self.width;
            for other in first..first + self.width {
                self.shared[slot * self.width + other - first] = 0;
                self.shared[other * self.width + slot - first] = 0;
            }
        }
    }

    /// Counts a new token in each row in use. Rows do not share it.
    pub(super) fn advance(&mut self) {
        for &slot in &self.used {
            self.lengths[slot] += 1;
        }
    }

    /// Returns the number of first tokens that two slots have in common.
    fn shared(&self, slot: usize, other: usize) -> usize {
        if slot == other {
            self.length(slot)
        } else if self.image(slot) == self.image(other) {
            self.shared[slot * self.width + other % self.width]
        } else {
            0
        }
    }

    /// Reorders the rows: new row `i` continues old row `parents[i]`. The number of slots is kept for `waiting`
    /// further images, falls with the rows, and grows with an image's rows. Returns `None` if there is no such
    /// parent, or the rows of an image are not adjacent.
    pub(super) fn reorder(&mut self, parents: &[usize], waiting: usize) -> Option<Reordering> {
        let parents = parents.iter().map(|&parent| self.used.get(parent).copied());
        let parents: Vec<usize> = parents.collect::<Option<_>>()?;
        let groups: Vec<&[usize]> = parents
            .chunk_by(|&a, &b| self.image(a) == self.image(b))
            .collect();
        let from_images: Vec<usize> = groups.iter().map(|group| self.image(group[0])).collect();
        if (1..from_images.len()).any(|index| from_images[..index].contains(&from_images[index])) {
            return None;
        }
        let widest = groups.iter().map(|group| group.len()).max().unwrap_or(0);
        let (images, width) = if groups.is_empty() {
            (self.images, self.width)
        } else {
            self.capacity_for(groups.len(), widest, waiting)
        };
        let in_place = (images, width) == (self.images, self.width);
        let mut reordered = Self::new(images, width);
        let mut sources: Vec<Option<usize>> = (0..reordered.count())
            .map(|slot| in_place.then_some(slot))
            .collect();
        let mut rows = Vec::new();
        for (index, (group, &from_image)) in groups.iter().zip(&from_images).enumerate() {
            let image = if in_place { from_image } else { index };
            for (to, &from) in (image * width..).zip(*group) {
                reordered.used.push(to);
                sources[to] = Some(from);
                let start = if in_place { self.shared(from, to) } else { 0 };
                let tokens = start..self.length(from);
                if !tokens.is_empty() {
                    rows.push(RowCopy { from, to, tokens });
                }
            }
        }
        let images = if in_place {
            reordered.encoder_lengths.clone_from(&self.encoder_lengths);
            None
        } else {
            let copies = from_images.iter().enumerate().map(|(to, &from)| RowCopy {
                from,
                to,
                tokens: 0..self.encoder_lengths[from],
            });
            let copies: Vec<RowCopy> = copies.collect();
            for copy in &copies {
                reordered.encoder_lengths[copy.to] = copy.tokens.end;
            }
            Some(copies)
        };
        reordered.inherit(self, &sources);
        *self = reordered;
        Some(Reordering { rows, images })
    }

    /// Returns the number of images, and of slots per image, to keep for `images` images with at most `widest` rows
    /// each.
    fn capacity_for(&self, images: usize, widest: usize, waiting: usize) -> (usize, usize) {
        let kept = images.saturating_add(waiting).min(self.images);
        // An image that is admitted later will need as many slots as others did.
        let width = if waiting == 0 {
            shrunk(self.width, widest)
        } else {
            self.width.max(widest)
        };
        (shrunk(self.images, kept), width)
    }

    /// Fills each slot with the contents of the slot of `other` in `sources`.
    fn inherit(&mut self, other: &Self, sources: &[Option<usize>]) {
        for (slot, source) in sources.iter().enumerate() {
            let Some(source) = *source else { continue };
            self.lengths[slot] = other.length(source);
            let first = slot - slot % self.width;
            for (index, beside) in sources[first..first + self.width].iter().enumerate() {
                let shared = beside.map_or(0, |beside| other.shared(source, beside));
                self.shared[slot * self.width + index] = shared;
            }
        }
    }

    /// Returns the copies of all rows in use to new tensors with the same slots.
    pub(super) fn unmoved_rows(&self) -> Vec<RowCopy> {
        let copies = self.used.iter().map(|&slot| RowCopy {
            from: slot,
            to: slot,
            tokens: 0..self.length(slot),
        });
        copies.collect()
    }

    /// Returns the copies of all images' cross-attention rows to new tensors with the same slots.
    pub(super) fn unmoved_images(&self) -> Vec<RowCopy> {
        let lengths = self.encoder_lengths.iter().enumerate();
        let copies = lengths.map(|(image, &length)| RowCopy {
            from: image,
            to: image,
            tokens: 0..length,
        });
        copies.collect()
    }
}

/// Returns the capacity to keep when `need` of `have` is in use: it shrinks only when half is free, so that copying
/// to smaller tensors is rare.
fn shrunk(have: usize, need: usize) -> usize {
    let need = need.max(1);
    if need * 2 <= have { need } else { have.max(need) }
}
