//! Weights by name and shape, as modules ask for them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::rc::Rc;

use super::{Checkpoint, naming, storage};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, transpose};

/// The weights of a checkpoint below a prefix of their names; all clones remember together what was asked for.
#[derive(Clone)]
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    used: Rc<RefCell<BTreeSet<String>>>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint) -> Self {
        Weights {
            checkpoint,
            prefix: String::new(),
            used: Rc::default(),
        }
    }

    /// The weights below `module`.
    pub(crate) fn at(&self, module: impl Display) -> Weights<'a> {
        Weights {
            prefix: format!("{}{module}.", self.prefix),
            ..self.clone()
        }
    }

    /// The weight `name`, which must have this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
        self.optional(name, shape)?.ok_or_else(|| {
            let native = format!("{}{name}", self.prefix);
            let microsoft = self.checkpoint.is_microsoft();
            let name = naming::microsoft(&native).filter(|_| microsoft).unwrap_or(native);
            Error::MissingTensor {
                name,
                shape: shape.to_vec(),
            }
        })
    }

    /// The weight `name`, if it is there; then it must have this shape.
    pub(crate) fn optional(&self, name: &str, shape: &[usize]) -> Result<Option<Tensor<'a>>> {
        let native = format!("{}{name}", self.prefix);
        let Some(stored) = self.checkpoint.tensors.get(&native) else {
            return Ok(None);
        };
        self.used.borrow_mut().insert(native.clone());
        let entry = &stored.entry;
        // Microsoft's projection of the image features is kept as [in, out].
        let turned = native == naming::IMAGE_PROJECTION && stored.name != native;
        let expected: Vec<usize> = if turned {
            shape.iter().rev().copied().collect()
        } else {
            shape.to_vec()
        };
        if entry.shape != expected {
            let (name, found) = (stored.name.clone(), entry.shape.clone());
            return Err(Error::TensorShape {
                name,
                expected,
                found,
            });
        }
        if !storage::is_float(entry.dtype) {
            return Err(Error::TensorType {
                name: stored.name.clone(),
                dtype: format!("{:?}", entry.dtype),
            });
        }
        let shard = self.checkpoint.shards.get(entry.shard);
        // In bounds: the ranges were checked against the file when its header was read.
        let bytes = shard
            .and_then(|shard| shard.bytes().get(entry.range.clone()))
            .unwrap_or_default();
        let dtype = entry.dtype;
        let tensor = match *shape {
            [outputs, inputs] if turned => Tensor::new(native, shape, move || {
                transpose(&storage::to_f32(bytes, dtype), inputs, outputs)
            }),
            _ => Tensor::new(native, shape, move || storage::to_f32(bytes, dtype)),
        };
        Ok(Some(tensor))
    }

    /// What a weight `name` made of others may be called.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Marks a weight as known though no graph holds it, such as a second copy of a shared one.
    pub(crate) fn ignore(&self, name: &str) {
        self.used.borrow_mut().insert(format!("{}{name}", self.prefix));
    }

    /// The names, as stored, of what nothing has asked for.
    pub(crate) fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let stored = self.checkpoint.tensors.iter();
        stored
            .filter(|(native, _)| !used.contains(*native))
            .map(|(_, stored)| stored.name.clone())
            .collect()
    }
}
