//! Passes over the nn graph: from what the importer read to the core that is lowered to protocols.
//!
//! A pass keeps the meaning of a graph up to rounding and does not fail. **Invariant:** what a pass
//! does depends on shapes, on public parameters and on which values are secret, never on the values
//! of the owner's weights, because everybody may read the plan that comes out.

mod drop_identities;
mod edit;
mod fold_channels;
mod fold_pads;
mod fold_params;
mod layer;
mod legalise;
mod merge_affine;
mod merge_equal;
mod move_scales;
mod pool_before_activation;
#[cfg(test)]
mod random;
mod spell_scalars;
#[cfg(test)]
pub(crate) mod testing;

use mpcc_ir::nn::Graph;

/// A change to a graph.
pub type Pass = fn(&mut Graph);

/// All passes in order.
pub const PIPELINE: &[(&str, Pass)] = &[
    ("fold_params", fold_params::run),
    ("drop_identities", drop_identities::run),
    // Scalars and whole activations must still be recognisable: both come before `legalise`.
    ("spell_scalars", spell_scalars::run),
    ("fold_pads", fold_pads::run),
    ("pool_before_activation", pool_before_activation::run),
    ("legalise", legalise::run),
    // `legalise` leaves arithmetic on slopes and divisors behind.
    ("fold_params", fold_params::run),
    // Before products and sums change places: a term before a padded convolution stays, but the factor
    // between them can go into its weights.
    ("fold_channels", fold_channels::run),
    ("merge_affine", merge_affine::run),
    ("fold_channels", fold_channels::run),
    // Only scales that did not go into the layer beside them are moved further.
    ("move_scales", move_scales::run),
    // Folding brings further pairs together.
    ("merge_affine", merge_affine::run),
    ("fold_channels", fold_channels::run),
    ("drop_identities", drop_identities::run),
    ("merge_equal", merge_equal::run),
];

/// Runs all passes. Afterwards [`Graph::is_core`] holds.
///
/// Ranges are lost where nodes change: calibrate afterwards.
pub fn run_all(graph: &mut Graph) {
    for (_, pass) in PIPELINE {
        pass(graph);
    }
}

#[cfg(test)]
mod tests;
