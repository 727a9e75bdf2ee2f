//! Models by their id on a hub: `onnx-community/Florence-2-base-ft`, `microsoft/Florence-2-base@main`.
//!
//! Of a repository's files, those are fetched which [loading](crate::Florence2::from_pretrained) it takes, several at a
//! time, into the cache that the hub's own tools for Python use, and each is checked against the size and checksum that
//! the hub lists before it gets its name there. What was cut off goes on where it ended. A repository that has no
//! graphs, but safetensors, is exported for the device, once.
//!
//! `hf-hub` knows the hub's addresses, listing and cache; the transfers themselves are done here, because its own give a
//! file its place in the cache unchecked, wait for ever where nothing arrives, and send the token to whichever host
//! keeps the file.

mod cache;
mod cached;
mod catalogue;
mod checksum;
mod client;
mod download;
mod export;
mod id;
mod listing;
mod options;
mod prepare;
mod selection;
mod settings;
mod transfer;

pub use cached::{CachedModel, cache_folder, cached_model, cached_models, remove_model};
pub use catalogue::{CatalogueEntry, ModelForm, catalogue};
pub use export::{ExportedModel, exported_models, remove_export};
pub use id::ModelId;
pub use options::{HubOptions, HubProgress, ProgressFn};
pub(crate) use prepare::prepare_with_alternatives;
pub use prepare::{Prepared, prepare};
