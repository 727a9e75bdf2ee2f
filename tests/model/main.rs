//! The engine over exported graphs: answers against transformers, requests in batches, the interface, the operators.
#![cfg(feature = "fetch-runtime")]

#[path = "../common/mod.rs"]
mod common;

mod batches;
mod calibration;
mod engine;
mod golden;
mod operators;
mod published;
mod saved;
