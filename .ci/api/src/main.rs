//! Prints the public interface of a crate from the JSON that rustdoc writes, an item per line.

use std::env;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for json in env::args_os().skip(1) {
        let api = public_api::Builder::from_rustdoc_json(json)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build()?;
        println!("{api}");
    }
    Ok(())
}
