//! Which dtype each weight gets: the export's, except for what is to be kept in fp32.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use florence2_layout::dtypes::Dtype;

use crate::error::{Error, Result};

/// The dtype of each weight, by the path of its module. Clones remember together what was asked for.
#[derive(Clone, Default)]
pub(crate) struct WeightDtypes<'o> {
    dtype: Dtype,
    keep_fp32: &'o [String],
    asked: Rc<RefCell<BTreeSet<String>>>,
}

impl<'o> WeightDtypes<'o> {
    /// `keep_fp32`: patterns of paths, see [`matches`].
    pub(crate) fn new(dtype: Dtype, keep_fp32: &'o [String]) -> Self {
        WeightDtypes {
            dtype,
            keep_fp32,
            asked: Rc::default(),
        }
    }

    /// The export's.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How the weight of `module` is to be stored.
    pub(crate) fn of(&self, module: &str) -> Dtype {
        if self.dtype != Dtype::Fp32 {
            self.asked.borrow_mut().insert(module.to_owned());
        }
        match self.keep_fp32.iter().any(|pattern| matches(pattern, module)) {
            true => Dtype::Fp32,
            false => self.dtype,
        }
    }

    /// That each pattern fits a weight that was asked for and is not in fp32 anyway.
    ///
    /// # Errors
    /// [`Error::KeepFp32`] names the first that does not.
    pub(crate) fn check(&self) -> Result<()> {
        let asked = self.asked.borrow();
        let idle = |pattern: &&String| !asked.iter().any(|module| matches(pattern, module));
        match self.keep_fp32.iter().find(idle) {
            None => Ok(()),
            Some(pattern) => {
                let names: BTreeSet<String> = asked.iter().map(|module| without_numbers(module)).collect();
                Err(Error::KeepFp32 {
                    pattern: pattern.clone(),
                    names: names.into_iter().collect(),
                })
            }
        }
    }
}

/// Whether `pattern` is a run of whole parts of the dotted `path`; in a part, `*` stands for any characters. So
/// `blocks.1` fits `tower.blocks.1.0.qkv`, but not `tower.blocks.10.0.qkv`.
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

/// The path with `*` for each number.
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
    fn patterns_are_whole_parts() {
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
    fn what_is_kept_is_fp32_and_an_idle_pattern_is_an_error() {
        let keep = ["blocks.0".to_owned()];
        let dtypes = WeightDtypes::new(Dtype::Q4, &keep);
        assert_eq!(dtypes.of("blocks.1.fc1"), Dtype::Q4);
        let error = dtypes.check().unwrap_err().to_string();
        assert!(error.contains("blocks.*.fc1"), "{error}");
        assert_eq!(dtypes.of("blocks.0.fc1"), Dtype::Fp32);
        dtypes.check().unwrap();
    }

    #[test]
    fn in_fp32_there_is_nothing_to_keep() {
        let keep = ["fc1".to_owned()];
        let dtypes = WeightDtypes::new(Dtype::Fp32, &keep);
        assert_eq!(dtypes.of("fc1"), Dtype::Fp32);
        assert!(matches!(dtypes.check(), Err(Error::KeepFp32 { .. })));
    }
}
