//! The one error type.

use std::path::PathBuf;

use florence2_layout::tasks::TaskKind;
use florence2_layout::tokenizer::InvalidTokenizer;

use crate::runtime::{Device, DeviceProblem};

/// A boxed cause whose type is not part of this crate's interface.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What messages call a picture that is asked for at an address.
pub(crate) const PICTURE: &str = "the picture";

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Odd model text is not among it: what parses is returned, with the raw text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No ONNX Runtime library in any of the places where it is looked for.
    #[error(
        "ONNX Runtime was not found. Looked in:\n{}\nInstall it (`pip install onnxruntime`), set ORT_DYLIB_PATH to the \
         library, or call `florence2::runtime::fetch` (the command line does so by itself).",
        searched.iter().map(|place| format!("  - {place}")).collect::<Vec<_>>().join("\n")
    )]
    RuntimeNotFound {
        /// The places, in the order in which they were tried, each with what was wrong there.
        searched: Vec<String>,
    },
    /// A library was found (or named) but could not be loaded.
    #[error("cannot load ONNX Runtime from {}: {reason}. It must be version 1.22 or later, for this machine.", path.display())]
    RuntimeLoad {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// ONNX Runtime could not be fetched.
    #[error(
        "cannot fetch ONNX Runtime: {reason}. Install it (`pip install onnxruntime`) or set ORT_DYLIB_PATH to the library."
    )]
    RuntimeFetch {
        /// What was tried, and what came of it.
        reason: String,
    },
    /// ONNX Runtime refused something.
    #[error("ONNX Runtime failed while {context}: {source}")]
    Ort {
        /// What was being done.
        context: String,
        /// What it said.
        source: ort::Error,
    },
    /// A device that cannot be used here.
    #[error(
        "device {device} cannot be used: {problem}. It takes {}. `florence2 devices` shows what can be used here; another \
         ONNX Runtime is named by --ort-library or ORT_DYLIB_PATH.",
        device.kind().needs()
    )]
    DeviceUnusable {
        /// The device.
        device: Device,
        /// Why.
        problem: DeviceProblem,
    },
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold the JSON that its name promises.
    #[error("{} is not valid: {source}. Fetch or export the model again.", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Not a model, or not all of one.
    #[error("{} is not a usable Florence-2 model: {reason}", path.display())]
    InvalidBundle {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong, and what to do.
        reason: String,
    },
    /// A graph has not the inputs and outputs that its layout promises.
    #[error("graph {graph} does not fit: {reason}")]
    InvalidGraph {
        /// The graph.
        graph: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A graph's output that holds NaN or infinity.
    #[error(
        "graph {graph} gave NaN or infinity in {output}: float16 overflowed in it, or its weights are damaged. Take this \
         graph in fp32, or fetch or export the model again."
    )]
    NotFinite {
        /// The graph, of which the inputs are finite.
        graph: String,
        /// The output.
        output: String,
    },
    /// The tokenizer could not be read, or refused a text.
    #[error("tokenizer: {reason}{}", source.as_ref().map(|source| format!(": {source}")).unwrap_or_default())]
    Tokenizer {
        /// What was being done.
        reason: String,
        /// What it said.
        source: Option<Cause>,
    },
    /// A picture that is none, or is damaged, or is of a kind that cannot be read.
    #[error("{}: cannot be read as a picture: {source}", name)]
    ImageDecode {
        /// The file, or what the picture was called.
        name: String,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A picture that would need more memory than the limit allows.
    #[error(
        "{name}: {width}x{height} pixels are over the limit of {limit} pixels; raise `ImageLimits::max_pixels` (--max-pixels) if you trust it"
    )]
    ImageTooLarge {
        /// The file, or what the picture was called.
        name: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit, in pixels.
        limit: u64,
    },
    /// A picture without pixels.
    #[error("the picture is empty ({width}x{height} pixels)")]
    ImageEmpty {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The task wants a text, and got none.
    #[error("task {} needs a text: what to look for", task.spec().tag)]
    TaskNeedsText {
        /// The task.
        task: TaskKind,
    },
    /// The task wants a region, and got none.
    #[error("task {} needs a region: x1,y1,x2,y2", task.spec().tag)]
    TaskNeedsRegion {
        /// The task.
        task: TaskKind,
    },
    /// The task takes no such input.
    #[error("task {} takes no {input}", task.spec().tag)]
    TaskTakesNo {
        /// The task.
        task: TaskKind,
        /// `text` or `region`.
        input: &'static str,
    },
    /// A region that is reversed, empty or not inside the image.
    #[error(
        "region {region} is {reason}; the image is {width}x{height} pixels, and a region is x1,y1,x2,y2 with x1 < x2 and y1 < y2"
    )]
    InvalidRegion {
        /// The region as given.
        region: String,
        /// What is wrong with it.
        reason: &'static str,
        /// Image width in pixels.
        width: u32,
        /// Image height in pixels.
        height: u32,
    },
    /// A setting that makes no sense, alone or beside the others.
    #[error("{name}: {reason}")]
    InvalidOption {
        /// The setting.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting in a model's files that is not of its type, or not supported.
    #[error("{name} in {file}: {reason}")]
    InvalidSetting {
        /// The file.
        file: &'static str,
        /// The setting.
        name: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// Image and prompt together are longer than the model's positions.
    #[error("the prompt has {tokens} tokens with the image; this model takes at most {limit}. Shorten it.")]
    PromptTooLong {
        /// Image tokens and prompt tokens.
        tokens: usize,
        /// The model's positions.
        limit: usize,
    },
    /// A name that is no folder's and cannot be a model's on a hub.
    #[error(
        "{name:?}: there is no such folder, and a model's name on a hub would be `organisation/name` or \
         `organisation/name@revision`"
    )]
    UnknownModel {
        /// The name as given.
        name: String,
    },
    /// A model, revision or file that a server has not, or does not show.
    #[error(
        "{what} was not found (HTTP {status} for {url}). Check the spelling{}",
        of_models(what, "; a private model needs a token (HF_TOKEN)")
    )]
    NotFound {
        /// What was looked for.
        what: String,
        /// Where.
        url: String,
        /// What the server answered.
        status: u16,
    },
    /// A server refused access.
    #[error(
        "access to {what} was refused (HTTP {status} for {url}){}{}",
        quoted(reason),
        of_models(
            what,
            ". A private model needs HF_TOKEN, a token that may read it; a gated one's terms are to be accepted on its page \
             first"
        )
    )]
    AccessDenied {
        /// What was asked for.
        what: String,
        /// Where.
        url: String,
        /// What the server answered.
        status: u16,
        /// Its reason; may be empty.
        reason: String,
    },
    /// A server that cannot be reached, falls silent, or speaks of something else.
    #[error("cannot fetch {url}: {source}. {}", network_advice(source))]
    Network {
        /// What was asked for.
        url: String,
        /// Why.
        source: Cause,
    },
    /// A server's answer that is neither the file nor a refusal.
    #[error(
        "{url} answered with HTTP status {status}{}. Try again later.",
        quoted(reason)
    )]
    HttpStatus {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The server's reason; may be empty.
        reason: String,
    },
    /// What came is not what the hub lists. Nothing of it was kept.
    #[error(
        "{url} is not the file that the hub lists: {reason}. Nothing of it was kept; try again, or without proxies."
    )]
    CorruptDownload {
        /// The file.
        url: String,
        /// What differs.
        reason: String,
    },
    /// A model that is to be used without network, and is not there.
    #[error("{model} is not whole in the cache ({}), and the network is not to be used: {reason}. Fetch it while online: `florence2 pull {model}`.", folder.display())]
    NotCached {
        /// The model.
        model: String,
        /// Where it would be.
        folder: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The disk is full.
    #[error("no space for {}: {needed} bytes are still to come. Make room (`florence2 cache list` shows what is kept), and try again: it goes on where it ended.", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Bytes that are missing.
        needed: u64,
    },
    /// A picture on a server that is longer than the limit allows.
    #[error(
        "{url} has more than the allowed {limit} bytes; raise `UrlLimits::max_bytes` (--url-max-bytes) if you trust it"
    )]
    DownloadTooLarge {
        /// The picture.
        url: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The work was called off by its caller.
    #[error("cancelled")]
    Cancelled,
    /// The answer was not there by the time that its caller had set.
    #[error(
        "the deadline has passed; allow more time (`RunOptions::with_timeout`), or fewer beams or tokens"
    )]
    DeadlineExceeded,
    /// A checkpoint (the embedded one, or one of a hub) could not be exported.
    #[cfg(any(feature = "demo", feature = "hub"))]
    #[error(transparent)]
    Export(#[from] florence2_export::Error),
}

/// What to do about a connection that failed.
fn network_advice(source: &Cause) -> &'static str {
    if source.to_string().contains("UnknownIssuer") {
        "The server's certificate is by nobody whom this program knows: name a file of certificates to trust (PEM) in \
         SSL_CERT_FILE, as a company's proxy may need."
    } else {
        "Check the connection and the address, and try again; a model's files go on where they ended."
    }
}

/// Advice that is of use where a model is asked for.
fn of_models<'a>(what: &str, advice: &'a str) -> &'a str {
    match what {
        PICTURE => "",
        _ => advice,
    }
}

/// A reason that may be empty, to follow a sentence.
fn quoted(reason: &str) -> String {
    match reason.is_empty() {
        true => String::new(),
        false => format!(": {reason}"),
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
        move |source| Error::Ort { context, source }
    }
}
