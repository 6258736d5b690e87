//! Operators that give the same elements another shape or order, or repeat them.

use super::super::constant::{Const, count};
use super::super::cx::{Cx, Res, Value, axes};
use super::super::error::invalid;
use super::{clear, constants, one};
use mpcc_ir::nn::Op;

/// The first input in another shape, whatever it is.
fn reshaped(cx: &mut Cx<'_>, dims: &[usize]) -> Res<Vec<Value>> {
    let value = cx.input(0)?;
    if count(dims) != count(&cx.dims_of(&value)) {
        return invalid(format!("shape {:?} does not become {dims:?}", cx.dims_of(&value)));
    }
    match value {
        Value::Const(c) => Ok(constants::known(Const {
            name: cx.output_name(),
            dims: dims.to_vec(),
            data: c.data.clone(),
            private: c.private,
        })),
        Value::Net { id, float } => Ok(vec![Value::Net { id: cx.reshape(id, dims)?, float }]),
        Value::Clear(_) => clear::reshape(cx, dims),
        Value::Unknown => Ok(vec![Value::Unknown]),
    }
}

pub(super) fn flatten(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    let rank = dims.len() as i64;
    let axis = cx.int("axis", 1)?;
    let cut = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if !(0..=rank).contains(&cut) {
        return invalid(format!("axis {axis} is out of range for rank {rank}"));
    }
    let (front, back) = dims.split_at(cut as usize);
    reshaped(cx, &[front.iter().product(), back.iter().product()])
}

pub(super) fn reshape(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    let target = cx.required(1)?;
    let (target, allow_zero) = (target.integers()?, cx.flag("allowzero")?);
    let bad = || format!("shape {dims:?} does not become {target:?}");
    let mut out = Vec::new();
    for (i, &extent) in target.iter().enumerate() {
        match (extent, dims.get(i)) {
            (0, Some(&kept)) if !allow_zero => out.push(kept),
            (0, None) if !allow_zero => return invalid(bad()),
            (-1, _) => out.push(1),
            (extent, _) => match usize::try_from(extent) {
                Ok(extent) => out.push(extent),
                Err(_) => return invalid(bad()),
            },
        }
    }
    let mut open = (0..target.len()).filter(|&i| target[i] == -1);
    if let Some(at) = open.next() {
        let (all, rest) = (count(&dims).unwrap_or(0), count(&out).unwrap_or(0));
        if open.next().is_some() || rest == 0 || all % rest != 0 {
            return invalid(bad());
        }
        out[at] = all / rest;
    }
    reshaped(cx, &out)
}

pub(super) fn squeeze(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    let dropped = match cx.ints_or_input("axes", 1)? {
        Some(list) => axes(&list, dims.len())?,
        None => (0..dims.len()).filter(|&i| dims[i] == 1).collect(),
    };
    if dropped.iter().any(|&i| dims[i] != 1) {
        return invalid(format!("shape {dims:?} has an extent over 1 on one of axes {dropped:?}"));
    }
    let kept = (0..dims.len()).filter(|i| !dropped.contains(i)).map(|i| dims[i]);
    reshaped(cx, &kept.collect::<Vec<_>>())
}

pub(super) fn unsqueeze(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let dims = cx.dims_of(&cx.input(0)?);
    let Some(list) = cx.ints_or_input("axes", 1)? else { return invalid("it names no axes") };
    let rank = dims.len() + list.len();
    let added = axes(&list, rank)?;
    let mut rest = dims.into_iter();
    let extent = |i| if added.contains(&i) { Some(1) } else { rest.next() };
    let out: Vec<usize> = (0..rank).filter_map(extent).collect();
    reshaped(cx, &out)
}

pub(super) fn transpose(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let rank = cx.dims(x).len();
    let perm = match cx.ints("perm")? {
        Some(list) => list.iter().map(|&p| super::super::cx::axis(p, rank)).collect::<Res<_>>()?,
        None => (0..rank).rev().collect::<Vec<_>>(),
    };
    if perm.len() != rank {
        return invalid(format!("{perm:?} is no permutation of {rank} axes"));
    }
    cx.transpose(x, &perm).map(one)
}

/// Reshapes, transposes and reshapes again.
fn shuffle(cx: &mut Cx<'_>, split: &[usize], perm: &[usize], dims: &[usize]) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let x = cx.reshape(x, split)?;
    let x = cx.transpose(x, perm)?;
    cx.reshape(x, dims).map(one)
}

fn block(cx: &Cx<'_>) -> Res<([usize; 4], usize)> {
    let dims = cx.dims_of(&cx.input(0)?);
    let Ok(dims) = <[usize; 4]>::try_from(dims) else {
        return invalid("its input is not of rank 4");
    };
    match usize::try_from(cx.int("blocksize", 0)?) {
        Ok(size @ 1..=65536) => Ok((dims, size)),
        Ok(_) | Err(_) => invalid("its block size is out of range"),
    }
}

/// Whether channels come first in a block's depth (`CRD`) rather than last (`DCR`).
fn channel_first(cx: &Cx<'_>) -> Res<bool> {
    match cx.text("mode", "DCR")?.as_str() {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        other => invalid(format!("its mode `{other}` is unknown")),
    }
}

pub(super) fn depth_to_space(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let ([n, c, h, w], b) = block(cx)?;
    if c % (b * b) != 0 {
        return invalid(format!("{c} channels are no multiple of {}", b * b));
    }
    let (d, out) = (c / (b * b), [n, c / (b * b), h * b, w * b]);
    if channel_first(cx)? {
        shuffle(cx, &[n, d, b, b, h, w], &[0, 1, 4, 2, 5, 3], &out)
    } else {
        shuffle(cx, &[n, b, b, d, h, w], &[0, 3, 4, 1, 5, 2], &out)
    }
}

pub(super) fn space_to_depth(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let ([n, c, h, w], b) = block(cx)?;
    if h % b != 0 || w % b != 0 {
        return invalid(format!("an image of {h} by {w} has no whole blocks of {b}"));
    }
    let (split, out) = ([n, c, h / b, b, w / b, b], [n, c * b * b, h / b, w / b]);
    if channel_first(cx)? {
        shuffle(cx, &split, &[0, 1, 3, 5, 2, 4], &out)
    } else {
        shuffle(cx, &split, &[0, 3, 5, 1, 2, 4], &out)
    }
}

pub(super) fn expand(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let target = super::super::cx::dims_from(cx.required(1)?.integers()?)?;
    let x = cx.input(0)?;
    let dims = super::super::cx::broadcast_dims(&cx.dims_of(&x), &target)?;
    cx.broadcast(&x, &dims).map(one)
}

/// Repeats through an axis in front of each: `[d]` to `[1, d]` to `[r, d]` to `[r d]`.
pub(super) fn tile(cx: &mut Cx<'_>) -> Res<Vec<Value>> {
    let x = cx.net(0)?;
    let dims = cx.dims(x);
    let repeats = super::super::cx::dims_from(cx.required(1)?.integers()?)?;
    if repeats.len() != dims.len() {
        return invalid(format!("it repeats {} axes of {}", repeats.len(), dims.len()));
    }
    let (mut split, mut spread, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (&d, &r) in dims.iter().zip(&repeats) {
        if r != 1 {
            split.push(1);
            spread.push(r);
        }
        split.push(d);
        spread.push(d);
        joined.push(d.saturating_mul(r));
    }
    let x = cx.reshape(x, &split)?;
    let x = if split == spread { x } else { cx.emit(Op::Expand, &[x], &spread)? };
    cx.reshape(x, &joined).map(one)
}
