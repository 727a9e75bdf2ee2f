//! The ONNX Runtime libraries that are fetched, pinned by hash.

use std::env::consts::{ARCH, OS};

/// A library in a wheel, for one platform.
///
/// The hash is the library's own: it holds whichever client unpacked the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The package.
    pub package: &'static str,
    /// The package's version, which is ONNX Runtime's.
    pub version: &'static str,
    /// The operating system, as in [`std::env::consts::OS`].
    pub os: &'static str,
    /// The processor, as in [`std::env::consts::ARCH`].
    pub arch: &'static str,
    /// The platform in the wheel's name.
    pub tag: &'static str,
    /// The library's path in the package.
    pub member: &'static str,
    /// The library's SHA-256, in lower-case hexadecimal.
    pub sha256: &'static str,
}

impl Pin {
    /// Whether the library is for the machine that this program is built for.
    pub fn fits_this_machine(&self) -> bool {
        // There is no wheel for musl.
        self.os == OS && self.arch == ARCH && !cfg!(target_env = "musl")
    }

    /// The library's file name.
    pub(super) fn file_name(&self) -> &'static str {
        self.member.rsplit('/').next().unwrap_or(self.member)
    }
}

/// The CPython that the wheel is for. The library in it needs no Python: one is fixed so that the wheel is one.
pub(super) const PYTHON_VERSION: &str = "3.12";
/// [`PYTHON_VERSION`] as in a wheel's name.
pub(super) const PYTHON_ABI: &str = "cp312";

/// What is fetched when nothing else is asked for: ONNX Runtime 1.32.0, from its wheels.
pub const PINS: &[Pin] = &[
    wheel(
        "linux",
        "x86_64",
        "manylinux_2_28_x86_64",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    ),
    wheel(
        "linux",
        "aarch64",
        "manylinux_2_28_aarch64",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    ),
    wheel(
        "macos",
        "aarch64",
        "macosx_14_0_arm64",
        "onnxruntime/capi/libonnxruntime.1.32.0.dylib",
        "fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7",
    ),
    wheel(
        "windows",
        "x86_64",
        "win_amd64",
        "onnxruntime/capi/onnxruntime.dll",
        "443c0065fcdba17618ddef05050308f4b471893c5c7da0337d6957c9073ad8a7",
    ),
    wheel(
        "windows",
        "aarch64",
        "win_arm64",
        "onnxruntime/capi/onnxruntime.dll",
        "a5c1951a7d495fa0c22a0865fe36981fe67f9d5dc7ba3893c20fa7266dd1e994",
    ),
];

const fn wheel(
    os: &'static str,
    arch: &'static str,
    tag: &'static str,
    member: &'static str,
    sha256: &'static str,
) -> Pin {
    Pin {
        package: "onnxruntime",
        version: "1.32.0",
        os,
        arch,
        tag,
        member,
        sha256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_names_a_library_and_a_whole_hash() {
        for pin in PINS {
            assert!(pin.file_name().contains("onnxruntime"), "{pin:?}");
            assert_eq!(pin.sha256.len(), 64, "{pin:?}");
            assert!(
                pin.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')),
                "{pin:?}"
            );
        }
    }
}
