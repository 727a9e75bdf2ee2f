//! Where, when and with what was measured.

use std::time::SystemTime;

use florence2::runtime::RuntimeInfo;
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, System};

use super::nvidia;

/// What ONNX Runtime puts before what it says about its build.
const BUILD_PREFIX: &str = "ORT Build Info: ";

/// A machine, and the programs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// RFC 3339, in UTC.
    pub date: String,
    pub machine: Machine,
    /// This program's version.
    pub florence2: String,
    /// ONNX Runtime's, if it is known.
    pub onnxruntime: Option<String>,
    /// What ONNX Runtime says about its build.
    pub onnxruntime_build: String,
}

/// What the figures depend on whatever the programs.
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
    /// This machine, now.
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
        Self {
            cpu: brand
                .filter(|brand| !brand.is_empty())
                .unwrap_or_else(System::cpu_arch),
            physical_cores: System::physical_core_count(),
            logical_cores: system.cpus().len(),
            memory: system.total_memory(),
            system: format!(
                "{} {}",
                System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned()),
                std::env::consts::ARCH
            ),
            gpus: nvidia::gpus(),
        }
    }

    /// What another machine has otherwise, in words; empty if it is the same or just like it.
    pub fn differences(&self, other: &Machine) -> Vec<String> {
        let cores = |machine: &Machine| {
            let physical = machine
                .physical_cores
                .map_or("?".into(), |cores| cores.to_string());
            format!("{physical} cores, {} threads", machine.logical_cores)
        };
        let gpus = |machine: &Machine| match machine.gpus.is_empty() {
            true => "none".to_owned(),
            false => machine.gpus.join(", "),
        };
        [
            ("processor", self.cpu.clone(), other.cpu.clone()),
            ("cores", cores(self), cores(other)),
            ("memory", gib(self.memory), gib(other.memory)),
            ("system", self.system.clone(), other.system.clone()),
            ("GPUs", gpus(self), gpus(other)),
        ]
        .into_iter()
        .filter(|(_, own, others)| own != others)
        .map(|(what, own, others)| format!("{what} {others} instead of {own}"))
        .collect()
    }

    /// In one line.
    pub fn describe(&self) -> String {
        let physical = self
            .physical_cores
            .map_or_else(String::new, |cores| format!("{cores} cores, "));
        let mut text = format!(
            "{}, {physical}{} threads; {}; {}",
            self.cpu,
            self.logical_cores,
            gib(self.memory),
            self.system
        );
        for gpu in &self.gpus {
            text.push_str("; ");
            text.push_str(gpu);
        }
        text
    }
}

/// Whole GiB: what the system keeps for itself changes from one start to the next.
fn gib(bytes: u64) -> String {
    format!("{:.0} GiB", bytes as f64 / f64::from(1u32 << 30))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A machine without GPUs.
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
    fn other_machines_are_told_by_what_differs() {
        let machine = machine();
        assert!(machine.differences(&machine).is_empty());
        let rebooted = Machine {
            memory: (16 << 30) - 4096,
            ..machine.clone()
        };
        assert!(machine.differences(&rebooted).is_empty());
        let other = Machine {
            cpu: "B".into(),
            gpus: vec!["G".into()],
            ..machine.clone()
        };
        assert_eq!(
            machine.differences(&other),
            ["processor B instead of A", "GPUs G instead of none"]
        );
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::detect();
        assert!(!machine.cpu.is_empty() && !machine.system.is_empty());
        assert!(machine.logical_cores > 0 && machine.memory > 0);
    }
}
