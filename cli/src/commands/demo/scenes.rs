//! The scenes of `--scene`.

use florence2_demo::{File, SCENES};

/// All scenes; `--scene` counts them from 1.
static ALL: &[File] = &SCENES;

/// A value of `--scene`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneArg {
    /// All scenes: `all`.
    All,
    /// One scene, by its number from 1.
    Number(usize),
}

/// Parses a value of `--scene`.
pub fn parse(text: &str) -> Result<SceneArg, String> {
    match text.parse() {
        _ if text == "all" => Ok(SceneArg::All),
        Ok(number) if (1..=ALL.len()).contains(&number) => Ok(SceneArg::Number(number)),
        _ => Err(format!("expected a number from 1 to {}, or all", ALL.len())),
    }
}

impl SceneArg {
    /// Returns the selected scenes.
    pub fn scenes(self) -> &'static [File] {
        match self {
            SceneArg::All => ALL,
            SceneArg::Number(number) => ALL.get(number - 1..number).unwrap_or(&[]),
        }
    }
}
