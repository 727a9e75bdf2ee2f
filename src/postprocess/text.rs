//! Special tokens, white space and labels.

use std::ops::Range;

/// The special tokens that are removed from answers.
const REMOVED: [&str; 3] = ["<s>", "</s>", "<pad>"];

/// A text without special tokens, and the origin of its bytes.
pub(super) struct Cleaned {
    pub(super) text: String,
    /// For each byte of `text`, its index in the original; ascending.
    origin: Vec<usize>,
}

impl Cleaned {
    /// Removes all `<s>`, then all `</s>`, then all `<pad>`, as native does; tokens that form by removal stay.
    pub(super) fn once(text: &str) -> Self {
        let whole = Self {
            text: text.to_owned(),
            origin: (0..text.len()).collect(),
        };
        REMOVED
            .iter()
            .fold(whole, |cleaned, token| cleaned.without(token))
    }

    /// Removes special tokens until there is none.
    pub(super) fn fully(text: &str) -> Self {
        let mut cleaned = Self {
            text: String::with_capacity(text.len()),
            origin: Vec::with_capacity(text.len()),
        };
        for (at, c) in text.char_indices() {
            cleaned.text.push(c);
            cleaned.origin.extend(at..at + c.len_utf8());
            // Checking the end once suffices: a token that forms by removal is completed by a later character.
            if let Some(token) = REMOVED.iter().find(|token| cleaned.text.ends_with(**token)) {
                let kept = cleaned.text.len() - token.len();
                cleaned.text.truncate(kept);
                cleaned.origin.truncate(kept);
            }
        }
        cleaned
    }

    /// Maps a range of the original to the cleaned text; empty if all of it was removed.
    pub(super) fn locate(&self, range: &Range<usize>) -> Range<usize> {
        let position = |at| self.origin.partition_point(|&origin| origin < at);
        position(range.start)..position(range.end)
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

/// Returns the answer of a task with plain text.
pub(super) fn plain(text: &str, strict: bool) -> String {
    if strict {
        // Native leaves `<pad>`.
        strip(&text.replace("<s>", "").replace("</s>", "")).to_owned()
    } else {
        strip(&Cleaned::fully(text).text).to_owned()
    }
}

/// Returns whether `c` is white space in Python (`str.isspace`, `\s`): Unicode's, and four control characters.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Trims white space as Python's `str.strip()` does.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Returns the label before the first location: native's `^\s*(.*?)(?=<loc_)`, whose `.` matches no newline.
pub(super) fn label(before_locations: &str) -> Option<&str> {
    let label = before_locations.trim_start_matches(is_space);
    (!label.contains('\n')).then(|| strip(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_special_tokens_are_removed_fully_but_not_in_one_pass() {
        let text = "<s>a<<s>s>b<s</s>><p<pad>ad>é</s>";
        assert_eq!(Cleaned::once(text).text, "a<s>b<s><pad>é");
        assert_eq!(Cleaned::fully(text).text, "abé");
    }

    #[test]
    fn ranges_are_mapped_to_the_cleaned_text() {
        let text = "</s><s>ab<pad>c";
        for cleaned in [Cleaned::once(text), Cleaned::fully(text)] {
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
