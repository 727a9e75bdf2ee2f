//! Conversions between byte-level BPE's characters, bytes and text.

/// Bytes decoded as UTF-8, each invalid sequence as one U+FFFD, with a map from byte to text positions.
pub(super) struct LossyText {
    pub(super) text: String,
    /// (position in bytes, position in text, length in bytes, valid)
    chunks: Vec<(usize, usize, usize, bool)>,
}

impl LossyText {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let (mut text, mut chunks, mut position) = (String::with_capacity(bytes.len()), Vec::new(), 0);
        for chunk in bytes.utf8_chunks() {
            let (valid, invalid) = (chunk.valid(), chunk.invalid());
            chunks.push((position, text.len(), valid.len(), true));
            text.push_str(valid);
            position += valid.len();
            if !invalid.is_empty() {
                chunks.push((position, text.len(), invalid.len(), false));
                text.push(char::REPLACEMENT_CHARACTER);
                position += invalid.len();
            }
        }
        Self { text, chunks }
    }

    /// Returns the text position of byte `at`, moved back to the start of its character.
    pub(super) fn position(&self, at: usize) -> usize {
        let index = self.chunks.partition_point(|&(start, ..)| start < at);
        let Some(&(start, text_start, len, valid)) = index.checked_sub(1).and_then(|i| self.chunks.get(i))
        else {
            return 0;
        };
        let inside = at - start;
        let mut position = match (valid, inside == len) {
            (true, _) => text_start + inside,
            (false, true) => text_start + char::REPLACEMENT_CHARACTER.len_utf8(),
            (false, false) => text_start,
        };
        while !self.text.is_char_boundary(position) {
            position -= 1;
        }
        position
    }
}

/// The byte of each character in byte-level BPE (the inverse of GPT-2's `bytes_to_unicode`): printable Latin-1
/// characters stand for themselves, and U+0100 and up stand for the other bytes, in order.
pub(super) struct ByteOfChar([Option<u8>; 0x144]);

impl ByteOfChar {
    pub(super) fn new() -> Self {
        let mut table = [None; 0x144];
        let mut next = 0x100;
        for byte in 0..=u8::MAX {
            let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            let c = if printable {
                usize::from(byte)
            } else {
                next += 1;
                next - 1
            };
            table[c] = Some(byte);
        }
        Self(table)
    }

    pub(super) fn get(&self, c: char) -> Option<u8> {
        self.0.get(c as usize).copied().flatten()
    }
}
