//! Files of `torch.save` (`tests/reference/make_pytorch.py` makes the fixtures), damaged ones and hostile ones.

use std::path::{Path, PathBuf};

use super::super::{Shard, values};
use super::*;
use crate::error::Error;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pytorch")
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap()
}

/// Returns shape and values of all tensors in a file of any format, by name.
fn tensors(file: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let shard = Shard::map(&folder(), file).unwrap();
    let entries = shard.entries(0).unwrap();
    let of = |(name, entry): (String, Entry)| {
        let values = values(&shard.bytes()[entry.range.clone()], &entry);
        (name, (entry.shape, values))
    };
    entries.into_iter().map(of).collect()
}

#[test]
fn tensors_of_all_forms_are_those_of_safetensors() {
    let expected = tensors("forms.safetensors");
    assert_eq!(expected.len(), 11);
    for file in ["forms.bin", "forms-protocol4.bin"] {
        assert_eq!(tensors(file), expected, "{file}");
    }
}

#[test]
fn files_that_are_no_weights_are_refused() {
    for (file, reason) in [
        ("legacy", "before 1.6"),
        ("nested", "\"model\""),
        ("tensor", "no dictionary"),
        ("expanded", "expanded leads out of its storage"),
        ("command", "posix.system"),
        ("duplicate", "same name"),
        ("compressed", "data/0 inside is compressed"),
    ] {
        let error = entries(&read(&format!("refused/{file}.bin")), 0).unwrap_err();
        assert!(error.to_string().contains(reason), "{file}: {error}");
    }
}

/// Reads a file; whatever is accepted must be readable in full.
fn attempt(bytes: &[u8]) {
    let shard = Shard::given("pytorch_model.bin", bytes.to_vec().into());
    match shard.entries(0) {
        Ok(entries) => {
            for entry in entries.values() {
                let stored = &shard.bytes()[entry.range.clone()];
                let length: usize = entry.shape.iter().product();
                assert_eq!(values(stored, entry).len(), length);
            }
        }
        Err(Error::Pytorch { .. } | Error::Safetensors { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn truncated_files_are_errors_at_every_length() {
    let bytes = read("forms.bin");
    for length in 0..bytes.len() {
        assert!(entries(&bytes[..length], 0).is_err(), "{length} bytes");
    }
}

#[test]
fn damaged_files_are_errors_or_weights() {
    for file in ["forms.bin", "forms-protocol4.bin"] {
        let mut bytes = read(file);
        for position in 0..bytes.len() {
            let byte = bytes[position];
            for damaged in [0, 0xff, byte ^ 0x80, byte.wrapping_add(1), b'(', b't', b'.'] {
                bytes[position] = damaged;
                attempt(&bytes);
            }
            bytes[position] = byte;
        }
    }
}

#[test]
fn damaged_words_are_errors_or_weights() {
    let original = read("forms.bin");
    for position in 0..original.len() - 8 {
        for word in [u64::MAX, u64::from(u32::MAX), 1 << 40, i64::MAX as u64] {
            let mut bytes = original.clone();
            bytes[position..position + 8].copy_from_slice(&word.to_le_bytes());
            attempt(&bytes);
        }
    }
}

fn pickle_error(pickle: &[u8]) -> PytorchError {
    pickle::tensors(pickle).unwrap_err()
}

#[test]
fn nesting_and_references_need_no_stack_and_little_memory() {
    const DEPTH: usize = 1 << 20;
    // ((((...))))
    let mut tuples = b"\x80\x02)".to_vec();
    tuples.extend([0x85].repeat(DEPTH));
    tuples.push(b'.');
    assert!(matches!(pickle_error(&tuples), PytorchError::NoWeights));
    // Each tuple holds the one before it twice.
    let mut doubled = b"\x80\x02)q\x00".to_vec();
    doubled.extend(b"h\x00h\x00\x86q\x00".repeat(DEPTH / 16));
    doubled.push(b'.');
    assert!(matches!(pickle_error(&doubled), PytorchError::NoWeights));
    assert!(matches!(
        pickle_error(&b"(".repeat(DEPTH)),
        PytorchError::Truncated
    ));
    let long = vec![b'N'; (16 << 20) + 1];
    assert!(matches!(pickle_error(&long), PytorchError::Malformed(_)));
}

#[test]
fn malformed_pickles_are_errors() {
    for (pickle, reason) in [
        (&b""[..], "truncated"),
        (b".", "missing on the stack"),
        (b"}", "truncated"),
        (b"N.", "no dictionary"),
        (b"}(N.", "no dictionary"),
        (b"X\xff\xff\xff\xffa.", "truncated"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", "truncated"),
        (b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b"h\x00.", "leads nowhere"),
        (b"t.", "mark is missing"),
        (b"(R.", "missing on the stack"),
        (b"))R.", "unexpected arguments"),
        (b"}(NNNu.", "no dictionary"),
        (b"NQ.", "no tuple"),
        (b"ccollections\nOrderedDict\nN\x85R.", "unexpected arguments"),
        (b"cos\nsystem\n.", "os.system"),
        (b"c__builtin__\neval\n.", "__builtin__.eval"),
        (b"\x82\x01.", "opcode 0x82"),
        (b"i", "opcode 0x69"),
    ] {
        let error = pickle_error(pickle).to_string();
        assert!(error.contains(reason), "{}: {error}", pickle.escape_ascii());
    }
}
