//! The package registry's own clients, run as programs: their settings (index, proxy, certificates) are the user's.

use std::path::Path;
use std::process::{Command, Stdio};

use super::pins::{PACKAGE, PYTHON_ABI, PYTHON_VERSION, Pin, VERSION};

/// A program that downloads Python packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientKind {
    /// Python's pip; it leaves the wheel.
    Pip,
    /// Astral's uv, which has no command that only downloads; it leaves the unpacked package.
    Uv,
}

/// A registry client on this machine.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) kind: ClientKind,
    /// The program, and the arguments before all others.
    pub(super) command: Vec<String>,
}

/// The commands that are tried, the preferred ones first.
const COMMANDS: &[(ClientKind, &[&str])] = &[
    (ClientKind::Pip, &["pip"]),
    (ClientKind::Pip, &["pip3"]),
    (ClientKind::Pip, &["python3", "-m", "pip"]),
    (ClientKind::Pip, &["python", "-m", "pip"]),
    (ClientKind::Uv, &["uv"]),
];

impl Client {
    /// Returns the clients on this machine that work, one of each kind, the preferred one first.
    pub(super) fn detect() -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for &(kind, command) in COMMANDS {
            let client = Self {
                kind,
                command: command.iter().map(|word| word.to_string()).collect(),
            };
            if found.iter().all(|other| other.kind != kind) && client.works() {
                found.push(client);
            }
        }
        found
    }

    /// The name in messages.
    pub(super) fn name(&self) -> String {
        self.command.join(" ")
    }

    /// Downloads the pinned package into `folder`. The error is the client's own message.
    pub(super) fn download(&self, pin: &Pin, folder: &Path) -> Result<(), String> {
        let package = format!("{PACKAGE}=={VERSION}");
        let python = format!("--python-version={PYTHON_VERSION}");
        let mut command = self.command();
        match self.kind {
            ClientKind::Pip => command
                .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"])
                .args(["--only-binary=:all:", "--implementation=cp", &python])
                .args([
                    format!("--abi={PYTHON_ABI}"),
                    format!("--platform={}", pin.tag),
                    package,
                ])
                .arg("--dest"),
            ClientKind::Uv => command
                .args(["pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"])
                .args([python, package])
                .arg("--target"),
        };
        let output = command.arg(folder).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let message = if output.stderr.is_empty() {
            output.stdout
        } else {
            output.stderr
        };
        Err(format!(
            "{}: {}",
            output.status,
            last_lines(&String::from_utf8_lossy(&message))
        ))
    }

    fn works(&self) -> bool {
        let output = self.command().arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    }

    fn command(&self) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words).stdin(Stdio::null());
        command
    }
}

/// The last lines of a message: the first ones of a long failure are noise.
fn last_lines(text: &str) -> String {
    const COUNT: usize = 6;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(COUNT)..].join(" / ")
}
