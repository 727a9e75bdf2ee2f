//! In which order rows are copied over each other.

/// Tokens of a row, `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Copies tokens of a row's caches over those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) tokens: Tokens,
}

/// One step of carrying out copies that are meant to happen all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// From a row to another.
    Copy(Copy),
    /// Keeps tokens of a row aside, as they are about to be overwritten.
    KeepAside { from: usize, tokens: Tokens },
    /// To a row, what was kept aside last.
    PutBack { to: usize, tokens: Tokens },
}

/// Of which row each of `rows` rows is a copy after the moves: what these leave of a row is the same in its source.
pub(super) fn sources(moves: &[Move], rows: usize) -> Vec<usize> {
    let mut sources: Vec<usize> = (0..rows).collect();
    let mut aside = 0;
    for step in moves {
        let (source, to) = match *step {
            Move::Copy(Copy { from, to, .. }) => (sources.get(from).copied(), to),
            Move::KeepAside { from, .. } => {
                aside = sources.get(from).copied().unwrap_or(aside);
                continue;
            }
            Move::PutBack { to, .. } => (Some(aside), to),
        };
        if let (Some(source), Some(target)) = (source, sources.get_mut(to)) {
            *target = source;
        }
    }
    sources
}

/// Orders `copies`, no two of which are to the same row, such that no row is overwritten before it is read; rows that
/// change places in a ring are kept aside. The steps are appended to `moves`; `copies` is empty afterwards.
pub(super) fn order(copies: &mut Vec<Copy>, moves: &mut Vec<Move>) {
    loop {
        // What nobody is to read any more can be overwritten.
        let free = copies
            .iter()
            .position(|copy| !copies.iter().any(|other| other.from == copy.to));
        match (free, copies.first().copied()) {
            (Some(index), _) => moves.push(Move::Copy(copies.swap_remove(index))),
            (None, Some(first)) => open_ring(first, copies, moves),
            (None, None) => return,
        }
    }
}

/// Carries out the ring of which `first` is part: each of its rows is read by exactly one other.
fn open_ring(first: Copy, copies: &mut Vec<Copy>, moves: &mut Vec<Move>) {
    let Some(last) = copies.iter().find(|copy| copy.from == first.to).copied() else {
        return;
    };
    moves.push(Move::KeepAside {
        from: first.to,
        tokens: last.tokens,
    });
    let mut next = Some(first);
    while let Some(copy) = next {
        copies.retain(|other| other.to != copy.to);
        if copy.to == last.to {
            moves.push(Move::PutBack {
                to: copy.to,
                tokens: copy.tokens,
            });
            return;
        }
        moves.push(Move::Copy(copy));
        next = copies.iter().find(|other| other.to == copy.from).copied();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries out the moves for rows `parents` over rows of two tokens.
    fn carry_out(parents: &[usize], start: usize) -> (Vec<[usize; 2]>, Vec<Move>) {
        let mut copies: Vec<Copy> = parents
            .iter()
            .enumerate()
            .filter(|&(to, &from)| from != to)
            .map(|(to, &from)| Copy {
                from,
                to,
                tokens: Tokens { start, end: 2 },
            })
            .collect();
        let mut moves = Vec::new();
        order(&mut copies, &mut moves);
        assert!(copies.is_empty());
        let mut rows: Vec<[usize; 2]> = (0..parents.len()).map(|row| [row, row]).collect();
        let mut aside = [usize::MAX; 2];
        for step in &moves {
            match *step {
                Move::Copy(Copy { from, to, tokens }) => {
                    let source = rows[from];
                    rows[to][tokens.start..].copy_from_slice(&source[tokens.start..]);
                }
                Move::KeepAside { from, tokens } => {
                    aside = [usize::MAX; 2];
                    aside[tokens.start..].copy_from_slice(&rows[from][tokens.start..]);
                }
                Move::PutBack { to, tokens } => {
                    rows[to][tokens.start..].copy_from_slice(&aside[tokens.start..]);
                }
            }
        }
        (rows, moves)
    }

    /// Every way in which four rows can continue four rows.
    #[test]
    fn all_orders_come_out_right() {
        for code in 0..256_usize {
            let parents = [code % 4, code / 4 % 4, code / 16 % 4, code / 64];
            for start in [0, 1] {
                let (rows, moves) = carry_out(&parents, start);
                for (row, &parent) in rows.iter().zip(&parents) {
                    assert_eq!(row[1], parent, "{parents:?} {moves:?}");
                }
                let copied = parents
                    .iter()
                    .enumerate()
                    .filter(|&(to, &from)| to != from)
                    .count();
                let aside = moves.iter().filter(|step| matches!(step, Move::KeepAside { .. }));
                assert_eq!(moves.len(), copied + aside.count(), "{parents:?} {moves:?}");
                assert_eq!(sources(&moves, 4), parents);
            }
        }
    }

    #[test]
    fn rings_are_opened_with_one_row_aside() {
        let (rows, moves) = carry_out(&[1, 2, 0, 4, 3, 0], 0);
        assert_eq!(rows, [[1, 1], [2, 2], [0, 0], [4, 4], [3, 3], [0, 0]]);
        let aside = moves
            .iter()
            .filter(|step| matches!(step, Move::KeepAside { .. }))
            .count();
        assert_eq!((aside, moves.len()), (2, 8));
    }
}
