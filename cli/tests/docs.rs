//! The documentation: the program prints what `console` blocks show, and links lead somewhere.
//!
//! `TRYCMD=overwrite cargo test -p florence2-cli --test docs` writes the program's present output into the blocks.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The folders whose Markdown files are documentation.
const FOLDERS: [&str; 12] = [
    "",
    "docs",
    "benches",
    "benches/gpu",
    "benches/peers",
    "cli",
    "export",
    "layout",
    "models/demo",
    "models/training",
    "tests/reference",
    "assets",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns the Markdown files of [`FOLDERS`].
fn pages() -> Vec<PathBuf> {
    let folders = FOLDERS.iter().map(|folder| root().join(folder));
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

#[test]
fn shown_outputs_are_those_of_the_program() {
    // The blocks' paths start at the repository's root.
    env::set_current_dir(root()).unwrap();
    trycmd::TestCases::new()
        .register_bin("florence2", Path::new(env!("CARGO_BIN_EXE_florence2")))
        .case("README.md")
        .case("docs/*.md")
        .run();
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            assert!(file.exists(), "{}: {target}", page.display());
            assert!(
                heading.is_empty()
                    || headings(&fs::read_to_string(file).unwrap()).any(|found| found == heading),
                "{}: {target}",
                page.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} links");
}

#[test]
fn blocks_of_data_parse() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("\n```").skip(1).step_by(2) {
            let invalid = match block.split_once('\n') {
                Some(("json", json)) => serde_json::from_str::<serde_json::Value>(json)
                    .err()
                    .map(|e| e.to_string()),
                Some(("toml", toml)) => toml
                    .parse::<toml_edit::DocumentMut>()
                    .err()
                    .map(|e| e.to_string()),
                _ => continue,
            };
            assert_eq!(invalid, None, "{}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 1, "{checked} blocks");
}

#[test]
fn named_files_exist() {
    const TREES: [&str; 8] = [
        "src/", "cli/", "export/", "layout/", "tests/", "benches/", "models/", ".ci/",
    ];
    let mut checked = 0;
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let spans = text.split('`').skip(1).step_by(2);
        for span in spans.filter(|span| TREES.iter().any(|tree| span.starts_with(tree))) {
            // `a/b.sh --option` is a command, `a/{b,c}.rs` names two files.
            let span = span.split(' ').next().unwrap_or(span);
            let (start, rest) = span.split_once('{').unwrap_or((span, ""));
            let (names, end) = rest.split_once('}').unwrap_or(("", rest));
            for name in names.split(',') {
                let path = format!("{start}{name}{end}");
                assert!(root().join(&path).exists(), "{page}: {path}");
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked} files");
}

/// Returns the anchors of a page's headings: lower case, without punctuation, hyphens for spaces.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
