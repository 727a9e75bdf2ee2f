//! Output to stderr: notes, warnings, errors, logs, progress.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::args::GlobalArgs;
use crate::error::describe;

/// Standard error, shared by messages and progress bars.
#[derive(Clone)]
pub struct Console {
    quiet: bool,
    verbose: bool,
    progress: MultiProgress,
}

impl Console {
    pub fn new(globals: &GlobalArgs) -> Self {
        let target = if globals.quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self {
            quiet: globals.quiet,
            verbose: globals.verbose > 0,
            progress: MultiProgress::with_draw_target(target),
        }
    }

    /// Shows the libraries' logs: warnings, and more with `--verbose`. `RUST_LOG` overrides the level.
    pub fn show_logs(&self, globals: &GlobalArgs) {
        let default = match (globals.quiet, globals.verbose) {
            (true, _) => "error",
            (_, 0) => "warn,ort=error",
            (_, 1) => "info,ort=warn",
            _ => "debug",
        };
        let console = self.clone();
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)))
            .with_ansi(anstream::AutoStream::choice(&io::stderr()) != ColorChoice::Never)
            .with_target(globals.verbose > 0)
            .without_time()
            .with_writer(move || console.clone())
            .init();
    }

    /// Prints a note, unless `--quiet`.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.print(AnsiColor::Cyan, "note", message);
        }
    }

    /// Prints a note with `--verbose`.
    pub fn detail(&self, message: &str) {
        if self.verbose {
            self.note(message);
        }
    }

    /// Prints a warning, unless `--quiet`.
    pub fn warn(&self, message: &str) {
        if !self.quiet {
            self.print(AnsiColor::Yellow, "warning", message);
        }
    }

    /// Prints an error and its causes.
    pub fn error(&self, error: &(dyn std::error::Error + 'static)) {
        self.failure(&describe(error));
    }

    /// Prints an error message.
    pub fn failure(&self, message: &str) {
        self.print(AnsiColor::Red, "error", message);
    }

    /// Prints an error message of an input, after the input's name unless the message begins with it.
    pub fn input_failure(&self, input: &str, message: &str) {
        if message.starts_with(input) {
            self.failure(message);
        } else {
            self.failure(&format!("{input}: {message}"));
        }
    }

    fn print(&self, color: AnsiColor, kind: &str, message: &str) {
        let style = Style::new().fg_color(Some(color.into())).bold();
        // An error of stderr cannot be reported.
        let _ = self.suspend(|| writeln!(anstream::stderr(), "{style}{kind}:{style:#} {message}"));
    }

    /// Runs `work`, which writes to the terminal, while the progress is hidden.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.progress.suspend(work)
    }

    /// Returns a spinner for work of unknown length.
    pub fn spinner(&self, message: impl Into<String>) -> Progress {
        let bar = self.progress.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner:.cyan} {msg}"));
        Self::animate(bar, message.into())
    }

    /// Returns a progress bar of `steps` steps.
    pub fn bar(&self, steps: usize) -> Progress {
        let bar = self.progress.add(ProgressBar::new(steps as u64));
        bar.set_style(style("{spinner:.cyan} {pos}/{len} {wide_bar:.cyan/dim} {msg}"));
        Self::animate(bar, String::new())
    }

    /// Returns a progress bar of `bytes` bytes.
    pub fn byte_bar(&self, bytes: u64) -> Progress {
        let bar = self.progress.add(ProgressBar::new(bytes));
        bar.set_style(style(
            "{spinner:.cyan} {bytes}/{total_bytes} {wide_bar:.cyan/dim} {bytes_per_sec} {eta} {msg}",
        ));
        Self::animate(bar, String::new())
    }

    fn animate(bar: ProgressBar, message: String) -> Progress {
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }
}

/// Returns the style of a template, indicatif's default if the template is invalid.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A progress bar or spinner, shown until it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Returns progress that is not shown.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Sets the message.
    pub fn message(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// Advances by one step.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Advances by `bytes`.
    pub fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Writes log lines to stderr.
impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
