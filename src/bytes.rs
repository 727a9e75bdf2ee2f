//! Shared bytes of files.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a file in memory, static or shared. Cloning does not copy them.
#[derive(Clone)]
pub struct Bytes(Kind);

#[derive(Clone)]
enum Kind {
    Static(&'static [u8]),
    Shared(Arc<[u8]>),
}

impl Bytes {
    /// Returns the bytes as an `Arc`; static bytes are copied.
    pub(crate) fn to_shared(&self) -> Arc<[u8]> {
        match &self.0 {
            Kind::Static(bytes) => Arc::from(*bytes),
            Kind::Shared(bytes) => bytes.clone(),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Static(bytes) => bytes,
            Kind::Shared(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self(Kind::Static(&[]))
    }
}

/// Formats the number of bytes.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Kind::Static(bytes))
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Kind::Shared(bytes))
    }
}

/// Copies the bytes once.
impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Shared(bytes.into()))
    }
}
