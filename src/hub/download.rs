//! Several files at a time, and a commit's folder when all are there.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use florence2_layout::graphs::EXTENSION;

use super::cache::{RepoCache, has_size};
use super::client::Client;
use super::listing::RemoteFile;
use super::options::{HubOptions, HubProgress};
use super::transfer::Transfer;
use crate::error::{Error, Result};

/// Where files come from and go to.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a RepoCache,
    pub(super) commit: &'a str,
    pub(super) options: &'a HubOptions,
}

impl Download<'_> {
    /// Fetches what is not there of `files`, then gives all of them their names; gives the bytes fetched.
    ///
    /// Graphs get their names last: where there is a graph, there is all that it needs.
    pub(super) fn run(&self, files: &[RemoteFile]) -> Result<u64> {
        let mut missing: Vec<&RemoteFile> = files
            .iter()
            .filter(|file| !self.cache.has(self.commit, file) && !self.is_kept(file))
            .collect();
        // The longest first, so that none of them is left for the end.
        missing.sort_by_key(|file| std::cmp::Reverse(file.size));
        if !missing.is_empty() {
            self.options.report(HubProgress::Planned {
                files: missing.len(),
                bytes: missing.iter().map(|file| file.size).sum(),
            });
            self.fetch_all(&missing)?;
        }
        let (graphs, others): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.path.ends_with(EXTENSION));
        for file in others.into_iter().chain(graphs) {
            self.cache.link(self.commit, file)?;
        }
        Ok(missing.iter().map(|file| file.size).sum())
    }

    fn is_kept(&self, file: &RemoteFile) -> bool {
        has_size(&self.cache.blob(&file.etag), file.size)
    }

    fn fetch_all(&self, files: &[&RemoteFile]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let failure = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::Relaxed)
                && let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Err(error) = self.fetch(file, &stop)
                    && !stop.swap(true, Ordering::Relaxed)
                {
                    // The first; the others end because of it.
                    *failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.options.connections.clamp(1, files.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        match failure
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Fetches a file, unless another process has done so meanwhile.
    fn fetch(&self, file: &RemoteFile, stop: &AtomicBool) -> Result<()> {
        let name = file.path.as_str();
        let blob = self.cache.blob(&file.etag);
        let folder = blob.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let _lock = self.cache.lock(&file.etag, || {
            self.options.report(HubProgress::Waiting { file: name });
        })?;
        if !self.is_kept(file) {
            let unfinished = self.cache.unfinished(&file.etag);
            let present = fs::metadata(&unfinished).map_or(0, |left| left.len());
            self.options.report(HubProgress::Started {
                file: name,
                size: file.size,
                present: present.min(file.size),
            });
            let transfer = Transfer {
                client: self.client,
                file,
                url: &self.client.url(self.commit, name),
                options: self.options,
                stop,
                received: &|bytes| self.options.report(HubProgress::Received { file: name, bytes }),
            };
            transfer.run(&unfinished)?;
            fs::rename(&unfinished, &blob).map_err(Error::io(&blob))?;
        }
        self.options.report(HubProgress::Finished { file: name });
        Ok(())
    }
}
