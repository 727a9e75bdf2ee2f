//! Averages.

/// A quotient of two sums, over all samples: a micro-average.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ratio {
    numerator: f64,
    denominator: f64,
}

impl Ratio {
    /// Adds to both sums.
    pub fn add(&mut self, numerator: f64, denominator: f64) {
        self.numerator += numerator;
        self.denominator += denominator;
    }

    /// Adds one sample to a share of samples.
    pub fn add_one(&mut self, holds: bool) {
        self.add(f64::from(u8::from(holds)), 1.0);
    }

    /// Returns the quotient, or `None` if the denominator is 0.
    pub fn value(self) -> Option<f64> {
        (self.denominator > 0.0).then(|| self.numerator / self.denominator)
    }
}
