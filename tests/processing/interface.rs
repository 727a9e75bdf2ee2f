//! Rules of the libraries' interfaces, checked on their source.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

const LIBRARIES: [&str; 3] = ["src", "export/src", "layout/src"];

/// Returns the first group of each match of `pattern` in the source files of `folders`, with the file's name. Comments and
/// files of tests are left out.
fn found(folders: &[&str], pattern: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code = lines.collect::<Vec<_>>().join("\n");
                let matches = pattern.captures_iter(&code);
                found.extend(matches.map(|groups| format!("{}: {}", path.display(), &groups[1])));
            }
        }
    }
    found
}

#[test]
fn options_are_open_for_new_fields_and_have_setters_for_all() {
    let options = found(
        &LIBRARIES,
        r"(?m)^ *pub struct (\w+(?:Options|Limits)|ImageProcessor) ",
    );
    assert!(options.len() > 10, "{options:?}");
    // The macros' code does not compile if a field has no setter.
    let complete = found(
        &LIBRARIES,
        r"(?m)^(?:setters! \{|macro_rules! generation_options(?s:.)*?pub struct) (\w+)",
    );
    let open = found(&LIBRARIES, r"#\[non_exhaustive\]\s+pub struct (\w+) ");
    for options in &options {
        assert!(complete.contains(options), "no setters: {options}");
        assert!(open.contains(options), "not non_exhaustive: {options}");
    }
}

/// Causes are returned by `source()`; a reporter that follows it would print them twice.
#[test]
fn no_message_of_an_error_contains_its_cause() {
    let everywhere = [LIBRARIES.as_slice(), &["cli/src"]].concat();
    let quoted = found(
        &everywhere,
        r#"#\[error\(\s*("(?:[^"\\]|\\(?s:.))*\{source\b[^"]*")"#,
    );
    assert_eq!(quoted, Vec::<String>::new());
    assert!(found(&everywhere, r"(#\[error\()").len() > 60);
}

/// An application's users do not have the program, which has hints of its own.
#[test]
fn no_message_names_a_command_or_flag_of_the_program() {
    let commands = "run|parse|compare|eval|bench|tasks|inspect|devices|export|demo|pull|repair|models|cache";
    let named = found(
        &LIBRARIES,
        &format!(
            r"(?m)^.*?(florence2 (?:{commands})\b|program `florence2|(?:see|with|without|use|set) `?--[a-z]+)"
        ),
    );
    assert_eq!(named, Vec::<String>::new());
}
