//! Handles of views values that carry in their type who knows the value.
//!
//! Protocols are written with operators on these handles, in the letters of PROTOCOLS.md. Which
//! operand views an operator takes, and what comes out, is one table at the end of this file, so
//! mixing views up does not compile:
//!
//! ```
//! use mpcc_compiler::protocols::{Delta, Mask, Share};
//! fn cross(d: &Delta, l: &Mask) -> Share { d * l }
//! ```
//! A party cannot read the dealer's value:
//! ```compile_fail
//! use mpcc_compiler::protocols::{Dealt, Delta};
//! fn mixed(d: &Delta, l: &Dealt) { let _ = d + l; }
//! ```
//! A product of two shares is not a local operation:
//! ```compile_fail
//! use mpcc_compiler::protocols::Share;
//! fn square(x: &Share) { let _ = x * x; }
//! ```
//! An opened value has no share until one party takes it:
//! ```compile_fail
//! use mpcc_compiler::protocols::{Delta, Share};
//! fn sum(d: &Delta, s: &Share) { let _ = d + s; }
//! ```

mod parts;

use mpcc_ir::text::OpText as _;
use mpcc_ir::views::{Elem, Op, Ty, ViewsProgram};
use mpcc_ir::{Id, Shape};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

/// Who knows a value, as a type.
pub mod know {
    use mpcc_ir::views::View;

    /// One of the views.
    pub trait Knows {
        /// Which.
        const VIEW: View;
    }

    /// A view whose holders know the value itself, so that any function of it is local.
    pub trait Known: Knows {}

    /// A view whose values add up to a value of the same view.
    pub trait Additive: Knows + super::Sum<Self, Out = Self> + Sized {}
    impl<K: Knows + super::Sum<K, Out = K>> Additive for K {}

    macro_rules! views {
        ($($name:ident $doc:literal),*) => { $(
            #[doc = $doc]
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}
            impl Knows for $name {
                const VIEW: View = View::$name;
            }
        )* };
    }
    views!(
        Public "Everybody.",
        Delta "Every compute party, not the dealer.",
        Mask "Each compute party its share, the dealer the total.",
        Share "Each compute party its share.",
        Share0 "`P_0` the value; the other shares are zero.",
        Dealt "The dealer alone."
    );
    impl Known for Public {}
    impl Known for Delta {}
    impl Known for Dealt {}
}

/// Elements in `Z_{2^k}`.
#[derive(Clone, Copy, Debug)]
pub enum Word {}

/// Elements that are bits.
#[derive(Clone, Copy, Debug)]
pub enum Bit {}

/// A value of the program under construction: `K` says who knows it, `E` what its elements are.
#[derive(Debug)]
pub struct Val<K, E = Word> {
    pub(super) state: Rc<RefCell<State>>,
    id: Id,
    kind: PhantomData<(K, E)>,
}

/// Everybody knows it.
pub type Public = Val<know::Public>;
/// Every compute party knows it, the dealer does not.
pub type Delta = Val<know::Delta>;
/// Shares of which the dealer knows the total.
pub type Mask = Val<know::Mask>;
/// Shares.
pub type Share = Val<know::Share>;
/// `P_0` knows it; the other parties' shares are zero.
pub type Share0 = Val<know::Share0>;
/// The dealer alone knows it.
pub type Dealt = Val<know::Dealt>;
/// A bit that every compute party knows.
pub type DeltaBit = Val<know::Delta, Bit>;
/// Shares of a bit of which the dealer knows the total.
pub type MaskBit = Val<know::Mask, Bit>;
/// Shares of a bit.
pub type ShareBit = Val<know::Share, Bit>;
/// A bit that the dealer alone knows.
pub type DealtBit = Val<know::Dealt, Bit>;

/// `x = delta - lam`: `delta` is known to all compute parties, `lam` is shared.
#[derive(Clone, Debug)]
pub struct MaskedIn<E> {
    /// `D`.
    pub delta: Val<know::Delta, E>,
    /// `L`.
    pub lam: Val<know::Mask, E>,
}

/// A masked ring element.
pub type Masked = MaskedIn<Word>;
/// A masked bit: `x = delta ^ lam`.
pub type MaskedBit = MaskedIn<Bit>;

/// The program so far; shared by the builder and all handles.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) program: ViewsProgram,
    pub(super) origin: u32,
    pub(super) next_value: u32,
    /// Nodes of the current origin by what they compute: equal nodes are made once.
    pub(super) made: BTreeMap<(String, Vec<Id>, Ty), Id>,
    /// What `P_0` knows of masked values, by `D` and `L`.
    known_to_p0: BTreeMap<(Id, Id), Id>,
}

impl<K, E> Clone for Val<K, E> {
    fn clone(&self) -> Self {
        self.cast()
    }
}

impl<K, E> Val<K, E> {
    /// The node.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Extents.
    pub fn shape(&self) -> Shape {
        self.state.borrow().program[self.id].ty.shape.clone()
    }

