//! Transposed convolution: zeros between the pixels, then a convolution with the flipped weight.

use super::super::cx::{Cx, Res, Value};
use super::super::error::{invalid, refuse};
use super::super::limits::MAX_EXTENT;
use super::conv::{bias, groups};
use super::one;
use super::window::{AutoPad, Geometry, image, image_of_rank, output, with_row};
use mpcc_ir::Id;
use mpcc_ir::nn::Op;

pub(super) fn conv_transpose(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let Value::Const(weight) = cx.input(1)? else {
        return refuse("its weight depends on a model input", "make the weight a constant");
    };
    let rank = cx.dims(x).len();
    let mut geometry = Geometry::new(cx, x, weight.dims.get(2..))?;
    let groups = groups(cx)?;
    let &[c, per_group, kh, kw] = &with_row(&weight.dims)[..] else {
        return invalid(format!("its weight has shape {:?}", weight.dims));
    };
    if c % groups != 0 || c != cx.dims(x)[1] {
        return invalid(format!("its weight has shape {:?} for {groups} groups", weight.dims));
    }
    let flipped = flip(weight.floats()?, [c, per_group, kh * kw], groups);
    let weight_dims = [per_group * groups, c / groups, kh, kw];
    let name = format!("{}.flipped", cx.output_name());
    let weight = cx.new_param(&name, &weight_dims, flipped)?;
    let borders = borders(cx, &geometry)?;
    let x = image(cx, x)?;
    let x = spread(cx, x, &geometry, &borders)?;
    // Padding, strides and dilation of the transposed convolution are in the spread image by now.
    geometry.extent = cx.dims(x)[4 - geometry.extent.len()..].to_vec();
    geometry.strides = vec![1; geometry.extent.len()];
    geometry.pads = vec![[0, 0]; geometry.extent.len()];
    let window = geometry.window()?;
    let mut args = vec![x, weight];
    args.extend(bias(cx)?);
    let dims = output(cx, x, &window, per_group * groups)?;
    let y = cx.emit(Op::Conv { window, groups }, &args, &dims)?;
    image_of_rank(cx, y, rank).map(one)
}

/// `w[c, m, taps]` to `[groups m, c / groups, taps reversed]`.
fn flip(w: &[f32], [c, m, taps]: [usize; 3], groups: usize) -> Vec<f32> {
    let inner = c / groups;
    let mut out = Vec::with_capacity(w.len());
    for row in 0..groups * m {
        let (group, m_at) = (row / m, row % m);
        for i in 0..inner {
            let from = ((group * inner + i) * m + m_at) * taps;
            out.extend(w[from..from + taps].iter().rev());
        }
    }
    out
}

/// Zeros in front and behind per axis; negative where outputs are cut off.
fn borders(cx: &Cx<'_>, geometry: &Geometry) -> Res<Vec<[i64; 2]>> {
    let rank = geometry.extent.len();
    let list = |name: &str| -> Res<Option<Vec<i64>>> {
        match cx.ints(name)? {
            Some(v) if v.len() != rank || v.iter().any(|v| !(0..=MAX_EXTENT).contains(v)) => {
                invalid(format!("attribute `{name}` is {v:?} for {rank} image axes"))
            }
            other => Ok(other),
        }
    };
    let behind = list("output_padding")?.unwrap_or_else(|| vec![0; rank]);
    let wanted = list("output_shape")?;
    let mut borders = Vec::new();
    for axis in 0..rank {
        let (stride, reach) = (geometry.strides[axis] as i64, geometry.reach(axis) as i64);
        let full = stride * (geometry.extent[axis] as i64 - 1) + behind[axis] + reach;
        let same = matches!(geometry.auto, AutoPad::SameUpper | AutoPad::SameLower);
        let wanted = match &wanted {
            Some(shape) => Some(shape[axis]),
            None if same => Some(stride * geometry.extent[axis] as i64),
            None => None,
        };
        let [front, back] = match (wanted, geometry.auto) {
            (Some(size), auto) => {
                let total = full - size;
                let half = total.max(0) / 2;
                // What the kernel does not reach is zero and comes behind.
                if auto == AutoPad::SameUpper {
                    [half, total - half]
                } else {
                    [total.max(0) - half, total - (total.max(0) - half)]
                }
            }
            (None, AutoPad::Valid) => [0, 0],
            (None, AutoPad::Explicit | AutoPad::SameUpper | AutoPad::SameLower) => {
                geometry.pads[axis].map(|p| p as i64)
            }
        };
        borders.push([reach - 1 - front, reach - 1 - back + behind[axis]]);
    }
    Ok(borders)
}

/// Puts zeros between and around the pixels of `x[n, c, h, w]`, or cuts pixels off.
fn spread(cx: &mut Cx<'_>, x: Id, geometry: &Geometry, borders: &[[i64; 2]]) -> Res<Id> {
    let skip = 4 - borders.len();
    let (mut before, mut after, mut interior) = (vec![0; 4], vec![0; 4], vec![0; 4]);
    let (mut starts, mut dims, mut padded) = (vec![0; 4], cx.dims(x), cx.dims(x));
    for (i, &[front, back]) in borders.iter().enumerate() {
        let at = skip + i;
        before[at] = front.max(0) as usize;
        after[at] = back.max(0) as usize;
        interior[at] = geometry.strides[i] - 1;
        padded[at] = before[at] + (dims[at] - 1) * geometry.strides[i] + 1 + after[at];
        starts[at] = front.min(0).unsigned_abs() as usize;
        let cut = starts[at] + back.min(0).unsigned_abs() as usize;
        dims[at] = padded[at].saturating_sub(cut);
    }
    let x = if padded == cx.dims(x) {
        x
    } else {
        cx.emit(Op::Pad { before, after, interior, value: 0.0 }, &[x], &padded)?
    };
    if dims == padded {
        return Ok(x);
    }
    cx.emit(Op::Slice { starts, steps: vec![1; 4] }, &[x], &dims)
}
