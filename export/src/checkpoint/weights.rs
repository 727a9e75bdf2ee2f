//! Access to weights by name and shape.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;

use super::storage::{self, Entry};
use super::{Checkpoint, naming};
use crate::error::{Error, Result};
use crate::lowering::Factors;
use crate::tensor::{Tensor, transpose};

/// The weights of a checkpoint below a prefix of their names. Clones share the record of used weights.
#[derive(Clone)]
pub(crate) struct Weights<'a> {
    /// `None` for a planned model, whose weights all exist and are zeros.
    checkpoint: Option<&'a Checkpoint>,
    prefix: String,
    used: Rc<RefCell<BTreeMap<String, Vec<usize>>>>,
    /// Factors of weights by full name, one for each index along the last axis.
    factors: Factors,
}

impl<'a> Weights<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint) -> Self {
        Weights {
            checkpoint: Some(checkpoint),
            ..Weights::planned()
        }
    }

    /// Returns the weights of a model that does not exist yet: building its graphs collects their names and shapes in
    /// [`used`](Self::used).
    pub(crate) fn planned() -> Self {
        Weights {
            checkpoint: None,
            prefix: String::new(),
            used: Rc::default(),
            factors: Rc::default(),
        }
    }

    /// Multiplies weights by `factors`, by full name: one for each index along the last axis.
    pub(crate) fn multiplied(self, factors: Factors) -> Self {
        Weights { factors, ..self }
    }

    /// Returns the weights below `module`.
    pub(crate) fn at(&self, module: impl Display) -> Weights<'a> {
        Weights {
            prefix: format!("{}{module}.", self.prefix),
            ..self.clone()
        }
    }

    /// Returns the weight `name`, which must exist and have this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
        let Some(checkpoint) = self.checkpoint else {
            return Ok(self.plan(name, shape));
        };
        self.optional(name, shape)?.ok_or_else(|| {
            let native = self.path(name);
            let microsoft = checkpoint.is_microsoft();
            let name = naming::microsoft(&native).filter(|_| microsoft).unwrap_or(native);
            Error::MissingTensor {
                name,
                shape: shape.to_vec(),
            }
        })
    }

    /// Returns the weight `name` if it exists, in which case it must have this shape.
    pub(crate) fn optional(&self, name: &str, shape: &[usize]) -> Result<Option<Tensor<'a>>> {
        let native = self.path(name);
        let Some(checkpoint) = self.checkpoint else {
            return Ok(None);
        };
        let Some(stored) = checkpoint.tensors.get(&native) else {
            return Ok(None);
        };
        self.used.borrow_mut().insert(native.clone(), shape.to_vec());
        let Entry {
            shape: found, dtype, ..
        } = &stored.entry;
        let is_transposed = naming::is_transposed(&native, &stored.name);
        let mut expected = shape.to_vec();
        if is_transposed {
            expected.reverse();
        }
        if *found != expected {
            return Err(Error::TensorShape {
                name: stored.name.clone(),
                expected,
                found: found.clone(),
            });
        }
        if !storage::is_float(*dtype) {
            return Err(Error::TensorType {
                name: stored.name.clone(),
                dtype: format!("{dtype:?}"),
            });
        }
        let (bytes, entry) = (checkpoint.bytes(&stored.entry), &stored.entry);
        let factors = self.factors.get(&native).cloned();
        let deltas = checkpoint.deltas(&native);
        let transposed = match *shape {
            [outputs, inputs] if is_transposed => Some([inputs, outputs]),
            _ => None,
        };
        let tensor = Tensor::new(native, shape, move || {
            let mut values = storage::values(bytes, entry);
            if let Some([rows, columns]) = transposed {
                values = transpose(&values, rows, columns);
            }
            deltas.iter().for_each(|delta| delta.add(checkpoint, &mut values));
            values
        });
        Ok(Some(match factors {
            Some(factors) => tensor.multiplied(factors),
            None => tensor,
        }))
    }

    fn plan(&self, name: &str, shape: &[usize]) -> Tensor<'a> {
        let native = self.path(name);
        self.used.borrow_mut().insert(native.clone(), shape.to_vec());
        let len = shape.iter().product();
        Tensor::new(native, shape, move || vec![0.0; len])
    }

    /// Returns the full name of the weight `name`.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the path of the module `name`; if that is empty, of the module that these weights belong to.
    pub(crate) fn module(&self, name: &str) -> String {
        let path = self.path(name);
        path.strip_suffix('.').map(str::to_owned).unwrap_or(path)
    }

    /// Marks a weight as used that no graph holds, such as a second copy of a shared one.
    pub(crate) fn ignore(&self, name: &str) {
        self.used.borrow_mut().insert(self.path(name), Vec::new());
    }

    /// Returns names and shapes of the used weights.
    pub(crate) fn used(&self) -> BTreeMap<String, Vec<usize>> {
        self.used.borrow().clone()
    }

    /// Returns the stored names of unused weights.
    pub(crate) fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let stored = self
            .checkpoint
            .into_iter()
            .flat_map(|checkpoint| &checkpoint.tensors);
        let unused = stored.filter(|(native, _)| !used.contains_key(*native));
        unused.map(|(_, stored)| stored.name.clone()).collect()
    }
}
