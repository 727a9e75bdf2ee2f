//! What a model is called on a hub.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The branch that is meant where none is named.
const DEFAULT_REVISION: &str = "main";
/// The hub's own limit for each half of an id.
const MAX_LENGTH: usize = 96;

/// A model on a hub: `organisation/name`, or `organisation/name@revision` for a branch, tag or commit other than
/// `main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId {
    repository: String,
    revision: String,
}

impl ModelId {
    /// `organisation/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a commit, which is the same for ever.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

/// Whether this is a commit's full hash.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        match self.revision.as_str() {
            DEFAULT_REVISION => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

impl FromStr for ModelId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let valid = repository
            .split_once('/')
            .is_some_and(|(organisation, name)| is_name(organisation) && is_name(name));
        match valid && revision.split('/').all(is_revision_part) {
            true => Ok(Self {
                repository: repository.to_owned(),
                revision: revision.to_owned(),
            }),
            false => Err(Error::UnknownModel {
                name: text.to_owned(),
            }),
        }
    }
}

/// The hub's rule for each half of an id.
fn is_name(name: &str) -> bool {
    let characters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty()
        && name.len() <= MAX_LENGTH
        && name.chars().all(characters)
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && !name.contains("--")
        && !name.contains("..")
}

/// git's rule for a part of a reference, as far as it keeps the name inside the cache.
fn is_revision_part(part: &str) -> bool {
    let characters = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !part.is_empty() && part.chars().all(characters) && !part.starts_with('.') && !part.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written() {
        for (text, repository, revision) in [
            ("org/name", "org/name", "main"),
            ("a.b/c_d-2@refs/pr/1", "a.b/c_d-2", "refs/pr/1"),
            ("o/n@v1.0", "o/n", "v1.0"),
        ] {
            let id: ModelId = text.parse().unwrap();
            assert_eq!((id.repository(), id.revision()), (repository, revision));
            assert_eq!(id.to_string(), text);
        }
        let main: ModelId = "org/name@main".parse().unwrap();
        assert_eq!(main.to_string(), "org/name");
        let pinned: ModelId = format!("org/name@{}", "a1".repeat(20)).parse().unwrap();
        assert!(pinned.is_pinned() && !main.is_pinned());
    }

    #[test]
    fn what_could_leave_the_cache_is_no_id() {
        for text in [
            "",
            "name",
            "/name",
            "org/",
            "org/name/more",
            "../name",
            "org/..",
            "./name",
            "-org/name",
            "a--b/c",
            "org/na me",
            "org/name@",
            "org/name@../main",
            "org/name@a//b",
            "org/name@.hidden",
            "c:\\x/y",
            "org/ñ",
        ] {
            assert!(
                matches!(text.parse::<ModelId>(), Err(Error::UnknownModel { .. })),
                "{text}"
            );
        }
    }
}
