//! Reference models: built here with seeded weights, or stored in `models/real` with trained ones.
//!
//! Nothing is downloaded. A built model is an ONNX file in memory, and the same seed gives the same
//! bytes on every machine:
//!
//! ```
//! let model = mpcc_models::small::lenet(1);
//! assert_eq!(model.onnx, mpcc_models::small::lenet(1).onnx);
//! assert_eq!(model.sample(7).len(), 28 * 28);
//! ```
//!
//! [`net::Net`] writes other networks in a line per layer. Weights are noise with the spread that
//! keeps activations in range, so a built model costs what a trained one does and classifies nothing.

pub mod catalogue;
pub mod full;
pub mod net;
mod random;
pub mod small;

use random::Random;

/// A model built here: one input, one output.
#[derive(Clone, Debug)]
pub struct Model {
    /// Name of its graph.
    pub name: String,
    /// Extents of its input, which is called `input`.
    pub input: Vec<usize>,
    /// Extents of its output, which is called `output`.
    pub output: Vec<usize>,
    /// The ONNX file.
    pub onnx: Vec<u8>,
}

impl Model {
    /// A seeded input with entries from -1 to 1, row-major.
    pub fn sample(&self, seed: u64) -> Vec<f32> {
        Random::new(seed).uniform(self.input.iter().product(), -1.0, 1.0)
    }
}
