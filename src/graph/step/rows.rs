//! Which row of a batch's tensors holds what.
//!
//! A batch's tensors have room for some images, and for as many rows of each. The rows in use are those of the images
//! that are there; an image's rows come first in its part of the tensors, in their order.

#[cfg(test)]
mod tests;

use super::moves::{self, Copy, Move, Tokens};

/// The room of a batch's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Images.
    pub(super) images: usize,
    /// Rows of each image.
    pub(super) width: usize,
}

impl Room {
    /// Rows of the tensors.
    pub(super) fn rows(self) -> usize {
        self.images.saturating_mul(self.width)
    }
}

/// What the rows of a batch's tensors hold.
#[derive(Debug)]
pub(super) struct Rows {
    room: Room,
    /// Of each row of the tensors, what its caches hold: a number for each token, the same in two rows only if their
    /// caches are the same there, and at all tokens before.
    contents: Vec<Vec<u64>>,
    /// For each row in use, its row in the tensors.
    places: Vec<usize>,
    /// The next number that is free.
    next: u64,
    /// Memory for [`reorder`](Self::reorder).
    workspace: Workspace,
}

#[derive(Debug, Default)]
struct Workspace {
    places: Vec<usize>,
    copies: Vec<Copy>,
    aside: Vec<u64>,
}

/// How a batch goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reordered {
    /// In its tensors, after these moves.
    InPlace,
    /// In other tensors, with other room.
    Elsewhere(Relocation),
}

/// How a batch's rows go over into other tensors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relocation {
    /// The room of the new tensors.
    pub(super) room: Room,
    /// For each image of the new tensors that is in use, the one that it was.
    pub(super) images: Vec<usize>,
    /// For each row in use, the row that it is copied from and the one it is copied to.
    pub(super) rows: Vec<(usize, usize)>,
}

