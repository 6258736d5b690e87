//! Pooling over windows and over whole images.

use super::super::cx::{Cx, Res, Value};
use super::super::error::{invalid, refuse};
use super::one;
use super::window::{Geometry, image, image_of_rank, output};
use mpcc_ir::nn::Op;
use mpcc_ir::{Id, Window};

pub(super) fn max_pool(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    if cx.node.output.get(1).is_some_and(|o| !o.is_empty()) {
        return refuse("it also gives the positions of the maxima", "use its first output only");
    }
    let x = cx.net(0)?;
    let mut geometry = geometry(cx, x)?;
    if cx.flag("ceil_mode")? {
        let extra = geometry.ceil();
        for (pads, extra) in geometry.pads.iter_mut().zip(extra) {
            pads[1] += extra;
        }
    }
    let window = geometry.window()?;
    pool(cx, x, window, Op::MaxPool { window })
}

pub(super) fn average_pool(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let mut x = cx.net(0)?;
    let mut geometry = geometry(cx, x)?;
    let extra = if cx.flag("ceil_mode")? { geometry.ceil() } else { vec![0; geometry.pads.len()] };
    let mut count_pad = cx.flag("count_include_pad")?;
    if count_pad && extra.iter().any(|&e| e > 0) {
        // The divisor counts the declared padding and not what rounding up adds: so the declared
        // padding becomes zeros of the image.
        x = zeros_around(cx, x, &mut geometry)?;
        count_pad = false;
    }
    for (pads, extra) in geometry.pads.iter_mut().zip(extra) {
        pads[1] += extra;
    }
    // Without padding both ways of counting agree; the constant divisor is simpler.
    count_pad |= geometry.pads.iter().all(|p| *p == [0, 0]);
    let window = geometry.window()?;
    pool(cx, x, window, Op::AvgPool { window, count_pad })
}

/// The window, where each of its positions touches the image.
fn geometry(cx: &Cx<'_>, x: Id) -> Res<Geometry> {
    let mut geometry = Geometry::new(cx, x, None)?;
    geometry.settle();
    for (axis, pads) in geometry.pads.iter().enumerate() {
        let reach = geometry.reach(axis);
        if pads.iter().any(|&p| p >= reach) {
            return refuse(
                format!("its padding {pads:?} is as long as its window of {reach}"),
                "use less padding",
            );
        }
    }
    Ok(geometry)
}

fn zeros_around(cx: &mut Cx<'_>, x: Id, geometry: &mut Geometry) -> Res<Id> {
    let mut dims = cx.dims(x);
    let (mut before, mut after) = (vec![0; dims.len()], vec![0; dims.len()]);
    for (axis, pads) in geometry.pads.iter_mut().enumerate() {
        [before[axis + 2], after[axis + 2]] = *pads;
        dims[axis + 2] += pads[0] + pads[1];
        geometry.extent[axis] = dims[axis + 2];
        *pads = [0, 0];
    }
    let interior = vec![0; dims.len()];
    cx.emit(Op::Pad { before, after, interior, value: 0.0 }, &[x], &dims)
}

fn pool(cx: &mut Cx<'_>, x: Id, window: Window, op: Op) -> Res<Vec<Value>> {
    let dims = cx.dims(x);
    let x = image(cx, x)?;
    check_taps(&window, &cx.dims(x))?;
    let out = output(cx, x, &window, dims[1])?;
    let y = cx.emit(op, &[x], &out)?;
    image_of_rank(cx, y, dims.len()).map(one)
}

/// With dilation a window can have all of its taps in the padding, where no maximum or mean exists.
fn check_taps(window: &Window, dims: &[usize]) -> Res<()> {
    let Some(out) = window.output([dims[2], dims[3]]) else {
        return invalid("its window does not fit into the image");
    };
    for axis in 0..2 {
        let reads = |at| {
            let mut taps = 0..window.kernel[axis];
            taps.any(|tap| window.input_at(axis, at, tap, dims[axis + 2]).is_some())
        };
        if !(0..out[axis]).all(reads) {
            return refuse("one of its windows lies in the padding alone", "use less padding");
        }
    }
    Ok(())
}

pub(super) fn global_average_pool(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    global(cx, |axes| Op::ReduceMean { axes })
}

pub(super) fn global_max_pool(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    global(cx, |axes| Op::ReduceMax { axes })
}

fn global(cx: &mut Cx<'_>, op: fn(Vec<usize>) -> Op) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let mut dims = cx.dims(x);
    if dims.len() < 3 {
        return invalid(format!("its input has shape {dims:?}, without an image"));
    }
    dims[2..].fill(1);
    cx.emit(op((2..dims.len()).collect()), &[x], &dims).map(one)
}
