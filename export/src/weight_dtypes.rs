//! The dtype of each weight: that of the export, or fp32 for weights that match a `keep_fp32` pattern.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use florence2_layout::dtypes::Dtype;

use crate::error::{Error, Result};

/// The dtype of each weight, by the path of its module. Clones share the record of requested modules.
#[derive(Clone, Default)]
pub(crate) struct WeightDtypes<'o> {
    dtype: Dtype,
    keep_fp32: &'o [String],
    requested: Rc<RefCell<BTreeSet<String>>>,
}

impl<'o> WeightDtypes<'o> {
    /// `keep_fp32` are patterns of module paths: see [`matches`].
    pub(crate) fn new(dtype: Dtype, keep_fp32: &'o [String]) -> Self {
        WeightDtypes {
            dtype,
            keep_fp32,
            requested: Rc::default(),
        }
    }

    /// Returns the dtype of the export.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns the dtype of the weight of `module`.
    pub(crate) fn of(&self, module: &str) -> Dtype {
        if self.dtype != Dtype::Fp32 {
            self.requested.borrow_mut().insert(module.to_owned());
        }
        if self.keep_fp32.iter().any(|pattern| matches(pattern, module)) {
            Dtype::Fp32
        } else {
            self.dtype
        }
    }

    /// Checks that each pattern matches a weight in use that would otherwise have another dtype than fp32.
    ///
    /// # Errors
    /// [`Error::KeepFp32`] with the first pattern that does not.
    pub(crate) fn check(&self) -> Result<()> {
        let requested = self.requested.borrow();
        let is_unused = |pattern: &&String| !requested.iter().any(|module| matches(pattern, module));
        let Some(pattern) = self.keep_fp32.iter().find(is_unused) else {
            return Ok(());
        };
        let names: BTreeSet<String> = requested.iter().map(|module| without_numbers(module)).collect();
        Err(Error::KeepFp32 {
            pattern: pattern.clone(),
            names: names.into_iter().collect(),
        })
    }
}

/// Returns whether `pattern` equals consecutive components of the dotted `path`, where `*` matches any characters of a
/// component: `blocks.1` matches `tower.blocks.1.0.qkv`, but not `tower.blocks.10.0.qkv`.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let path: Vec<&str> = path.split('.').collect();
    path.windows(pattern.len()).any(|parts| {
        pattern
            .iter()
            .zip(parts)
            .all(|(pattern, part)| part_matches(pattern, part))
    })
}

fn part_matches(pattern: &str, part: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == part;
    };
    let Some(part) = part.strip_prefix(start) else {
        return false;
    };
    let ends = part.char_indices().map(|(index, _)| index).chain([part.len()]);
    ends.into_iter()
        .any(|end| part.get(end..).is_some_and(|part| part_matches(rest, part)))
}

/// Returns the path with `*` for each number.
fn without_numbers(path: &str) -> String {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = path
        .split('.')
        .map(|part| if is_number(part) { "*" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_components() {
        let path = "model.vision_tower.blocks.1.10.spatial_block.ffn.fc2";
        for pattern in [
            path,
            "blocks.1",
            "blocks",
            "1.10",
            "blocks.*.10",
            "fc*",
            "*_block.ffn",
            "*",
        ] {
            assert!(matches(pattern, path), "{pattern}");
        }
        for pattern in [
            "",
            "block",
            "blocks.10",
            "blocks.1.1",
            "blocks.*.ffn",
            "fc2.weight",
            "*_tower.ffn",
        ] {
            assert!(!matches(pattern, path), "{pattern}");
        }
    }

    #[test]
    fn kept_weights_are_fp32_and_an_unused_pattern_is_an_error() {
        let keep = ["blocks.0".to_owned()];
        let dtypes = WeightDtypes::new(Dtype::Q4, &keep);
        assert_eq!(dtypes.of("blocks.1.fc1"), Dtype::Q4);
        let error = dtypes.check().unwrap_err().to_string();
        assert!(error.contains("blocks.*.fc1"), "{error}");
        assert_eq!(dtypes.of("blocks.0.fc1"), Dtype::Fp32);
        dtypes.check().unwrap();
    }

    #[test]
    fn patterns_of_an_fp32_export_are_an_error() {
        let keep = ["fc1".to_owned()];
        let dtypes = WeightDtypes::new(Dtype::Fp32, &keep);
        assert_eq!(dtypes.of("fc1"), Dtype::Fp32);
        assert!(matches!(dtypes.check(), Err(Error::KeepFp32 { .. })));
    }
}
