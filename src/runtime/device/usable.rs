//! Whether a device can be used here, and why not.

use std::fmt;

use ort::editor::Model;
use ort::session::Session;
use ort::session::builder::AutoDevicePolicy;
use ort::value::{Tensor, TensorElementType};

use super::Device;
use crate::error::{Error, Result};
use crate::runtime::environment::{environment, running};
use crate::runtime::{log, small_graph};

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceProblem {
    /// The ONNX Runtime library in use was built without the provider.
    NotInLibrary {
        /// The library.
        library: String,
    },
    /// The provider's own library does not load, or one that it needs is missing.
    NotLoaded {
        /// What the system's loader says.
        message: String,
    },
    /// The provider is there, but does not work: there is no such device, say, or its driver is too old.
    Refused {
        /// What ONNX Runtime says.
        message: String,
    },
}

impl fmt::Display for DeviceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceProblem::NotInLibrary { library } => {
                write!(
                    f,
                    "ONNX Runtime ({library}) was built without it; another is taken by --ort-library or ORT_DYLIB_PATH"
                )
            }
            DeviceProblem::NotLoaded { message } => write!(f, "its library does not load: {message}"),
            DeviceProblem::Refused { message } => write!(f, "ONNX Runtime refuses it: {message}"),
        }
    }
}

impl Device {
    /// Whether the device can be used: a session with a small graph is made on it, and run. ONNX Runtime is started with
    /// the default options if it is not running yet.
    ///
    /// # Errors
    /// [`Error::DeviceUnusable`], which says why and what to install; what [`init`](crate::runtime::init) returns.
    pub fn usable(self) -> Result<()> {
        if self.is_cpu() {
            return Ok(());
        }
        self.check_in_library()?;
        let (tried, logged) = log::keeping_errors(|| self.try_out());
        match tried? {
            Ok(()) => Ok(()),
            Err(message) => Err(self.unusable(problem(&message, &logged))),
        }
    }

    /// That the library was built with the device's provider.
    pub(crate) fn check_in_library(self) -> Result<()> {
        if self.kind().is_in_library()? {
            return Ok(());
        }
        let library = match &running()?.path {
            Some(path) => path.display().to_string(),
            None => "the application's".into(),
        };
        Err(self.unusable(DeviceProblem::NotInLibrary { library }))
    }

    fn unusable(self, problem: DeviceProblem) -> Error {
        Error::DeviceUnusable {
            device: self,
            problem,
        }
    }

    /// Doubles numbers on the device; or what ONNX Runtime says against it.
    fn try_out(self) -> Result<Result<(), String>> {
        let provider = self.provider(&[], None)?;
        let environment = environment()?;
        let doubled = || {
            let builder = Session::builder(environment)?
                .with_auto_device(AutoDevicePolicy::PreferCPU)?
                .with_no_environment_execution_providers()?
                .with_intra_threads(1)?
                .with_execution_providers([provider])?;
            let mut session = doubling()?.into_session(&builder)?;
            let x = Tensor::from_array(([SIZE], vec![1.5_f32; SIZE]))?;
            let outputs = session.run(ort::inputs! { INPUT => x })?;
            let doubled = outputs[OUTPUT].try_extract_tensor::<f32>()?.1 == [3.0; SIZE];
            Ok::<_, ort::Error>(doubled)
        };
        Ok(match doubled() {
            Ok(true) => Ok(()),
            Ok(false) => Err("it does not add rightly".into()),
            Err(error) => Err(error.message().to_owned()),
        })
    }
}

const SIZE: usize = 4;
const INPUT: &str = "x";
const OUTPUT: &str = "y";

/// A graph that adds a vector to itself.
fn doubling() -> ort::Result<Model> {
    let vector = |name| small_graph::outlet(name, TensorElementType::Float32, [SIZE as i64]);
    let add = small_graph::node("Add", &[INPUT, INPUT], OUTPUT);
    small_graph::model([vector(INPUT)], [vector(OUTPUT)], [add])
}

/// What is wrong, by what ONNX Runtime returned and what it logged: why a library does not load, it only logs.
fn problem(returned: &str, logged: &[String]) -> DeviceProblem {
    const NOT_LOADED: &str = "Failed to load library";
    let mut messages = logged.iter().map(String::as_str).chain([returned]);
    match messages.find_map(|text| Some(&text[text.find(NOT_LOADED)?..])) {
        Some(message) => DeviceProblem::NotLoaded {
            message: message.trim().to_owned(),
        },
        None => DeviceProblem::Refused {
            message: said(returned, logged),
        },
    }
}

/// What ONNX Runtime logged and returned, each thing once.
pub(super) fn said(returned: &str, logged: &[String]) -> String {
    let messages = logged.iter().map(String::as_str).chain([returned]);
    let mut messages: Vec<&str> = messages.map(essence).collect();
    messages.dedup();
    messages.join("; ")
}

/// A message without the place in ONNX Runtime's source that it came from, and without the condition that failed there.
fn essence(message: &str) -> &str {
    const BEFORE: [&str; 2] = ["[ONNXRuntimeError] : ", " was false. "];
    let cut = |text, mark| str::rsplit_once(text, mark).map_or(text, |(_, rest)| rest);
    BEFORE.into_iter().fold(message, cut).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ONNX Runtime 1.31 for CUDA says it on a machine without CUDA.
    #[test]
    fn what_does_not_load_is_said() {
        let returned = "CUDA execution provider is either not enabled or not available.";
        let logged = "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& \
                      onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library \
                      /capi/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object \
                      file: No such file or directory\n";
        let found = problem(returned, &[logged.to_owned()]);
        let DeviceProblem::NotLoaded { message } = &found else {
            panic!("{found:?}")
        };
        assert!(message.starts_with("Failed to load library /capi"), "{message}");
        assert!(message.ends_with("No such file or directory"), "{message}");
    }

    #[test]
    fn what_else_is_wrong_is_said_without_its_place() {
        let logged = [
            "x.cc:1 f() [ONNXRuntimeError] : 1 : FAIL : no such GPU",
            "y.cc:65 g() status == Success was false. Failed to get a WebGPU adapter",
        ]
        .map(str::to_owned);
        let expected = "1 : FAIL : no such GPU; Failed to get a WebGPU adapter; Invalid device_id: 7";
        assert_eq!(
            problem("Invalid device_id: 7", &logged),
            DeviceProblem::Refused {
                message: expected.into()
            }
        );
    }
}
