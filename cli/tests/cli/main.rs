//! The program as its users run it: arguments in, stdout, stderr, files and exit code out.

mod bench;
mod compare;
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
