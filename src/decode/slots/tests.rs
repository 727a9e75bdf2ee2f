use super::*;

fn copy(from: usize, to: usize, tokens: Range<usize>) -> RowCopy {
    RowCopy { from, to, tokens }
}

/// The copies of a reordering in place.
fn in_place(reordering: Option<Reordering>) -> Vec<RowCopy> {
    match reordering {
        Some(Reordering { rows, images: None }) => rows,
        other => panic!("{other:?}"),
    }
}

/// The copies of a reordering to other tensors: of rows, and of images.
fn elsewhere(reordering: Option<Reordering>) -> (Vec<RowCopy>, Vec<RowCopy>) {
    match reordering {
        Some(Reordering {
            rows,
            images: Some(images),
        }) => (rows, images),
        other => panic!("{other:?}"),
    }
}

#[test]
fn inputs_are_admitted_where_slots_are_free() {
    let mut slots = Slots::new(2, 3);
    assert_eq!(slots.admit(2, 7), Some((0, 0)));
    assert_eq!(slots.admit(2, 5), Some((1, 3)));
    assert_eq!(slots.encoder_lengths(), [7, 5]);
    assert_eq!(slots.admit(2, 5), None);
    assert_eq!((slots.used_images(), slots.longest()), (2, 2));
    let copies = in_place(slots.reorder(&[0, 0, 0, 1], 0));
    assert_eq!(slots.used(), [0, 1, 2, 3]);
    let expected = [copy(0, 1, 0..2), copy(0, 2, 0..2)];
    assert_eq!(copies, expected, "two more rows of the first image");
    // The first image is done; another takes its slots.
    assert_eq!(in_place(slots.reorder(&[3], 1)), []);
    assert_eq!(slots.used(), [3]);
    assert_eq!(slots.admit(1, 9), Some((0, 0)));
    assert_eq!((slots.used(), slots.used_images()), (&[3, 0][..], 2));
    assert_eq!(slots.encoder_lengths(), [9, 5]);
}

#[test]
fn only_tokens_that_differ_are_copied() {
    let mut slots = Slots::new(1, 2);
    slots.admit(2, 1);
    in_place(slots.reorder(&[0, 0], 0));
    slots.advance();
    slots.advance();
    // Both continue the second row: its last two tokens are copied, not those in common.
    assert_eq!(in_place(slots.reorder(&[1, 1], 0)), [copy(1, 0, 2..4)]);
    assert_eq!(in_place(slots.reorder(&[0, 1], 0)), []);
    assert_eq!(in_place(slots.reorder(&[1, 0], 0)), [], "they hold the same");
}

/// Random parents for one row or more of each image; `below` returns a random number below a limit.
fn random_parents(slots: &Slots, below: &mut impl FnMut(usize) -> usize) -> Vec<usize> {
    let width = slots.width;
    let mut parents = Vec::new();
    let mut first = 0;
    for group in slots.used.chunk_by(|a, b| a / width == b / width) {
        let rows = 1 + below(width);
        parents.extend((0..rows).map(|_| first + below(group.len())));
        first += group.len();
    }
    parents
}

/// Many random steps of three images with beams: the slots hold the tokens of the rows' histories.
#[test]
fn tensors_hold_the_rows_tokens() {
    let mut random = 1_u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % limit
    };
    let mut slots = Slots::new(3, 4);
    // A number for each token, in the slots and in the rows' histories.
    let mut tensors = vec![vec![0_u64; 600]; 12];
    let mut rows: Vec<Vec<u64>> = Vec::new();
    for image in 0..3 {
        let (_, slot) = slots.admit(1, 1).unwrap();
        tensors[slot][0] = image;
        rows.push(vec![image]);
    }
    let (mut next, mut copied, mut saved) = (100, 0, 0);
    for _ in 0..500 {
        let parents = random_parents(&slots, &mut below);
        rows = parents.iter().map(|&parent| rows[parent].clone()).collect();
        // Waiting images keep all slots.
        let copies = in_place(slots.reorder(&parents, 3));
        let before = tensors.clone();
        for RowCopy { from, to, tokens } in copies {
            assert_ne!(from, to);
            tensors[to][tokens.clone()].copy_from_slice(&before[from][tokens.clone()]);
            copied += 1;
            saved += tokens.start;
        }
        slots.clear_unused();
        // A run writes a token to each slot; of those that are not in use, at the beginning.
        for (slot, tensor) in tensors.iter_mut().enumerate() {
            tensor[slots.length(slot)] = next + slot as u64;
        }
        for (row, &slot) in rows.iter_mut().zip(slots.used()) {
            row.push(next + slot as u64);
        }
        next += 12;
        slots.advance();
        for (row, &slot) in rows.iter().zip(slots.used()) {
            assert_eq!(tensors[slot][..slots.length(slot)], row[..]);
        }
    }
    assert!(copied > 1000 && saved > 10_000, "{copied}, {saved}");
}

#[test]
fn slots_are_given_up_by_halves() {
    let mut slots = Slots::new(4, 1);
    for image in 0..4 {
        slots.admit(2, 10 + image);
    }
    // Three of four stay where they are; so do two as long as two wait.
    assert_eq!(in_place(slots.reorder(&[0, 2, 3], 0)), []);
    assert_eq!(in_place(slots.reorder(&[1, 2], 2)), []);
    assert_eq!(slots.used(), [2, 3]);
    let (rows, images) = elsewhere(slots.reorder(&[0, 1], 0));
    assert_eq!(rows, [copy(2, 0, 0..2), copy(3, 1, 0..2)]);
    assert_eq!(images, [copy(2, 0, 0..12), copy(3, 1, 0..13)]);
    assert_eq!((slots.images(), slots.count(), slots.used()), (2, 2, &[0, 1][..]));
    assert_eq!(slots.encoder_lengths(), [12, 13]);
    // Beams open: more rows of each image.
    let (rows, images) = elsewhere(slots.reorder(&[0, 0, 0, 1], 0));
    assert_eq!((slots.images(), slots.count()), (2, 6));
    let expected = [
        copy(0, 0, 0..2),
        copy(0, 1, 0..2),
        copy(0, 2, 0..2),
        copy(1, 3, 0..2),
    ];
    assert_eq!(rows, expected);
    assert_eq!(images, [copy(0, 0, 0..12), copy(1, 1, 0..13)]);
    assert_eq!(in_place(slots.reorder(&[], 1)), []);
    assert_eq!((slots.images(), slots.count(), slots.used_images()), (2, 6, 0));
}

#[test]
fn rows_in_other_tensors_still_know_their_common_tokens() {
    let mut slots = Slots::new(1, 1);
    slots.admit(3, 1);
    elsewhere(slots.reorder(&[0, 0], 0));
    slots.advance();
    assert_eq!(in_place(slots.reorder(&[1, 1], 0)), [copy(1, 0, 3..4)]);
}

#[test]
fn invalid_parents_are_rejected() {
    let mut slots = Slots::new(2, 2);
    slots.admit(1, 1);
    slots.admit(1, 1);
    assert_eq!(slots.reorder(&[0, 2], 0), None);
    assert_eq!(slots.reorder(&[0, 1, 0], 0), None);
}
