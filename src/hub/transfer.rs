//! Files from a hub into the cache: several at a time, resumed where they were cut off, and checked.

use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use florence2_layout::graphs::EXTENSION;

use super::api::{Api, RemoteFile};
use super::cache::RepoCache;
use crate::error::{Error, Result};
use crate::fs::remove;
use crate::http::{check_status, header, network_error};
use crate::options::hub::{HubOptions, HubProgress};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;
/// The longest wait before a retry.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// A download of files of one commit.
pub(super) struct Download<'a> {
    api: &'a Api,
    cache: &'a RepoCache,
    commit: &'a str,
    options: &'a HubOptions,
    /// Set when a file fails. The other transfers end then, and can be resumed later.
    stop: AtomicBool,
}

impl<'a> Download<'a> {
    pub(super) fn new(api: &'a Api, cache: &'a RepoCache, commit: &'a str, options: &'a HubOptions) -> Self {
        Self {
            api,
            cache,
            commit,
            options,
            stop: AtomicBool::new(false),
        }
    }

    /// Fetches those of `files` that are not cached, then links all of them into the commit's folder. Returns the bytes
    /// fetched.
    ///
    /// Graphs are linked last, so that a linked graph has all files that it needs.
    pub(super) fn run(&self, files: &[RemoteFile]) -> Result<u64> {
        let is_missing =
            |file: &&RemoteFile| !self.cache.has(self.commit, file) && !self.cache.has_blob(file);
        let mut missing: Vec<&RemoteFile> = files.iter().filter(is_missing).collect();
        // The longest first, so that none of them runs alone at the end.
        missing.sort_by_key(|file| Reverse(file.size));
        let bytes = missing.iter().map(|file| file.size).sum();
        if !missing.is_empty() {
            self.options.report(HubProgress::Planned {
                files: missing.len(),
                bytes,
            });
            self.fetch_all(&missing)?;
        }
        let (graphs, others): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.path.ends_with(EXTENSION));
        for file in others.into_iter().chain(graphs) {
            self.cache.link(self.commit, file)?;
        }
        Ok(bytes)
    }

    fn fetch_all(&self, files: &[&RemoteFile]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while !self.stop.load(Ordering::Relaxed)
                && let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Err(error) = self.fetch(file)
                    && !self.stop.swap(true, Ordering::Relaxed)
                {
                    // The first error is the cause of all others.
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.options.connections.clamp(1, files.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    /// Fetches a file, unless another process does so first.
    fn fetch(&self, file: &RemoteFile) -> Result<()> {
        let name = file.path.as_str();
        let blob = self.cache.blob(&file.etag);
        let folder = blob.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let _lock = self.cache.lock(&file.etag, || {
            self.options.report(HubProgress::Waiting { file: name });
        })?;
        if !self.cache.has_blob(file) {
            let unfinished = self.cache.unfinished(&file.etag);
            self.options.report(HubProgress::Started {
                file: name,
                size: file.size,
                present: size_of(&unfinished).min(file.size),
            });
            let transfer = Transfer {
                download: self,
                file,
                url: self.api.url(self.commit, name),
                path: &unfinished,
            };
            transfer.run()?;
            fs::rename(&unfinished, &blob).map_err(Error::io(&blob))?;
        }
        self.options.report(HubProgress::Finished { file: name });
        Ok(())
    }
}

/// The transfer of one file.
struct Transfer<'a> {
    download: &'a Download<'a>,
    file: &'a RemoteFile,
    url: String,
    /// The unfinished file.
    path: &'a Path,
}

impl Transfer<'_> {
    /// Completes the unfinished file and checks it. After an error, it can be resumed; a file with a wrong checksum is
    /// removed.
    fn run(&self) -> Result<()> {
        let resumed = size_of(self.path) > 0;
        self.complete()?;
        if self.is_intact()? {
            return Ok(());
        }
        remove(self.path)?;
        if resumed {
            // The bytes of the earlier transfer may be damaged: fetch once more, from the start.
            tracing::warn!(
                file = self.file.path,
                "the start of an interrupted transfer is damaged"
            );
            self.complete()?;
            if self.is_intact()? {
                return Ok(());
            }
            remove(self.path)?;
        }
        Err(self.corrupt("its checksum differs"))
    }

    /// Fetches until the file has its full length.
    fn complete(&self) -> Result<()> {
        let options = self.download.options;
        let left = size_of(self.path);
        let mut furthest = if left > self.file.size { 0 } else { left };
        let mut failures = 0;
        while !(self.path.exists() && size_of(self.path) == self.file.size) {
            let error = match self.fetch() {
                Ok(true) => return Ok(()),
                Ok(false) => self.corrupt("its parts do not fit together"),
                Err(error) if is_transient(&error) => error,
                Err(error) => return Err(error),
            };
            let size = size_of(self.path);
            failures = if size > furthest { 0 } else { failures + 1 };
            furthest = furthest.max(size);
            if failures > options.retries || self.is_stopped() {
                return Err(error);
            }
            let cause = &error as &dyn std::error::Error;
            tracing::debug!(file = self.file.path, error = cause, "the transfer is retried");
            let doubled = options.retry_delay.saturating_mul(1 << failures.min(8));
            thread::sleep(doubled.min(LONGEST_DELAY));
        }
        Ok(())
    }

    /// Requests the missing bytes once. Returns `false` if the bytes of an earlier transfer do not fit; they are
    /// removed.
    fn fetch(&self) -> Result<bool> {
        let mut start = size_of(self.path);
        if start > self.file.size {
            remove(self.path)?;
            start = 0;
        }
        let response = self.download.api.get(&self.url, start)?;
        let status = response.status().as_u16();
        let range = range_start(header(response.headers(), "content-range"));
        let continues = status == 206 && range == Some(start);
        if start > 0 && matches!(status, 200 | 206 | 416) && !continues {
            // The server sends the whole file, or the file has changed.
            remove(self.path)?;
            start = 0;
            if status != 200 {
                return Ok(false);
            }
        }
        check_status(&self.file.path, &self.url, status, response.headers())?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path)
            .map_err(|error| self.unwritable(start, error))?;
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let received = self.receive(&mut body, &mut file, start);
        if received.is_err() && size_of(self.path) == 0 {
            remove(self.path)?;
        }
        received.map(|()| true)
    }

    /// Appends the body to the file, which has `size` bytes.
    fn receive(&self, body: &mut impl Read, file: &mut File, mut size: u64) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        while !self.is_stopped() {
            let read = match body.read(&mut chunk) {
                Ok(0) if size == self.file.size => {
                    return file.sync_all().map_err(|error| self.unwritable(size, error));
                }
                Ok(0) => {
                    let cut = io::Error::from(ErrorKind::UnexpectedEof);
                    return Err(network_error(&self.url)(cut.into()));
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(network_error(&self.url)(error.into())),
            };
            let bytes = read as u64;
            size += bytes;
            if size > self.file.size {
                remove(self.path)?;
                return Err(self.corrupt("it is longer than listed"));
            }
            file.write_all(chunk.get(..read).unwrap_or_default())
                .map_err(|error| self.unwritable(size, error))?;
            self.download.options.report(HubProgress::Received {
                file: &self.file.path,
                bytes,
            });
        }
        Err(Error::Cancelled)
    }

    fn is_stopped(&self) -> bool {
        self.download.stop.load(Ordering::Relaxed)
    }

    fn is_intact(&self) -> Result<bool> {
        match &self.file.checksum {
            Some(checksum) => checksum.matches(self.path).map_err(Error::io(self.path)),
            None => Ok(true),
        }
    }

    fn corrupt(&self, reason: &str) -> Error {
        Error::CorruptDownload {
            url: self.url.clone(),
            reason: reason.to_owned(),
        }
    }

    fn unwritable(&self, size: u64, source: io::Error) -> Error {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::NoSpace {
                path: self.path.to_owned(),
                needed: self.file.size.saturating_sub(size),
            },
            _ => Error::io(self.path)(source),
        }
    }
}

/// Returns whether a retry may succeed.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Network { .. } => true,
        Error::HttpStatus { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        _ => false,
    }
}

/// Returns the size of a file in bytes, 0 if there is none.
fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Returns the position of the first byte in `bytes 5-9/10`.
fn range_start(content_range: Option<&str>) -> Option<u64> {
    let (start, _) = content_range?.trim().strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}
