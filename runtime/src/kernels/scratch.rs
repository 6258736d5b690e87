//! Working memory of the kernels.

use super::Cpu;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Reusable working memory, one per compute thread; grows on first use, is then reused, and is wiped
/// on drop. Also says which instructions the kernels that use it may use.
#[derive(ZeroizeOnDrop)]
pub struct Scratch {
    #[zeroize(skip)]
    pub(super) cpu: Cpu,
    /// Word registers of `map` or packed panels of products.
    pub(super) words32: Vec<u32>,
    /// The same for wide words.
    pub(super) words64: Vec<u64>,
    /// Images with their padding.
    pub(super) images32: Vec<u32>,
    /// The same of wide words.
    pub(super) images64: Vec<u64>,
    /// Bit registers of `map`.
    pub(super) bits: Vec<u64>,
    /// Digits of the operands of a product.
    pub(super) tiles: Vec<Line>,
}

impl Scratch {
    /// For [`Cpu::active`].
    pub fn new() -> Self {
        Self::with_cpu(Cpu::active())
    }

    /// For the given instructions, or the best below them that the processor has.
    pub fn with_cpu(cpu: Cpu) -> Self {
        let cpu = cpu.min(Cpu::best());
        Self {
            cpu,
            words32: Vec::new(),
            words64: Vec::new(),
            images32: Vec::new(),
            images64: Vec::new(),
            bits: Vec::new(),
            tiles: Vec::new(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes `memory` at least `len` long and hands out that much; what it holds is left over.
pub(super) fn at_least<T: Copy + Default>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::default());
    }
    &mut memory[..len]
}

/// A cache line of bytes, aligned as one.
#[derive(Clone, Copy, Zeroize)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

impl Default for Line {
    fn default() -> Self {
        Self([0; 64])
    }
}
