//! Failing transfers.

use std::fs;
use std::time::{Duration, Instant};

use florence2::hub::{cached_model, cached_models, prepare};
use florence2::{CacheContent, Error, Florence2, LoadOptions, ModelId};

use super::server::{Fault, etag};
use super::{Machine, deployment, id};

/// The largest file.
const DATA: &str = "onnx/vision_encoder.onnx_data";

impl Machine {
    fn unfinished(&self, file: &str) -> std::path::PathBuf {
        let etag = etag(&self.server.bytes(file));
        self.repository().join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Checks that a failed attempt left no incomplete model, and that the next one succeeds.
    fn assert_recovers(&self) {
        assert!(self.snapshot().is_empty());
        assert!(!self.repository().join("refs/main").exists());
        let offline = prepare(&id(), &self.offline()).unwrap_err();
        assert!(matches!(offline, Error::NotCached { .. }), "{offline}");
        let prepared = self.prepare().unwrap();
        self.assert_whole(&prepared.files);
        let blobs = self.blobs();
        assert!(
            !blobs.iter().any(|blob| blob.ends_with(".incomplete")),
            "{blobs:?}"
        );
    }
}

#[test]
fn an_interrupted_transfer_is_resumed() {
    let machine = Machine::new(deployment());
    machine
        .server
        .fail(DATA, [Fault::Cut(100_000), Fault::Cut(50_000), Fault::Cut(0)]);
    let prepared = machine.prepare().unwrap();
    machine.assert_whole(&prepared.files);
    let from = |start: &str| Some(format!("bytes={start}-"));
    assert_eq!(
        machine.server.ranges(DATA),
        [None, from("100000"), from("150000"), from("150000")]
    );
}

#[test]
fn a_transfer_without_progress_fails_and_is_resumed_later() {
    let machine = Machine::new(deployment());
    let cuts = [Fault::Cut(100_000)].into_iter().chain(vec![Fault::Cut(0); 6]);
    machine.server.fail(DATA, cuts);
    let error = machine.prepare().unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert_eq!(fs::metadata(machine.unfinished(DATA)).unwrap().len(), 100_000);
    // It is not listed as a model, but can be named and removed.
    assert!(cached_models(&machine.hub()).unwrap().is_empty());
    let unfinished = cached_model(&id(), &machine.hub()).unwrap().unwrap();
    let dtypes = match &unfinished.content {
        CacheContent::Model { dtypes, .. } => dtypes,
        other => panic!("{other:?}"),
    };
    assert!(unfinished.bytes >= 100_000 && dtypes.is_empty(), "{unfinished:?}");
    machine.server.requests();
    let prepared = machine.prepare().unwrap();
    machine.assert_whole(&prepared.files);
    assert_eq!(machine.server.ranges(DATA), [Some("bytes=100000-".to_owned())]);
}

#[test]
fn the_unfinished_file_of_an_earlier_process_is_resumed() {
    for (left, requests) in [
        // Half of the file; all of it; more than it.
        (machine_bytes(0..150_000), vec![Some("bytes=150000-".to_owned())]),
        (machine_bytes(0..300_000), vec![]),
        (vec![1; 400_000], vec![None]),
        // Half of another file.
        (vec![1; 150_000], vec![Some("bytes=150000-".to_owned()), None]),
    ] {
        let machine = Machine::new(deployment());
        let unfinished = machine.unfinished(DATA);
        fs::create_dir_all(unfinished.parent().unwrap()).unwrap();
        fs::write(unfinished, &left).unwrap();
        let prepared = machine.prepare().unwrap();
        machine.assert_whole(&prepared.files);
        assert_eq!(machine.server.ranges(DATA), requests, "{} left", left.len());
    }
}

fn machine_bytes(range: std::ops::Range<usize>) -> Vec<u8> {
    let files = deployment();
    let (_, bytes) = files.iter().find(|(path, _)| path == DATA).unwrap();
    bytes[range].to_vec()
}

#[test]
fn without_ranges_a_transfer_starts_again() {
    let machine = Machine::new(deployment());
    machine.server.fail(DATA, [Fault::Cut(100_000), Fault::NoRanges]);
    let prepared = machine.prepare().unwrap();
    machine.assert_whole(&prepared.files);
}

#[test]
fn a_refusal_by_the_host_of_the_files_leaves_no_file() {
    let machine = Machine::new(deployment());
    machine.server.fail(DATA, [Fault::Status(403, "")]);
    let error = machine.prepare().unwrap_err();
    assert!(
        matches!(&error, Error::AccessDenied { status: 403, what, .. } if what == DATA),
        "{error}"
    );
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    assert!(!machine.unfinished(DATA).exists());
    for blob in machine.blobs() {
        let bytes = fs::read(machine.repository().join("blobs").join(blob)).unwrap();
        assert!(
            !bytes.starts_with(b"no file"),
            "the words of the refusal were kept"
        );
    }
    machine.assert_recovers();
}

#[test]
fn wrong_bytes_are_not_kept() {
    for file in [DATA, "config.json"] {
        let machine = Machine::new(deployment());
        machine.server.fail(file, [Fault::WrongBytes]);
        let error = machine.prepare().unwrap_err();
        assert!(
            matches!(&error, Error::CorruptDownload { url, .. } if url.ends_with(file)),
            "{error}"
        );
        assert!(!machine.unfinished(file).exists());
        machine.assert_recovers();
    }
}

#[test]
fn a_stalled_transfer_ends_and_keeps_its_bytes() {
    let machine = Machine::new(deployment());
    let mut hub = machine.hub();
    hub.stall = Duration::from_millis(300);
    machine
        .server
        .fail(DATA, [Fault::Silence(100_000, Duration::from_secs(20))]);
    let start = Instant::now();
    let prepared = prepare(&id(), &LoadOptions::default().with_hub(hub)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(15));
    machine.assert_whole(&prepared.files);
    assert_eq!(
        machine.server.ranges(DATA),
        [None, Some("bytes=100000-".to_owned())]
    );
}

#[test]
fn failures_of_the_server_are_retried() {
    let machine = Machine::new(deployment());
    let passing = [500, 429, 503].map(|status| Fault::Status(status, ""));
    machine.server.fail(DATA, passing);
    let prepared = machine.prepare().unwrap();
    machine.assert_whole(&prepared.files);

    let machine = Machine::new(deployment());
    machine.server.fail(DATA, vec![Fault::Status(500, ""); 20]);
    let error = machine.prepare().unwrap_err();
    assert!(matches!(error, Error::HttpStatus { status: 500, .. }), "{error}");
    machine.server.fail(DATA, []);
    machine.assert_recovers();
}

#[test]
fn errors_of_the_hub_are_distinguished() {
    let machine = Machine::new(deployment());
    let error = || machine.prepare().unwrap_err();
    machine.server.fail_listing(Some((401, "")));
    assert!(matches!(error(), Error::AccessDenied { status: 401, .. }));
    machine.server.fail_listing(Some((403, "GatedRepo")));
    assert!(matches!(error(), Error::AccessDenied { status: 403, .. }));
    machine.server.fail_listing(Some((404, "RevisionNotFound")));
    assert!(matches!(error(), Error::NotFound { status: 404, .. }));
    machine.server.fail_listing(Some((500, "")));
    assert!(matches!(error(), Error::HttpStatus { status: 500, .. }));
    machine.server.fail_listing(None);

    // The hub answers alike for absent and private models.
    let absent: ModelId = "org/absent".parse().unwrap();
    let error = prepare(&absent, &machine.options()).unwrap_err();
    assert!(matches!(error, Error::NotFound { status: 401, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("org/absent") && text.contains("folder"), "{text}");

    let nowhere = LoadOptions::default().with_hub(machine.hub().with_endpoint("http://127.0.0.1:1"));
    let error = prepare(&id(), &nowhere).unwrap_err();
    assert!(
        matches!(&error, Error::Network { url, .. } if url.starts_with("http://127.0.0.1:1/")),
        "{error}"
    );
    let invalid = LoadOptions::default().with_hub(machine.hub().with_endpoint("no address"));
    assert!(matches!(prepare(&id(), &invalid), Err(Error::Network { .. })));
}

#[test]
fn a_name_that_is_neither_a_folder_nor_an_id_is_reported() {
    for name in ["nowhere", "./no/such/folder", "org/name@../x"] {
        let error = Florence2::from_pretrained(name, LoadOptions::default()).unwrap_err();
        assert!(matches!(error, Error::UnknownModel { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("folder") && text.contains("organisation/name"),
            "{text}"
        );
    }
}

/// Writes to `/dev/full` fail for lack of space.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let machine = Machine::new(deployment());
    let unfinished = machine.unfinished(DATA);
    fs::create_dir_all(unfinished.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &unfinished).unwrap();
    let error = machine.prepare().unwrap_err();
    assert!(
        matches!(&error, Error::NoSpace { needed, .. } if *needed > 200_000),
        "{error}"
    );
    assert!(error.to_string().contains("cache_entries"), "{error}");
    let _ = fs::remove_file(&unfinished);
    machine.assert_recovers();
}