    /// What the elements are.
    pub fn elem(&self) -> Elem {
        self.state.borrow().program[self.id].ty.elem
    }

    /// A node, seen through this type.
    fn at(state: &Rc<RefCell<State>>, id: Id) -> Self {
        Self { state: Rc::clone(state), id, kind: PhantomData }
    }

    /// The same node seen through another type.
    fn cast<K2, E2>(&self) -> Val<K2, E2> {
        Val::at(&self.state, self.id)
    }

    /// Appends a node whose first operand is this value.
    fn then<K2: know::Knows, E2>(
        &self,
        op: Op,
        more: &[Id],
        elem: Elem,
        shape: Shape,
    ) -> Val<K2, E2> {
        let args: Vec<Id> = [self.id].into_iter().chain(more.iter().copied()).collect();
        push(&self.state, op, &args, elem, shape)
    }

    /// Appends an element-wise node of the same elements and shape.
    fn same<K2: know::Knows>(&self, op: Op, more: &[Id]) -> Val<K2, E> {
        self.then(op, more, self.elem(), self.shape())
    }
}

/// Appends a node of the current origin, or finds the one that computes the same.
pub(super) fn push<K: know::Knows, E>(
    state: &Rc<RefCell<State>>,
    op: Op,
    args: &[Id],
    elem: Elem,
    shape: Shape,
) -> Val<K, E> {
    let ty = Ty { view: K::VIEW, elem, shape };
    let mut text = op.mnemonic().to_owned();
    op.print_fields(&mut text);
    let mut inner = state.borrow_mut();
    let State { program, origin, made, .. } = &mut *inner;
    let key = (text, args.to_vec(), ty);
    let ty = key.2.clone();
    let id = *made.entry(key).or_insert_with(|| program.push(op, args, ty, Some(*origin)));
    Val::at(state, id)
}

impl<K: know::Knows, E> Val<K, E> {
    /// A node that moves elements: reshape, transpose, slice, pad by zero, expand, gather, sum.
    #[must_use]
    pub fn layout(&self, op: Op, shape: &Shape) -> Self {
        self.then(op, &[], self.elem(), shape.clone())
    }

    /// Joins values of one view along an axis; this one comes first.
    #[must_use]
    pub fn concat(&self, others: &[&Self], axis: usize, shape: &Shape) -> Self {
        let more: Vec<Id> = others.iter().map(|v| v.id).collect();
        self.then(Op::Concat { axis }, &more, self.elem(), shape.clone())
    }
}

impl<K: know::Knows> Val<K, Word> {
    /// Bits of the ring.
    pub fn ring(&self) -> u8 {
        self.elem().bits()
    }

    /// `-x`.
    #[must_use]
    pub fn neg(&self) -> Self {
        self.same(Op::Neg, &[])
    }

    /// `x * by`.
    #[must_use]
    pub fn times(&self, by: i64) -> Self {
        self.same(Op::MulConst { by: in_ring(by, self.ring()) }, &[])
    }

    /// `x << by`.
    #[must_use]
    pub fn shl(&self, by: u8) -> Self {
        self.same(Op::ShiftLeft { by }, &[])
    }

    /// `x` modulo `2^n`; `n` is at most the ring's bits.
    #[must_use]
    pub fn narrow(&self, n: u8) -> Self {
        if n == self.ring() {
            return self.clone();
        }
        self.then(Op::Narrow, &[], Elem::Ring(n), self.shape())
    }
}

impl<K: know::Known> Val<K, Word> {
    /// `x + by`.
    #[must_use]
    pub fn plus(&self, by: i64) -> Self {
        self.same(Op::AddConst { by: in_ring(by, self.ring()) }, &[])
    }

    /// The element read as an unsigned integer, in `Z_{2^k}`.
    #[must_use]
    pub fn extend(&self, k: u8) -> Self {
        if k == self.ring() {
            return self.clone();
        }
        self.then(Op::Extend, &[], Elem::Ring(k), self.shape())
    }

    /// Bit `index`, 0 being the lowest.
    pub fn bit(&self, index: u8) -> Val<K, Bit> {
        self.then(Op::BitAt { index }, &[], Elem::Bit, self.shape())
    }
}

impl<K: know::Known> Val<K, Bit> {
    /// `1 - x`.
    #[must_use]
    pub fn not(&self) -> Self {
        self.same(Op::Not, &[])
    }

    /// The bit as 0 or 1 in `Z_{2^k}`.
    pub fn word(&self, k: u8) -> Val<K, Word> {
        self.then(Op::FromBit, &[], Elem::Ring(k), self.shape())
    }

    /// `a` where this bit is one, 0 elsewhere.
    pub fn select<A>(&self, a: &Val<A, Word>) -> Val<K::Out, Word>
    where
        K: Prod<A>,
    {
        self.then(Op::Select, &[a.id], a.elem(), a.shape())
    }
}