impl Rows {
    /// No row in use.
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            contents: vec![Vec::new(); room.rows()],
            places: Vec::new(),
            next: 0,
            workspace: Workspace::default(),
        }
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// For each row in use, its row in the tensors.
    pub(super) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The tokens that a row of the tensors holds.
    pub(super) fn length(&self, place: usize) -> usize {
        self.contents.get(place).map_or(0, Vec::len)
    }

    /// The tokens of the longest row in use.
    pub(super) fn longest(&self) -> usize {
        self.places
            .iter()
            .map(|&place| self.length(place))
            .max()
            .unwrap_or(0)
    }

    /// The images that have rows in use.
    pub(super) fn images(&self) -> usize {
        self.groups().count()
    }

    /// The first image that has no rows in use.
    pub(super) fn free_image(&self) -> Option<usize> {
        (0..self.room.images).find(|&image| {
            let first = image * self.room.width;
            !self.places.contains(&first)
        })
    }

    /// Puts the first row of a free image in use, behind all others, with `length` tokens; gives its place.
    pub(super) fn join(&mut self, image: usize, length: usize) -> usize {
        let place = image * self.room.width;
        if let Some(contents) = self.contents.get_mut(place) {
            contents.clear();
            contents.extend((self.next..).take(length));
        }
        self.next += length as u64;
        self.places.push(place);
        place
    }

    /// What rows that are not in use hold is given up: a run writes to them too.
    pub(super) fn clear_unused(&mut self) {
        for (place, contents) in self.contents.iter_mut().enumerate() {
            if !self.places.contains(&place) {
                contents.clear();
            }
        }
    }

    /// Each row in use gets a token.
    pub(super) fn advance(&mut self) {
        for &place in &self.places {
            if let Some(contents) = self.contents.get_mut(place) {
                contents.push(self.next);
                self.next += 1;
            }
        }
    }

    /// Makes row `i` a continuation of what was row `parents[i]`, for all `i`; the moves that this takes are appended
    /// to `moves`. As far as there is room now, it is kept for `waiting` images more. `None` if there is no such parent,
    /// or the rows of an image do not stand together.
    pub(super) fn reorder(
        &mut self,
        parents: &[usize],
        waiting: usize,
        moves: &mut Vec<Move>,
    ) -> Option<Reordered> {
        let sources = &mut self.workspace.places;
        sources.clear();
        for &parent in parents {
            sources.push(*self.places.get(parent)?);
        }
        if parents.is_empty() {
            self.places.clear();
            return Some(Reordered::InPlace);
        }
        let room = self.room;
        let (images, width) = self.needs()?;
        let wanted = Room {
            images: shrunk(room.images, images.saturating_add(waiting).min(room.images)),
            // Who joins is to have as many rows as others had.
            width: match waiting {
                0 => shrunk(room.width, width),
                _ => room.width.max(width),
            },
        };
        if wanted == room {
            self.reorder_in_place(moves);
            Some(Reordered::InPlace)
        } else {
            Some(Reordered::Elsewhere(self.relocate(wanted)))
        }
    }

    /// The number of images and the greatest number of an image's rows, of the rows that are to be in use; `None` if
    /// those of an image do not stand together.
    fn needs(&self) -> Option<(usize, usize)> {
        let image = |place: &usize| place / self.room.width.max(1);
        let mut places = self.workspace.places.as_slice();
        let (mut images, mut widest) = (0, 0);
        while let Some(first) = places.first() {
            let group = places
                .iter()
                .take_while(|&place| image(place) == image(first))
                .count();
            let (_, rest) = places.split_at(group);
            if rest.iter().any(|place| image(place) == image(first)) {
                return None;
            }
            images += 1;
            widest = widest.max(group);
            places = rest;
        }
        Some((images, widest))
    }

    /// The rows in use, image by image.
    fn groups(&self) -> impl Iterator<Item = &[usize]> {
        let width = self.room.width.max(1);
        self.places.chunk_by(move |a, b| a / width == b / width)
    }

    fn reorder_in_place(&mut self, moves: &mut Vec<Move>) {
        let Workspace {
            places: sources,
            copies,
            aside,
        } = &mut self.workspace;
        let width = self.room.width.max(1);
        self.places.clear();
        for group in sources.chunk_by(|a, b| a / width == b / width) {
            let first = group.first().map_or(0, |place| place / width * width);
            let begin = moves.len();
            for (to, &from) in (first..).zip(group) {
                self.places.push(to);
                let (Some(source), Some(target)) = (self.contents.get(from), self.contents.get(to)) else {
                    continue;
                };
                let start = source.iter().zip(target).take_while(|(a, b)| a == b).count();
                if start < source.len() || start < target.len() {
                    let tokens = Tokens {
                        start,
                        end: source.len(),
                    };
                    copies.push(Copy { from, to, tokens });
                }
            }
            moves::order(copies, moves);
            for step in moves.iter().skip(begin) {
                follow(&mut self.contents, aside, step);
            }
        }
    }

    /// Goes over to other room: the rows of the images that are there move together.
    fn relocate(&mut self, room: Room) -> Relocation {
        let mut relocation = Relocation {
            room,
            images: Vec::new(),
            rows: Vec::new(),
        };
        let mut contents = vec![Vec::new(); room.rows()];
        let width = self.room.width.max(1);
        self.places.clear();
        for (image, group) in self
            .workspace
            .places
            .chunk_by(|a, b| a / width == b / width)
            .enumerate()
        {
            relocation
                .images
                .push(group.first().map_or(0, |place| place / width));
            for (to, &from) in (image * room.width..).zip(group) {
                self.places.push(to);
                relocation.rows.push((from, to));
                if let (Some(target), Some(source)) = (contents.get_mut(to), self.contents.get(from)) {
                    target.clone_from(source);
                }
            }
        }
        self.contents = contents;
        self.room = room;
        relocation
    }

    /// How all rows go over into other tensors with the same room.
    pub(super) fn unmoved(&self) -> Relocation {
        Relocation {
            room: self.room,
            images: (0..self.room.images).collect(),
            rows: self.places.iter().map(|&place| (place, place)).collect(),
        }
    }
}

/// What is left of room for `have` where `need` are needed: nothing is given up before half of it is free, so that the
/// copying that this takes stays in proportion.
fn shrunk(have: usize, need: usize) -> usize {
    let need = need.max(1);
    if need * 2 <= have { need } else { have.max(need) }
}

/// The contents of the rows after a move.
fn follow(contents: &mut [Vec<u64>], aside: &mut Vec<u64>, step: &Move) {
    match *step {
        Move::Copy(Copy { from, to, tokens }) => {
            if let Ok([source, target]) = contents.get_disjoint_mut([from, to]) {
                target.truncate(tokens.start);
                target.extend_from_slice(source.get(tokens.start..tokens.end).unwrap_or_default());
            }
        }
        Move::KeepAside { from, tokens } => {
            aside.clear();
            let source = contents
                .get(from)
                .and_then(|source| source.get(tokens.start..tokens.end));
            aside.extend_from_slice(source.unwrap_or_default());
        }
        Move::PutBack { to, tokens } => {
            if let Some(target) = contents.get_mut(to) {
                target.truncate(tokens.start);
                target.extend_from_slice(aside);
            }
        }
    }
}
