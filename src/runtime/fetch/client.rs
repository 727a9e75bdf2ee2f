//! The registry's own clients, run as programs: their settings (index, proxy, certificates) are the user's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::pins::{PYTHON_ABI, PYTHON_VERSION, Pin};

/// Which client a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientKind {
    /// Python's.
    Pip,
    /// Python's, by Astral.
    Uv,
}

/// A registry client on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Which it is.
    pub kind: ClientKind,
    /// The program.
    pub program: PathBuf,
    /// Arguments before all others (`-m pip` for a Python interpreter).
    pub leading_args: Vec<String>,
}

/// The programs that are looked for, the preferred ones first.
const PROGRAMS: &[(ClientKind, &str, &[&str])] = &[
    (ClientKind::Pip, "pip", &[]),
    (ClientKind::Pip, "pip3", &[]),
    (ClientKind::Pip, "python3", &["-m", "pip"]),
    (ClientKind::Pip, "python", &["-m", "pip"]),
    (ClientKind::Uv, "uv", &[]),
];

/// How a program's file name may end.
const PROGRAM_ENDINGS: &[&str] = if cfg!(windows) { &[".exe", ".cmd"] } else { &[""] };

impl Client {
    /// The clients on this machine that work, the preferred one first, one of each kind.
    pub fn detect() -> Vec<Client> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let mut found: Vec<Client> = Vec::new();
        for &(kind, name, leading_args) in PROGRAMS {
            if found.iter().any(|client| client.kind == kind) {
                continue;
            }
            let working = program_in(&dirs, name)
                .map(|program| Client {
                    kind,
                    program,
                    leading_args: leading_args.iter().map(|arg| arg.to_string()).collect(),
                })
                .filter(Client::works);
            found.extend(working);
        }
        found
    }

    /// What to call it in messages.
    pub(super) fn name(&self) -> String {
        let mut words = vec![self.program.display().to_string()];
        words.extend(self.leading_args.iter().cloned());
        words.join(" ")
    }

    /// Puts the pinned package into `dir`, as an archive or unpacked. The error is what the client said.
    pub(super) fn download(&self, pin: &Pin, dir: &Path) -> Result<(), String> {
        let output = self
            .command()
            .args(self.download_args(pin, dir))
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = match output.stderr.is_empty() {
            true => output.stdout,
            false => output.stderr,
        };
        Err(format!(
            "{}: {}",
            output.status,
            tail(&String::from_utf8_lossy(&said))
        ))
    }

    fn download_args(&self, pin: &Pin, dir: &Path) -> Vec<OsString> {
        let args: Vec<String> = match self.kind {
            ClientKind::Pip => vec![
                "download".into(),
                "--quiet".into(),
                "--disable-pip-version-check".into(),
                "--no-deps".into(),
                "--only-binary=:all:".into(),
                format!("--python-version={PYTHON_VERSION}"),
                "--implementation=cp".into(),
                format!("--abi={PYTHON_ABI}"),
                format!("--platform={}", pin.tag),
                format!("{}=={}", pin.package, pin.version),
                "--dest".into(),
            ],
            // It has no command that only downloads.
            ClientKind::Uv => vec![
                "pip".into(),
                "install".into(),
                "--quiet".into(),
                "--no-deps".into(),
                "--only-binary=:all:".into(),
                format!("--python-version={PYTHON_VERSION}"),
                format!("{}=={}", pin.package, pin.version),
                "--target".into(),
            ],
        };
        args.into_iter().map(OsString::from).chain([dir.into()]).collect()
    }

    fn works(&self) -> bool {
        let answer = self.command().arg("--version").output();
        answer.is_ok_and(|output| output.status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.leading_args).stdin(Stdio::null());
        command
    }
}

fn program_in(dirs: &[PathBuf], name: &str) -> Option<PathBuf> {
    dirs.iter()
        .flat_map(|dir| {
            PROGRAM_ENDINGS
                .iter()
                .map(move |ending| dir.join(format!("{name}{ending}")))
        })
        .find(|path| path.is_file())
}

/// The last lines: the first ones of a long failure are its noise.
fn tail(text: &str) -> String {
    const LINES: usize = 6;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}