impl DeltaBit {
    /// Shares of `a` where this bit is one, of `b` elsewhere.
    pub fn mux(&self, a: &ShareBit, b: &ShareBit) -> ShareBit {
        self.same(Op::Mux, &[a.id, b.id])
    }
}

impl<E> Val<know::Mask, E> {
    /// The total, as the dealer sees it.
    pub fn total(&self) -> Val<know::Dealt, E> {
        self.cast()
    }
}

impl Share {
    /// Each party shifts its own share: not a shift of the shared value but for the carry.
    #[must_use]
    pub fn shr_each(&self, by: u8) -> Self {
        self.same(Op::ShiftRight { by }, &[])
    }
}

/// A known value that `P_0` may take as its share.
pub trait AtP0<E> {
    /// `P_0` takes the value as its share, the others zero.
    fn at_p0(&self) -> Val<know::Share0, E>;
}

impl<E> AtP0<E> for Val<know::Delta, E> {
    fn at_p0(&self) -> Val<know::Share0, E> {
        self.same(Op::AtP0, &[])
    }
}

impl<E> AtP0<E> for Val<know::Public, E> {
    fn at_p0(&self) -> Val<know::Share0, E> {
        self.same(Op::AtP0, &[])
    }
}

/// Forgets that a share is more than a share.
macro_rules! shares {
    ($($from:ident),*) => { $(
        impl<E> From<&Val<know::$from, E>> for Val<know::Share, E> {
            fn from(value: &Val<know::$from, E>) -> Self {
                value.cast()
            }
        }
        impl<E> From<Val<know::$from, E>> for Val<know::Share, E> {
            fn from(value: Val<know::$from, E>) -> Self {
                value.cast()
            }
        }
    )* };
}
shares!(Mask, Share0);

/// `value` modulo `2^k`.
pub(super) fn in_ring(value: i64, k: u8) -> u64 {
    value as u64 & (u64::MAX >> (64 - k))
}

/// A bilinear operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Bilinear {
    /// [`Op::Conv`], [`Op::MatMul`] or [`Op::Mul`].
    pub op: Op,
    /// Extents of the result.
    pub shape: Shape,
}

impl Bilinear {
    /// `op(a, b)`.
    pub fn of<A, B>(&self, a: &Val<A, Word>, b: &Val<B, Word>) -> Val<A::Out, Word>
    where
        A: Prod<B>,
    {
        a.then(self.op.clone(), &[b.id], a.elem(), self.shape.clone())
    }
}

/// Views that add up.
pub trait Sum<R> {
    /// The sum's view.
    type Out: know::Knows;
}

/// Views that multiply locally.
pub trait Prod<R> {
    /// The product's view.
    type Out: know::Knows;
}

macro_rules! table {
    ($Rule:ident: $($l:ident $r:ident => $out:ident),* $(,)?) => { $(
        impl $Rule<know::$r> for know::$l {
            type Out = know::$out;
        }
    )* };
}

table!(Sum:
    Public Public => Public, Delta Delta => Delta, Mask Mask => Mask, Share Share => Share,
    Share0 Share0 => Share0, Dealt Dealt => Dealt,
    Delta Public => Delta, Public Delta => Delta,
    Share Mask => Share, Mask Share => Share, Share Share0 => Share, Share0 Share => Share,
    Share0 Mask => Share, Mask Share0 => Share,
);

table!(Prod:
    Public Public => Public, Delta Delta => Delta, Dealt Dealt => Dealt,
    Public Delta => Delta, Delta Public => Delta, Public Dealt => Dealt, Dealt Public => Dealt,
    Public Mask => Mask, Mask Public => Mask, Delta Mask => Share, Mask Delta => Share,
    Public Share => Share, Share Public => Share, Delta Share => Share, Share Delta => Share,
    Public Share0 => Share0, Share0 Public => Share0,
    Delta Share0 => Share0, Share0 Delta => Share0, Share0 Share0 => Share0,
);

macro_rules! operator {
    ($Trait:ident $method:ident $Rule:ident $op:expr; $($l:ty, $r:ty;)*) => { $(
        impl<A: $Rule<B>, B, E> std::ops::$Trait<$r> for $l {
            type Output = Val<A::Out, E>;

            fn $method(self, other: $r) -> Self::Output {
                self.same($op, &[other.id])
            }
        }
    )* };
}

macro_rules! operators {
    ($($Trait:ident $method:ident $Rule:ident $op:expr;)*) => { $(
        operator!($Trait $method $Rule $op;
            &Val<A, E>, &Val<B, E>;
            &Val<A, E>, Val<B, E>;
            Val<A, E>, &Val<B, E>;
            Val<A, E>, Val<B, E>;
        );
    )* };
}

operators! {
    Add add Sum Op::Add;
    Sub sub Sum Op::Sub;
    Mul mul Prod Op::Mul;
}
