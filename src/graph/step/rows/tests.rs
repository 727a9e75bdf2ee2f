//! Tests of which row holds what.

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
            tensor[at] = rows.next + rows.places.iter().position(|&used| used == place).unwrap_or(99) as u64;
        }
    }

    fn carry_out(&mut self, moves: &[Move]) {
        let mut aside = Vec::new();
        for step in moves {
            match *step {
                Move::Copy(Copy { from, to, tokens }) => {
                    let source = self.0[from].clone();
                    self.0[to][tokens.start..tokens.end].copy_from_slice(&source[tokens.start..tokens.end]);
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
