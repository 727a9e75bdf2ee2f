//! `florence2 completions` and `florence2 man`: what they write follows from the command line's definition.

use std::fs;

use crate::program::florence2;

#[test]
fn completions_of_each_shell_know_commands_and_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = florence2(&["completions", shell]).exits(0).text();
        for word in ["export", "inspect", "image-backend"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    assert!(
        florence2(&["completions", "abacus"])
            .exits(2)
            .stderr
            .contains("bash")
    );
}

#[test]
fn each_command_has_a_man_page() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    florence2(&["man", "--out", folder.to_str().unwrap()]).exits(0);
    let page = florence2(&["man"]).exits(0).text();
    assert!(page.contains("florence2\\-run(1)"), "{page}");
    assert_eq!(fs::read_to_string(folder.join("florence2.1")).unwrap(), page);
    assert!(
        fs::read_to_string(folder.join("florence2-run.1"))
            .unwrap()
            .contains("num\\-beams")
    );
}
