//! Florence-2 on the command line.
#![warn(missing_docs)]

fn main() {}
