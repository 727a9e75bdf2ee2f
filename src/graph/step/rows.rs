//! Which row of a batch's tensors holds what.
//!
//! A batch's tensors have room for some images, and for as many rows of each. The rows in use are those of the images
//! that are there; an image's rows come first in its part of the tensors, in their order.

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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(images: usize, width: usize) -> Rows {
        Rows::new(Room { images, width })
    }

    /// What the rows in use hold.
    fn contents(rows: &Rows) -> Vec<Vec<u64>> {
        rows.places
            .iter()
            .map(|&place| rows.contents[place].clone())
            .collect()
    }

    /// Tensors with a number for each token, moved as the rows say and written to as a run does.
    struct Tensors(Vec<Vec<u64>>);

    impl Tensors {
        /// What a run writes: of rows that are not in use, at their beginning.
        fn write(&mut self, rows: &Rows) {
            for (place, tensor) in self.0.iter_mut().enumerate() {
                let at = rows.length(place);
                tensor[at] =
                    rows.next + rows.places.iter().position(|&used| used == place).unwrap_or(99) as u64;
            }
        }

        fn carry_out(&mut self, moves: &[Move]) {
            let mut aside = Vec::new();
            for step in moves {
                match *step {
                    Move::Copy(Copy { from, to, tokens }) => {
                        let source = self.0[from].clone();
                        self.0[to][tokens.start..tokens.end]
                            .copy_from_slice(&source[tokens.start..tokens.end]);
                    }
                    Move::KeepAside { from, tokens } => {
                        aside = self.0[from][tokens.start..tokens.end].to_vec();
                    }
                    Move::PutBack { to, tokens } => {
                        self.0[to][tokens.start..tokens.end].copy_from_slice(&aside);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_join_where_there_is_room() {
        let mut rows = rows(2, 3);
        assert_eq!((rows.free_image(), rows.images()), (Some(0), 0));
        assert_eq!(rows.join(0, 2), 0);
        assert_eq!(rows.join(1, 2), 3);
        assert_eq!((rows.free_image(), rows.images(), rows.longest()), (None, 2, 2));
        let mut moves = Vec::new();
        let reordered = rows.reorder(&[0, 0, 0, 1], 0, &mut moves);
        assert_eq!(reordered, Some(Reordered::InPlace));
        assert_eq!(rows.places(), [0, 1, 2, 3]);
        assert_eq!(moves.len(), 2, "two more rows of the first image: {moves:?}");
        // The first image leaves; another takes its room.
        assert_eq!(rows.reorder(&[3], 1, &mut moves), Some(Reordered::InPlace));
        assert_eq!((rows.places(), rows.free_image()), (&[3][..], Some(0)));
        assert_eq!(rows.join(0, 1), 0);
        assert_eq!((rows.places(), rows.images()), (&[3, 0][..], 2));
    }

    #[test]
    fn only_what_differs_is_moved() {
        let mut rows = rows(1, 2);
        rows.join(0, 2);
        let mut moves = Vec::new();
        rows.reorder(&[0, 0], 0, &mut moves).unwrap();
        rows.advance();
        rows.advance();
        // Both continue the second: its last two tokens are copied, not what they have in common.
        moves.clear();
        rows.reorder(&[1, 1], 0, &mut moves).unwrap();
        let tokens = Tokens { start: 2, end: 4 };
        assert_eq!(
            moves,
            [Move::Copy(Copy {
                from: 1,
                to: 0,
                tokens
            })]
        );
        moves.clear();
        rows.reorder(&[0, 1], 0, &mut moves).unwrap();
        rows.reorder(&[1, 0], 0, &mut moves).unwrap();
        assert_eq!(moves, [], "they hold the same");
    }

    /// Many random steps of three images with beams: the tensors hold what the rows' tokens say.
    #[test]
    fn tensors_hold_what_the_rows_say() {
        let mut random = 1_u64;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % limit
        };
        let mut rows = rows(3, 4);
        let mut tensors = Tensors(vec![vec![0; 600]; 12]);
        for image in 0..3 {
            let place = rows.join(image, 1);
            tensors.0[place][0] = rows.contents[place][0];
        }
        let mut copied = 0;
        for _ in 0..500 {
            let parents: Vec<usize> = rows
                .groups()
                .scan(0, |first, group| {
                    let range = *first..*first + group.len();
                    *first = range.end;
                    Some(range)
                })
                .collect::<Vec<_>>()
                .into_iter()
                .flat_map(|range| {
                    (0..4)
                        .map(|_| range.start + below(range.len()))
                        .collect::<Vec<_>>()
                })
                .collect();
            let expected: Vec<Vec<u64>> = {
                let before = contents(&rows);
                parents.iter().map(|&parent| before[parent].clone()).collect()
            };
            let mut moves = Vec::new();
            assert_eq!(rows.reorder(&parents, 0, &mut moves), Some(Reordered::InPlace));
            assert_eq!(contents(&rows), expected);
            copied += moves.len();
            tensors.carry_out(&moves);
            rows.clear_unused();
            tensors.write(&rows);
            rows.advance();
            for (&place, tokens) in rows.places.iter().zip(contents(&rows)) {
                assert_eq!(tensors.0[place][..tokens.len()], tokens);
            }
        }
        assert!(copied > 1000, "{copied}");
    }

    #[test]
    fn room_is_given_up_by_halves() {
        let mut rows = rows(4, 1);
        for image in 0..4 {
            rows.join(image, 2);
        }
        let mut moves = Vec::new();
        // Three of four stay where they are; so do two as long as two wait.
        assert_eq!(rows.reorder(&[0, 2, 3], 0, &mut moves), Some(Reordered::InPlace));
        assert_eq!(rows.reorder(&[1, 2], 2, &mut moves), Some(Reordered::InPlace));
        assert_eq!(rows.places(), [2, 3]);
        let before = contents(&rows);
        let reordered = rows.reorder(&[0, 1], 0, &mut moves);
        let room = Room { images: 2, width: 1 };
        assert_eq!(
            reordered,
            Some(Reordered::Elsewhere(Relocation {
                room,
                images: vec![2, 3],
                rows: vec![(2, 0), (3, 1)],
            }))
        );
        assert_eq!(
            (rows.room(), rows.places(), contents(&rows)),
            (room, &[0, 1][..], before)
        );
        // Beams open: more rows of each image.
        let Some(Reordered::Elsewhere(relocation)) = rows.reorder(&[0, 0, 0, 1], 0, &mut moves) else {
            panic!("there was room for one row of each image")
        };
        assert_eq!(relocation.room, Room { images: 2, width: 3 });
        assert_eq!(relocation.rows, [(0, 0), (0, 1), (0, 2), (1, 3)]);
        assert_eq!(moves, []);
        rows.reorder(&[], 1, &mut moves).unwrap();
        assert_eq!((rows.room(), rows.images()), (relocation.room, 0));
    }

    #[test]
    fn parents_that_make_no_sense_are_refused() {
        let mut rows = rows(2, 2);
        rows.join(0, 1);
        rows.join(1, 1);
        assert_eq!(rows.reorder(&[0, 2], 0, &mut Vec::new()), None);
        assert_eq!(rows.reorder(&[0, 1, 0], 0, &mut Vec::new()), None);
    }
}
