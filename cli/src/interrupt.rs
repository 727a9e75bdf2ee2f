//! Cancellation by Ctrl-C.

use std::process;

use florence2::CancelToken;

/// The exit code of an interrupted program, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Returns a token that the first Ctrl-C cancels: the JSON array is closed, and unfinished files are removed. The second
/// one ends the program at once.
pub fn cancelling() -> CancelToken {
    let token = CancelToken::new();
    let handler = {
        let token = token.clone();
        move || {
            if token.is_cancelled() {
                process::exit(EXIT_CODE.into());
            }
            token.cancel();
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!(%error, "Ctrl-C cannot be handled: it ends the program at once");
    }
    token
}
