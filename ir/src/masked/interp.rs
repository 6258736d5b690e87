//! Evaluates a masked program in the clear, in wrapping integers: what all roles together compute.
//!
//! Values are ring elements, kept reduced. Masks cancel, so they are not drawn; the one thing that
//! depends on them, the last place of a truncating opening, is the caller's choice: rounded to
//! nearest, or as shares drawn with a seed give it.

use super::{MaskedProgram, Op, Ty};
use crate::channels_last;
use crate::id::Id;
use crate::nn::interp::{View, layout, matmul, reduce};
use crate::shape::Shape;
use crate::ssa::VerifyError;

/// How the last place of a truncating opening comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// `(z + half) >> t`.
    Nearest,
    /// As shares drawn with this seed give it: right on average, off by `parties / 2` units at most.
    Seeded {
        /// Compute parties.
        parties: u8,
        /// Of the generator.
        seed: u64,
    },
}

/// Why a program cannot be evaluated. No message contains a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum InterpError {
    #[error("the program is malformed: {0}")]
    Malformed(#[from] VerifyError),
    #[error("{what} {index} is missing; the program names it")]
    Missing { what: &'static str, index: usize },
    #[error("{what} {index} has {found} elements; its shape is {want}")]
    Length { what: &'static str, index: usize, found: usize, want: Shape },
}

/// The signed reading of a ring element.
pub fn to_signed(x: u64, ring: u8) -> i64 {
    let unused = 64 - u32::from(ring);
    ((x << unused) as i64) >> unused
}

fn reduced(x: u64, ring: u8) -> u64 {
    x & (u64::MAX >> (64 - u32::from(ring)))
}

/// Computes what each output reveals, in order, as signed ring elements.
///
/// - `inputs`: by port, signed ring elements in the format of the port's input node, row-major.
/// - `params`: by parameter, likewise.
///
/// # Errors
/// The program breaks a rule of its level, or an input or parameter is missing or of the wrong size.
pub fn evaluate(
    program: &MaskedProgram,
    inputs: &[Vec<i64>],
    params: &[&[i64]],
    truncation: Truncation,
) -> Result<Vec<Vec<i64>>, InterpError> {
    evaluate_all(program, inputs, params, truncation, &mut |_, _| {})
}

/// As [`evaluate`]; shows every value to `visit` in program order, as reduced ring elements.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_all(
    program: &MaskedProgram,
    inputs: &[Vec<i64>],
    params: &[&[i64]],
    truncation: Truncation,
    visit: &mut dyn FnMut(Id, &[u64]),
) -> Result<Vec<Vec<i64>>, InterpError> {
    program.verify()?;
    let mut uses = program.use_counts();
    let mut values: Vec<Option<Vec<u64>>> = vec![None; program.nodes.len()];
    for id in program.ids() {
        let node = &program[id];
        let args: Vec<Operand<'_>> =
            node.args.iter().map(|a| operand(program, &values, *a)).collect();
        let data = if let Op::Input { port, .. } = node.op {
            source("input", inputs, port.index(), &node.ty)?
        } else if let Op::Weight { param, .. } = node.op {
            source("parameter", params, param.index(), &node.ty)?
        } else if let Op::Rescale { by, .. } = node.op {
            rescale(id, args[0], by, &node.ty, truncation)
        } else {
            compute(&node.op, &args, &node.ty)
        };
        visit(id, &data);
        if uses[id.index()] > 0 {
            values[id.index()] = Some(data);
        }
        for arg in &node.args {
            uses[arg.index()] -= 1;
            if uses[arg.index()] == 0 {
                values[arg.index()] = None;
            }
        }
    }
    let shown = |id: &Id| {
        let x = operand(program, &values, *id);
        x.data.iter().map(|v| to_signed(*v, x.ty.ring)).collect()
    };
    Ok(program.outputs.iter().map(shown).collect())
}

/// An earlier value.
#[derive(Clone, Copy)]
struct Operand<'a> {
    ty: &'a Ty,
    data: &'a [u64],
}

impl<'a> Operand<'a> {
    fn view(self) -> View<'a, u64> {
        View { shape: &self.ty.shape, data: self.data }
    }

    /// The sign-extended elements.
    fn signed(self) -> impl Iterator<Item = i64> + 'a {
        self.data.iter().map(move |x| to_signed(*x, self.ty.ring))
    }
}

fn operand<'a>(program: &'a MaskedProgram, values: &'a [Option<Vec<u64>>], id: Id) -> Operand<'a> {
    let data = values[id.index()].as_deref().expect("an operand lives until its last use");
    Operand { ty: &program[id].ty, data }
}

