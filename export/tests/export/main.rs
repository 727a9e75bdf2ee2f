//! Exports: graphs of every target and dtype, configuration files, and invalid checkpoints.

mod common;

mod config_files;
mod cpu_graphs;
mod cpu_text_graphs;
mod cuda_graphs;
mod errors;
mod graphs;
mod plain_forms;
mod pytorch;
