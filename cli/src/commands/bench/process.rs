//! A worker: a process that measures one configuration, and lies still while it is another's turn.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use florence2::CancelToken;

use super::protocol::{Answer, Request};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::output::{json, printable};

/// How often it is looked whether the user has called the work off.
const POLL: Duration = Duration::from_millis(50);
/// How long a process may take to end after it has closed its stdout.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running worker. It ends when this is dropped, and by itself when this program ends.
pub struct WorkerProcess {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<Answer>,
    /// Passes stderr on.
    log: JoinHandle<()>,
    /// Of stderr, so far.
    last_line: Arc<Mutex<Option<String>>>,
}

impl WorkerProcess {
    /// Starts a worker; what it says on stderr is passed on, with `name` before it.
    pub fn start(mut command: Command, name: &str, console: &Console) -> Result<Self> {
        let failed = |source: io::Error| Error::Worker(format!("a worker could not be started: {source}"));
        apart(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let missing = || failed(io::ErrorKind::BrokenPipe.into());
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || read_answers(stdout, &sender));
        let (name, console) = (name.to_owned(), console.clone());
        let last_line = Arc::new(Mutex::new(None));
        let last = Arc::clone(&last_line);
        let log = thread::spawn(move || pass_on(stderr, &name, console, &last));
        Ok(Self {
            child,
            stdin,
            answers,
            log,
            last_line,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// [`Error::Worker`] with what the worker said went wrong, or how it ended; `Cancelled` if the user has called the
    /// work off meanwhile.
    pub fn ask(&mut self, request: Request, cancel: &CancelToken) -> Result<Answer> {
        if writeln!(self.stdin, "{}", json(&request)?).is_err() {
            return Err(self.ended());
        }
        loop {
            if cancel.is_cancelled() {
                return Err(florence2::Error::Cancelled.into());
            }
            match self.answers.recv_timeout(POLL) {
                Ok(Answer::Error(reason)) => return Err(Error::Worker(reason)),
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            }
        }
    }

    /// How it ended, and what it said last.
    fn ended(&mut self) -> Error {
        let status = patiently(|| self.child.try_wait().ok().flatten());
        // Whatever it has started may still hold its stderr.
        patiently(|| self.log.is_finished().then_some(()));
        let last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        Error::Worker(post_mortem(status, last_line.as_deref()))
    }
}

/// What `look` finds, if it finds something before [`PATIENCE`] ends.
fn patiently<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        match look() {
            None if start.elapsed() < PATIENCE => thread::sleep(POLL),
            found => return found,
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps a terminal's Ctrl-C from the worker: this program ends it, knowing why.
fn apart(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    {
        /// `CREATE_NEW_PROCESS_GROUP` of the Windows API.
        const NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(command, NEW_PROCESS_GROUP);
    }
    #[cfg(not(any(unix, windows)))]
    let _ = command;
}

/// Hands answers on until stdout ends. What is none was printed by a library.
fn read_answers(stdout: impl Read, sender: &Sender<Answer>) {
    for line in BufReader::new(stdout).split(b'\n').map_while(io::Result::ok) {
        match serde_json::from_slice(&line) {
            Ok(answer) => {
                if sender.send(answer).is_err() {
                    return;
                }
            }
            Err(_) => tracing::debug!(line = %String::from_utf8_lossy(&line), "a worker printed"),
        }
    }
}

/// Passes a worker's stderr on line by line, and keeps the last that is not empty.
fn pass_on(stderr: impl Read, name: &str, mut console: Console, last: &Mutex<Option<String>>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(io::Result::ok) {
        let line = printable(String::from_utf8_lossy(&line).trim_end());
        if !line.is_empty() {
            // Nowhere to complain if stderr itself fails.
            let _ = writeln!(console, "[{name}] {line}");
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
        }
    }
}

/// How a process ended, in words.
fn post_mortem(status: Option<ExitStatus>, last_line: Option<&str>) -> String {
    let how = match status {
        Some(status) if was_killed(status) => {
            format!("the worker was killed ({status}), perhaps because memory ran out")
        }
        Some(status) => format!("the worker ended ({status})"),
        None => "the worker closed its output and did not end".into(),
    };
    match last_line {
        Some(line) => format!("{how}: {line}"),
        None => how,
    }
}

/// Whether it was ended by the signal that systems short of memory send.
fn was_killed(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        const SIGKILL: i32 = 9;
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(SIGKILL)
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        false
    }
}

#[cfg(all(test, unix))]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn worker(script: &str) -> WorkerProcess {
        let cli = Cli::try_parse_from(["florence2", "models", "--quiet"]).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        WorkerProcess::start(command, "test", &Console::new(&cli.globals)).unwrap()
    }

    fn failure(script: &str) -> String {
        let error = worker(script).ask(Request::Run, &CancelToken::new());
        error.unwrap_err().to_string()
    }

    #[test]
    fn a_death_is_reported_with_the_last_words() {
        let reason = failure("read line; echo one >&2; echo 'no memory left' >&2; echo >&2; exit 3");
        assert!(reason.contains("exit status: 3"), "{reason}");
        assert!(reason.ends_with(": no memory left"), "{reason}");
        let reason = failure("read line; kill -9 $$");
        assert!(
            reason.contains("killed") && reason.contains("memory ran out"),
            "{reason}"
        );
    }

    #[test]
    fn errors_are_passed_on_and_chatter_is_not() {
        let reason =
            failure(r#"read line; echo 'loading engine...'; echo '{"error":"no such device"}'; read line"#);
        assert_eq!(reason, "no such device");
    }

    #[test]
    fn work_that_is_called_off_does_not_wait() {
        let cancel = CancelToken::new();
        cancel.cancel();
        let mut worker = worker("exec sleep 100");
        let error = worker.ask(Request::Run, &cancel).unwrap_err();
        assert!(error.is_cancelled());
    }
}
