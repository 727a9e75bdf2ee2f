//! Checking whether an ELF file is complete. The system's loader maps a truncated library and then ends the process with
//! SIGBUS, where any other damage is an error.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Returns the reason if the file is a 64-bit little-endian ELF file that ends before its segments do. Returns `None`
/// for other files and unreadable ones, which the loader reports.
pub(super) fn truncation(path: &Path) -> Option<String> {
    let (ends, size) = File::open(path).and_then(ends_and_size).ok()??;
    (size < ends).then(|| format!("it is truncated: {size} bytes of at least {ends}"))
}

/// Returns the end of the last loaded segment and the file's size, in bytes; `None` for other kinds of files.
fn ends_and_size(mut file: File) -> io::Result<Option<(u64, u64)>> {
    // Offsets and sizes as in the System V ABI: Elf64_Ehdr (64 bytes) and Elf64_Phdr (56 bytes).
    const LOADED: u32 = 1; // PT_LOAD
    let size = file.metadata()?.len();
    let mut header = [0; 64];
    file.read_exact(&mut header)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let table = u64_at(&header, 32);
    let (entry_size, entries) = (u16_at(&header, 54), u16_at(&header, 56));
    let mut ends = table.saturating_add(u64::from(entry_size) * u64::from(entries));
    if size < ends {
        return Ok(Some((ends, size)));
    }
    for index in 0..u64::from(entries) {
        let mut segment = [0; 56];
        file.seek(SeekFrom::Start(table + index * u64::from(entry_size)))?;
        file.read_exact(&mut segment)?;
        if u32_at(&segment, 0) == LOADED {
            ends = ends.max(u64_at(&segment, 8).saturating_add(u64_at(&segment, 32)));
        }
    }
    Ok(Some((ends, size)))
}

fn bytes_at<const N: usize, const M: usize>(from: &[u8; N], at: usize) -> [u8; M] {
    std::array::from_fn(|i| from[at + i])
}

fn u16_at<const N: usize>(from: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(from, at))
}

fn u32_at<const N: usize>(from: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(from, at))
}

fn u64_at<const N: usize>(from: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(from, at))
}
