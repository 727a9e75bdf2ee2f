//! PEFT's LoRA adapters, merged into a checkpoint as `merge_and_unload` does.
//!
//! The tensors of an adapter's file say which modules it changes; its configuration has the ranks and factors. Modules may have
//! the names of transformers or of Microsoft, like those of the checkpoint.

mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use florence2_layout::files::{ADAPTER_CONFIG, ADAPTER_WEIGHTS_FILES};

use super::paths::{EMBEDDINGS, OUTPUT_PROJECTION};
use super::storage::{self, Entry, Shard};
use super::{Checkpoint, Stored, naming};
use crate::error::{Error, Result};
use config::AdapterConfig;

/// A change of a weight: the product of two matrices, `[rows, rank]` and `[rank, columns]`, times a factor.
#[derive(Debug, Clone)]
pub(super) struct Delta {
    left: Factor,
    right: Factor,
    rank: usize,
    scaling: f32,
}

/// A stored matrix.
#[derive(Debug, Clone)]
struct Factor {
    entry: Entry,
    /// Whether the product has its transpose.
    is_transposed: bool,
}

/// The part of a module's adapter that a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// `lora_A`, `[rank, inputs ...]`.
    A,
    /// `lora_B`, `[outputs, rank ...]`.
    B,
    /// `lora_embedding_A`, `[rank, rows]`.
    EmbeddingA,
    /// `lora_embedding_B`, `[columns, rank]`.
    EmbeddingB,
}

/// What a tensor of an adapter's file is.
enum Role {
    /// A factor of the change of this module's weight.
    Factor(String, Part),
    /// A weight of this name, in place of the checkpoint's.
    Weight(String),
    /// The copy of a weight that the training started from.
    Original,
}

/// Returns what a tensor is, by its name without wrappers.
fn role(name: &str) -> Result<Role> {
    let parts: Vec<&str> = name.split('.').collect();
    let factor = parts.iter().position(|part| part.starts_with("lora_"));
    let Some(position) = factor else {
        if parts.contains(&"original_module") {
            return Ok(Role::Original);
        }
        if parts.contains(&"token_adapter") {
            return Err(Error::AdapterFeature {
                feature: "trainable_token_indices".into(),
            });
        }
        return Ok(Role::Weight(without_peft(&parts)));
    };
    let unknown = || Error::AdapterFeature { feature: name.into() };
    let (module, rest) = parts.split_at(position);
    // A weight's name ends with `weight`, preceded or not by the adapter's name; an embedding's has no `weight`.
    let (part, is_embedding) = match rest {
        ["lora_A", .., "weight"] => (Part::A, false),
        ["lora_B", .., "weight"] => (Part::B, false),
        ["lora_embedding_A", ..] => (Part::EmbeddingA, true),
        ["lora_embedding_B", ..] => (Part::EmbeddingB, true),
        _ => return Err(unknown()),
    };
    let longest = if is_embedding { 2 } else { 3 };
    if rest.len() > longest || module.is_empty() {
        return Err(unknown());
    }
    Ok(Role::Factor(module.join("."), part))
}

/// Joins the parts of a weight's name without those of PEFT's modules.
fn without_peft(parts: &[&str]) -> String {
    let mut kept = Vec::with_capacity(parts.len());
    let mut parts = parts.iter().peekable();
    while let Some(part) = parts.next() {
        match *part {
            "base_layer" => {}
            "modules_to_save" => {
                // Followed by the adapter's name, unless by that of the weight.
                if parts
                    .peek()
                    .is_some_and(|next| !matches!(**next, "weight" | "bias"))
                {
                    parts.next();
                }
            }
            part => kept.push(part),
        }
    }
    kept.join(".")
}

/// An adapter's tensors, by native names of weights.
#[derive(Default)]
struct Tensors {
    deltas: BTreeMap<String, Vec<Delta>>,
    /// Weights that replace the checkpoint's, with whether PEFT trained a copy, which is tied to nothing.
    weights: BTreeMap<String, (Stored, bool)>,
}

