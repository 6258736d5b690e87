//! Nearest-neighbour resizing: constant indices along each axis.

use super::super::cx::{Cx, Res, Value, axis};
use super::super::error::{invalid, refuse};
use super::super::limits::MAX_EXTENT;
use super::{one, select};

/// How an axis is resized.
struct Axis {
    /// Extent before.
    from: usize,
    /// Extent after.
    to: usize,
    /// Their ratio as the model states it.
    scale: f64,
}

pub(super) fn upsample(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    check_mode(cx)?;
    let scales = match cx.constant(1)? {
        Some(scales) => scales.floats()?.to_vec(),
        None => cx.floats("scales")?.unwrap_or_default(),
    };
    let dims = cx.dims_of(&cx.input(0)?);
    let axes = scaled(&dims, &scales)?;
    apply(cx, axes, "asymmetric", "floor")
}

pub(super) fn resize(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    check_mode(cx)?;
    let dims = cx.dims_of(&cx.input(0)?);
    if cx.opset < 11 {
        let axes = scaled(&dims, cx.required(1)?.floats()?)?;
        return apply(cx, axes, "asymmetric", "floor");
    }
    let over = match cx.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, dims.len())).collect::<Res<_>>()?,
        None => (0..dims.len()).collect::<Vec<_>>(),
    };
    let own: Vec<usize> = over.iter().map(|&a| dims[a]).collect();
    let scales = cx.constant(2)?.filter(|c| c.len() > 0);
    let sizes = cx.constant(3)?.filter(|c| c.len() > 0);
    let resized = match (scales, sizes) {
        (Some(scales), _) => scaled(&own, scales.floats()?)?,
        (None, Some(sizes)) => {
            let policy = cx.text("keep_aspect_ratio_policy", "stretch")?;
            sized(&own, sizes.integers()?, &policy)?
        }
        (None, None) => return invalid("it names neither scales nor sizes"),
    };
    let mut axes: Vec<_> = dims.iter().map(|&d| Axis { from: d, to: d, scale: 1.0 }).collect();
    for (&at, resized) in over.iter().zip(resized) {
        axes[at] = resized;
    }
    let coordinates = cx.text("coordinate_transformation_mode", "half_pixel")?;
    let rounding = cx.text("nearest_mode", "round_prefer_floor")?;
    apply(cx, axes, &coordinates, &rounding)
}

fn check_mode(cx: &Cx<'_>) -> Res<()> {
    match cx.text("mode", "nearest")?.as_str() {
        "nearest" => Ok(()),
        mode => refuse(
            format!("its mode is `{mode}`"),
            "use mode `nearest`, or ConvTranspose, and train again",
        ),
    }
}

fn scaled(dims: &[usize], scales: &[f32]) -> Res<Vec<Axis>> {
    if scales.len() != dims.len() || scales.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return invalid(format!("its scales {scales:?} do not match shape {dims:?}"));
    }
    let axis = |(&from, &scale): (&usize, &f32)| {
        // ONNX Runtime multiplies in single precision.
        let to = (from as f32 * scale).floor().min(MAX_EXTENT as f32 + 1.0) as usize;
        Axis { from, to, scale: f64::from(scale) }
    };
    Ok(dims.iter().zip(scales).map(axis).collect())
}

fn sized(dims: &[usize], sizes: &[i64], policy: &str) -> Res<Vec<Axis>> {
    if sizes.len() != dims.len() || sizes.iter().any(|s| !(1..=MAX_EXTENT).contains(s)) {
        return invalid(format!("its sizes {sizes:?} do not match shape {dims:?}"));
    }
    let ratio = |(&d, &s): (&usize, &i64)| s as f64 / d as f64;
    let ratios = dims.iter().zip(sizes).map(ratio);
    let common = match policy {
        "stretch" => None,
        "not_larger" => Some(ratios.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios.fold(0.0, f64::max)),
        other => return invalid(format!("its policy `{other}` is unknown")),
    };
    let axis = |(&from, &size): (&usize, &i64)| match common {
        None => Axis { from, to: size as usize, scale: size as f64 / from as f64 },
        Some(scale) => Axis { from, to: (scale * from as f64 + 0.5).floor() as usize, scale },
    };
    Ok(dims.iter().zip(sizes).map(axis).collect())
}

fn apply(cx: &mut Cx<'_>, axes: Vec<Axis>, coordinates: &str, rounding: &str) -> Res<Vec<Value>> {
    let mut x = cx.net(0)?;
    for (at, axis) in axes.iter().enumerate() {
        if axis.from == axis.to && (axis.scale - 1.0).abs() < f64::EPSILON {
            continue;
        }
        let mut dims = cx.dims(x);
        dims[at] = axis.to;
        cx.admit(&dims)?;
        let indices = (0..axis.to).map(|i| source(axis, i, coordinates, rounding));
        let indices = indices.collect::<Res<Vec<_>>>()?;
        x = select::take(cx, x, at, indices)?;
    }
    Ok(one(x))
}

/// The input index that output `i` takes.
fn source(axis: &Axis, i: usize, coordinates: &str, rounding: &str) -> Res<u32> {
    let (i, from, to, scale) = (i as f64, axis.from as f64, axis.to as f64, axis.scale);
    let at = match coordinates {
        "half_pixel" => (i + 0.5) / scale - 0.5,
        "half_pixel_symmetric" => {
            // Centres the output on the input where rounding made it smaller than the scale says.
            let adjustment = to / (scale * from);
            let offset = from / 2.0 * (1.0 - adjustment);
            offset + (i + 0.5) / scale - 0.5
        }
        "pytorch_half_pixel" if axis.to == 1 => 0.0,
        "pytorch_half_pixel" => (i + 0.5) / scale - 0.5,
        "align_corners" if axis.to == 1 => 0.0,
        "align_corners" => i * (from - 1.0) / (to - 1.0),
        "asymmetric" => i / scale,
        "tf_half_pixel_for_nn" => (i + 0.5) / scale,
        other => {
            return refuse(
                format!("its coordinate_transformation_mode is `{other}`"),
                "use half_pixel or asymmetric",
            );
        }
    };
    let index = match rounding {
        "round_prefer_floor" => (at - 0.5).ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        other => return invalid(format!("its nearest_mode `{other}` is unknown")),
    };
    Ok(index.clamp(0.0, from - 1.0) as u32)
}
