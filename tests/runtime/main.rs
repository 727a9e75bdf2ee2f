//! ONNX Runtime: fetching and starting it, sessions, devices, and its use inside other applications.
#![cfg(feature = "fetch-runtime")]

#[path = "../common/mod.rs"]
mod common;

mod concurrent_loading;
mod device_caches;
mod devices;
mod embedding;
mod sessions;
