//! Comparison of the tokenizer with the published Florence-2 vocabulary (if present) and with `tokenizers`.

use std::path::{Path, PathBuf};

use florence2::Tokenizer;

/// The folder of the published vocabulary, which is not part of the repository.
fn real_vocabulary() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/tokenizer");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: the real Florence-2 vocabulary is not at {}",
        folder.display()
    );
    None
}

fn demo() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/checkpoint/tokenizer.json");
    std::fs::read(path).expect("the demo model's tokenizer")
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).expect(file)
}

#[test]
fn prompts_have_the_published_ids() {
    let Some(folder) = real_vocabulary() else { return };
    let tokenizer = Tokenizer::from_bytes(&read(&folder, "tokenizer.json")).unwrap();
    for (prompt, ids) in [
        (
            "What does the image describe?",
            vec![0, 2264, 473, 5, 2274, 6190, 116, 2],
        ),
        (
            "Locate the objects with category name in the image.",
            vec![0, 574, 22486, 5, 8720, 19, 4120, 766, 11, 5, 2274, 4, 2],
        ),
        (
            "What is the region <loc_0><loc_999>?",
            vec![0, 2264, 16, 5, 976, 1437, 50269, 51268, 116, 2],
        ),
    ] {
        assert_eq!(tokenizer.encode_prompt(prompt).unwrap(), ids, "{prompt}");
    }
    assert_eq!((tokenizer.bos(), tokenizer.pad(), tokenizer.eos()), (0, 1, 2));
    assert_eq!(tokenizer.vocabulary_size(), 51289);
}

#[test]
fn all_files_of_the_published_tokenizer_are_equivalent() {
    let Some(folder) = real_vocabulary() else { return };
    let complete = Tokenizer::from_bytes(&read(&folder, "tokenizer.json")).unwrap();
    let completed = [
        Tokenizer::from_bytes(&read(&folder, "tokenizer.microsoft.json")).unwrap(),
        Tokenizer::from_vocabulary(&read(&folder, "vocab.json"), &read(&folder, "merges.txt"), None).unwrap(),
    ];
    let prompts = [
        "Locate the phrases in the caption: A green car, parked in front of a yellow building.",
        "What does the region <loc_1><loc_20><loc_300><loc_999> describe?",
        "Größe 你好 🙂 <od><poly><sep></poly><and>  two  spaces\nand a line <mask> end",
        "",
    ];
    for (at, tokenizer) in completed.iter().enumerate() {
        assert_eq!(
            tokenizer.vocabulary_size(),
            complete.vocabulary_size(),
            "form {at}"
        );
        for token in ["<od>", "<loc_0>", "<loc_999>", "<sep>", "<poly>", "<and>"] {
            assert_eq!(
                tokenizer.token_to_id(token),
                complete.token_to_id(token),
                "form {at}: {token}"
            );
        }
        for prompt in prompts {
            assert_eq!(
                tokenizer.encode_prompt(prompt).unwrap(),
                complete.encode_prompt(prompt).unwrap(),
                "form {at}: {prompt}"
            );
        }
    }
}

#[test]
fn decoding_returns_the_text_and_each_tokens_range() {
    let tokenizer = Tokenizer::from_bytes(&demo()).unwrap();
    let reference = tokenizers::Tokenizer::from_bytes(demo()).unwrap();
    for prompt in [
        "a red circle<loc_5><loc_999> and é 你 🙂",
        "<poly><loc_1></poly>",
        "",
    ] {
        let ids = tokenizer.encode_prompt(prompt).unwrap();
        let decoded = tokenizer.decode(&ids);
        assert_eq!(decoded.text, format!("<s>{prompt}</s>"));
        assert_eq!(decoded.text, reference.decode(&ids, false).unwrap());
        assert_eq!(decoded.spans.len(), ids.len());
        let joined: String = decoded
            .spans
            .iter()
            .map(|span| &decoded.text[span.clone()])
            .collect();
        assert_eq!(
            joined, decoded.text,
            "the spans cover the text without gap or overlap"
        );
        let first = decoded.spans.first().unwrap().clone();
        assert_eq!(&decoded.text[first], "<s>");
    }
}

