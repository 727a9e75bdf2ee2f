//! The graphs of a model, each locked only while it runs.

mod bound;
mod cache_names;
mod checks;
mod chooser;
mod language_model;
mod optimizers;
mod plain;
mod profile;
mod rearranger;
mod session;
mod side_graph;
mod single_rows;
mod step;
mod tensor;
mod vision;

pub(crate) use language_model::{DecodingLimits, LanguageModel, TextInput, load as load_language_model};
pub(crate) use vision::VisionEncoder;
