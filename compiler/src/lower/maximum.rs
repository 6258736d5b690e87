//! ReLU and maxima: `max(a, b) = b + relu(a - b)`, a tree over strided slices.
//!
//! A pool is a pass along rows, then one along columns, each a tree, so that a window of `h` by `w`
//! takes `h + w - 2` comparisons per output rather than `h w - 1`. Maxima stay in the ring their
//! operand comes in: narrow straight after an opening (no lift), wide after a ReLU. The difference is
//! cut to the bits its range needs, which is free. Padding is a public constant below the range.

use super::Lowering;
use super::error::{FormatError, no_room};
use super::facts::with_margin;
use mpcc_ir::masked::{Kind, Op, Ty};
use mpcc_ir::nn::Range;
use mpcc_ir::{Id, Window};

impl Lowering<'_> {
    pub(super) fn relu(&mut self, id: Id) -> Result<(), FormatError> {
        let [x] = self.args(id);
        let u = self.masked(x)?;
        let frac = self.frac_of(u);
        let bits = self.facts.int_bits[x.index()] + frac + 1;
        let u = self.masked_in(x, bits)?;
        let u = self.narrowed(u, bits);
        let ring = if self.facts.wide[id.index()] {
            self.ring
        } else {
            self.narrow_bits(id, frac).max(i32::from(self.ty(u).ring)) as u8
        };
        let z = self.relu_of(u, ring);
        self.hold(id, z);
        Ok(())
    }

    fn relu_of(&mut self, u: Id, ring: u8) -> Id {
        let ty = Ty { ring, ..self.ty(u).clone() };
        let mask = self.fresh_mask();
        self.push(Op::Relu { mask }, &[u], ty)
    }

    /// `b + relu(a - b)`, the difference in `bits`.
    fn max_of(&mut self, a: Id, b: Id, bits: i32) -> Id {
        let ty = self.ty(b).clone();
        let difference = self.push(Op::Sub, &[a, b], ty.clone());
        let narrow = self.narrowed(difference, bits);
        let positive = self.relu_of(narrow, ty.ring);
        self.push(Op::Add, &[positive, b], ty)
    }

    pub(super) fn max(&mut self, id: Id) -> Result<(), FormatError> {
        let [a, b] = self.pair(id);
        if self.is_weight(a) {
            return self.max_with_weight(id, b, a);
        }
        if self.is_weight(b) {
            return self.max_with_weight(id, a, b);
        }
        let (x, y) = (self.masked(a)?, self.masked(b)?);
        let frac = self.frac_of(x).max(self.frac_of(y));
        let bits = self.facts.max_spread(&[a, b]) + frac + 1;
        let least = bits.max(self.narrow_bits(id, frac));
        let (x, y) = (self.masked_in(a, least)?, self.masked_in(b, least)?);
        let ring = i32::from(self.ty(x).ring.min(self.ty(y).ring));
        let (x, y) = (self.narrowed(x, ring), self.narrowed(y, ring));
        let (x, y) = (self.aligned(x, frac), self.aligned(y, frac));
        self.check_ring(id, x, least)?;
        let z = self.max_of(x, y, bits);
        self.hold(id, z);
        Ok(())
    }

    /// `w + relu(x - w)`: the difference is opened from shares, and so is the sum.
    fn max_with_weight(&mut self, id: Id, x: Id, w: Id) -> Result<(), FormatError> {
        let wide = self.wide(x)?;
        let shares = self.shares_of(wide);
        let ty = self.ty(shares).clone();
        let frac = i32::from(ty.frac);
        let w = self.weight(w, ty.ring, frac)?;
        let difference = self.push(Op::Sub, &[shares, w], ty.clone());
        let bits = self.facts.max_spread(&[x, id]) + frac + 1;
        if bits > i32::from(self.ring) {
            return Err(no_room(
                self.graph,
                id,
                "range and fraction of the difference",
                bits,
                self.ring,
            ));
        }
        let mask = self.fresh_mask();
        let narrow = Ty { kind: Kind::Masked, ring: bits.max(2) as u8, ..ty.clone() };
        let opened = self.push(Op::Rescale { by: 0, mask }, &[difference], narrow);
        let positive = self.relu_of(opened, self.ring);
        let positive = self.shares_of(positive);
        let z = self.push(Op::Add, &[positive, w], ty);
        self.hold(id, z);
        Ok(())
    }

    fn check_ring(&self, id: Id, x: Id, least: i32) -> Result<(), FormatError> {
        let ring = self.ty(x).ring;
        if i32::from(ring) < least {
            return Err(no_room(
                self.graph,
                id,
                "range and fraction of the difference",
                least,
                ring,
            ));
        }
        Ok(())
    }

    /// The operand of a maximum, and the bits of its differences.
    fn compared(&mut self, id: Id) -> Result<(Id, i32), FormatError> {
        let [x] = self.args(id);
        let found = self.masked(x)?;
        let frac = self.frac_of(found);
        let bits = self.facts.spread_bits[x.index()] + frac + 1;
        let least = bits.max(self.narrow_bits(id, frac));
        let found = self.masked_in(x, least)?;
        self.check_ring(id, found, least)?;
        Ok((found, bits))
    }

    pub(super) fn max_pool(&mut self, id: Id, window: &Window) -> Result<(), FormatError> {
        let (mut x, bits) = self.compared(id)?;
        let [operand] = self.args(id);
        let floor = self.floor(operand, self.frac_of(x));
        let out = self.graph.program[id].ty.shape.clone();
        // Columns first: rows of padding are added only where the second pass needs them.
        for axis in [1, 0] {
            x = self.padded(x, window, axis, floor);
            let taps = (0..window.kernel[axis]).map(|tap| {
                let mut shape = self.ty(x).shape.clone();
                shape.0[axis + 2] = out[axis + 2];
                let (mut starts, mut steps) = (vec![0; 4], vec![1; 4]);
                starts[axis + 2] = tap * window.dilations[axis];
                steps[axis + 2] = window.strides[axis] as i64;
                (Op::Slice { starts, steps }, shape)
            });
            let taps: Vec<_> = taps.collect();
            let taps = taps.into_iter().map(|(op, shape)| self.moved(x, op, shape)).collect();
            x = self.tree(taps, bits);
        }
        self.hold(id, x);
        Ok(())
    }

    /// A value that no entry of `x` falls below, in units of the last place.
    fn floor(&self, x: Id, frac: i32) -> i64 {
        let range = self.graph.program[x].ty.range.unwrap_or(Range { lo: 0.0, hi: 0.0 });
        let lo = with_margin(range, self.options.margin_bits).lo;
        (lo * f64::from(frac).exp2()).floor() as i64
    }

    fn moved(&mut self, x: Id, op: Op, shape: mpcc_ir::Shape) -> Id {
        let ty = self.ty(x).clone();
        if ty.shape == shape { x } else { self.push(op, &[x], Ty { shape, ..ty }) }
    }

    fn padded(&mut self, x: Id, window: &Window, axis: usize, value: i64) -> Id {
        let (mut before, mut after) = (vec![0; 4], vec![0; 4]);
        (before[axis + 2], after[axis + 2]) = (window.pads[axis], window.pads[axis + 2]);
        let mut shape = self.ty(x).shape.clone();
        shape.0[axis + 2] += window.pads[axis] + window.pads[axis + 2];
        self.moved(x, Op::Pad { before, after, interior: vec![0; 4], value }, shape)
    }

    /// Maximum of equal tensors, in as few levels as possible.
    fn tree(&mut self, mut level: Vec<Id>, bits: i32) -> Id {
        while level.len() > 1 {
            let pairs: Vec<Vec<Id>> = level.chunks(2).map(<[Id]>::to_vec).collect();
            level = pairs
                .into_iter()
                .map(|pair| match pair[..] {
                    [a, b] => self.max_of(a, b, bits),
                    _ => pair[0],
                })
                .collect();
        }
        level[0]
    }

    /// Halves the axis until one entry is left; an odd last entry waits for the next level.
    pub(super) fn reduce_max(&mut self, id: Id, axes: &[usize]) -> Result<(), FormatError> {
        let (mut x, bits) = self.compared(id)?;
        for &axis in axes {
            let mut rest = Vec::new();
            while self.ty(x).shape[axis] > 1 {
                let half = self.ty(x).shape[axis] / 2;
                if self.ty(x).shape[axis] % 2 == 1 {
                    rest.push(self.cut(x, axis, 2 * half, 1));
                }
                let (a, b) = (self.cut(x, axis, 0, half), self.cut(x, axis, half, half));
                x = self.max_of(a, b, bits);
            }
            rest.push(x);
            x = self.tree(rest, bits);
        }
        self.hold(id, x);
        Ok(())
    }

    fn cut(&mut self, x: Id, axis: usize, start: usize, extent: usize) -> Id {
        let mut shape = self.ty(x).shape.clone();
        let (mut starts, steps) = (vec![0; shape.rank()], vec![1; shape.rank()]);
        starts[axis] = start;
        shape.0[axis] = extent;
        self.moved(x, Op::Slice { starts, steps }, shape)
    }
}
