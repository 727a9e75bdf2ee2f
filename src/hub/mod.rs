//! Models by their id on a hub: `onnx-community/Florence-2-base-ft`, `microsoft/Florence-2-base@main`.
//!
//! The files that [loading](crate::Florence2::from_pretrained) takes are fetched, several at a time, into the cache of the
//! hub's own tools for Python. Each file is checked against the listed size and checksum before it is linked there. An
//! interrupted transfer is resumed. A repository with a checkpoint and without graphs is exported for the device, once.
//!
//! `hf-hub` provides the hub's addresses, its listing and the cache's layout. Transfers are this crate's own: those of
//! `hf-hub` do not check files, have no timeout without data, and send the token to the host of the files.

mod api;
mod cache;
mod cached;
mod catalogue;
mod export;
mod id;
mod prepare;
mod selection;
mod transfer;

pub use crate::options::hub::{HubOptions, HubProgress, ProgressFn};
pub use cached::{cache_folder, cached_model, cached_models};
pub use catalogue::{CatalogueEntry, ModelForm, catalogue};
pub use id::ModelId;
pub(crate) use prepare::prepare_files;
pub use prepare::{Prepared, fetch_adapter, fetch_checkpoint, prepare};
