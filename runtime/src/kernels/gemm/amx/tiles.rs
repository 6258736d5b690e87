//! The matrix instructions themselves.
//!
//! Intel's take the same time for all values. Their intrinsics are not stable in Rust, so the few
//! needed are written as assembly.
#![expect(unsafe_code, reason = "matrix instructions")]

use super::SIDE;
use crate::kernels::scratch::Line;
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Whether this processor has the instructions and the system lets us use them.
pub(in crate::kernels) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let tiles_and_bytes = 1 << 24 | 1 << 25;
        let has =
            __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & tiles_and_bytes == tiles_and_bytes;
        has && is_x86_feature_detected!("avx512bw") && request_tiles()
    })
}

/// Asks Linux for the tile registers, for all threads of this process.
#[cfg(target_os = "linux")]
fn request_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: this system call grants a permission and touches no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_tiles() -> bool {
    false
}

/// Keeps the tile registers configured as full tiles; frees them when dropped, so that the system
/// need not save them any more.
pub(super) struct Configured;

impl Configured {
    pub(super) fn new() -> Self {
        let mut config = Line([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = SIDE as u8;
        }
        // SAFETY: `available` has been asked; the configuration is valid and 64 bytes long.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly));
        }
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: nothing of value is in the tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// Loads the tile of digit `$digit` of the left (`a`) or right (`b`) operand.
macro_rules! load {
    ($tile:literal, $side:literal, $digit:literal) => {
        concat!("tileloadd tmm", $tile, ", [{", $side, "} + {s}*1 + ", $digit, "*1024]")
    };
}

/// Loads digit `$digit` of the right operand and adds its products with the left digit in `$left`.
macro_rules! products {
    ($sum:literal, $left:literal, $right:literal, $digit:literal) => {
        concat!(
            "tileloadd tmm",
            $right,
            ", [{b} + {s}*1 + ",
            $digit,
            "*1024]\n",
            "tdpbuud tmm",
            $sum,
            ", tmm",
            $left,
            ", tmm",
            $right
        )
    };
}

/// Clears the sums in tiles 0 to 3, runs the instructions once per step, stores the sums.
///
/// Tiles 4 and 5 hold digits of the left operand, 6 and 7 those of the right one, by turns.
macro_rules! sums_over_steps {
    ([$a:expr, $b:expr, $sums:expr, $steps:expr, $bytes:expr] $($instruction:expr),* $(,)?) => {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            $($instruction,)*
            "add {a}, {bytes}", "add {b}, {bytes}", "dec {n}", "jnz 2b",
            "tilestored [{to} + {s}*1], tmm0", "tilestored [{to} + {s}*1 + 1024], tmm1",
            "tilestored [{to} + {s}*1 + 2048], tmm2", "tilestored [{to} + {s}*1 + 3072], tmm3",
            a = inout(reg) $a => _, b = inout(reg) $b => _, n = inout(reg) $steps => _,
            to = in(reg) $sums, s = in(reg) 64_usize, bytes = in(reg) $bytes,
            options(nostack)
        )
    };
}

/// The sums of products of digits `i + j < 4`, all of a narrow word and the lower half of a wide one.
///
/// # Safety
/// Tiles are configured; `a` and `b` hold `steps > 0` steps of `bytes` bytes, `sums` four tiles.
pub(super) unsafe fn low_sums(
    a: *const Line,
    b: *const Line,
    sums: *mut Line,
    steps: usize,
    bytes: usize,
) {
    // SAFETY: passed on to the caller; nothing else holds tile registers.
    unsafe {
        sums_over_steps!([a, b, sums, steps, bytes]
            load!(4, "a", 0),
            products!(0, 4, 6, 0), products!(1, 4, 7, 1), products!(2, 4, 6, 2), products!(3, 4, 7, 3),
            load!(5, "a", 1),
            products!(1, 5, 6, 0), products!(2, 5, 7, 1), products!(3, 5, 6, 2),
            load!(4, "a", 2),
            products!(2, 4, 7, 0), products!(3, 4, 6, 1),
            load!(5, "a", 3),
            products!(3, 5, 7, 0),
        );
    }
}

/// The sums of products of digits `4 <= i + j < 8` of wide words.
///
/// # Safety
/// Tiles are configured; `a` and `b` hold `steps > 0` steps of eight digits, `sums` four tiles.
pub(super) unsafe fn high_sums(a: *const Line, b: *const Line, sums: *mut Line, steps: usize) {
    // SAFETY: passed on to the caller; nothing else holds tile registers.
    unsafe {
        sums_over_steps!([a, b, sums, steps, 8 * 1024_usize]
            load!(4, "a", 0),
            products!(0, 4, 6, 4), products!(1, 4, 7, 5), products!(2, 4, 6, 6), products!(3, 4, 7, 7),
            load!(5, "a", 1),
            products!(0, 5, 6, 3), products!(1, 5, 7, 4), products!(2, 5, 6, 5), products!(3, 5, 7, 6),
            load!(4, "a", 2),
            products!(0, 4, 6, 2), products!(1, 4, 7, 3), products!(2, 4, 6, 4), products!(3, 4, 7, 5),
            load!(5, "a", 3),
            products!(0, 5, 6, 1), products!(1, 5, 7, 2), products!(2, 5, 6, 3), products!(3, 5, 7, 4),
            load!(4, "a", 4),
            products!(0, 4, 6, 0), products!(1, 4, 7, 1), products!(2, 4, 6, 2), products!(3, 4, 7, 3),
            load!(5, "a", 5),
            products!(1, 5, 6, 0), products!(2, 5, 7, 1), products!(3, 5, 6, 2),
            load!(4, "a", 6),
            products!(2, 4, 7, 0), products!(3, 4, 6, 1),
            load!(5, "a", 7),
            products!(3, 5, 7, 0),
        );
    }
}
