//! The error type of this crate.
//!
//! A message does not contain that of its cause, which [`source`](std::error::Error::source) returns: a reporter prints both,
//! joined by `: `. So a message with a cause has no full stop at its end.

use std::path::PathBuf;

use florence2_layout::dtypes::Dtype;
use florence2_layout::files::{CONFIG, NAMES, WEIGHTS};
use florence2_layout::tasks::TaskKind;
use florence2_layout::tokenizer::InvalidTokenizer;

use crate::device::{Device, DeviceProblem};

/// A boxed cause whose type is not part of this crate's API.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The name in messages of an image that is fetched by URL.
pub(crate) const IMAGE: &str = "the image";

/// How to install ONNX Runtime; there are no wheels for musl.
const INSTALLING: &str = if cfg!(target_env = "musl") {
    "Install your distribution's package of ONNX Runtime, built for musl, or set ORT_DYLIB_PATH to the library"
} else {
    "Install it (`pip install onnxruntime`), or set ORT_DYLIB_PATH to the library"
};

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. Unexpected text from the model is not an error: the parts that parse are returned, with
/// the raw text.
///
/// The message is without the cause, which [`source`](std::error::Error::source) returns: print the whole chain, as `anyhow`
/// and `eyre` do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No ONNX Runtime library was found.
    #[error(
        "ONNX Runtime 1.{} or later was not found. Looked in:\n{}\n{INSTALLING}{}",
        ort::MINOR_VERSION,
        searched.iter().map(|location| format!("  - {location}")).collect::<Vec<_>>().join("\n"),
        if cfg!(all(feature = "fetch-runtime", not(target_env = "musl"))) {
            ", or call `florence2::runtime::fetch`"
        } else {
            ""
        }
    )]
    RuntimeNotFound {
        /// The locations in the order in which they were searched, each with the reason why nothing there was loaded.
        searched: Vec<String>,
    },
    /// The ONNX Runtime library that the user named could not be loaded.
    #[error(
        "cannot load ONNX Runtime from {}: {reason}; it must be version 1.{} or later, for this machine",
        path.display(), ort::MINOR_VERSION
    )]
    RuntimeLoad {
        /// The path of the library.
        path: PathBuf,
        /// The loader's message.
        reason: String,
    },
    /// ONNX Runtime could not be fetched.
    #[error("cannot fetch ONNX Runtime: {reason}. {INSTALLING}")]
    RuntimeFetch {
        /// What was tried, and the result.
        reason: String,
    },
    /// Another crate, or the application, has made ONNX Runtime's environment, of which a process can have only one.
    #[error(
        "ONNX Runtime's environment, of which a process can have only one, was made elsewhere in this process; pass it by \
         `RuntimeOptions::with_environment`, or call `florence2::runtime::environment` first and use its environment there"
    )]
    EnvironmentExists,
    /// ONNX Runtime returned an error.
    #[error("ONNX Runtime failed while {context}")]
    Ort {
        /// The operation: `loading graph …`.
        context: String,
        /// ONNX Runtime's error.
        source: Cause,
    },
    /// A device cannot be used on this machine.
    #[error(
        "device {device} cannot be used: {problem}; it needs {}{}",
        device.kind().needs(),
        if cfg!(feature = "load-dynamic") { "; set ORT_DYLIB_PATH to use another ONNX Runtime" } else { "" }
    )]
    DeviceUnusable {
        /// The requested device.
        device: Device,
        /// The reason.
        problem: DeviceProblem,
    },
    /// A file or folder cannot be read or written.
    #[error("{} cannot be accessed", path.display())]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A JSON file cannot be parsed.
    #[error("{} is not valid; fetch or export the model again", path.display())]
    Json {
        /// The path of the file or folder.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A model lacks files.
    #[error(
        "{} is not a complete Florence-2 model; missing: {}{}; fetch or export the model again",
        path.display(),
        missing.join(", "),
        other_graphs(found)
    )]
    IncompleteModel {
        /// The folder, or the id on a hub.
        path: PathBuf,
        /// The missing files, as paths inside the folder, each with its alternatives.
        missing: Vec<String>,
        /// Graphs under other names, as paths inside the folder.
        found: Vec<String>,
    },
    /// A folder holds a checkpoint without ONNX graphs.
    #[error("{} holds a checkpoint, not ONNX graphs; export it first (`florence2_export::export`)", path.display())]
    CheckpointOnly {
        /// The folder.
        path: PathBuf,
    },
    /// A model has no complete graphs of the requested dtypes, but graphs of others.
    #[error(
        "{} has no complete model of dtype {wanted}, but graphs of {}; missing: {}; choose one of those dtypes, or none",
        path.display(),
        offered.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", "),
        missing.join(", ")
    )]
    DtypeNotFound {
        /// The folder, or the id on a hub.
        path: PathBuf,
        /// The requested dtypes: `q4`, or `fp32,decoder=q4`.
        wanted: String,
        /// The dtypes of the graphs that are there.
        offered: Vec<Dtype>,
        /// The missing files of the requested dtypes.
        missing: Vec<String>,
    },
    /// A repository has neither a complete set of graphs nor a checkpoint.
    #[error(
        "{model} has neither ONNX graphs ({} missing) nor a checkpoint ({CONFIG} and {WEIGHTS}); choose another model",
        missing.join(", ")
    )]
    NoGraphs {
        /// The id of the model.
        model: String,
        /// The missing files of the graphs.
        missing: Vec<String>,
    },
    /// A PEFT adapter was given in place of a model.
    #[error(
        "{model} is a PEFT adapter of {base}, not a whole model; merge it into a checkpoint of {base} and export the result"
    )]
    IsAdapter {
        /// The folder, or the id of the model.
        model: String,
        /// The base model's name, as the adapter's configuration has it.
        base: String,
    },
    /// A repository has no PEFT adapter.
    #[error("{model} has no PEFT adapter (adapter_config.json and adapter_model.safetensors)")]
    NoAdapter {
        /// The id of the model.
        model: String,
    },
    /// The files of a model contradict each other.
    #[error("{} is not a usable Florence-2 model: {reason}", path.display())]
    InvalidBundle {
        /// The folder.
        path: PathBuf,
        /// The contradiction, and what to do.
        reason: String,
    },
    /// A graph does not have the inputs and outputs of its layout.
    #[error("graph {graph} is invalid: {reason}")]
    InvalidGraph {
        /// The name of the graph.
        graph: String,
        /// What is missing or invalid.
        reason: String,
    },
    /// A graph's output has NaN or infinity.
    #[error(
        "output {output} of graph {graph} has NaN or infinity: float16 overflowed, or the weights are damaged; use this \
         graph in fp32, or fetch or export the model again"
    )]
    NotFinite {
        /// The graph; its inputs are finite.
        graph: String,
        /// The name of the output.
        output: String,
    },
    /// The tokenizer cannot be read, or rejects a text.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// The operation, or what is wrong.
        reason: String,
        /// The tokenizer's error.
        source: Option<Cause>,
    },
    /// A file is no image, is damaged, or has an unsupported format.
    #[error("{name} cannot be read as an image")]
    ImageDecode {
        /// The file, or the image's name.
        name: String,
        /// The decoder's error.
        source: image::ImageError,
    },
    /// An image has more pixels than the limit.
    #[error(
        "{name}: {width}x{height} pixels exceed the limit of {limit} pixels; raise `ImageLimits::max_pixels` if you trust the image"
    )]
    ImageTooLarge {
        /// The file, or the image's name.
        name: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit, in pixels.
        limit: u64,
    },
    /// An encoded image has more bytes than the limit.
    #[error("{name} has more than {limit} bytes; raise `ImageLimits::max_file_bytes` if you trust the image")]
    ImageFileTooLarge {
        /// The file, or the image's name.
        name: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// An image has no pixels.
    #[error("the image is empty ({width}x{height} pixels)")]
    ImageEmpty {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The image processor does not resize (`do_resize` is false), and an image has another size than the vision encoder's input.
    #[error(
        "the image has {width}x{height} pixels where the vision encoder takes {wanted_width}x{wanted_height}; resize it, or set \
         do_resize to true in preprocessor_config.json"
    )]
    ImageSize {
        /// The image's width in pixels.
        width: u32,
        /// The image's height in pixels.
        height: u32,
        /// The width that the vision encoder takes.
        wanted_width: u32,
        /// The height that the vision encoder takes.
        wanted_height: u32,
    },
    /// Saved features or pixel values cannot be read.
    #[error("no saved {name}: {reason}. Make and save them again.")]
    InvalidTensorFile {
        /// The name of the tensor: `image_features`, `pixel_values`.
        name: String,
        /// What is missing or damaged.
        reason: String,
    },
    /// Image features or pixel values were made by or for another model.
    #[error(
        "the {what} are of another model ({found}; this model's are {expected}): make them again with this model"
    )]
    OtherModel {
        /// `image features` or `pixel values`.
        what: &'static str,
        /// The fingerprint of the vision encoder that made the features, or the settings of the image processor.
        found: String,
        /// This model's.
        expected: String,
    },
    /// A task needs a text and got none.
    #[error("task {} needs a text: the phrase to look for", task.spec().tag)]
    TaskNeedsText {
        /// The requested task.
        task: TaskKind,
    },
    /// A task needs a region and got none.
    #[error("task {} needs a region: x1,y1,x2,y2", task.spec().tag)]
    TaskNeedsRegion {
        /// The requested task.
        task: TaskKind,
    },
    /// A task does not take this input.
    #[error("task {} takes no {input}", task.spec().tag)]
    TaskTakesNo {
        /// The requested task.
        task: TaskKind,
        /// `text` or `region`.
        input: &'static str,
    },
    /// A region is reversed, empty or outside the image.
    #[error(
        "region {region} is {reason}; the image is {width}x{height} pixels, and a region is x1,y1,x2,y2 with x1 < x2 and y1 < y2"
    )]
    InvalidRegion {
        /// The region as given.
        region: String,
        /// The reason: `empty`, `not inside the image`.
        reason: &'static str,
        /// Image width in pixels.
        width: u32,
        /// Image height in pixels.
        height: u32,
    },
    /// The value of a setting is invalid, by itself or together with others.
    #[error("{name}: {reason}")]
    InvalidOption {
        /// The name of the setting.
        name: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// An environment variable does not have a usable value, or a necessary one is not set.
    #[error("environment variable {name}: {reason}")]
    InvalidEnvironment {
        /// The name of the variable.
        name: &'static str,
        /// What is wrong with its value, or why it is needed.
        reason: String,
    },
    /// A setting in a model's files that is not of its type, or not supported.
    #[error("{name} in {file}: {reason}")]
    InvalidSetting {
        /// The file.
        file: &'static str,
        /// The name of the setting.
        name: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// Image and prompt together have more tokens than the model has positions.
    #[error("the prompt has {tokens} tokens with the image; this model takes at most {limit}; shorten it")]
    PromptTooLong {
        /// The number of image tokens and prompt tokens.
        tokens: usize,
        /// The number of the model's positions.
        limit: usize,
    },
    /// No folder has this name, and it is not a valid name of a model on a hub.
    #[error("{name:?}: there is no such folder{}", if cfg!(feature = "hub") {
        ", and a model on a hub is named `organisation/name` or `organisation/name@revision`"
    } else {
        "; models on a hub need the crate's feature `hub`"
    })]
    UnknownModel {
        /// The name as given.
        name: String,
    },
    /// A server does not have a model, revision or file, or hides it.
    #[error(
        "{what} was not found (HTTP {status} for {url}); check the spelling{}",
        of_models(what, "; a private model needs a token (HF_TOKEN)")
    )]
    NotFound {
        /// The name of the thing requested.
        what: String,
        /// The requested URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A server denied access.
    #[error(
        "access to {what} was denied (HTTP {status} for {url}){}{}",
        quoted(reason),
        of_models(
            what,
            ". A private model needs a token with read access in HF_TOKEN; for a gated model, accept its terms on its page first"
        )
    )]
    AccessDenied {
        /// The name of the thing requested.
        what: String,
        /// The requested URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's reason; may be empty.
        reason: String,
    },
    /// A server cannot be reached, stops sending, or sends something unexpected.
    #[error("cannot fetch {url}; {}", network_advice(source))]
    Network {
        /// The requested URL.
        url: String,
        /// The cause.
        source: Cause,
    },
    /// A server answered with a status other than success, not found and access denied.
    #[error("{url} answered with HTTP status {status}{}; try again later", quoted(reason))]
    HttpStatus {
        /// The requested URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's reason; may be empty.
        reason: String,
    },
    /// A downloaded file differs from what the hub lists. It was not kept.
    #[error(
        "{url} is not the file that the hub lists: {reason}; it was not kept; try again, or without proxies"
    )]
    CorruptDownload {
        /// The file.
        url: String,
        /// The difference.
        reason: String,
    },
    /// A model is needed without network and is not complete in the cache.
    #[error("{model} is not complete in the cache ({}), and network use is disabled: {reason}; fetch it while online (`hub::prepare`)", folder.display())]
    NotCached {
        /// The id of the model.
        model: String,
        /// The model's folder in the cache.
        folder: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The disk is full.
    #[error("no space for {}: {needed} bytes are missing; free disk space (`cache_entries` lists what is cached) and try again: the download resumes", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// The number of bytes still to be downloaded.
        needed: u64,
    },
    /// An image on a server has more bytes than the limit.
    #[error("{url} has more than the allowed {limit} bytes; raise `UrlLimits::max_bytes` if you trust it")]
    DownloadTooLarge {
        /// The requested URL.
        url: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The caller cancelled the request.
    #[error("cancelled")]
    Cancelled,
    /// The request was not answered by its deadline.
    #[error(
        "the deadline has passed; allow more time (`RunOptions::with_timeout`), or fewer beams or tokens"
    )]
    DeadlineExceeded,
    /// A checkpoint (the embedded one, or one of a hub) cannot be exported.
    #[cfg(any(feature = "demo", feature = "hub"))]
    #[error(transparent)]
    Export(#[from] florence2_export::Error),
}

