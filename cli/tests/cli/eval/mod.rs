//! `florence2 eval` of the demo model on its sample scenes.

mod baseline;
mod failures;
mod results;
mod scenes;

use std::path::Path;

use crate::program::{Ran, florence2};

/// Evaluates the demo model on a data set and requires an exit code.
#[track_caller]
fn evaluate(dataset: &Path, args: &[&str], code: i32) -> Ran {
    let dataset = dataset.to_str().unwrap();
    florence2(&[&["eval", dataset, "--model", "demo"], args].concat()).exits(code)
}
