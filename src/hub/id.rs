//! The id of a model on a hub.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The default branch.
const DEFAULT_REVISION: &str = "main";
/// The hub's limit for the length of each half of an id.
const MAX_LENGTH: usize = 96;

/// A model on a hub: `organisation/name`, or `organisation/name@revision` for a branch, tag or commit other than
/// `main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId {
    repository: String,
    revision: String,
}

impl ModelId {
    /// Returns `organisation/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Returns whether the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

/// Returns whether a revision is a commit's full hash.
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
        if !valid || !revision.split('/').all(is_revision_part) {
            return Err(Error::UnknownModel {
                name: text.to_owned(),
            });
        }
        Ok(Self {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

/// Returns whether the hub's rules permit `name` as a half of an id.
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

/// Returns whether a part of a revision is valid: a subset of git's rules that keeps paths inside the cache.
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
    fn ids_that_lead_out_of_the_cache_are_rejected() {
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
