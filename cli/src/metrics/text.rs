//! Comparison of texts.

/// Returns a text without white space at its ends and with one space for each run of white space.
pub fn normalise(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a text without location tokens (`<loc_123>`), which answers to region tasks may contain.
pub fn without_locations(text: &str) -> String {
    const OPEN: &str = "<loc_";
    let mut pieces = text.split(OPEN);
    let mut rest = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once('>') {
            Some((bin, after)) if !bin.is_empty() && bin.bytes().all(|byte| byte.is_ascii_digit()) => {
                rest.push_str(after);
            }
            _ => {
                rest.push_str(OPEN);
                rest.push_str(piece);
            }
        }
    }
    rest
}

/// Returns the Levenshtein distance from `answer` to `truth`, and the truth's length, both in Unicode scalar values.
pub fn character_errors(answer: &str, truth: &str) -> (usize, usize) {
    (strsim::levenshtein(answer, truth), truth.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_one_space() {
        assert_eq!(normalise("  a \n\t star\u{a0}. "), "a star .");
    }

    #[test]
    fn location_tokens_are_taken_out() {
        assert_eq!(without_locations("star<loc_1><loc_22><loc_333><loc_999>"), "star");
        assert_eq!(without_locations("<loc_1>a <loc_2>b"), "a b");
        for kept in [
            "a star",
            "<loc_>",
            "<loc_12",
            "<loc_x>",
            "<loc_1 2>",
            "<loc_<loc_",
        ] {
            assert_eq!(without_locations(kept), kept);
        }
    }

    #[test]
    fn errors_are_counted_in_characters() {
        // One substitution, one insertion, one deletion; six of everything.
        assert_eq!(character_errors("kitten", "sitting"), (3, 7));
        assert_eq!(character_errors("", "ÉTÉ"), (3, 3));
        assert_eq!(character_errors("EXTRA", ""), (5, 0));
        assert_eq!(character_errors("ÉTÉ", "ETE"), (2, 3));
        assert_eq!(character_errors("星", "星"), (0, 1));
    }
}
