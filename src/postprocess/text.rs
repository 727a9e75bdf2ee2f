//! Special tokens, white space and labels.

use std::ops::Range;

/// The special tokens that are no part of what an answer says.
const REMOVED: [&str; 3] = ["<s>", "</s>", "<pad>"];

/// A text without special tokens, which knows where its bytes came from.
pub(super) struct Cleaned {
    pub(super) text: String,
    /// For each byte of `text`, its place in the original; ascending.
    origin: Vec<usize>,
}

impl Cleaned {
    /// As native: takes out all `<s>`, then all `</s>`, then all `<pad>`; what comes about by that stays.
    pub(super) fn one_after_another(text: &str) -> Self {
        let whole = Self {
            text: text.to_owned(),
            origin: (0..text.len()).collect(),
        };
        REMOVED
            .iter()
            .fold(whole, |cleaned, token| cleaned.without(token))
    }

    /// Takes out special tokens until there is none.
    pub(super) fn to_the_end(text: &str) -> Self {
        let mut cleaned = Self {
            text: String::with_capacity(text.len()),
            origin: Vec::with_capacity(text.len()),
        };
        for (at, c) in text.char_indices() {
            cleaned.text.push(c);
            cleaned.origin.extend(at..at + c.len_utf8());
            // One look at the end suffices: what a removal brings together is completed by a later character.
            if let Some(token) = REMOVED.iter().find(|token| cleaned.text.ends_with(**token)) {
                let kept = cleaned.text.len() - token.len();
                cleaned.text.truncate(kept);
                cleaned.origin.truncate(kept);
            }
        }
        cleaned
    }

    /// Where a range of the original stands in the cleaned text; empty if all of it was taken out.
    pub(super) fn locate(&self, range: &Range<usize>) -> Range<usize> {
        let place = |at| self.origin.partition_point(|&origin| origin < at);
        place(range.start)..place(range.end)
    }

    fn without(self, token: &str) -> Self {
        let mut cleaned = Self {
            text: String::with_capacity(self.text.len()),
            origin: Vec::with_capacity(self.origin.len()),
        };
        let mut at = 0;
        for piece in self.text.split(token) {
            cleaned.text.push_str(piece);
            cleaned
                .origin
                .extend(self.origin.iter().skip(at).take(piece.len()));
            at += piece.len() + token.len();
        }
        cleaned
    }
}

/// The answer of a task that answers with plain text.
pub(super) fn plain(text: &str, strict: bool) -> String {
    if strict {
        // Native leaves `<pad>`.
        strip(&text.replace("<s>", "").replace("</s>", "")).to_owned()
    } else {
        strip(&Cleaned::to_the_end(text).text).to_owned()
    }
}

/// What Python's `str.isspace` and `\s` hold for white space: Unicode's, and four control characters.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// The label that stands before the first location: native's `^\s*(.*?)(?=<loc_)`, whose `.` takes no newline.
pub(super) fn label(before_locations: &str) -> Option<&str> {
    let label = before_locations.trim_start_matches(is_space);
    (!label.contains('\n')).then(|| strip(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_special_tokens_go_only_with_removal_to_the_end() {
        let text = "<s>a<<s>s>b<s</s>><p<pad>ad>é</s>";
        assert_eq!(Cleaned::one_after_another(text).text, "a<s>b<s><pad>é");
        assert_eq!(Cleaned::to_the_end(text).text, "abé");
    }

    #[test]
    fn ranges_are_found_again() {
        let text = "</s><s>ab<pad>c";
        for cleaned in [Cleaned::one_after_another(text), Cleaned::to_the_end(text)] {
            assert_eq!(cleaned.text, "abc");
            assert_eq!(cleaned.locate(&(7..9)), 0..2);
            assert_eq!(cleaned.locate(&(14..15)), 2..3);
            assert!(cleaned.locate(&(9..14)).is_empty());
            assert!(cleaned.locate(&(90..99)).is_empty());
        }
    }

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(strip("\u{1c}\u{a0}a b\u{3000}\u{1f}\n"), "a b");
        assert_eq!(label(" \n a b "), Some("a b"));
        assert_eq!(label("a\nb"), None);
        assert_eq!(label("a\n"), None);
    }
}
