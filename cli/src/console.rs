//! What goes to stderr: notes, warnings, errors, logs, progress.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::args::GlobalArgs;
use crate::error::describe;

/// Standard error, shared by messages and progress so that neither garbles the other.
#[derive(Clone)]
pub struct Console {
    quiet: bool,
    verbose: bool,
    progress: MultiProgress,
}

impl Console {
    pub fn new(globals: &GlobalArgs) -> Self {
        let target = match globals.quiet || !io::stderr().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        Self {
            quiet: globals.quiet,
            verbose: globals.verbose > 0,
            progress: MultiProgress::with_draw_target(target),
        }
    }

    /// Shows what the libraries log: warnings, and with `--verbose` more. `RUST_LOG` overrides it.
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

    /// Something worth knowing.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.print(AnsiColor::Cyan, "note", message);
        }
    }

    /// A detail for those who asked for details.
    pub fn detail(&self, message: &str) {
        if self.verbose {
            self.note(message);
        }
    }

    /// Something that is probably not as it was meant.
    pub fn warn(&self, message: &str) {
        if !self.quiet {
            self.print(AnsiColor::Yellow, "warning", message);
        }
    }

    /// What ends the command.
    pub fn error(&self, error: &dyn std::error::Error) {
        self.failure(&describe(error));
    }

    /// What went wrong.
    pub fn failure(&self, message: &str) {
        self.print(AnsiColor::Red, "error", message);
    }

    /// What went wrong with an input, which is named first; errors of files name it already.
    pub fn input_failure(&self, input: &str, message: &str) {
        if message.starts_with(input) {
            self.failure(message);
        } else {
            self.failure(&format!("{input}: {message}"));
        }
    }

    fn print(&self, color: AnsiColor, kind: &str, message: &str) {
        let style = Style::new().fg_color(Some(color.into())).bold();
        // Nowhere to complain if stderr itself fails.
        let _ = self.suspend(|| writeln!(anstream::stderr(), "{style}{kind}:{style:#} {message}"));
    }

    /// Does `work`, which writes to the terminal, with the progress out of its way.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.progress.suspend(work)
    }

    /// A sign of life for work of unknown length.
    pub fn spinner(&self, message: impl Into<String>) -> Progress {
        let bar = self.progress.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner:.cyan} {msg}"));
        Self::animate(bar, message.into())
    }

    /// Progress through `steps` steps.
    pub fn bar(&self, steps: usize) -> Progress {
        let bar = self.progress.add(ProgressBar::new(steps as u64));
        bar.set_style(style("{spinner:.cyan} {pos}/{len} {wide_bar:.cyan/dim} {msg}"));
        Self::animate(bar, String::new())
    }

    /// Progress through so many bytes.
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

/// The templates are ours, and right; indicatif's default is as good if one were not.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Progress on the terminal while it lives.
pub struct Progress(ProgressBar);

impl Progress {
    /// Progress that does not show.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// What is being done.
    pub fn message(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// One step more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// So many bytes more are done.
    pub fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Log lines.
impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