/// Returns what to do about a failed connection.
fn network_advice(source: &Cause) -> &'static str {
    if source.to_string().contains("UnknownIssuer") {
        "the server's certificate is not signed by a trusted authority: set SSL_CERT_FILE to a PEM file of certificates to \
         trust, as a company's proxy may need"
    } else {
        "check the connection and the address, and try again; downloads of a model's files resume"
    }
}

/// Returns a part of a sentence about graphs under other names.
fn other_graphs(found: &[String]) -> String {
    const SHOWN: usize = 12;
    if found.is_empty() {
        return String::new();
    }
    let more = if found.len() > SHOWN { ", ..." } else { "" };
    let shown: Vec<&str> = found.iter().take(SHOWN).map(String::as_str).collect();
    format!(
        "; graphs under other names, which {NAMES} can map: {}{more}",
        shown.join(", ")
    )
}

/// Returns advice about models, unless an image was requested.
fn of_models<'a>(what: &str, advice: &'a str) -> &'a str {
    if what == IMAGE { "" } else { advice }
}

/// Formats a reason, which may be empty, to follow a sentence.
fn quoted(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

impl From<InvalidTokenizer> for Error {
    fn from(invalid: InvalidTokenizer) -> Self {
        Error::Tokenizer {
            reason: invalid.to_string(),
            source: None,
        }
    }
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn ort(context: impl Into<String>) -> impl FnOnce(ort::Error) -> Error {
        let context = context.into();
        move |source| Error::Ort {
            context,
            source: source.into(),
        }
    }

    /// Returns whether the request is at fault (its image, text, region or options), not the model or the machine. A
    /// server answers with a status 4xx, a batch job continues with the next image.
    ///
    /// For errors of a request; of an error of loading a model, [`InvalidOption`](Self::InvalidOption) is the application's.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Error::ImageDecode { .. }
                | Error::ImageTooLarge { .. }
                | Error::ImageFileTooLarge { .. }
                | Error::DownloadTooLarge { .. }
                | Error::ImageEmpty { .. }
                | Error::ImageSize { .. }
                | Error::TaskNeedsText { .. }
                | Error::TaskNeedsRegion { .. }
                | Error::TaskTakesNo { .. }
                | Error::InvalidRegion { .. }
                | Error::InvalidOption { .. }
                | Error::PromptTooLong { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    /// Returns an error of each variant that has a cause, with the text `the cause` in it.
    fn errors_with_a_cause() -> Vec<Error> {
        let cause = || Cause::from("the cause");
        let json = || serde_json::Error::io(io::Error::other("the cause"));
        let errors = [
            Error::Ort {
                context: "loading a graph".into(),
                source: cause(),
            },
            Error::io("file")(io::Error::other("the cause")),
            Error::Json {
                path: "file".into(),
                source: json(),
            },
            Error::Tokenizer {
                reason: "reading a file".into(),
                source: Some(cause()),
            },
            Error::ImageDecode {
                name: "file".into(),
                source: image::ImageError::IoError(io::Error::other("the cause")),
            },
            Error::Network {
                url: "http://host/".into(),
                source: cause(),
            },
        ];
        #[cfg(any(feature = "demo", feature = "hub"))]
        let errors = errors.into_iter().chain([
            Error::from(florence2_export::Error::Read {
                path: "file".into(),
                source: io::Error::other("the cause"),
            }),
            Error::from(florence2_export::Error::Write {
                path: "file".into(),
                source: io::Error::other("the cause"),
            }),
            Error::from(florence2_export::Error::Json {
                file: "file".into(),
                source: json(),
            }),
            Error::from(florence2_export::Error::Safetensors {
                file: "file".into(),
                source: cause(),
            }),
        ]);
        errors.into_iter().collect()
    }

    #[test]
    fn a_request_is_not_at_fault_for_the_machine() {
        assert!(Error::ImageEmpty { width: 0, height: 1 }.is_input());
        assert!(!Error::Cancelled.is_input());
        assert!(!Error::io("model")(io::Error::other("unreadable")).is_input());
    }

    #[test]
    fn messages_leave_the_cause_to_source() {
        let errors = errors_with_a_cause();
        for error in &errors {
            let (message, cause) = (error.to_string(), error.source().unwrap().to_string());
            assert!(!message.contains(&cause) && !message.ends_with('.'), "{message}");
            assert_eq!(cause, "the cause");
        }
    }
}
