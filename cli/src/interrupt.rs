//! Signals that stop the program: Ctrl-C, and on Unix SIGTERM and SIGHUP.

use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use florence2::CancelToken;

use crate::output::remove_temporaries;

/// The exit code of an interrupted program, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Whether the program ends its work when the token is cancelled.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// Handles the signals from now on: until [`cancelling`] is called, one ends the program and removes its unfinished files.
pub fn handle() {
    token();
}

/// Returns a token that the first signal cancels, so that finished results are kept and unfinished files removed. The second
/// one ends the program.
pub fn cancelling() -> CancelToken {
    let token = token().clone();
    IS_WATCHED.store(true, Ordering::SeqCst);
    token
}

fn token() -> &'static CancelToken {
    static TOKEN: OnceLock<CancelToken> = OnceLock::new();
    TOKEN.get_or_init(|| {
        let token = CancelToken::new();
        let cancelled = token.clone();
        let handler = move || {
            if cancelled.is_cancelled() || !IS_WATCHED.load(Ordering::SeqCst) {
                remove_temporaries();
                process::exit(EXIT_CODE.into());
            }
            cancelled.cancel();
        };
        #[cfg(unix)]
        let survives_hangup = ignore_hangup();
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::debug!(%error, "signals cannot be handled: they end the program at once");
        }
        #[cfg(unix)]
        if survives_hangup {
            ignore_hangup();
        }
        token
    })
}

/// Ignores SIGHUP; returns whether it was ignored before, as under `nohup`.
#[cfg(unix)]
fn ignore_hangup() -> bool {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed that could run unsafe code.
    let before = unsafe { sigaction(Signal::SIGHUP, &ignore) };
    before.is_ok_and(|before| matches!(before.handler(), SigHandler::SigIgn))
}
