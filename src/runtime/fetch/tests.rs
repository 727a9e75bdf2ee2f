//! Fetching ONNX Runtime, from a registry client that is a shell script: offline, and quick.

use std::env::consts::{ARCH, OS};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::client::ClientKind;
use super::*;

const LIBRARY: &str = "libonnxruntime.so.9.9.9";
const MEMBER: &str = "onnxruntime/capi/libonnxruntime.so.9.9.9";
const CONTENTS: &[u8] = b"not really ONNX Runtime\n";
/// `printf 'not really ONNX Runtime\n' | sha256sum`
const SHA256: &str = "5ca9a71021661b0f601c5adee2326237f57259b7c631caef2f86094b2f3a46e8";

fn pin(sha256: &'static str) -> Pin {
    Pin {
        os: OS,
        arch: ARCH,
        tag: "any",
        library: LIBRARY,
        sha256,
    }
}

/// A machine with one client and an empty cache.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// A `pip` that works, and one wheel for it to give.
    fn new() -> Self {
        let machine = Self {
            dir: TempDir::new().unwrap(),
        };
        fs::create_dir(machine.bin()).unwrap();
        let mut wheel = zip::ZipWriter::new(File::create(machine.path("wheel")).unwrap());
        for (name, contents) in [("onnxruntime/__init__.py", &b"pass"[..]), (MEMBER, CONTENTS)] {
            wheel.start_file(name, SimpleFileOptions::default()).unwrap();
            wheel.write_all(contents).unwrap();
        }
        wheel.finish().unwrap();
        machine.pip("sleep 0.3; cp '{dir}/wheel' \"$dest/onnxruntime-9.9.9-any.whl\"");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bin(&self) -> PathBuf {
        self.path("bin")
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Makes `pip download` do this. It notes each call in `calls`.
    fn pip(&self, download: &str) -> Client {
        let dir = self.dir.path().display().to_string();
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho \"$@\" >> '{{dir}}/calls'\n\
             for dest; do :; done\n{download}\n"
        );
        let program = self.bin().join("pip");
        fs::write(&program, script.replace("{dir}", &dir)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self.client()
    }

    fn client(&self) -> Client {
        Client {
            kind: ClientKind::Pip,
            // Not the script itself: it cannot be started while a process that another test forks has it open.
            command: vec!["/bin/sh".into(), self.bin().join("pip").display().to_string()],
        }
    }

    fn fetch_with(&self, pin: Pin, clients: &[Client]) -> Result<PathBuf> {
        fetch_pinned(&self.cache(), &[pin], || clients.to_vec(), &|_| {})
    }

    fn fetch(&self) -> Result<PathBuf> {
        self.fetch_with(pin(SHA256), &[self.client()])
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    /// What lies in the cache, the lock aside.
    fn cached(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache().join("onnxruntime")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    }
}

#[test]
fn a_library_is_fetched_once() {
    let machine = Machine::new();
    let said = Mutex::new(Vec::new());
    let progress = |progress: Progress<'_>| said.lock().unwrap().push(format!("{progress:?}"));
    let clients = || vec![machine.client()];
    let path = fetch_pinned(&machine.cache(), &[pin(SHA256)], clients, &progress).unwrap();
    assert_eq!(fs::read(&path).unwrap(), CONTENTS);
    assert_eq!(machine.cached(), [format!("1.32.0-{OS}-{ARCH}")]);
    let said = said.into_inner().unwrap();
    assert!(
        said[0].starts_with("Downloading") && said[1] == "Unpacking" && said[2].starts_with("Done"),
        "{said:?}"
    );

    assert_eq!(machine.fetch().unwrap(), path);
    assert_eq!(machine.calls(), 1);
}

#[test]
fn the_client_is_asked_for_the_pinned_wheel_whatever_python_is_here() {
    let machine = Machine::new();
    machine.fetch().unwrap();
    let call = fs::read_to_string(machine.path("calls")).unwrap();
    for word in [
        "download",
        "--no-deps",
        "--python-version=3.12",
        "--abi=cp312",
        "--platform=any",
        "onnxruntime==1.32.0",
    ] {
        assert!(
            call.split_whitespace().any(|said| said == word),
            "{word} is not in {call}"
        );
    }
}

#[test]
fn a_client_may_leave_an_unpacked_folder() {
    let machine = Machine::new();
    let client = Client {
        kind: ClientKind::Uv,
        ..machine.pip(&format!(
            "mkdir -p \"$dest/onnxruntime/capi\"; echo 'not really ONNX Runtime' > \"$dest/{MEMBER}\""
        ))
    };
    let path = machine.fetch_with(pin(SHA256), &[client]).unwrap();
    assert_eq!(fs::read(path).unwrap(), CONTENTS);
}

#[test]
fn a_wrong_hash_is_refused_and_nothing_is_left() {
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    let machine = Machine::new();
    let error = machine.fetch_with(pin(OTHER), &[machine.client()]).unwrap_err();
    assert!(matches!(error, Error::RuntimeFetch { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(SHA256) && text.contains(OTHER), "{text}");
    assert!(machine.cached().is_empty(), "{:?}", machine.cached());
}

#[test]
fn failed_downloads_leave_nothing_and_say_why() {
    for (download, said) in [
        (
            "echo half > \"$dest/onnxruntime.whl\"; echo 'no route to index' >&2; exit 7",
            "no route to index",
        ),
        (
            "head -c 100 '{dir}/wheel' > \"$dest/onnxruntime.whl\"",
            "onnxruntime 1.32.0",
        ),
        ("true", MEMBER),
    ] {
        let machine = Machine::new();
        machine.pip(download);
        let error = machine.fetch().unwrap_err();
        assert!(matches!(error, Error::RuntimeFetch { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(machine.cached().is_empty(), "{:?}", machine.cached());
    }
}

#[test]
fn the_next_client_is_tried_when_one_fails() {
    let machine = Machine::new();
    let working = machine.client();
    let absent = Client {
        command: vec![machine.path("no-such-pip").display().to_string()],
        ..working.clone()
    };
    machine.fetch_with(pin(SHA256), &[absent, working]).unwrap();
    assert_eq!(machine.calls(), 1);
}

#[test]
fn without_a_client_the_error_says_what_to_install() {
    let machine = Machine::new();
    let error = machine.fetch_with(pin(SHA256), &[]).unwrap_err();
    assert!(error.to_string().contains("neither pip nor uv"), "{error}");
}

#[test]
fn without_a_pin_for_this_machine_the_error_names_it() {
    let machine = Machine::new();
    let foreign = Pin {
        arch: "vax",
        ..pin(SHA256)
    };
    let error = machine.fetch_with(foreign, &[machine.client()]).unwrap_err();
    assert!(error.to_string().contains(ARCH), "{error}");
}

#[test]
fn a_damaged_library_is_fetched_again() {
    let machine = Machine::new();
    let path = machine.fetch().unwrap();
    let damages: [&dyn Fn(&Path); 4] = [
        &|path| fs::write(path, &CONTENTS[..5]).unwrap(),
        &|path| fs::write(path, vec![b'x'; CONTENTS.len()]).unwrap(),
        &|path| fs::remove_file(path).unwrap(),
        &|path| fs::remove_file(path.with_file_name("verified.json")).unwrap(),
    ];
    for (done, damage) in damages.iter().enumerate() {
        damage(&path);
        assert_eq!(machine.fetch().unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), CONTENTS);
        assert_eq!(machine.calls(), done + 2);
    }
}

// Two processes at once: the ignored test at the end, with the machine's folder in `MACHINE`.

const MACHINE: &str = "FLORENCE2_TEST_MACHINE";

impl Machine {
    fn spawn_fetch(&self) -> Child {
        let path = std::env::var("PATH").unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::fetch::tests::own_process_fetches"])
            .args(["--ignored", "--nocapture"])
            .env("PATH", format!("{}:{path}", self.bin().display()))
            .env("FLORENCE2_CACHE", self.cache())
            .env(MACHINE, self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

#[test]
fn two_processes_download_once() {
    let machine = Machine::new();
    let processes: Vec<Child> = (0..2).map(|_| machine.spawn_fetch()).collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && stdout.contains("1 passed"),
            "{output:?}"
        );
    }
    assert_eq!(machine.calls(), 1);
    assert_eq!(machine.cached(), [format!("1.32.0-{OS}-{ARCH}")]);
}

#[test]
fn a_killed_fetch_leaves_nothing_that_the_next_one_keeps() {
    let machine = Machine::new();
    machine.pip("echo half > \"$dest/onnxruntime.whl\"; touch '{dir}/begun'; exec sleep 2");
    let mut process = machine.spawn_fetch();
    while !machine.path("begun").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(
            process.try_wait().unwrap().is_none(),
            "it ended before it was killed"
        );
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(
        machine
            .cached()
            .iter()
            .all(|name| name.starts_with("unfinished-")),
        "{:?}",
        machine.cached()
    );

    machine.pip("cp '{dir}/wheel' \"$dest/onnxruntime-9.9.9-any.whl\"");
    machine.fetch().unwrap();
    assert_eq!(machine.cached(), [format!("1.32.0-{OS}-{ARCH}")]);
}

#[test]
#[ignore = "run by the tests above, in a process of its own"]
fn own_process_fetches() {
    let machine = PathBuf::from(std::env::var_os(MACHINE).expect("run by another test"));
    // The cache is found by its variable, and the client on the PATH.
    let path = fetch_pinned(
        &crate::cache_dir().unwrap(),
        &[pin(SHA256)],
        Client::detect,
        &|_| {},
    )
    .unwrap();
    assert!(path.starts_with(machine.join("cache")), "{}", path.display());
    assert_eq!(fs::read(path).unwrap(), CONTENTS);
}