impl Checkpoint {
    /// Merges the LoRA adapter of a folder with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`), as PEFT's
    /// `merge_and_unload` does for a base model in f32. Several adapters are merged one after the other.
    ///
    /// # Errors
    /// [`Error::AdapterFeature`] for what is not LoRA (such as DoRA and IA3); [`Error::AdapterModule`] and
    /// [`Error::AdapterShape`] if the adapter is another model's; as [`open`](Self::open).
    pub fn with_adapter(mut self, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(ADAPTER_CONFIG);
        let not_an_adapter = |file| Error::NotAnAdapter {
            folder: folder.into(),
            file,
        };
        if !path.is_file() {
            return Err(not_an_adapter(ADAPTER_CONFIG));
        }
        let json = std::fs::read(&path).map_err(Error::read(&path))?;
        storage::check_lfs(ADAPTER_CONFIG, &json)?;
        let config = AdapterConfig::from_json(&json)?;
        let [first, _] = ADAPTER_WEIGHTS_FILES;
        let file = ADAPTER_WEIGHTS_FILES
            .into_iter()
            .find(|file| folder.join(file).is_file());
        let shard = Shard::map(folder, file.ok_or_else(|| not_an_adapter(first))?)?;
        let tensors = tensors(&config, shard.entries(self.shards.len())?)?;
        self.shards.push(shard);
        self.merge(tensors)?;
        Ok(self)
    }

    /// Returns the changes of a weight by adapters.
    pub(super) fn deltas(&self, native: &str) -> &[Delta] {
        self.deltas.get(native).map_or(&[], Vec::as_slice)
    }

    fn merge(&mut self, mut adapter: Tensors) -> Result<()> {
        self.merge_embeddings(&mut adapter)?;
        for (native, (weight, _)) in adapter.weights {
            if !self.tensors.contains_key(&native) {
                return Err(Error::AdapterModule { name: weight.name });
            }
            self.replace(native, weight);
        }
        for (native, deltas) in adapter.deltas {
            self.change(native, deltas)?;
        }
        Ok(())
    }

    fn replace(&mut self, native: String, weight: Stored) {
        self.deltas.remove(&native);
        self.tensors.insert(native, weight);
    }

    /// Adds changes of a weight, which must be there and have the shape of the changes.
    fn change(&mut self, native: String, deltas: Vec<Delta>) -> Result<()> {
        let Some(stored) = self.tensors.get(&native) else {
            return Err(Error::AdapterModule { name: native });
        };
        let mut shape = stored.entry.shape.clone();
        if naming::is_transposed(&native, &stored.name) {
            shape.reverse();
        }
        for delta in &deltas {
            delta.check(&native, &shape)?;
        }
        self.deltas.entry(native).or_default().extend(deltas);
        Ok(())
    }

    /// Merges what concerns the embedding matrix. All weights that are tied to it are one tensor, to which the changes of each
    /// are added; a weight that PEFT trained as a copy of its own is no longer tied.
    fn merge_embeddings(&mut self, adapter: &mut Tensors) -> Result<()> {
        let is_tied = self.config.tie_word_embeddings && !self.has_own_output_projection();
        let names = EMBEDDINGS.into_iter().chain(is_tied.then_some(OUTPUT_PROJECTION));
        let concerned =
            |name: &&str| adapter.deltas.contains_key(*name) || adapter.weights.contains_key(*name);
        let names: Vec<&str> = names.collect();
        if !names.iter().any(concerned) {
            return Ok(());
        }
        let stored = names.iter().find(|name| self.tensors.contains_key(**name));
        let Some(&source) = stored else {
            return Ok(()); // The export names the missing weight.
        };
        let mut table = self.tensors.get(source).cloned();
        let mut changes = self.deltas.get(source).cloned().unwrap_or_default();
        let is_copy = |name: &str| adapter.weights.get(name).is_some_and(|(_, is_copy)| *is_copy);
        let (copies, tied): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_copy(name));
        for name in &tied {
            if let Some((weight, _)) = adapter.weights.remove(*name) {
                table = Some(weight);
                changes.clear();
            }
        }
        for name in &tied {
            changes.extend(adapter.deltas.remove(*name).unwrap_or_default());
        }
        let Some(table) = table else { return Ok(()) };
        // The tied weights are stored once, unless the first of their names is a copy's.
        let [shared, ..] = EMBEDDINGS;
        for name in &names {
            self.tensors.remove(*name);
            self.deltas.remove(*name);
        }
        for name in tied {
            if name == shared || copies.contains(&shared) {
                self.tensors.insert(name.to_owned(), table.clone());
                self.change(name.to_owned(), changes.clone())?;
            }
        }
        for name in copies {
            if let Some((weight, _)) = adapter.weights.remove(name) {
                self.tensors.insert(name.to_owned(), weight);
            }
        }
        Ok(())
    }

    /// Returns whether the output projection is stored with other values than the embedding matrix.
    fn has_own_output_projection(&self) -> bool {
        let Some(own) = self.tensors.get(OUTPUT_PROJECTION) else {
            return false;
        };
        let table = EMBEDDINGS.iter().find_map(|name| self.tensors.get(*name));
        table.is_some_and(|table| {
            own.entry.shape != table.entry.shape
                || storage::values(self.bytes(&own.entry), &own.entry)
                    != storage::values(self.bytes(&table.entry), &table.entry)
        })
    }
}

