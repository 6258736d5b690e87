//! Sliding windows as ONNX writes them: one or two axes, explicit or automatic padding.

use super::super::cx::{Cx, Res};
use super::super::error::{invalid, refuse};
use super::super::limits::{MAX_EXTENT, MAX_TAP};
use mpcc_ir::{Id, Window};

/// How padding is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutoPad {
    /// By `pads`.
    Explicit,
    /// As many outputs as strides fit, the odd element behind.
    SameUpper,
    /// The same with the odd element in front.
    SameLower,
    /// None.
    Valid,
}

/// A window over `rank` axes, before its padding is settled.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// Extents of the image axes.
    pub(super) extent: Vec<usize>,
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    /// Padding in front and behind.
    pub(super) pads: Vec<[usize; 2]>,
    pub(super) auto: AutoPad,
}

impl Geometry {
    /// Reads the attributes of a node whose input is `x[n, c, ..]`.
    pub(super) fn new(cx: &Cx<'_>, x: Id, kernel: Option<&[usize]>) -> Res<Self> {
        let dims = cx.dims(x);
        let extent = dims.get(2..).unwrap_or_default().to_vec();
        if !(1..=2).contains(&extent.len()) {
            return refuse(
                format!("its input has shape {dims:?}"),
                "only one- and two-dimensional windows over [batch, channels, ..] are supported",
            );
        }
        let rank = extent.len();
        let taps = |name: &str| -> Res<Option<Vec<usize>>> {
            let Some(list) = cx.ints(name)? else { return Ok(None) };
            if list.len() != rank || list.iter().any(|v| !(1..=MAX_TAP).contains(v)) {
                return invalid(format!("attribute `{name}` is {list:?} for {rank} image axes"));
            }
            Ok(Some(list.iter().map(|&v| v as usize).collect()))
        };
        let declared = taps("kernel_shape")?;
        let kernel = match (declared, kernel) {
            (Some(a), Some(b)) if a != b => {
                return invalid(format!("kernel_shape is {a:?} and the weight's is {b:?}"));
            }
            (Some(kernel), _) => kernel,
            (None, Some(kernel)) => kernel.to_vec(),
            (None, None) => return invalid("it names no kernel_shape"),
        };
        if kernel.len() != rank || kernel.iter().any(|&k| !(1..=MAX_TAP as usize).contains(&k)) {
            return invalid(format!("its kernel {kernel:?} does not match {rank} image axes"));
        }
        Ok(Self {
            strides: taps("strides")?.unwrap_or_else(|| vec![1; rank]),
            dilations: taps("dilations")?.unwrap_or_else(|| vec![1; rank]),
            pads: pads(cx, rank)?,
            auto: auto_pad(cx)?,
            extent,
            kernel,
        })
    }

    /// Input elements between a window's first and last tap, both counted.
    pub(super) fn reach(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Settles automatic padding.
    pub(super) fn settle(&mut self) {
        for axis in 0..self.extent.len() {
            let (extent, stride) = (self.extent[axis], self.strides[axis]);
            let needed = (extent.div_ceil(stride) - 1) * stride + self.reach(axis);
            let total = needed.saturating_sub(extent);
            match self.auto {
                AutoPad::Explicit => {}
                AutoPad::Valid => self.pads[axis] = [0, 0],
                AutoPad::SameUpper => self.pads[axis] = [total / 2, total - total / 2],
                AutoPad::SameLower => self.pads[axis] = [total - total / 2, total / 2],
            }
        }
    }

    /// Padding behind that makes the usual rounding down give the rounded-up number of outputs. A
    /// last window that would lie in the padding alone is left out.
    pub(super) fn ceil(&self) -> Vec<usize> {
        let extra = |axis: usize| {
            let ([front, back], stride) = (self.pads[axis], self.strides[axis]);
            let padded = self.extent[axis] + front + back;
            let Some(room) = padded.checked_sub(self.reach(axis)) else { return 0 };
            let last = room.div_ceil(stride) * stride;
            if last >= self.extent[axis] + front { 0 } else { last.saturating_sub(room) }
        };
        (0..self.extent.len()).map(extra).collect()
    }

    /// As a two-dimensional window; one axis becomes a row.
    pub(super) fn window(&self) -> Res<Window> {
        let pair = |v: &[usize], row: usize| match *v {
            [w] => [row, w],
            [h, w, ..] => [h, w],
            [] => [row, row],
        };
        let front: Vec<_> = self.pads.iter().map(|p| p[0]).collect();
        let back: Vec<_> = self.pads.iter().map(|p| p[1]).collect();
        let ([top, left], [bottom, right]) = (pair(&front, 0), pair(&back, 0));
        let window = Window {
            kernel: pair(&self.kernel, 1),
            strides: pair(&self.strides, 1),
            dilations: pair(&self.dilations, 1),
            pads: [top, left, bottom, right],
        };
        let extent = pair(&self.extent, 1);
        match window.output(extent) {
            Some(_) => Ok(window),
            None => invalid(format!("its window does not fit into an image of {:?}", self.extent)),
        }
    }
}

fn pads(cx: &Cx<'_>, rank: usize) -> Res<Vec<[usize; 2]>> {
    let Some(list) = cx.ints("pads")? else { return Ok(vec![[0, 0]; rank]) };
    if list.len() != 2 * rank || list.iter().any(|p| *p > MAX_EXTENT) {
        return invalid(format!("attribute `pads` is {list:?} for {rank} image axes"));
    }
    if list.iter().any(|p| *p < 0) {
        return refuse(format!("its padding {list:?} is negative"), "cut the image with Slice");
    }
    Ok((0..rank).map(|i| [list[i] as usize, list[rank + i] as usize]).collect())
}

fn auto_pad(cx: &Cx<'_>) -> Res<AutoPad> {
    match cx.text("auto_pad", "NOTSET")?.as_str() {
        "NOTSET" | "" => Ok(AutoPad::Explicit),
        "SAME_UPPER" => Ok(AutoPad::SameUpper),
        "SAME_LOWER" => Ok(AutoPad::SameLower),
        "VALID" => Ok(AutoPad::Valid),
        other => invalid(format!("its auto_pad `{other}` is unknown")),
    }
}

/// Shape with a row axis put in front of a single image axis: `[n, c, w]` to `[n, c, 1, w]`.
pub(super) fn with_row(dims: &[usize]) -> Vec<usize> {
    match *dims {
        [n, c, w] => vec![n, c, 1, w],
        _ => dims.to_vec(),
    }
}

/// An image as one of two axes.
pub(super) fn image(cx: &mut Cx<'_>, x: Id) -> Res<Id> {
    let dims = with_row(&cx.dims(x));
    cx.reshape(x, &dims)
}

/// Takes the row away again where the node's input had `rank` axes.
pub(super) fn image_of_rank(cx: &mut Cx<'_>, x: Id, rank: usize) -> Res<Id> {
    match cx.dims(x)[..] {
        [n, c, 1, w] if rank == 3 => cx.reshape(x, &[n, c, w]),
        _ => Ok(x),
    }
}

/// Shape of a window's output over `[n, _, h, w]`, with this many channels.
pub(super) fn output(cx: &Cx<'_>, x: Id, window: &Window, channels: usize) -> Res<Vec<usize>> {
    let dims = cx.dims(x);
    match window.output([dims[2], dims[3]]) {
        Some([h, w]) => Ok(vec![dims[0], channels, h, w]),
        None => invalid(format!("its window does not fit into an image of shape {dims:?}")),
    }
}
