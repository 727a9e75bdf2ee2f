//! Exports: graphs of every target and precision, configuration files, and checkpoints that are errors.

mod common;

mod config_files;
mod cpu_graphs;
mod cpu_text_graphs;
mod cuda_graphs;
mod errors;
mod graphs;
mod plain_forms;
