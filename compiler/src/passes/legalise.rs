//! Rewrites composites into the core that is lowered to protocols, with as few `relu` as possible.
//!
//! | composite | becomes |
//! |---|---|
//! | `clip lo, hi` | `lo + relu(x - lo) - relu(x - hi)`; one `relu` where a bound is infinite |
//! | `leaky_relu a`, `prelu s` | `a x + (1 - a) relu(x)` |
//! | `hard_sigmoid`, `hard_swish` | `clip` of a line; `x` times it |
//! | `abs`, `min`, `max` with a parameter | `2 relu(x) - x`, `x - relu(x - y)`, `y + relu(x - y)` |
//! | `pow n` | products by squaring |
//! | `avg_pool` | depthwise `conv` with ones, then `scale`, or `mul` where windows differ in size |
//! | `reduce_mean` | `reduce_sum`, then `scale` |
//!
//! Scales are left beside the sums, for `move_scales` to fold into weights. Numbers move by roundings.

use super::edit::{Like, is_secret, map, param, push, replace, tidy};
use mpcc_ir::nn::{Graph, Op};
use mpcc_ir::{Id, Shape, Window};

pub(super) fn run(graph: &mut Graph) {
    let mut next = 0;
    // Composites may be made of composites: appended nodes are visited too.
    while next < graph.program.nodes.len() {
        legalise(graph, Id(next as u32));
        next += 1;
    }
    tidy(graph);
}

fn legalise(graph: &mut Graph, id: Id) {
    let node = &graph.program[id];
    let Some(&x) = node.args.first() else { return };
    let y = *node.args.last().unwrap_or(&x);
    let op = node.op.clone();
    match op {
        Op::Clip { lo, hi } => clip(graph, id, x, lo.min(hi), hi),
        Op::LeakyRelu { alpha } => leaky_relu(graph, id, x, alpha),
        Op::PRelu => prelu(graph, id, x, y),
        Op::HardSigmoid { alpha, beta } => {
            let steep = map(graph, id, Op::Scale { by: alpha }, &[x]);
            let line = map(graph, id, Op::Offset { by: beta }, &[steep]);
            replace(graph, id, Op::Clip { lo: 0.0, hi: 1.0 }, &[line]);
            legalise(graph, id);
        }
        Op::HardSwish => hard_swish(graph, id, x),
        Op::Abs => {
            let positive = map(graph, id, Op::Relu, &[x]);
            let twice = map(graph, id, Op::Scale { by: 2.0 }, &[positive]);
            replace(graph, id, Op::Sub, &[twice, x]);
        }
        Op::Min => {
            let excess = relu_of_difference(graph, id, x, y);
            replace(graph, id, Op::Sub, &[x, excess]);
        }
        Op::Max => max(graph, id, x, y),
        Op::Pow { n } => pow(graph, id, x, n),
        Op::AvgPool { window, count_pad } => avg_pool(graph, id, x, &window, count_pad),
        Op::ReduceMean { axes } => reduce_mean(graph, id, x, axes),
        Op::Input { .. }
        | Op::Param { .. }
        | Op::Conv { .. }
        | Op::MatMul
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Scale { .. }
        | Op::Offset { .. }
        | Op::Relu
        | Op::MaxPool { .. }
        | Op::ReduceSum { .. }
        | Op::ReduceMax { .. }
        | Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Expand
        | Op::Concat { .. }
        | Op::Gather { .. } => {}
    }
}

fn clip(graph: &mut Graph, id: Id, x: Id, lo: f64, hi: f64) {
    match (lo.is_finite(), hi.is_finite()) {
        // Nothing is cut; `drop_identities` removes the rest.
        (false, false) => replace(graph, id, Op::Scale { by: 1.0 }, &[x]),
        (false, true) => {
            let above = relu_above(graph, id, x, hi);
            replace(graph, id, Op::Sub, &[x, above]);
        }
        (true, false) if lo == 0.0 => replace(graph, id, Op::Relu, &[x]),
        (true, false) => {
            let above = relu_above(graph, id, x, lo);
            replace(graph, id, Op::Offset { by: lo }, &[above]);
        }
        (true, true) => {
            let [from_lo, from_hi] = [lo, hi].map(|bound| relu_above(graph, id, x, bound));
            if lo == 0.0 {
                replace(graph, id, Op::Sub, &[from_lo, from_hi]);
            } else {
                let cut = map(graph, id, Op::Sub, &[from_lo, from_hi]);
                replace(graph, id, Op::Offset { by: lo }, &[cut]);
            }
        }
    }
}

