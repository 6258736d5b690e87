//! Which instructions the kernels use.

use std::sync::OnceLock;

/// Compiles a plain loop once per instruction set.
///
/// `vectorised! { fn name<W>(x: &[W]) = body; }` makes `name(cpu, x)` of an `#[inline(always)]`
/// function `body(x)` that is generic in `W: RingWord`; the compiler makes vector instructions of it.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<W>($($arg:ident: $type:ty),* $(,)?) = $body:ident;) => {
        $(#[$doc])*
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "vector instructions")]
        $vis fn $name<W: $crate::kernels::RingWord>(cpu: $crate::kernels::Cpu, $($arg: $type),*) {
            #[target_feature(enable = "avx2,bmi2")]
            fn avx2<W: $crate::kernels::RingWord>($($arg: $type),*) {
                $body($($arg),*);
            }
            #[target_feature(enable = "avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512<W: $crate::kernels::RingWord>($($arg: $type),*) {
                $body($($arg),*);
            }
            match cpu {
                $crate::kernels::Cpu::Portable => $body($($arg),*),
                // SAFETY: only `Scratch::with_cpu` chooses, among what the processor has.
                $crate::kernels::Cpu::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: see above.
                $crate::kernels::Cpu::Avx512 | $crate::kernels::Cpu::Amx => unsafe { avx512($($arg),*) },
            }
        }

        $(#[$doc])*
        #[cfg(not(target_arch = "x86_64"))]
        $vis fn $name<W: $crate::kernels::RingWord>(_: $crate::kernels::Cpu, $($arg: $type),*) {
            $body($($arg),*);
        }
    };
}
pub(super) use vectorised;

/// An instruction set that kernels are compiled for, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cpu {
    /// What every processor of this architecture has.
    Portable,
    /// AVX2 and BMI2.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// That and AMX with bytes, for products.
    Amx,
}

impl Cpu {
    /// All variants, from least to most.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx];

    /// The best that this processor has, or what the environment variable `MPCC_CPU` asks for
    /// (`portable`, `avx2`, `avx512` or `amx`) if the processor has it. Read once.
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Cpu> = OnceLock::new();
        *ACTIVE.get_or_init(|| {
            let wish = std::env::var("MPCC_CPU").ok();
            let wish = wish.and_then(|name| Self::ALL.into_iter().find(|cpu| cpu.name() == name));
            wish.map_or_else(Self::best, |cpu| cpu.min(Self::best()))
        })
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::ALL.into_iter().filter(|cpu| cpu.available()).max().unwrap_or(Self::Portable)
    }

    /// The name that `MPCC_CPU` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// Whether this processor can run it.
    #[cfg(target_arch = "x86_64")]
    pub fn available(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2,
            Self::Avx512 => avx512,
            Self::Amx => avx512 && super::gemm::amx::available(),
        }
    }

    /// Whether this processor can run it.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn available(self) -> bool {
        self == Self::Portable
    }
}
