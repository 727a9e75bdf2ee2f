//! The most memory that this process has had.

/// The largest resident set so far, in bytes; `None` on systems that are not asked.
///
/// Linux's `getrusage` would not do: its figure is that of the parent's where that was larger, as it outlives `exec`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peak() -> Option<u64> {
    in_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The largest resident set so far, in bytes.
#[cfg(target_vendor = "apple")]
pub fn peak() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.max_rss()).ok()
}

/// `None`: this system is not asked.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub fn peak() -> Option<u64> {
    None
}

/// `VmHWM` of proc_pid_status(5), which is in KiB.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn in_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(
            in_status("Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 5 kB\n"),
            Some(1234 * 1024)
        );
        assert_eq!(in_status("VmHWM:\t many kB\n"), None);
        assert_eq!(in_status(""), None);
    }

    #[test]
    fn it_grows_with_what_is_used() {
        let before = peak().unwrap();
        let pages = vec![1u8; 64 << 20];
        std::hint::black_box(&pages);
        assert!(peak().unwrap() >= before.max(64 << 20));
    }
}