/// `relu(x - bound)`.
fn relu_above(graph: &mut Graph, id: Id, x: Id, bound: f64) -> Id {
    let excess = if bound == 0.0 { x } else { map(graph, id, Op::Offset { by: -bound }, &[x]) };
    map(graph, id, Op::Relu, &[excess])
}

/// `relu(x - y)`.
fn relu_of_difference(graph: &mut Graph, id: Id, x: Id, y: Id) -> Id {
    let difference = map(graph, id, Op::Sub, &[x, y]);
    map(graph, id, Op::Relu, &[difference])
}

fn leaky_relu(graph: &mut Graph, id: Id, x: Id, alpha: f64) {
    let positive = map(graph, id, Op::Relu, &[x]);
    let rest = map(graph, id, Op::Scale { by: 1.0 - alpha }, &[positive]);
    let line = map(graph, id, Op::Scale { by: alpha }, &[x]);
    replace(graph, id, Op::Add, &[line, rest]);
}

fn prelu(graph: &mut Graph, id: Id, x: Id, slope: Id) {
    let positive = map(graph, id, Op::Relu, &[x]);
    let negated = map(graph, id, Op::Scale { by: -1.0 }, &[slope]);
    let other_slope = map(graph, id, Op::Offset { by: 1.0 }, &[negated]);
    let rest = map(graph, id, Op::Mul, &[positive, other_slope]);
    let line = map(graph, id, Op::Mul, &[x, slope]);
    replace(graph, id, Op::Add, &[line, rest]);
}

/// `x clip(x + 3, 0, 6) / 6`: the division comes last, where the next layer's weights can take it.
fn hard_swish(graph: &mut Graph, id: Id, x: Id) {
    let [from_lo, from_hi] = [-3.0, 3.0].map(|bound| relu_above(graph, id, x, bound));
    let gate = map(graph, id, Op::Sub, &[from_lo, from_hi]);
    let product = map(graph, id, Op::Mul, &[x, gate]);
    replace(graph, id, Op::Scale { by: 1.0 / 6.0 }, &[product]);
}

/// The maximum of two secrets is an operation of the core; a parameter can be subtracted before.
fn max(graph: &mut Graph, id: Id, x: Id, y: Id) {
    if is_secret(graph, x) && is_secret(graph, y) {
        return;
    }
    let excess = relu_of_difference(graph, id, x, y);
    replace(graph, id, Op::Add, &[excess, y]);
}

fn pow(graph: &mut Graph, id: Id, x: Id, n: u32) {
    if n == 0 {
        let zero = map(graph, id, Op::Scale { by: 0.0 }, &[x]);
        return replace(graph, id, Op::Offset { by: 1.0 }, &[zero]);
    }
    let (mut square, mut product, mut left) = (x, None, n);
    loop {
        if left % 2 == 1 {
            product = match product {
                Some(product) if left == 1 => {
                    return replace(graph, id, Op::Mul, &[product, square]);
                }
                Some(product) => Some(map(graph, id, Op::Mul, &[product, square])),
                None if left == 1 => break,
                None => Some(square),
            };
        }
        square = map(graph, id, Op::Mul, &[square, square]);
        left /= 2;
    }
    // `n` is a power of two: the last square is the result.
    let last = graph.program[square].clone();
    if square == x {
        replace(graph, id, Op::Scale { by: 1.0 }, &[x]);
    } else {
        replace(graph, id, last.op, &last.args);
    }
}

fn reduce_mean(graph: &mut Graph, id: Id, x: Id, axes: Vec<usize>) {
    let out = graph.program[id].ty.shape.clone();
    let count = graph.program[x].ty.shape.elements() / out.elements().max(1);
    let sum = push(graph, id, Op::ReduceSum { axes }, &[x], out);
    replace(graph, id, Op::Scale { by: 1.0 / count.max(1) as f64 }, &[sum]);
}

