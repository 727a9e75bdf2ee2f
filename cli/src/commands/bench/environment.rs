//! The machine and the versions that a run depends on.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use florence2::runtime::RuntimeInfo;
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, System};

/// The start of ONNX Runtime's description of its build.
const BUILD_PREFIX: &str = "ORT Build Info: ";

/// A machine, its software and the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// RFC 3339, in UTC.
    pub date: String,
    pub machine: Machine,
    /// This program's version.
    pub florence2: String,
    /// ONNX Runtime's version, if known.
    pub onnxruntime: Option<String>,
    /// ONNX Runtime's description of its build.
    pub onnxruntime_build: String,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub physical_cores: Option<usize>,
    pub logical_cores: usize,
    /// In bytes.
    pub memory: u64,
    pub system: String,
    pub gpus: Vec<String>,
}

impl Environment {
    /// Returns this machine's environment.
    pub fn detect(runtime: &RuntimeInfo) -> Self {
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            machine: Machine::detect(),
            florence2: env!("CARGO_PKG_VERSION").to_owned(),
            onnxruntime: runtime.version.clone(),
            onnxruntime_build: runtime.build.trim_start_matches(BUILD_PREFIX).to_owned(),
        }
    }
}

impl Machine {
    fn detect() -> Self {
        let mut system = System::new();
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        system.refresh_memory();
        let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
        let os = System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned());
        Self {
            cpu: brand
                .filter(|brand| !brand.is_empty())
                .unwrap_or_else(System::cpu_arch),
            physical_cores: System::physical_core_count(),
            logical_cores: system.cpus().len(),
            memory: system.total_memory(),
            system: format!("{os} {}", std::env::consts::ARCH),
            gpus: nvidia_smi("--query-gpu=name,memory.total,driver_version"),
        }
    }

    /// Returns a description in one line; equal machines have equal ones.
    pub fn describe(&self) -> String {
        let cores = self
            .physical_cores
            .map_or_else(String::new, |cores| format!("{cores} cores, "));
        // In GiB without decimals: the memory that the kernel reserves changes from one boot to the next.
        let gib = self.memory as f64 / f64::from(1u32 << 30);
        let parts = [
            format!("{}, {cores}{} threads", self.cpu, self.logical_cores),
            format!("{gib:.0} GiB"),
            self.system.clone(),
        ];
        parts
            .into_iter()
            .chain(self.gpus.clone())
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Returns the bytes of GPU memory in use by each process id, according to nvidia-smi.
pub fn device_memory() -> BTreeMap<u32, u64> {
    by_process(&nvidia_smi("--query-compute-apps=pid,used_memory"))
}

/// Sums lines of process id and MiB; a process has a line for each GPU. Lines without figures are left out.
fn by_process(lines: &[String]) -> BTreeMap<u32, u64> {
    let mut bytes = BTreeMap::new();
    for (pid, mib) in lines.iter().filter_map(|line| line.split_once(',')) {
        if let (Ok(pid), Ok(mib)) = (
            pid.trim().parse(),
            mib.trim().trim_end_matches(" MiB").parse::<u64>(),
        ) {
            *bytes.entry(pid).or_default() += mib << 20;
        }
    }
    bytes
}

/// Returns the lines with which nvidia-smi answers a query; none if it is not installed or fails.
fn nvidia_smi(query: &str) -> Vec<String> {
    let output = Command::new("nvidia-smi")
        .args([query, "--format=csv,noheader"])
        .stdin(Stdio::null())
        .output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.iter()
        .flat_map(|text| text.lines())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns a machine without GPUs.
    pub fn machine() -> Machine {
        Machine {
            cpu: "A".into(),
            physical_cores: Some(2),
            logical_cores: 4,
            memory: 16 << 30,
            system: "Linux x86_64".into(),
            gpus: Vec::new(),
        }
    }

    #[test]
    fn descriptions_differ_where_machines_do() {
        let machine = machine();
        assert_eq!(machine.describe(), "A, 2 cores, 4 threads; 16 GiB; Linux x86_64");
        let rebooted = Machine {
            memory: (16 << 30) - 4096,
            ..machine.clone()
        };
        assert_eq!(machine.describe(), rebooted.describe());
        let other = Machine {
            gpus: vec!["G".into()],
            ..machine.clone()
        };
        assert_ne!(machine.describe(), other.describe());
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::detect();
        assert!(!machine.cpu.is_empty() && !machine.system.is_empty());
        assert!(machine.logical_cores > 0 && machine.memory > 0);
    }

    #[test]
    fn device_memory_is_summed_over_gpus() {
        let lines = [
            "4242, 1024 MiB",
            "17, 3 MiB",
            "4242, 512 MiB",
            "99, [N/A]",
            "No running processes found",
        ];
        assert_eq!(
            by_process(&lines.map(str::to_owned)),
            BTreeMap::from([(17, 3 << 20), (4242, 1536 << 20)])
        );
    }
}
