//! Embedded sample scenes.

use std::path::Path;

/// An image of the kind that the demo model was trained on.
#[derive(Debug)]
pub struct Scene {
    /// The file name.
    pub file: &'static str,
    /// The file's contents.
    pub bytes: &'static [u8],
}

macro_rules! scenes {
    ($($file:literal),+ $(,)?) => {
        [$(Scene { file: $file, bytes: include_bytes!(concat!("../../../../models/demo/scenes/", $file)) }),+]
    };
}

/// All embedded scenes; `--scene` counts them from 1.
pub const SCENES: [Scene; 5] = scenes!["hotel.jpg", "ring.png", "car.png", "zoo.png", "open.png"];

static ALL: &[Scene] = &SCENES;

impl Scene {
    /// Returns the file name without its extension.
    pub fn name(&self) -> &'static str {
        Path::new(self.file)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or(self.file)
    }
}

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
    pub fn scenes(self) -> &'static [Scene] {
        match self {
            SceneArg::All => ALL,
            SceneArg::Number(number) => ALL.get(number - 1..number).unwrap_or(&[]),
        }
    }
}
