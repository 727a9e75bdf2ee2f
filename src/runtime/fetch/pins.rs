//! The ONNX Runtime libraries that are fetched, pinned by hash.

use std::env::consts::{ARCH, OS};

/// The package on PyPI.
pub(super) const PACKAGE: &str = "onnxruntime";
/// The version of the package and of ONNX Runtime.
pub(super) const VERSION: &str = "1.32.0";
/// The CPython version of the wheel. The library needs no Python; a fixed version selects one wheel.
pub(super) const PYTHON_VERSION: &str = "3.12";
/// [`PYTHON_VERSION`] as in a wheel's name.
pub(super) const PYTHON_ABI: &str = "cp312";

/// The library in the wheel for a platform.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin {
    /// The operating system, as in [`std::env::consts::OS`].
    pub(super) os: &'static str,
    /// The CPU, as in [`std::env::consts::ARCH`].
    pub(super) arch: &'static str,
    /// The platform tag in the wheel's name.
    pub(super) tag: &'static str,
    /// The library's file name.
    pub(super) library: &'static str,
    /// The library's SHA-256 in lower-case hexadecimal, the same for every client.
    pub(super) sha256: &'static str,
}

impl Pin {
    /// Returns `true` if the library runs on the platform that this program is built for.
    pub(super) fn fits_this_machine(&self) -> bool {
        // There is no wheel for musl.
        self.os == OS && self.arch == ARCH && !cfg!(target_env = "musl")
    }

    /// The library's path in the wheel.
    pub(super) fn member(&self) -> String {
        format!("onnxruntime/capi/{}", self.library)
    }
}

pub(super) const PINS: &[Pin] = &[
    Pin {
        os: "linux",
        arch: "x86_64",
        tag: "manylinux_2_28_x86_64",
        library: "libonnxruntime.so.1.32.0",
        sha256: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    },
    Pin {
        os: "linux",
        arch: "aarch64",
        tag: "manylinux_2_28_aarch64",
        library: "libonnxruntime.so.1.32.0",
        sha256: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    },
    Pin {
        os: "macos",
        arch: "aarch64",
        tag: "macosx_14_0_arm64",
        library: "libonnxruntime.1.32.0.dylib",
        sha256: "fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7",
    },
    Pin {
        os: "windows",
        arch: "x86_64",
        tag: "win_amd64",
        library: "onnxruntime.dll",
        sha256: "443c0065fcdba17618ddef05050308f4b471893c5c7da0337d6957c9073ad8a7",
    },
    Pin {
        os: "windows",
        arch: "aarch64",
        tag: "win_arm64",
        library: "onnxruntime.dll",
        sha256: "a5c1951a7d495fa0c22a0865fe36981fe67f9d5dc7ba3893c20fa7266dd1e994",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_names_a_library_and_a_complete_hash() {
        for pin in PINS {
            assert!(pin.library.contains("onnxruntime"), "{pin:?}");
            assert_eq!(pin.sha256.len(), 64, "{pin:?}");
            assert!(
                pin.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')),
                "{pin:?}"
            );
        }
    }
}
