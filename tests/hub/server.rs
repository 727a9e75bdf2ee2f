//! A local hub with the HTTP interface of the public one (listing, redirects to another host for large files, ranges,
//! checksums in headers) and with failures on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const ID: &str = "org/florence";
/// Files longer than this are on the other host.
const SMALL: usize = 1000;

/// The failure of one request for a file.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection ends after this number of bytes.
    Cut(usize),
    /// The answer is this status, with this error code of the hub's.
    Status(u16, &'static str),
    /// The right number of bytes, all wrong.
    WrongBytes,
    /// The connection stalls after this number of bytes.
    Silence(usize, Duration),
    /// The range is ignored: the response is the whole file.
    NoRanges,
}

/// A received request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whether the host of big files got it, not the hub.
    pub by_blob_host: bool,
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    requests: Vec<Request>,
    /// Status and code of the listing, if it fails.
    listing_fault: Option<(u16, &'static str)>,
    /// Whether the listing has sizes and checksums.
    bare_listing: bool,
    blob_host: String,
}

/// The hub, running until the process ends.
#[derive(Clone)]
pub struct Server {
    state: Arc<Mutex<State>>,
    pub endpoint: String,
}

impl Server {
    pub fn new(files: impl IntoIterator<Item = (impl Into<String>, impl Into<Vec<u8>>)>) -> Self {
        let state = State {
            files: files
                .into_iter()
                .map(|(path, bytes)| (path.into(), bytes.into()))
                .collect(),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let blobs = listen(&state, true);
        let hub = listen(&state, false);
        // Another host name: clients must not send tokens there.
        state.lock().unwrap().blob_host = format!("http://localhost:{blobs}");
        Self {
            state,
            endpoint: format!("http://127.0.0.1:{hub}"),
        }
    }

    /// Makes the next requests for a file's bytes fail, one fault for each.
    pub fn fail(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        let faults = faults.into_iter().collect();
        self.state.lock().unwrap().faults.insert(path.to_owned(), faults);
    }

    pub fn fail_listing(&self, fault: Option<(u16, &'static str)>) {
        self.state.lock().unwrap().listing_fault = fault;
    }

    pub fn list_names_only(&self) {
        self.state.lock().unwrap().bare_listing = true;
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// The requests for a file's bytes since the last call, by range.
    pub fn ranges(&self, path: &str) -> Vec<Option<String>> {
        let small = self.state.lock().unwrap().files[path].len() <= SMALL;
        let requests = self.requests().into_iter();
        let of_file = requests.filter(|request| {
            request.path.ends_with(path) && request.method == "GET" && request.by_blob_host != small
        });
        of_file.map(|request| request.range).collect()
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        self.state.lock().unwrap().files[path].clone()
    }
}

fn listen(state: &Arc<Mutex<State>>, is_blob_host: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let state = state.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            thread::spawn(move || {
                // A client may close the connection early.
                let _ = serve(&stream, &state, is_blob_host);
            });
        }
    });
    port
}

fn serve(stream: &TcpStream, state: &Mutex<State>, is_blob_host: bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let request = Request {
        by_blob_host: is_blob_host,
        method: method.to_owned(),
        path: path.to_owned(),
        range: headers.get("range").cloned(),
        token: headers.get("authorization").cloned(),
    };
    state.lock().unwrap().requests.push(request.clone());
    answer(stream, state, &request)
}