fn avg_pool(graph: &mut Graph, id: Id, x: Id, window: &Window, count_pad: bool) {
    let (shape, out) = (graph.program[x].ty.shape.clone(), graph.program[id].ty.shape.clone());
    if window.kernel == shape[2..] && window.pads == [0; 4] && window.dilations == [1, 1] {
        return reduce_mean(graph, id, x, vec![2, 3]);
    }
    let taps = window.kernel[0] * window.kernel[1];
    let like =
        Like { shape: Shape::of(&[shape[1], 1, window.kernel[0], window.kernel[1]]), public: true };
    let ones = param(graph, id, "ones".to_owned(), vec![1.0; like.shape.elements()], &like);
    let op = Op::Conv { window: *window, groups: shape[1] };
    let sum = push(graph, id, op, &[x, ones], out.clone());
    if count_pad || window.pads == [0; 4] {
        return replace(graph, id, Op::Scale { by: 1.0 / taps as f64 }, &[sum]);
    }
    let inverse = inverse_counts(window, [shape[2], shape[3]], [out[2], out[3]]);
    let like = Like { shape: Shape::of(&[1, 1, out[2], out[3]]), public: true };
    let inverse = param(graph, id, "divisors".to_owned(), inverse, &like);
    let inverse = push(graph, id, Op::Expand, &[inverse], out);
    replace(graph, id, Op::Mul, &[sum, inverse]);
}

