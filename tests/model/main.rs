//! The engine over exported graphs: answers against transformers, requests in batches, the interface, the operators.

#[path = "../common/mod.rs"]
mod common;

mod batches;
mod calibration;
mod engine;
mod golden;
mod operators;
mod published;
mod saved;