fn source<T: AsRef<[i64]>>(
    what: &'static str,
    table: &[T],
    index: usize,
    ty: &Ty,
) -> Result<Vec<u64>, InterpError> {
    let data = table.get(index).ok_or(InterpError::Missing { what, index })?.as_ref();
    if data.len() != ty.shape.elements() {
        let (found, want) = (data.len(), ty.shape.clone());
        return Err(InterpError::Length { what, index, found, want });
    }
    Ok(data.iter().map(|x| reduced(*x as u64, ty.ring)).collect())
}

/// `((z mod 2^(n+t)) + half >> t) mod 2^n`; or what is left of `z` when each of the shares has lost its low
/// bits, after the average loss was added. All but one of the shares have uniform low bits.
fn rescale(id: Id, z: Operand<'_>, by: u8, ty: &Ty, truncation: Truncation) -> Vec<u64> {
    let below = (1_i64 << by) - 1;
    let mut state = 0;
    let mut added = || match truncation {
        Truncation::Nearest => (below + 1) >> 1,
        // With no bit to drop, shares lose nothing.
        Truncation::Seeded { .. } if by == 0 => 0,
        Truncation::Seeded { parties, seed } => {
            let lows = (1..parties).map(|_| {
                state = mix(if state == 0 { seed ^ mix(u64::from(id.0) + 1) } else { state });
                (state >> 16) as i64 & below
            });
            i64::from(parties) * below / 2 - lows.sum::<i64>()
        }
    };
    z.signed().map(|z| reduced((z.wrapping_add(added()) >> by) as u64, ty.ring)).collect()
}

/// A step of the splitmix64 generator.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn compute(op: &Op, args: &[Operand<'_>], ty: &Ty) -> Vec<u64> {
    let (out, ring) = (&ty.shape, ty.ring);
    let map =
        |f: &dyn Fn(i64) -> i64| args[0].signed().map(|x| reduced(f(x) as u64, ring)).collect();
    let zip = |f: fn(u64, u64) -> u64| -> Vec<u64> {
        let pairs = args[0].data.iter().zip(args[1].data);
        pairs.map(|(a, b)| reduced(f(*a, *b), ring)).collect()
    };
    match op {
        Op::Conv { window, groups } => product(
            args,
            ring,
            &|wide| channels_last::evaluate(wide, window, *groups, out),
            &|narrow| channels_last::evaluate(narrow, window, *groups, out),
        ),
        Op::MatMul => product(args, ring, &|wide| matmul::matmul(wide[0], wide[1]), &|narrow| {
            matmul::matmul(narrow[0], narrow[1])
        }),
        Op::Mul => zip(u64::wrapping_mul),
        Op::Add => zip(u64::wrapping_add),
        Op::Sub => zip(u64::wrapping_sub),
        Op::Scale { by } => map(&|x| x.wrapping_mul(*by)),
        Op::Offset { by } => map(&|x| x.wrapping_add(*by)),
        Op::ToShares | Op::Narrow | Op::Lift { .. } | Op::Reveal { .. } => map(&|x| x),
        Op::Relu { .. } => map(&|x| x.max(0)),
        Op::Sum { axes } => {
            let sums = reduce::fold(args[0].view(), axes, out, 0, u64::wrapping_add);
            sums.into_iter().map(|x| reduced(x, ring)).collect()
        }
        Op::Reshape => args[0].data.to_vec(),
        Op::Transpose { perm } => layout::transpose(args[0].view(), perm, out),
        Op::Slice { starts, steps } => layout::slice(args[0].view(), starts, steps, out),
        Op::Pad { before, interior, value, .. } => {
            layout::pad(args[0].view(), before, interior, reduced(*value as u64, ring), out)
        }
        Op::Expand => layout::expand(args[0].view(), out),
        Op::Concat { axis } => {
            let views: Vec<View<'_, u64>> = args.iter().map(|a| a.view()).collect();
            layout::concat(&views, *axis, out)
        }
        Op::Gather { axis, indices } => layout::gather(args[0].view(), *axis, indices),
        Op::Input { .. } | Op::Weight { .. } | Op::Rescale { .. } => {
            unreachable!("handled by the caller, which knows the sources")
        }
    }
}

/// A bilinear operation, in 32-bit words where the ring allows: four times as fast.
fn product(
    args: &[Operand<'_>],
    ring: u8,
    wide: &dyn Fn(&[View<'_, u64>]) -> Vec<u64>,
    narrow: &dyn Fn(&[View<'_, u32>]) -> Vec<u32>,
) -> Vec<u64> {
    if ring > 32 {
        let views: Vec<View<'_, u64>> = args.iter().map(|a| a.view()).collect();
        return wide(&views).into_iter().map(|x| reduced(x, ring)).collect();
    }
    let words: Vec<Vec<u32>> =
        args.iter().map(|a| a.data.iter().map(|x| *x as u32).collect()).collect();
    let views: Vec<View<'_, u32>> =
        args.iter().zip(&words).map(|(a, data)| View { shape: &a.ty.shape, data }).collect();
    narrow(&views).into_iter().map(|x| reduced(u64::from(x), ring)).collect()
}
