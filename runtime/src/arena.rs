//! The memory of a role: one arena per deployment, one per run, cut into spans by the plan.
//!
//! Steps that the plan leaves unordered run on several threads over the same arena. A plan that
//! passes the verifier gives such steps disjoint spans. This file does not trust that: an arena
//! keeps a list of the spans that running steps hold, and refuses a span that another step writes,
//! or that it would write while another reads. The list has a few entries per thread, so the check
//! costs less than a microsecond per step, and a bad plan is an error rather than a data race.
#![expect(unsafe_code, reason = "hands out disjoint parts of one allocation to several threads")]

use crate::kernels::{Buffer, RingWord};
use mpcc_ir::plan::{Region, Span};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(target_endian = "big")]
compile_error!("arenas hold little-endian words as the machine's own; port them before use");

/// An arena starts at a multiple of this many bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// Why a step cannot have its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum ArenaError {
    #[error("a buffer is outside its arena")]
    Outside,
    #[error("a buffer is written while it is in use")]
    InUse,
}

/// A span and whether it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where.
    pub span: Span,
    /// Whether the step writes it.
    pub write: bool,
}

impl Access {
    /// Whether both name a common byte and one of them writes.
    pub fn conflicts(&self, other: &Self) -> bool {
        let (a, b) = (&self.span, &other.span);
        (self.write || other.write)
            && a.region == b.region
            && a.at < b.at.saturating_add(b.len)
            && b.at < a.at.saturating_add(a.len)
    }
}

/// Zeroed memory that starts at a multiple of [`ALIGN`].
pub struct Arena {
    base: NonNull<u8>,
    offset: usize,
    len: usize,
    layout: Layout,
    held: Mutex<Vec<Access>>,
}

