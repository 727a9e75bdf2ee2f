//! What `nvidia-smi` says of GPUs, where it is installed.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// The GPUs by name, memory and driver; none without `nvidia-smi`.
pub fn gpus() -> Vec<String> {
    let listed = ask("--query-gpu=name,memory.total,driver_version");
    listed.map_or_else(Vec::new, |listed| parse_gpus(&listed))
}

/// The bytes of GPU memory that each process has now, by its id. Processes of other containers, and those for which the
/// driver gives no figure, are left out.
pub fn memory_by_process() -> BTreeMap<u32, u64> {
    let listed = ask("--query-compute-apps=pid,used_memory");
    listed.map_or_else(BTreeMap::new, |listed| parse_memory(&listed))
}

fn ask(query: &str) -> Option<String> {
    let output = Command::new("nvidia-smi")
        .args([query, "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Lines of name, MiB, driver.
fn parse_gpus(listed: &str) -> Vec<String> {
    let gpu = |line: &str| {
        let mut fields = line.rsplitn(3, ',').map(str::trim);
        let (driver, memory, name) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{name} ({memory} MiB, driver {driver})"))
    };
    listed.lines().filter_map(gpu).collect()
}

/// Lines of process id and MiB; a process has one for each GPU that it uses.
fn parse_memory(listed: &str) -> BTreeMap<u32, u64> {
    let mut bytes = BTreeMap::new();
    for line in listed.lines() {
        let fields = line.split_once(',');
        if let Some((pid, mib)) = fields
            && let (Ok(pid), Ok(mib)) = (pid.trim().parse(), mib.trim().parse::<u64>())
        {
            *bytes.entry(pid).or_default() += mib << 20;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_over_gpus() {
        let listed = "4242, 1024\n17, 3\n4242, 512\n99, [N/A]\nNo running processes found\n";
        assert_eq!(
            parse_memory(listed),
            BTreeMap::from([(17, 3 << 20), (4242, 1536 << 20)])
        );
        assert!(parse_memory("").is_empty());
    }

    #[test]
    fn gpus_are_named() {
        assert_eq!(
            parse_gpus("NVIDIA H100 80GB HBM3, 81559, 550.54.15\n\nTesla T4, 15360, 550.54.15\n"),
            [
                "NVIDIA H100 80GB HBM3 (81559 MiB, driver 550.54.15)",
                "Tesla T4 (15360 MiB, driver 550.54.15)"
            ]
        );
    }
}
