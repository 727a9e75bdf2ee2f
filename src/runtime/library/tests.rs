use std::fs;

use tempfile::TempDir;

use super::super::library_cache::Record;
use super::*;

/// This platform's library file name, of this version.
fn file_name(version: &str) -> String {
    let dotted = if version.is_empty() {
        String::new()
    } else {
        format!(".{version}")
    };
    format!("{}{dotted}{}", FILE_NAME.stem, FILE_NAME.extension)
}

/// A file that looks like a library from outside.
fn fake(dir: &Path, version: &str) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join(file_name(version));
    fs::write(&path, "library").unwrap();
    path
}

/// The same in a cache, with its record.
fn fake_in_cache(cache: &Path, version: &str, size: u64) -> PathBuf {
    let name = format!("{version}-{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let dir = cache.join("onnxruntime").join(name);
    let path = fake(&dir, "1");
    let record = Record {
        size,
        sha256: "0".repeat(64),
    };
    fs::write(dir.join("verified.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    path
}

/// Every location has a library; returns them in the order in which they are to be tried.
fn everywhere(dir: &Path) -> (Locations, Vec<PathBuf>) {
    let (executable_dir, cache, prefix) = (dir.join("bin"), dir.join("cache"), dir.join("venv"));
    let beside = fake(&executable_dir, "");
    let cached = fake_in_cache(&cache, "1.32.0", 7);
    let in_prefix = fake(&prefix.join("lib/python3.12/site-packages/onnxruntime/capi"), "");
    let locations = Locations {
        executable_dir: Some(executable_dir),
        cache: Some(cache),
        python_prefixes: vec![prefix],
        ..Locations::default()
    };
    (locations, vec![beside, cached, in_prefix])
}

/// Every path that is tried when all are refused, and the error.
fn tried(locations: &Locations) -> (Vec<PathBuf>, Error) {
    let mut tried = Vec::new();
    let error = find(locations, &[], |path| {
        tried.push(path.to_owned());
        Err(Rejection::Unusable("refused".into()))
    })
    .unwrap_err();
    (tried, error)
}

#[test]
fn versions_are_read_from_file_names() {
    for (file_name, name, version) in [
        (&ELF, "libonnxruntime.so", Some(vec![])),
        (&ELF, "libonnxruntime.so.1.32.0", Some(vec![1, 32, 0])),
        (&ELF, "libonnxruntime.so.old", None),
        (&ELF, "libonnxruntime_providers_shared.so", None),
        (&MACOS, "libonnxruntime.dylib", Some(vec![])),
        (&MACOS, "libonnxruntime.1.32.0.dylib", Some(vec![1, 32, 0])),
        (&WINDOWS, "onnxruntime.dll", Some(vec![])),
        (&WINDOWS, "onnxruntime_providers_shared.dll", None),
    ] {
        assert_eq!(file_name.version_in(name), version, "{name}");
    }
}

#[test]
fn places_are_tried_in_order() {
    let dir = TempDir::new().unwrap();
    let (locations, paths) = everywhere(dir.path());
    for expected in &paths {
        let found = find(&locations, &[], |path| match path == expected {
            true => Ok(()),
            false => Err(Rejection::Unusable("refused".into())),
        });
        assert_eq!(found.unwrap(), *expected);
    }
    assert_eq!(tried(&locations).0, paths);
}

#[test]
fn the_system_is_asked_between_cache_and_python() {
    let dir = TempDir::new().unwrap();
    let (mut locations, paths) = everywhere(dir.path());
    locations.system = true;
    let all = tried(&locations).0;
    let at = |path: &Path| all.iter().position(|tried| tried == path).unwrap();
    let system = at(Path::new(FILE_NAME.loader[0]));
    assert!(at(&paths[1]) < system && system < at(&paths[2]), "{all:?}");
}

#[test]
fn a_named_library_is_the_only_one_tried() {
    let dir = TempDir::new().unwrap();
    let (mut locations, _) = everywhere(dir.path());
    let (explicit, variable) = (dir.path().join("explicit.so"), dir.path().join("variable.so"));

    locations.dylib_path = Some(variable.clone());
    let (paths, error) = tried(&locations);
    assert_eq!(paths, std::slice::from_ref(&variable));
    assert!(matches!(error, Error::RuntimeLoad { path, reason } if path == variable && reason == "refused"));

    locations.explicit = Some(explicit.clone());
    assert_eq!(tried(&locations).0, [explicit]);
}

#[test]
fn the_error_names_every_place_and_what_was_wrong_there() {
    let dir = TempDir::new().unwrap();
    let (mut locations, paths) = everywhere(dir.path());
    locations.pythons = vec![dir.path().join("no-such-python")];
    fs::remove_file(&paths[0]).unwrap();
    let (_, error) = tried(&locations);
    let Error::RuntimeNotFound { searched } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(searched.len(), LOCATIONS.len(), "{searched:#?}");
    for ((location, _), line) in LOCATIONS.iter().zip(searched) {
        assert!(line.starts_with(location), "{line}");
    }
    assert!(searched[0].contains("no library in"), "{}", searched[0]);
    assert!(searched[1].ends_with("refused"), "{}", searched[1]);
    assert!(searched[4].contains("no-such-python"), "{}", searched[4]);
    assert!(error.to_string().contains("pip install onnxruntime"), "{error}");
}

#[cfg(not(windows))] // whose library has no version in its name
#[test]
fn the_highest_version_comes_first() {
    let dir = TempDir::new().unwrap();
    // By number: as text 1.9 would be the highest. A name without a version is the packager's own choice.
    let (old, new) = (fake(dir.path(), "1.9.0"), fake(dir.path(), "1.32.0"));
    assert_eq!(libraries_in(dir.path()).unwrap(), [new, old]);
}

#[test]
fn cached_versions_come_newest_first_and_damaged_ones_not_at_all() {
    let dir = TempDir::new().unwrap();
    let old = fake_in_cache(dir.path(), "1.9.0", 7);
    let new = fake_in_cache(dir.path(), "1.32.0", 7);
    let locations = Locations {
        cache: Some(dir.path().to_owned()),
        ..Locations::default()
    };
    assert_eq!(tried(&locations).0, [new.clone(), old.clone()]);

    fs::write(&new, "lib").unwrap();
    assert_eq!(tried(&locations).0, std::slice::from_ref(&old));

    fs::remove_file(old.with_file_name("verified.json")).unwrap();
    let (paths, error) = tried(&locations);
    assert!(paths.is_empty());
    assert!(error.to_string().contains("damaged; fetch it again"), "{error}");
}

#[cfg(unix)]
#[test]
fn python_is_asked_for_its_package() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let package = dir.path().join("onnxruntime");
    let library = fake(&package.join("capi"), "1.32.0");
    let python = dir.path().join("python3");
    fs::write(&python, format!("#!/bin/sh\necho '{}'\n", package.display())).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let locations = Locations {
        pythons: vec![dir.path().join("absent"), python],
        ..Locations::default()
    };
    assert_eq!(tried(&locations).0, [library]);
}

#[test]
fn a_library_with_the_provider_that_is_wanted_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let (locations, libraries) = everywhere(dir.path());
    let found = |wanted: &[&str]| find(&locations, wanted, |_| Ok(())).unwrap();
    assert_eq!(found(&["cuda"]), libraries[0]);
    let [prefix, suffix] = match cfg!(windows) {
        true => ["", ".dll"],
        false => ["lib", ".so"],
    };
    let provide = |library: &Path, provider: &str| {
        let name = format!("{prefix}onnxruntime_providers_{provider}{suffix}");
        fs::write(library.with_file_name(name), "library").unwrap();
    };
    provide(&libraries[2], "cuda");
    provide(&libraries[1], "openvino");
    assert_eq!(found(&["cuda"]), libraries[2]);
    assert_eq!(found(&["tensorrt", "cuda", "openvino"]), libraries[2]);
    assert_eq!(found(&["openvino", "cuda"]), libraries[1]);
    assert_eq!(found(&[]), libraries[0]);
    // One that does not load leaves the others to be tried.
    let load = |path: &Path| match path == libraries[2] {
        true => Err(Rejection::NotLoaded("broken".into())),
        false => Ok(()),
    };
    assert_eq!(find(&locations, &["cuda"], load).unwrap(), libraries[0]);
}
