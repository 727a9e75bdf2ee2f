//! Detection of truncated JPEG files.
//!
//! The decoder fills the missing part of a truncated file with grey; Pillow rejects such a file, and so does this crate.

use memchr::memchr_iter;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const TEM: u8 = 0x01;

/// Returns whether the file has an end-of-image marker, skipping segments (ITU-T T.81, annex B) so that the marker of a
/// thumbnail inside a segment is not found.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            EOI => return true,
            SOI | TEM | 0xD0..=0xD7 => after,
            _ => match segment_end(after) {
                Some(after_segment) => after_segment,
                None => return false,
            },
        };
    }
    false
}

/// Returns the next marker and the bytes after it. Stuffed (`FF 00`) and fill (`FF FF`) bytes are not markers, so this also
/// skips the entropy-coded data after a start of scan.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    memchr_iter(0xFF, bytes)
        .filter_map(|at| bytes.get(at + 1..)?.split_first())
        .map(|(&marker, after)| (marker, after))
        .find(|(marker, _)| !matches!(marker, 0x00 | 0xFF))
}

/// Returns the bytes after a segment, which starts with its length in two bytes.
fn segment_end(bytes: &[u8]) -> Option<&[u8]> {
    let (length, _) = bytes.split_first_chunk::<2>()?;
    bytes.get(usize::from(u16::from_be_bytes(*length))..)
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn only_the_end_marker_of_the_image_itself_counts() {
        let image: &[u8] = &[
            0xFF, 0xD8, // start
            0xFF, 0xE1, 0x00, 0x06, 0xFF, 0xD8, 0xFF, 0xD9, // a segment with a thumbnail in it
            0xFF, 0xDA, 0x00, 0x03, 0x01, // start of scan
            0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56, 0xFF, // coded data: stuffing, restart, fill
            0xFF, 0xD9, // end
        ];
        assert!(is_complete(image));
        assert!(is_complete(&[image, b"and more"].concat()));
        for length in 0..image.len() {
            assert!(!is_complete(&image[..length]), "{length}");
        }
    }
}
