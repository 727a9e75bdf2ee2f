//! Checking whether a device can be used here.

use ort::editor::Model;
use ort::session::Session;
use ort::session::builder::AutoDevicePolicy;
use ort::value::{Tensor, TensorElementType};

use super::{Device, DeviceProblem};
use crate::error::{Error, Result};
use crate::runtime::environment::{environment, running};
use crate::runtime::{log, small_graph};

impl Device {
    /// Checks that the device can be used, by running a session with a small graph on it. ONNX Runtime is started with the
    /// default options if it is not running yet.
    ///
    /// # Errors
    /// [`Error::DeviceUnusable`], with the problem and what to install; errors of [`init`](crate::runtime::init).
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

    /// Checks that this crate and the library were built with the device's provider.
    pub(crate) fn check_in_library(self) -> Result<()> {
        if !self.kind().is_compiled_in() {
            return Err(self.not_compiled_in());
        }
        if self.kind().is_in_library()? {
            return Ok(());
        }
        let library = match &running()?.path {
            Some(path) => path.display().to_string(),
            None => "the application's".into(),
        };
        Err(self.unusable(DeviceProblem::NotInLibrary { library }))
    }

    pub(super) fn not_compiled_in(self) -> Error {
        self.unusable(DeviceProblem::NotCompiledIn {
            feature: self.kind().name(),
        })
    }

    fn unusable(self, problem: DeviceProblem) -> Error {
        Error::DeviceUnusable {
            device: self,
            problem,
        }
    }

    /// Doubles numbers on the device. The inner error is ONNX Runtime's message.
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
            Ok(false) => Err("it computes wrong sums".into()),
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

/// Returns the problem, from the errors that ONNX Runtime returned and logged: it only logs the reason why a library
/// does not load.
fn problem(returned: &str, logged: &[String]) -> DeviceProblem {
    const NOT_LOADED: &str = "Failed to load library";
    let mut messages = logged.iter().map(String::as_str).chain([returned]);
    match messages.find_map(|text| Some(&text[text.find(NOT_LOADED)?..])) {
        Some(message) => DeviceProblem::NotLoaded {
            message: message.trim().to_owned(),
        },
        None => DeviceProblem::Refused {
            message: joined(returned, logged),
        },
    }
}

/// Joins the errors that ONNX Runtime logged and returned, without repetitions.
pub(super) fn joined(returned: &str, logged: &[String]) -> String {
    let messages = logged.iter().map(String::as_str).chain([returned]);
    let mut messages: Vec<&str> = messages.map(summary).collect();
    messages.dedup();
    messages.join("; ")
}

/// Returns a message without the location in ONNX Runtime's source and the condition that failed there.
fn summary(message: &str) -> &str {
    const BEFORE: [&str; 2] = ["[ONNXRuntimeError] : ", " was false. "];
    let cut = |text, mark| str::rsplit_once(text, mark).map_or(text, |(_, rest)| rest);
    BEFORE.into_iter().fold(message, cut).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of ONNX Runtime 1.31 for CUDA on a machine without CUDA.
    #[test]
    fn libraries_that_do_not_load_are_reported() {
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
    fn other_problems_are_reported_without_their_location_in_the_source() {
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