/// Sorts the tensors of an adapter's file.
fn tensors(config: &AdapterConfig, entries: BTreeMap<String, Entry>) -> Result<Tensors> {
    let mut factors: BTreeMap<String, BTreeMap<Part, Entry>> = BTreeMap::new();
    let mut tensors = Tensors::default();
    for (stored, entry) in entries {
        if !storage::is_float(entry.dtype) {
            return Err(Error::TensorType {
                name: stored,
                dtype: format!("{:?}", entry.dtype),
            });
        }
        let name = naming::unwrapped(&stored).unwrap_or_else(|| stored.clone());
        match role(&name)? {
            Role::Original => {}
            Role::Factor(module, part) => {
                if factors.entry(module).or_default().insert(part, entry).is_some() {
                    return Err(Error::AdapterFeature {
                        feature: format!("several adapters in one file ({stored})"),
                    });
                }
            }
            Role::Weight(name) => {
                let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
                let is_copy = config.is_saved(module) && !stored.contains(".base_layer.");
                let native = naming::native(&name).unwrap_or_else(|| name.clone());
                tensors.weights.insert(native, (Stored { name, entry }, is_copy));
            }
        }
    }
    for (module, mut parts) in factors {
        let mut part = |part| parts.remove(&part);
        let factor = |entry, is_transposed| Factor { entry, is_transposed };
        let (left, right) = match [Part::A, Part::B, Part::EmbeddingA, Part::EmbeddingB].map(&mut part) {
            [Some(a), Some(b), None, None] => (factor(b, false), factor(a, false)),
            [None, None, Some(a), Some(b)] => (factor(a, true), factor(b, true)),
            _ => {
                return Err(Error::AdapterModule {
                    name: format!("{module}, of which a factor is missing"),
                });
            }
        };
        let delta = Delta {
            left,
            right,
            rank: config.rank(&module)?,
            scaling: config.scaling(&module)?,
        };
        let name = format!("{module}.weight");
        let native = naming::native(&name).unwrap_or(name);
        tensors.deltas.entry(native).or_default().push(delta);
    }
    Ok(tensors)
}

impl Factor {
    /// Returns rows and columns of the matrix in the product; further axes belong to the last one, as those of a convolution.
    fn size(&self) -> Option<(usize, usize)> {
        let [rows, columns @ ..] = self.entry.shape.as_slice() else {
            return None;
        };
        let size = (*rows, columns.iter().product());
        Some(if self.is_transposed {
            (size.1, size.0)
        } else {
            size
        })
    }

    /// Returns the values, row-major.
    fn values(&self, checkpoint: &Checkpoint) -> Vec<f32> {
        let values = storage::values(checkpoint.bytes(&self.entry), &self.entry);
        match self.size() {
            Some((rows, columns)) if self.is_transposed => crate::tensor::transpose(&values, columns, rows),
            _ => values,
        }
    }
}

impl Delta {
    /// Checks that the product has the shape of the weight.
    fn check(&self, native: &str, shape: &[usize]) -> Result<()> {
        let weight = shape.split_first();
        let weight = weight.map(|(&rows, columns)| (rows, columns.iter().product::<usize>()));
        let fits = match (self.left.size(), self.right.size(), weight) {
            (Some((rows, left)), Some((right, columns)), Some(weight)) => {
                left == self.rank && right == self.rank && (rows, columns) == weight
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(Error::AdapterShape {
            name: native.to_owned(),
            shape: shape.to_vec(),
            factors: [self.left.entry.shape.clone(), self.right.entry.shape.clone()],
            rank: self.rank,
        })
    }

    /// Adds the change to a weight's values. The product is rounded before it is multiplied and added, as torch does.
    pub(super) fn add(&self, checkpoint: &Checkpoint, values: &mut [f32]) {
        let (left, right) = (self.left.values(checkpoint), self.right.values(checkpoint));
        let columns = right.len() / self.rank.max(1);
        if columns == 0 {
            return;
        }
        let mut product = vec![0.0; columns];
        let rows = values.chunks_exact_mut(columns).zip(left.chunks_exact(self.rank));
        for (row, factors) in rows {
            product.fill(0.0);
            for (factor, right) in factors.iter().zip(right.chunks_exact(columns)) {
                product
                    .iter_mut()
                    .zip(right)
                    .for_each(|(sum, value)| *sum += factor * value);
            }
            row.iter_mut()
                .zip(&product)
                .for_each(|(value, product)| *value += product * self.scaling);
        }
    }
}
