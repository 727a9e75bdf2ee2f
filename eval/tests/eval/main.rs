//! Driving the program `florence2-eval` with the demo model on its sample scenes.

mod baseline;
mod failures;
mod program;
mod results;
mod scenes;