fn answer(stream: &TcpStream, state: &Mutex<State>, request: &Request) -> std::io::Result<()> {
    let guard = state.lock().unwrap();
    if let Some(rest) = request.path.strip_prefix("/api/models/") {
        if let Some((status, code)) = guard.listing_fault {
            drop(guard);
            return respond(stream, status, &[("x-error-code", code)], b"", request);
        }
        if !rest.starts_with(&format!("{ID}/revision/")) {
            drop(guard);
            return respond(stream, 401, &[("x-error-code", "RepoNotFound")], b"", request);
        }
        let listing = listing(&guard).to_string();
        drop(guard);
        return respond(stream, 200, &[], listing.as_bytes(), request);
    }
    let file = request.path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/"));
    let Some(path) = file.or(request.path.strip_prefix("/blobs/")) else {
        drop(guard);
        return respond(stream, 404, &[], b"Not Found", request);
    };
    let Some(bytes) = guard.files.get(path).cloned() else {
        drop(guard);
        return respond(stream, 404, &[("x-error-code", "EntryNotFound")], b"", request);
    };
    let path = path.to_owned();
    let size = bytes.len().to_string();
    if bytes.len() > SMALL && !request.by_blob_host {
        let location = format!("{}/blobs/{path}", guard.blob_host);
        drop(guard);
        let etag = format!("\"{}\"", hex(&Sha256::digest(&bytes)));
        let headers = [
            ("location", location.as_str()),
            ("x-repo-commit", COMMIT),
            ("x-linked-etag", &etag),
            ("x-linked-size", &size),
        ];
        return respond(stream, 302, &headers, b"", request);
    }
    drop(guard);
    let fault = match request.method.as_str() {
        "GET" => state
            .lock()
            .unwrap()
            .faults
            .get_mut(&path)
            .and_then(VecDeque::pop_front),
        _ => None,
    };
    send(stream, bytes, fault, request)
}

fn send(stream: &TcpStream, bytes: Vec<u8>, fault: Option<Fault>, request: &Request) -> std::io::Result<()> {
    let etag = format!("\"{}\"", git_blob(&bytes));
    let start = request
        .range
        .as_ref()
        .filter(|_| !matches!(fault, Some(Fault::NoRanges)))
        .map(|range| {
            range["bytes=".len()..]
                .trim_end_matches('-')
                .parse::<usize>()
                .unwrap()
        });
    if start.is_some_and(|start| start >= bytes.len()) {
        return respond(stream, 416, &[], b"", request);
    }
    let (status, part) = match start {
        Some(start) => (206, &bytes[start..]),
        None => (200, &bytes[..]),
    };
    let range = format!("bytes {}-{}/{}", start.unwrap_or(0), bytes.len() - 1, bytes.len());
    let mut headers = vec![("x-repo-commit", COMMIT), ("etag", etag.as_str())];
    if status == 206 {
        headers.push(("content-range", &range));
    }
    match fault {
        Some(Fault::Status(status, code)) => {
            let headers = [
                ("x-error-code", code),
                ("x-error-message", "as the test wants it"),
            ];
            respond(stream, status, &headers, b"no file, but words", request)
        }
        Some(Fault::WrongBytes) => respond(stream, status, &headers, &vec![b'?'; part.len()], request),
        Some(Fault::Cut(after)) => {
            head(stream, status, &headers, part.len())?;
            (&*stream).write_all(&part[..after])
        }
        Some(Fault::Silence(after, time)) => {
            head(stream, status, &headers, part.len())?;
            (&*stream).write_all(&part[..after])?;
            thread::sleep(time);
            Ok(())
        }
        Some(Fault::NoRanges) | None => respond(stream, status, &headers, part, request),
    }
}

fn listing(state: &State) -> Value {
    let siblings = state.files.iter().map(|(path, bytes)| {
        if state.bare_listing {
            return json!({"rfilename": path});
        }
        let mut sibling = json!({"rfilename": path, "size": bytes.len(), "blobId": git_blob(bytes)});
        if bytes.len() > SMALL {
            sibling["lfs"] = json!({
                "sha256": hex(&Sha256::digest(bytes)),
                "size": bytes.len(),
                "pointerSize": 130,
            });
        }
        sibling
    });
    json!({"id": ID, "sha": COMMIT, "siblings": siblings.collect::<Vec<_>>()})
}

fn respond(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    request: &Request,
) -> std::io::Result<()> {
    head(stream, status, headers, body.len())?;
    match request.method.as_str() {
        "HEAD" => Ok(()),
        _ => stream.write_all(body),
    }
}

fn head(mut stream: &TcpStream, status: u16, headers: &[(&str, &str)], length: usize) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} Status\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes())
}

/// Returns the name of a file in the cache of the hub's tools.
pub fn etag(bytes: &[u8]) -> String {
    match bytes.len() > SMALL {
        true => hex(&Sha256::digest(bytes)),
        false => git_blob(bytes),
    }
}

/// Returns the id of a file's git blob.
fn git_blob(bytes: &[u8]) -> String {
    let header = format!("blob {}\0", bytes.len());
    hex(&Sha1::new().chain_update(header).chain_update(bytes).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
