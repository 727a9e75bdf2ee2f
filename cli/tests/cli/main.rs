//! The program as users run it: its stdout, stderr, files and exit codes.

mod bench;
mod compare;
mod completions;
mod demo;
mod deployments;
mod devices;
mod draw;
mod eval;
mod export;
mod hub;
mod inputs;
mod inspect;
mod parse;
mod program;
mod repair;
mod run;
mod streams;
mod telemetry;
mod usage;
