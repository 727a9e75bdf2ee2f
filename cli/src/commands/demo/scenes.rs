//! Sample scenes, embedded.

use std::path::Path;

/// A picture that the demo model knows its way about.
#[derive(Debug)]
pub struct Scene {
    /// The file's name.
    pub file: &'static str,
    /// The file.
    pub bytes: &'static [u8],
}

macro_rules! scenes {
    ($($file:literal),+ $(,)?) => {
        [$(Scene { file: $file, bytes: include_bytes!(concat!("../../../../models/demo/scenes/", $file)) }),+]
    };
}

/// All scenes.
pub const SCENES: [Scene; 5] = scenes!["hotel.jpg", "ring.png", "car.png", "zoo.png", "open.png"];

static ALL: &[Scene] = &SCENES;

impl Scene {
    /// The file's name without its extension.
    pub fn name(&self) -> &'static str {
        Path::new(self.file)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or(self.file)
    }
}

/// `--scene`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneArg {
    /// `all`.
    All,
    /// A number, counted from 1.
    Number(usize),
}

/// Reads `--scene`.
pub fn parse(text: &str) -> Result<SceneArg, String> {
    match text.parse() {
        _ if text == "all" => Ok(SceneArg::All),
        Ok(number) if (1..=ALL.len()).contains(&number) => Ok(SceneArg::Number(number)),
        _ => Err(format!("it is a number from 1 to {}, or all", ALL.len())),
    }
}

impl SceneArg {
    /// The scenes that are meant.
    pub fn scenes(self) -> &'static [Scene] {
        match self {
            SceneArg::All => ALL,
            SceneArg::Number(number) => ALL.get(number - 1..number).unwrap_or(&[]),
        }
    }
}
