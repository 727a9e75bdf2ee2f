//! Ctrl-C.

use std::process;

use florence2::CancelToken;

/// What shells give a program that was interrupted.
pub const EXIT_CODE: u8 = 130;

/// Work that holds this token ends in order at the first Ctrl-C: the JSON array is closed, unfinished files are
/// removed. At the second, the program ends at once.
pub fn cancelling() -> CancelToken {
    let token = CancelToken::new();
    let handler = {
        let token = token.clone();
        move || match token.is_cancelled() {
            true => process::exit(EXIT_CODE.into()),
            false => token.cancel(),
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!(%error, "Ctrl-C ends the program at once");
    }
    token
}
