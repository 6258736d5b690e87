//! Folds factors and terms per channel into the layer before or after them: batch normalisation, above
//! all.
//!
//! `mul`, `add`, `sub` by a parameter that varies along the channels alone, `scale` and `offset` go into
//! the `conv` or `matmul` before them if nothing else reads its result, else into the layer after them
//! if nothing else reads theirs. A term goes into a later convolution only where that has no padding,
//! since padding is zero after the term, not before; a `matmul` takes no terms. Each fold saves a product
//! and the opening after it. Numbers move by the rounding of weights to single precision.

use super::edit::{redirect, to_fixpoint};
use super::layer::{Channels, Layer, Side, channels};
use super::merge_affine::{Affine, affine};
use mpcc_ir::Id;
use mpcc_ir::nn::{Graph, Op};

pub(super) fn run(graph: &mut Graph) {
    to_fixpoint(graph, step);
}

fn step(graph: &mut Graph, id: Id) -> bool {
    let uses = graph.program.use_counts();
    if uses[id.index()] == 0 {
        return false;
    }
    let Some((x, change)) = affine(graph, id) else { return false };
    if uses[x.index()] == 1
        && let Some(layer) = Layer::at(graph, x)
        && into_outputs(graph, layer, change)
    {
        redirect(graph, id, x);
        return true;
    }
    if uses[id.index()] == 1
        && let Some(layer) = only_reader(graph, id).and_then(|reader| Layer::at(graph, reader))
        && layer.data == id
        && into_inputs(graph, layer, change)
    {
        redirect(graph, id, x);
        return true;
    }
    false
}

fn only_reader(graph: &Graph, id: Id) -> Option<Id> {
    graph.program.ids().find(|reader| graph.program[*reader].args.contains(&id))
}

/// Folds `change` of a layer's result into the layer; says whether it could.
fn into_outputs(graph: &mut Graph, layer: Layer, change: Affine) -> bool {
    let axis = layer.axis(graph);
    if let Some(factors) = change.factors(graph, axis) {
        layer.scale(graph, Side::Outputs, &factors);
        return true;
    }
    let takes_terms = matches!(graph.program[layer.node].op, Op::Conv { .. });
    if let Some(terms) = change.terms(graph, axis).filter(|_| takes_terms) {
        layer.add(graph, &terms);
        return true;
    }
    false
}

/// Folds `change` of a layer's operand into the layer; says whether it could.
fn into_inputs(graph: &mut Graph, layer: Layer, change: Affine) -> bool {
    let axis = layer.axis(graph);
    if let Some(factors) = change.factors(graph, axis) {
        layer.scale(graph, Side::Inputs, &factors);
        return true;
    }
    let takes_terms = matches!(graph.program[layer.node].op, Op::Conv { .. });
    let fits = takes_terms && layer.is_unpadded(graph);
    if let Some(terms) = change.terms(graph, axis).filter(|_| fits) {
        let passed_on = layer.pass_on(graph, &terms);
        layer.add(graph, &passed_on);
        return true;
    }
    false
}

impl Affine {
    /// The factor per channel along `axis`, if this is a product.
    fn factors(self, graph: &Graph, axis: usize) -> Option<Channels> {
        match self {
            Self::Scale(by) => Some(Channels::uniform(by)),
            Self::Times(p) => channels(graph, p, axis),
            Self::Offset(_) | Self::Plus(_) | Self::Minus(_) => None,
        }
    }

    /// The term per channel along `axis`, if this is a sum.
    fn terms(self, graph: &Graph, axis: usize) -> Option<Channels> {
        match self {
            Self::Offset(by) => Some(Channels::uniform(by)),
            Self::Plus(p) => channels(graph, p, axis),
            Self::Minus(p) => channels(graph, p, axis).map(|mut terms| {
                for term in &mut terms.values {
                    *term = -*term;
                }
                terms
            }),
            Self::Scale(_) | Self::Times(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    #[test]
    fn batch_norm_goes_into_the_convolution_before_it() {
        let src = "nn {
          %0 = input port port0 : secret[1x4x3x3]
          %1 = param id w0 : weight[6x2x2x2]
          %2 = conv %0, %1 window 2x2 stride 1x1 dilate 1x1 pad [1, 0, 0, 0] groups 2 : secret[1x6x3x2]
          %3 = param id w1 : weight[1x6x1x1]
          %4 = expand %3 : weight[1x6x3x2]
          %5 = mul %2, %4 : secret[1x6x3x2]
          %6 = sub %5, %4 : secret[1x6x3x2]
          %7 = scale %6 by 0.5 : secret[1x6x3x2]
          return %7
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x4x3x3]
          %1 = param id w0 : weight[6x2x2x2]
          %2 = param id w1 : weight[6]
          %3 = conv %0, %1, %2 window 2x2 stride 1x1 dilate 1x1 pad [1, 0, 0, 0] groups 2 : secret[1x6x3x2]
          return %3
        }
        ");
    }

    #[test]
    fn factors_go_into_the_layer_after_them() {
        let src = "nn {
          %0 = input port port0 : secret[1x4x3x3]
          %1 = param id w0 : weight[1x4x1x1]
          %2 = expand %1 : weight[1x4x3x3]
          %3 = mul %0, %2 : secret[1x4x3x3]
          %4 = add %3, %2 : secret[1x4x3x3]
          %5 = param id w1 : weight[6x2x3x3]
          %6 = conv %4, %5 window 3x3 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 2 : secret[1x6x1x1]
          return %6
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x4x3x3]
          %1 = param id w0 : weight[6]
          %2 = param id w1 : weight[6x2x3x3]
          %3 = conv %0, %2, %1 window 3x3 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] groups 2 : secret[1x6x1x1]
          return %3
        }
        ");
    }

    #[test]
    fn products_take_factors_on_both_sides() {
        let src = "nn {
          %0 = input port port0 : secret[2x3]
          %1 = param id w0 : weight[1x3]
          %2 = expand %1 : weight[2x3]
          %3 = mul %0, %2 : secret[2x3]
          %4 = param id w1 : weight[3x5]
          %5 = matmul %3, %4 : secret[2x5]
          %6 = param id w2 : weight[4x2]
          %7 = matmul %6, %5 : secret[4x5]
          %8 = param id w3 : weight[4x1]
          %9 = expand %8 : weight[4x5]
          %10 = mul %9, %7 : secret[4x5]
          return %10
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[2x3]
          %1 = param id w0 : weight[3x5]
          %2 = matmul %0, %1 : secret[2x5]
          %3 = param id w1 : weight[4x2]
          %4 = matmul %3, %2 : secret[4x5]
          return %4
        }
        ");
    }

    #[test]
    fn terms_before_padding_and_shared_results_stay() {
        let src = "nn {
          %0 = input port port0 : secret[1x1x3x3]
          %1 = offset %0 by 1 : secret[1x1x3x3]
          %2 = param id w0 : weight[1x1x3x3]
          %3 = conv %1, %2 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x1x3x3]
          %4 = scale %3 by 2 : secret[1x1x3x3]
          return %3, %4
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x1x3x3]
          %1 = offset %0 by 1 : secret[1x1x3x3]
          %2 = param id w0 : weight[1x1x3x3]
          %3 = conv %1, %2 window 3x3 stride 1x1 dilate 1x1 pad [1, 1, 1, 1] groups 1 : secret[1x1x3x3]
          %4 = scale %3 by 2 : secret[1x1x3x3]
          return %3, %4
        }
        ");
    }
}
