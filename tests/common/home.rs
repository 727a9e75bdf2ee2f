//! A home folder that must stay free of ONNX Runtime's telemetry files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables that disable ONNX Runtime's telemetry, including those of CI systems.
const DISABLE_TELEMETRY: [&str; 15] = [
    "ORT_DISABLE_TELEMETRY",
    "ORT_RUNNING_UNIT_TESTS",
    "APPVEYOR",
    "BITBUCKET_BUILD_NUMBER",
    "BUILDKITE",
    "CI",
    "CIRCLECI",
    "CODEBUILD_BUILD_ID",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "TRAVIS",
];

/// An empty home folder, with the cache folder and the working directory in it.
pub struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for inner in ["cache", "work"] {
            std::fs::create_dir(folder.path().join(inner)).unwrap();
        }
        Self { folder }
    }

    /// Makes this folder a process's home, with ONNX Runtime from `library` and no variable that disables telemetry.
    pub fn move_in(&self, command: &mut Command, library: &Path) {
        let home = self.folder.path();
        for name in DISABLE_TELEMETRY {
            command.env_remove(name);
        }
        for name in ["HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"] {
            command.env(name, home);
        }
        command
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("ORT_DYLIB_PATH", library)
            .current_dir(home.join("work"));
    }

    /// Returns the files of ONNX Runtime's telemetry: its folder, the session file of its database.
    pub fn telemetry(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().map(OsString::from).unwrap_or_default();
                let name = name.to_string_lossy().to_lowercase();
                let is_telemetry = ["microsoft", ".onnxruntime", "onnxruntime.db", "deviceid", ".ses"];
                if is_telemetry.iter().any(|part| name.contains(part)) {
                    found.push(path.clone());
                }
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }
}
