//! The commands: one module each, with its arguments.

pub mod bench;
pub mod cache;
pub mod compare;
pub mod completions;
pub mod demo;
pub mod devices;
pub mod eval;
pub mod export;
mod images;
pub mod inspect;
pub mod man;
pub mod models;
pub mod parse;
pub mod pull;
pub mod repair;
mod requests;
pub mod run;
pub mod tasks;
