//! One file's way from the hub to the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::listing::RemoteFile;
use super::options::HubOptions;
use crate::error::{Error, Result};
use crate::http::{check_status, header, network_error};

/// How much is read at a time.
const CHUNK: usize = 1 << 16;
/// The longest wait before a retry.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// A transfer: of which file, from where, and who wants to know.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client,
    pub(super) file: &'a RemoteFile,
    pub(super) url: &'a str,
    pub(super) options: &'a HubOptions,
    /// Set when another file's transfer has failed: this one ends then, and can be taken up later.
    pub(super) stop: &'a AtomicBool,
    /// Is told of the bytes that arrive.
    pub(super) received: &'a dyn Fn(u64),
}

/// How a request went that brought no error.
enum Fetched {
    /// The file is as long as it is to be.
    Whole,
    /// What was there did not fit, and is gone.
    StartAnew,
}

impl Transfer<'_> {
    /// Brings the file at `path` to what the hub lists, going on after what is there. At the end it is whole and
    /// checked; after an error, what arrived is there still, unless it was wrong.
    pub(super) fn run(&self, path: &Path) -> Result<()> {
        let resumed = size_of(path) > 0;
        self.complete(path)?;
        if self.is_right(path)? {
            return Ok(());
        }
        if resumed {
            // What an earlier process left may be at fault; the hub gets one chance to be right by itself.
            tracing::warn!(
                file = self.file.path,
                "what was left of an earlier transfer is damaged"
            );
            remove(path)?;
            self.complete(path)?;
            if self.is_right(path)? {
                return Ok(());
            }
        }
        remove(path)?;
        Err(self.corrupt("its checksum is another"))
    }

    /// Fetches until the file is as long as it is to be.
    fn complete(&self, path: &Path) -> Result<()> {
        let left = size_of(path);
        let mut furthest = if left > self.file.size { 0 } else { left };
        let mut failures = 0;
        while !(path.exists() && size_of(path) == self.file.size) {
            let error = match self.fetch(path) {
                Ok(Fetched::Whole) => return Ok(()),
                Ok(Fetched::StartAnew) => self.corrupt("its parts do not fit together"),
                Err(error) if !is_passing(&error) => return Err(error),
                Err(error) => error,
            };
            let size = size_of(path);
            failures = if size > furthest { 0 } else { failures + 1 };
            furthest = furthest.max(size);
            if failures > self.options.retries || self.stop.load(Ordering::Relaxed) {
                return Err(error);
            }
            tracing::debug!(file = self.file.path, %error, "the transfer is tried again");
            let doubled = self.options.retry_delay.saturating_mul(1 << failures.min(8));
            thread::sleep(doubled.min(LONGEST_DELAY));
        }
        Ok(())
    }

    /// One request, for what is missing.
    fn fetch(&self, path: &Path) -> Result<Fetched> {
        let mut start = size_of(path);
        if start > self.file.size {
            remove(path)?;
            start = 0;
        }
        let response = self.client.get(self.url, start)?;
        let status = response.status().as_u16();
        let continues =
            status == 206 && range_start(header(response.headers(), "content-range")) == Some(start);
        if start > 0 && matches!(status, 200 | 206 | 416) && !continues {
            // The whole file comes, or what is here is of another one.
            remove(path)?;
            start = 0;
            if status != 200 {
                return Ok(Fetched::StartAnew);
            }
        }
        check_status(&self.file.path, self.url, status, response.headers())?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| self.unwritable(path, start, error))?;
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let received = self.receive(&mut body, &mut file, path, start);
        if received.is_err() && size_of(path) == 0 {
            // Nothing to go on with.
            remove(path)?;
        }
        received.map(|()| Fetched::Whole)
    }

    fn receive(&self, body: &mut impl Read, file: &mut File, path: &Path, mut size: u64) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        while !self.stop.load(Ordering::Relaxed) {
            let read = match body.read(&mut chunk) {
                Ok(0) if size == self.file.size => {
                    return file
                        .sync_all()
                        .map_err(|error| self.unwritable(path, size, error));
                }
                Ok(0) => {
                    let cut = std::io::Error::from(ErrorKind::UnexpectedEof);
                    return Err(network_error(self.url)(cut.into()));
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(network_error(self.url)(error.into())),
            };
            size += read as u64;
            if size > self.file.size {
                remove(path)?;
                return Err(self.corrupt("it is longer"));
            }
            let bytes = chunk.get(..read).unwrap_or_default();
            file.write_all(bytes)
                .map_err(|error| self.unwritable(path, size, error))?;
            (self.received)(read as u64);
        }
        Err(Error::Cancelled)
    }

    fn is_right(&self, path: &Path) -> Result<bool> {
        match &self.file.checksum {
            Some(checksum) => checksum.matches(path).map_err(Error::io(path)),
            None => Ok(true),
        }
    }

    fn corrupt(&self, reason: &str) -> Error {
        Error::CorruptDownload {
            url: self.url.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn unwritable(&self, path: &Path, size: u64, source: std::io::Error) -> Error {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::NoSpace {
                path: path.to_owned(),
                needed: self.file.size.saturating_sub(size),
            },
            _ => Error::io(path)(source),
        }
    }
}

/// Whether it may go well another time.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Network { .. } => true,
        Error::HttpStatus { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        _ => false,
    }
}

/// The size of a file; 0 if there is none.
fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// The first byte's position in `bytes 5-9/10`.
fn range_start(content_range: Option<&str>) -> Option<u64> {
    let (start, _) = content_range?.trim().strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}