// SAFETY: the allocation belongs to the arena alone, and `Memory::with` gives out a byte of it
// either to any number of readers or to one writer at a time; `held` is the record of that.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of `bytes` bytes; `None` where the machine cannot provide them.
    pub fn new(bytes: u64) -> Option<Self> {
        let len = usize::try_from(bytes).ok()?;
        // Asking for little alignment lets the allocator take fresh zero pages, which are only
        // backed when they are touched; the start is moved to a multiple of `ALIGN` by hand.
        let layout = Layout::from_size_align(len.checked_add(ALIGN)?, 16).ok()?;
        // SAFETY: the layout's size is at least `ALIGN`, so not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        #[cfg(target_os = "linux")]
        advise(base, layout.size(), rustix::mm::Advice::LinuxHugepage);
        let offset = base.as_ptr().align_offset(ALIGN);
        (offset < ALIGN).then(|| Self { base, offset, len, layout, held: Mutex::default() })
    }

    /// Takes all pages from the system now, rather than one by one when a run first touches them.
    pub fn populate(&self) {
        #[cfg(target_os = "linux")]
        advise(self.base, self.layout.size(), rustix::mm::Advice::LinuxPopulateWrite);
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the arena has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn hold(&self, accesses: &[Access]) -> Result<(), ArenaError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if accesses.iter().any(|a| held.iter().any(|h| h.conflicts(a))) {
            return Err(ArenaError::InUse);
        }
        held.extend_from_slice(accesses);
        Ok(())
    }

    fn release(&self, accesses: &[Access]) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for access in accesses {
            if let Some(at) = held.iter().position(|h| h == access) {
                held.swap_remove(at);
            }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this layout and is freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// Asks for large pages: a run touches hundreds of megabytes, and a fault for each small page would cost more
/// than much of the arithmetic. Only advice, so a refusal is no error.
#[cfg(target_os = "linux")]
fn advise(base: NonNull<u8>, len: usize, advice: rustix::mm::Advice) {
    const PAGE: usize = 2 << 20;
    let skip = base.as_ptr().align_offset(PAGE);
    let Some(inside) = len.checked_sub(skip).filter(|&inside| inside >= PAGE) else { return };
    let whole = inside / PAGE * PAGE;
    // SAFETY: the range lies inside the allocation, and neither advice that is given changes its contents.
    let _ = unsafe { rustix::mm::madvise(base.as_ptr().add(skip).cast(), whole, advice) };
}

/// The two arenas that a step can name.
#[derive(Clone)]
pub struct Memory {
    /// Lasts as long as the deployment.
    pub deploy: Arc<Arena>,
    /// Belongs to one run.
    pub run: Arc<Arena>,
}

impl Memory {
    fn arena(&self, region: Region) -> &Arena {
        match region {
            Region::Deploy => &self.deploy,
            Region::Run => &self.run,
        }
    }

    /// Calls `work` with one buffer per access, in order, and takes them back when it returns.
    ///
    /// # Errors
    /// [`ArenaError::Outside`] for a span that is not inside its arena,
    /// [`ArenaError::InUse`] for one that another step or another entry of the list uses.
    pub fn with<R>(
        &self,
        accesses: &[Access],
        work: impl FnOnce(&mut [Buffer<'_>]) -> R,
    ) -> Result<R, ArenaError> {
        for (i, access) in accesses.iter().enumerate() {
            let Span { region, at, len } = access.span;
            let end = at.checked_add(len).ok_or(ArenaError::Outside)?;
            if end > self.arena(region).len as u64 {
                return Err(ArenaError::Outside);
            }
            if accesses[..i].iter().any(|a| a.conflicts(access)) {
                return Err(ArenaError::InUse);
            }
        }
        let _held = Held::new(self, accesses)?;
        let mut buffers: Vec<Buffer<'_>> = accesses.iter().map(|a| self.buffer(a)).collect();
        Ok(work(&mut buffers))
    }

    /// Calls `work` with the bytes of a span, which nobody writes meanwhile; see [`Memory::with`].
    ///
    /// # Errors
    /// As [`Memory::with`].
    pub fn read<R>(&self, span: Span, work: impl FnOnce(&[u8]) -> R) -> Result<R, ArenaError> {
        self.with(&[Access { span, write: false }], |buffers| match buffers {
            [Buffer::Read(bytes)] => work(bytes),
            _ => unreachable!("one access that reads"),
        })
    }

    /// Calls `work` with the bytes of a span to write, which nobody else uses meanwhile; see [`Memory::with`].
    ///
    /// # Errors
    /// As [`Memory::with`].
    pub fn write<R>(&self, span: Span, work: impl FnOnce(&mut [u8]) -> R) -> Result<R, ArenaError> {
        self.with(&[Access { span, write: true }], |buffers| match buffers {
            [Buffer::Write(bytes)] => work(bytes),
            _ => unreachable!("one access that writes"),
        })
    }

    /// The bytes of a checked access that `Held` holds.
    fn buffer(&self, access: &Access) -> Buffer<'_> {
        let arena = self.arena(access.span.region);
        let (at, len) = (access.span.at as usize, access.span.len as usize);
        // SAFETY: `with` checked that `at + len <= arena.len`, and the allocation has
        // `offset + arena.len` bytes. All bytes were zeroed, so they are initialised. `with` holds
        // the span in `held` for as long as the buffers live, and `hold` refuses every overlapping
        // access of which one writes; within the list `with` itself compared all pairs.
        unsafe {
            let start = arena.base.as_ptr().add(arena.offset + at);
            if access.write {
                Buffer::Write(std::slice::from_raw_parts_mut(start, len))
            } else {
                Buffer::Read(std::slice::from_raw_parts(start, len))
            }
        }
    }
}

/// Keeps spans in the lists of both arenas until dropped, also when a kernel panics.
struct Held<'a> {
    memory: &'a Memory,
    deploy: Vec<Access>,
    run: Vec<Access>,
}

impl<'a> Held<'a> {
    fn new(memory: &'a Memory, accesses: &[Access]) -> Result<Self, ArenaError> {
        let (deploy, run): (Vec<Access>, Vec<Access>) =
            accesses.iter().partition(|a| a.span.region == Region::Deploy);
        memory.deploy.hold(&deploy)?;
        let mut held = Self { memory, deploy, run: Vec::new() };
        memory.run.hold(&run)?;
        held.run = run;
        Ok(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.memory.deploy.release(&self.deploy);
        self.memory.run.release(&self.run);
    }
}

/// The ring words of a span.
///
/// # Panics
/// If the bytes are not aligned whole words. The plan check has seen to that, so it would be a bug.
pub fn words<W: RingWord>(bytes: &[u8]) -> &[W] {
    // SAFETY: `RingWord` is sealed to `u32` and `u64`, for which every bit pattern is valid.
    let (before, words, after) = unsafe { bytes.align_to::<W>() };
    assert!(before.is_empty() && after.is_empty(), "spans hold whole words");
    words
}

/// The ring words of a span to write; see [`words`].
///
/// # Panics
/// As [`words`].
pub fn words_mut<W: RingWord>(bytes: &mut [u8]) -> &mut [W] {
    // SAFETY: as in `words`.
    let (before, words, after) = unsafe { bytes.align_to_mut::<W>() };
    assert!(before.is_empty() && after.is_empty(), "spans hold whole words");
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let arena = || Arc::new(Arena::new(256).unwrap());
        Memory { deploy: arena(), run: arena() }
    }

    fn run(at: u64, len: u64, write: bool) -> Access {
        Access { span: Span { region: Region::Run, at, len }, write }
    }

    #[test]
    fn what_one_step_writes_the_next_reads() {
        let memory = memory();
        memory
            .with(&[run(64, 8, true)], |buffers| {
                let [Buffer::Write(bytes)] = buffers else { panic!("one write") };
                words_mut::<u64>(bytes)[0] = 7;
            })
            .unwrap();
        let read = memory.with(&[run(64, 8, false)], |buffers| match buffers {
            [Buffer::Read(bytes)] => words::<u64>(bytes)[0],
            _ => 0,
        });
        assert_eq!(read, Ok(7));
    }

    #[test]
    fn spans_outside_are_refused() {
        for access in [run(192, 65, false), run(257, 0, false), run(u64::MAX - 63, 64, true)] {
            assert_eq!(memory().with(&[access], |_| ()), Err(ArenaError::Outside));
        }
    }

    #[test]
    fn a_written_span_has_one_holder() {
        let memory = memory();
        let nested =
            |outer, inner| memory.with(&[outer], |_| memory.with(&[inner], |_| ())).unwrap();
        assert_eq!(nested(run(0, 100, true), run(64, 8, false)), Err(ArenaError::InUse));
        assert_eq!(nested(run(0, 100, false), run(64, 8, true)), Err(ArenaError::InUse));
        assert_eq!(nested(run(0, 100, false), run(64, 8, false)), Ok(()));
        assert_eq!(nested(run(0, 64, true), run(64, 8, true)), Ok(()));
        let twice = [run(0, 8, false), run(0, 8, true)];
        assert_eq!(memory.with(&twice, |_| ()), Err(ArenaError::InUse));
        // Everything was given back.
        assert_eq!(memory.with(&[run(0, 256, true)], |_| ()), Ok(()));
    }
}