#[test]
fn any_tokens_decode_as_in_tokenizers() {
    let tokenizer = Tokenizer::from_bytes(&demo()).unwrap();
    let reference = tokenizers::Tokenizer::from_bytes(demo()).unwrap();
    let ids = tokenizer.encode_prompt("x 你好 🙂🙂 é<loc_7>ü\u{301}z").unwrap();
    for start in 0..ids.len() {
        for end in start..=ids.len() {
            let decoded = tokenizer.decode(&ids[start..end]);
            assert_eq!(
                decoded.text,
                reference.decode(&ids[start..end], false).unwrap(),
                "{start}..{end}"
            );
            assert!(
                decoded
                    .spans
                    .iter()
                    .all(|span| decoded.text.get(span.clone()).is_some())
            );
        }
    }
}

#[test]
fn ids_outside_the_vocabulary_have_no_text() {
    let tokenizer = Tokenizer::from_bytes(&demo()).unwrap();
    let decoded = tokenizer.decode(&[0, 9_999_999, 2]);
    assert_eq!(decoded.text, "<s></s>");
    assert_eq!(decoded.spans, [0..3, 3..3, 3..7]);
}

#[test]
fn a_stream_returns_the_same_text_in_pieces() {
    let tokenizer = Tokenizer::from_bytes(&demo()).unwrap();
    let ids = tokenizer.encode_prompt("a 你好 🙂<loc_1> é").unwrap();
    for end in 0..=ids.len() {
        let mut stream = tokenizer.stream();
        let mut text: String = ids[..end].iter().map(|&id| stream.push(id)).collect();
        text.push_str(&stream.finish());
        assert_eq!(text, tokenizer.decode(&ids[..end]).text);
    }
    let mut stream = tokenizer.stream().with_skip_special_tokens(true);
    let text: String = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(text + &stream.finish(), "a 你好 🙂<loc_1> é");
}

#[test]
fn malformed_tokenizers_are_errors() {
    for bytes in [
        &b""[..],
        b"{}",
        b"not json",
        br#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#,
    ] {
        let Err(error) = Tokenizer::from_bytes(bytes) else {
            panic!("{bytes:?} was taken for a tokenizer")
        };
        assert!(error.to_string().contains("tokenizer"), "{error}");
    }
}

/// Fine-tunes save the tokenizer as used in training, with truncation and padding.
#[test]
fn prompts_are_neither_truncated_nor_padded() {
    let mut json: serde_json::Value = serde_json::from_slice(&demo()).unwrap();
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
    });
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"
    });
    let trained = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let plain = Tokenizer::from_bytes(&demo()).unwrap();
    let prompt = "Locate the objects with category name in the image.";
    let ids = plain.encode_prompt(prompt).unwrap();
    assert!(ids.len() > 4 && ids.len() < 64);
    assert_eq!(trained.encode_prompt(prompt).unwrap(), ids);
}

/// An added token with a character outside byte-level BPE's alphabet is literal text.
#[test]
fn added_tokens_are_decoded_as_in_tokenizers() {
    let mut json: serde_json::Value = serde_json::from_slice(&demo()).unwrap();
    let id = Tokenizer::from_bytes(&demo()).unwrap().vocabulary_size();
    json["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({
            "id": id, "content": "<café 星>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }));
    let json = json.to_string();
    let theirs = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
    let ours = Tokenizer::from_bytes(json.as_bytes()).unwrap();
    let ids = ours.encode_prompt("a <café 星> é").unwrap();
    assert!(ids.contains(&(id as u32)));
    assert_eq!(ours.decode(&ids).text, theirs.decode(&ids, false).unwrap());
}
