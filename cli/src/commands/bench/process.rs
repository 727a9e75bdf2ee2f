//! The benchmark's side of a worker process.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use florence2::CancelToken;

use super::record::Outcome;
use super::worker;
use crate::console::Console;
use crate::error::{Error, Result};
use crate::output::printable;

/// The interval at which a waiting benchmark checks whether it was cancelled.
const POLL: Duration = Duration::from_millis(50);
/// The longest wait for the end of a worker that has closed its output.
const EXIT_TIME: Duration = Duration::from_secs(10);
/// The longest wait for the last lines of an ended worker: a process that it started may hold its stderr.
const LOG_TIME: Duration = Duration::from_secs(1);

/// A running worker, which is killed when this is dropped and ends by itself when this program does.
pub struct WorkerProcess {
    child: Child,
    stdin: ChildStdin,
    replies: Receiver<Option<Outcome>>,
    /// Forwards stderr; returns its last line that is not empty.
    log: Option<JoinHandle<Option<String>>>,
}

impl WorkerProcess {
    /// Starts this program again with the same arguments, as the worker of the configuration at `index`.
    pub fn start(index: usize, name: &str, console: &Console) -> Result<Self> {
        let program = env::current_exe().map_err(not_started)?;
        let mut command = Command::new(program);
        command
            .args(env::args_os().skip(1).filter(|argument| argument != "--"))
            .arg(format!("--{}={index}", worker::OPTION));
        Self::spawn(command, name, console)
    }

    /// Starts a command whose stderr is forwarded with `name` before each line.
    fn spawn(mut command: Command, name: &str, console: &Console) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(not_started)?;
        let missing = || not_started(io::ErrorKind::BrokenPipe.into());
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (sender, replies) = mpsc::channel();
        thread::spawn(move || {
            for line in lines(stdout) {
                match serde_json::from_str(&line) {
                    Ok(reply) => {
                        if sender.send(reply).is_err() {
                            return;
                        }
                    }
                    Err(_) => tracing::debug!(line, "a library wrote to a worker's stdout"),
                }
            }
        });
        let (name, mut console) = (name.to_owned(), console.clone());
        let log = thread::spawn(move || {
            let mut last = None;
            for line in lines(stderr).filter(|line| !line.is_empty()) {
                // There is no other place to report to if stderr fails.
                let _ = writeln!(console, "[{name}] {line}");
                last = Some(line);
            }
            last
        });
        Ok(Self {
            child,
            stdin,
            replies,
            log: Some(log),
        })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts the next round.
    pub fn start_round(&mut self) {
        // If the worker has ended, its missing reply reports that.
        let _ = writeln!(self.stdin);
    }

    /// Waits for the next reply: `None` if there are rounds left. A worker that dies is an [`Outcome::Error`].
    ///
    /// # Errors
    /// `Cancelled` if the user cancels the benchmark meanwhile.
    pub fn reply(&mut self, cancel: &CancelToken) -> Result<Option<Outcome>> {
        loop {
            if cancel.is_cancelled() {
                return Err(florence2::Error::Cancelled.into());
            }
            match self.replies.recv_timeout(POLL) {
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Some(Outcome::Error(self.exit_reason()))),
            }
        }
    }

    /// Waits for the process to end; returns how it ended and its last line on stderr.
    fn exit_reason(&mut self) -> String {
        let how = match within(EXIT_TIME, || self.child.try_wait().ok().flatten()) {
            Some(status) if was_killed(status) => {
                format!("the worker was killed ({status}), perhaps because memory ran out")
            }
            Some(status) => format!("the worker ended ({status})"),
            None => "the worker closed its output and did not end".into(),
        };
        let log = within(LOG_TIME, || self.log.take_if(|log| log.is_finished()));
        match log.and_then(|log| log.join().ok().flatten()) {
            Some(line) => format!("{how}: {line}"),
            None => how,
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Both calls fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the result of `look` as soon as there is one; `None` if there is none within `limit`.
fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        match look() {
            None if start.elapsed() < limit => thread::sleep(POLL),
            found => return found,
        }
    }
}

/// Returns whether a process was ended by the signal that systems short of memory send.
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

fn not_started(source: io::Error) -> Error {
    Error::Worker(format!("a worker could not be started: {source}"))
}

fn lines(stream: impl Read) -> impl Iterator<Item = String> {
    let lines = BufReader::new(stream).split(b'\n').map_while(io::Result::ok);
    lines.map(|line| printable(String::from_utf8_lossy(&line).trim_end()))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::GlobalArgs;

    #[derive(Parser)]
    struct Globals {
        #[command(flatten)]
        args: GlobalArgs,
    }

    fn worker(script: &str) -> WorkerProcess {
        let globals = Globals::try_parse_from(["florence2", "--quiet"]).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        WorkerProcess::spawn(command, "test", &Console::new(&globals.args)).unwrap()
    }

    fn failure(script: &str) -> String {
        let mut worker = worker(script);
        worker.start_round();
        match worker.reply(&CancelToken::new()).unwrap() {
            Some(Outcome::Error(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_dead_worker_is_reported_with_its_last_line() {
        let reason = failure("read line; echo one >&2; echo 'no memory left' >&2; echo >&2; exit 3");
        assert!(reason.contains("exit status: 3"), "{reason}");
        assert!(reason.ends_with(": no memory left"), "{reason}");
        let reason = failure("read line; kill -9 $$");
        assert!(
            reason.contains("killed") && reason.contains("memory ran out"),
            "{reason}"
        );
        let reason = failure("read line; kill -SEGV $$");
        assert!(
            reason.contains("SIGSEGV") && !reason.contains("memory"),
            "{reason}"
        );
    }

    #[test]
    fn a_worker_is_reported_while_its_child_holds_stderr() {
        let reason = failure("read line; sleep 60 > /dev/null & exit 3");
        assert!(reason.contains("exit status: 3"), "{reason}");
    }

    #[test]
    fn errors_are_replies_and_other_output_is_not() {
        let reason =
            failure(r#"read line; echo 'loading engine...'; echo '{"error":"no such device"}'; read line"#);
        assert_eq!(reason, "no such device");
    }

    #[test]
    fn a_cancelled_benchmark_does_not_wait() {
        let cancel = CancelToken::new();
        cancel.cancel();
        let error = worker("exec sleep 100").reply(&cancel).unwrap_err();
        assert!(error.is_cancelled());
    }
}
