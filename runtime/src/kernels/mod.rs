//! Pure functions on slices: everything that computes on ring elements while a plan runs.
//!
//! No kernel does I/O or allocates once its [`Scratch`] has grown to size, and none branches on or
//! indexes by an element, so the time of each depends on shapes alone. Portable code is always
//! there; vector variants are chosen when the program runs (see [`Cpu`]) and give the same bits.
#![expect(
    clippy::inline_always,
    reason = "loops must end up inside the functions that enable vector instructions"
)]

mod conv;
mod copy;
mod cpu;
mod depthwise;
mod gemm;
mod map;
mod matmul;
mod probe;
mod scratch;
mod sum;
#[cfg(test)]
mod testing;
#[cfg(target_arch = "x86_64")]
pub(crate) mod vaes;
mod word;

pub use conv::conv;
pub use copy::{gather, strided};
pub use cpu::Cpu;
pub use map::{Buffer, map};
pub use matmul::matmul;
pub use probe::{PROBE_ROUND, multiply_adds};
pub use scratch::Scratch;
pub use sum::sum;
pub use word::RingWord;
