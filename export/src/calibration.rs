//! The ranges of activations on sample images, for [`ExportOptions::activation_ranges`].
//!
//! Graphs exported with [`ExportOptions::observers`] output the ranges too: run them on images and record those outputs.
//!
//! [`ExportOptions::activation_ranges`]: crate::ExportOptions::activation_ranges
//! [`ExportOptions::observers`]: crate::ExportOptions::observers

use std::collections::BTreeMap;

/// The prefix of the name of an observer's output, before the path of the observed module.
const OBSERVER_PREFIX: &str = "largest_magnitude.";

/// The name of the output that observes `module`.
pub(crate) fn observer(module: &str) -> String {
    format!("{OBSERVER_PREFIX}{module}")
}

/// The largest magnitude of each channel in the outputs of modules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivationRanges(BTreeMap<String, Vec<f32>>);

impl ActivationRanges {
    /// Whether `output` is the name of an observer's output.
    pub fn is_observer(output: &str) -> bool {
        output.starts_with(OBSERVER_PREFIX)
    }

    /// Updates the ranges with an observer's output for one more image: `output` is its name, `magnitudes` has a
    /// value for each channel. Outputs of other names are ignored.
    pub fn record(&mut self, output: &str, magnitudes: &[f32]) {
        let Some(module) = output.strip_prefix(OBSERVER_PREFIX) else {
            return;
        };
        let largest = self.0.entry(module.to_owned()).or_default();
        largest.resize(largest.len().max(magnitudes.len()), 0.0);
        for (largest, magnitude) in largest.iter_mut().zip(magnitudes) {
            *largest = largest.max(*magnitude);
        }
    }

    /// Returns `true` if no range has been recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The largest magnitudes of `module`.
    pub(crate) fn of(&self, module: &str) -> Option<&[f32]> {
        self.0.get(module).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_all_images_counts() {
        let mut ranges = ActivationRanges::default();
        let output = observer("tower.norm1");
        assert!(ActivationRanges::is_observer(&output));
        ranges.record(&output, &[1.0, 5.0]);
        ranges.record(&output, &[2.0, 3.0]);
        ranges.record("image_features", &[9.0]);
        assert_eq!(ranges.of("tower.norm1"), Some(&[2.0, 5.0][..]));
        assert_eq!(ranges.0.len(), 1);
    }
}