/// One over the number of taps inside the image, per output pixel.
fn inverse_counts(window: &Window, extent: [usize; 2], out: [usize; 2]) -> Vec<f32> {
    let inside = |axis: usize, at: usize| {
        let taps = 0..window.kernel[axis];
        taps.filter(|tap| window.input_at(axis, at, *tap, extent[axis]).is_some()).count()
    };
    let inverse = |y: usize, x: usize| 1.0 / (inside(0, y) * inside(1, x)).max(1) as f32;
    (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| inverse(y, x))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::after;
    use insta::assert_snapshot;

    /// One element-wise operation on five elements, legalised; the checks of `after` do the rest.
    fn element_wise(op: &str) -> String {
        let src =
            format!("nn {{ %0 = input port port0 : secret[5] %1 = {op} : secret[5] return %1 }}");
        let text = after(super::run, &src);
        let body = text.lines().skip(2).filter(|line| line.starts_with("  %"));
        body.map(|line| line.trim().trim_end_matches(" : secret[5]")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn clips_take_one_relu_per_finite_bound() {
        assert_snapshot!(element_wise("clip %0 lo -0.5 hi 1.5"), @"
        %1 = offset %0 by 0.5
        %2 = relu %1
        %3 = offset %0 by -1.5
        %4 = relu %3
        %5 = sub %2, %4
        %6 = offset %5 by -0.5
        ");
        assert_snapshot!(element_wise("clip %0 lo 0 hi 0.25"), @"
        %1 = relu %0
        %2 = offset %0 by -0.25
        %3 = relu %2
        %4 = sub %1, %3
        ");
        assert_snapshot!(element_wise("clip %0 lo 0.25 hi inf"), @"
        %1 = offset %0 by -0.25
        %2 = relu %1
        %3 = offset %2 by 0.25
        ");
        assert_snapshot!(element_wise("clip %0 lo -inf hi 0.25"), @"
        %1 = offset %0 by -0.25
        %2 = relu %1
        %3 = sub %0, %2
        ");
        assert_snapshot!(element_wise("clip %0 lo 0.5 hi 0.25"), @"
        %1 = offset %0 by -0.25
        %2 = relu %1
        %3 = offset %0 by -0.25
        %4 = relu %3
        %5 = sub %2, %4
        %6 = offset %5 by 0.25
        ");
        assert_snapshot!(element_wise("clip %0 lo -inf hi inf"), @"%1 = scale %0 by 1");
    }

    #[test]
    fn activations() {
        assert_snapshot!(element_wise("leaky_relu %0 alpha 0.25"), @"
        %1 = scale %0 by 0.25
        %2 = relu %0
        %3 = scale %2 by 0.75
        %4 = add %1, %3
        ");
        assert_snapshot!(element_wise("abs %0"), @"
        %1 = relu %0
        %2 = scale %1 by 2
        %3 = sub %2, %0
        ");
        assert_snapshot!(element_wise("hard_sigmoid %0 alpha 0.5 beta 0.25"), @"
        %1 = scale %0 by 0.5
        %2 = offset %1 by 0.25
        %3 = relu %2
        %4 = offset %2 by -1
        %5 = relu %4
        %6 = sub %3, %5
        ");
        assert_snapshot!(element_wise("hard_swish %0"), @"
        %1 = offset %0 by 3
        %2 = relu %1
        %3 = offset %0 by -3
        %4 = relu %3
        %5 = sub %2, %4
        %6 = mul %0, %5
        %7 = scale %6 by 0.16666666666666666
        ");
    }

    #[test]
    fn powers_by_squaring() {
        assert_snapshot!(element_wise("pow %0 n 1"), @"%1 = scale %0 by 1");
        assert_snapshot!(element_wise("pow %0 n 4"), @"
        %1 = mul %0, %0
        %2 = mul %1, %1
        ");
        assert_snapshot!(element_wise("pow %0 n 7"), @"
        %1 = mul %0, %0
        %2 = mul %0, %1
        %3 = mul %1, %1
        %4 = mul %2, %3
        ");
    }

    #[test]
    fn pairs() {
        let pair = |op: &str, visibility: &str| {
            let leaf = if visibility == "secret" { "input port port1" } else { "param id w0" };
            let src = format!(
                "nn {{ %0 = input port port0 : secret[5] %1 = {leaf} : {visibility}[5]
                 %2 = {op} %0, %1 : secret[5] return %2 }}"
            );
            let text = after(super::run, &src);
            let body = text.lines().skip(3).filter(|line| line.starts_with("  %"));
            body.map(str::trim).collect::<Vec<_>>().join("\n")
        };
        assert_snapshot!(pair("prelu", "weight"), @"
        %2 = mul %0, %1 : secret[5]
        %3 = relu %0 : secret[5]
        %4 = scale %1 by -1 : weight[5]
        %5 = offset %4 by 1 : weight[5]
        %6 = mul %3, %5 : secret[5]
        %7 = add %2, %6 : secret[5]
        ");
        assert_snapshot!(pair("min", "secret"), @"
        %2 = sub %0, %1 : secret[5]
        %3 = relu %2 : secret[5]
        %4 = sub %0, %3 : secret[5]
        ");
        assert_snapshot!(pair("max", "weight"), @"
        %2 = sub %0, %1 : secret[5]
        %3 = relu %2 : secret[5]
        %4 = add %3, %1 : secret[5]
        ");
        assert_snapshot!(pair("max", "secret"), @"%2 = max %0, %1 : secret[5]");
    }

    #[test]
    fn a_mean_is_a_sum_and_a_scale() {
        let src = "nn {
          %0 = input port port0 : secret[1x2x4x4]
          %1 = avg_pool %0 window 4x4 stride 1x1 dilate 1x1 pad [0, 0, 0, 0] count_pad true : secret[1x2x1x1]
          %2 = reduce_mean %0 axes [1] : secret[1x1x4x4]
          return %1, %2
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x2x4x4]
          %1 = reduce_sum %0 axes [2, 3] : secret[1x2x1x1]
          %2 = scale %1 by 0.0625 : secret[1x2x1x1]
          %3 = reduce_sum %0 axes [1] : secret[1x1x4x4]
          %4 = scale %3 by 0.5 : secret[1x1x4x4]
          return %2, %4
        }
        ");
    }

    #[test]
    fn average_pooling_divides_by_what_is_inside() {
        let src = "nn {
          %0 = input port port0 : secret[1x2x4x4]
          %1 = avg_pool %0 window 2x2 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] count_pad false : secret[1x2x2x2]
          %2 = avg_pool %0 window 3x3 stride 2x2 dilate 1x1 pad [1, 1, 1, 1] count_pad false : secret[1x2x2x2]
          return %1, %2
        }";
        assert_snapshot!(after(super::run, src), @"
        nn {
          %0 = input port port0 : secret[1x2x4x4]
          %1 = param id w0 : public[2x1x2x2]
          %2 = conv %0, %1 window 2x2 stride 2x2 dilate 1x1 pad [0, 0, 0, 0] groups 2 : secret[1x2x2x2]
          %3 = scale %2 by 0.25 : secret[1x2x2x2]
          %4 = param id w1 : public[2x1x3x3]
          %5 = conv %0, %4 window 3x3 stride 2x2 dilate 1x1 pad [1, 1, 1, 1] groups 2 : secret[1x2x2x2]
          %6 = param id w2 : public[1x1x2x2]
          %7 = expand %6 : public[1x2x2x2]
          %8 = mul %5, %7 : secret[1x2x2x2]
          return %3, %8
        }
        ");
    }
}
