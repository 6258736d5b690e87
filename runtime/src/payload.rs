//! The bytes of a message, in memory that later messages use again.
//!
//! A run sends and receives hundreds of megabytes, a message at a time. Memory that is given back to the system after
//! each has to be cleared and mapped anew for the next, which costs more than to copy the message. So a payload leaves
//! its buffer to those after it, whatever became of the message: `Idle` has the buffers of the process that wait.
//!
//! A buffer is taken empty, and only what was then appended to it can be read, so nothing of one message can get
//! into another. Waiting buffers hold what they held last, as freed memory would: shares and masked values, never a seed.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use zeroize::Zeroize as _;

/// Most bytes that wait for use in a process: what a link queues. Nearly all were in use at once before, so they add
/// little to the peak; it is part of [`mpcc_ir::plan::PROCESS_BYTES`].
const MOST_BYTES: usize = 16 << 20;
/// Most buffers that wait: finding one takes no longer than to look at so many.
const MOST_BUFFERS: usize = 512;
/// Smaller buffers are left to the allocator, which has them at hand.
const SMALLEST: usize = 4 << 10;

static IDLE: Mutex<Idle> = Mutex::new(Idle { buffers: VecDeque::new(), bytes: 0 });

/// What a message carries. Never printed: it may be a share.
#[derive(Default, Eq)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// Nothing yet, with room for `len` bytes. Whoever takes `len` from a peer has compared it with the plan.
    pub fn with_room(len: usize) -> Self {
        let waiting = if len < SMALLEST { None } else { idle().take(len) };
        Self(waiting.unwrap_or_else(|| Vec::with_capacity(len)))
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::with_room(bytes.len());
        copy.0.extend_from_slice(bytes);
        copy
    }

    /// The bytes, to append to.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Payload {
    fn drop(&mut self) {
        if self.0.capacity() < SMALLEST {
            // It may be a seed.
            self.0.zeroize();
        } else {
            let freed = idle().put(std::mem::take(&mut self.0));
            // Without the lock.
            drop(freed);
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Clone for Payload {
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.len())
    }
}

/// Buffers that wait for use, the one used last at the end: it is the most likely to be in a cache.
struct Idle {
    buffers: VecDeque<Vec<u8>>,
    /// What they take.
    bytes: usize,
}

impl Idle {
    /// A buffer for `len` bytes that is not much larger, so that what is in use takes little more than its bytes.
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| (len..=len.saturating_mul(2)).contains(&buffer.capacity());
        let at = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.remove(at)?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Lets a buffer wait; returns those for which there is no room: the ones that have waited longest.
    fn put(&mut self, mut buffer: Vec<u8>) -> Vec<Vec<u8>> {
        if buffer.capacity() > MOST_BYTES {
            return vec![buffer];
        }
        buffer.clear();
        self.bytes += buffer.capacity();
        self.buffers.push_back(buffer);
        let mut freed = Vec::new();
        while self.bytes > MOST_BYTES || self.buffers.len() > MOST_BUFFERS {
            let Some(oldest) = self.buffers.pop_front() else { break };
            self.bytes -= oldest.capacity();
            freed.push(oldest);
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Idle {
        Idle { buffers: VecDeque::new(), bytes: 0 }
    }

    #[test]
    fn a_buffer_is_used_again_and_comes_empty() {
        let mut idle = none();
        let mut long = Vec::with_capacity(10_000);
        long.extend_from_slice(&[7; 10_000]);
        let place = long.as_ptr();
        assert_eq!(idle.put(long).len(), 0);
        let mut again = idle.take(6000).unwrap();
        assert_eq!((again.as_ptr(), again.len(), idle.bytes), (place, 0, 0));
        again.extend_from_slice(&[1, 2, 3]);
        assert_eq!(again, [1, 2, 3]);
    }

    #[test]
    fn a_short_payload_ends_where_it_ends() {
        for len in (0..40_000).step_by(997) {
            drop(Payload::from(vec![0xee; 50_000]));
            let payload = Payload::copy_of(&vec![1; len]);
            assert!(payload.len() == len && payload.iter().all(|&byte| byte == 1));
            let mut empty = Payload::with_room(len);
            empty.bytes_mut().push(2);
            assert_eq!(empty[..], [2]);
        }
    }

    #[test]
    fn the_last_buffer_that_fits_is_taken_and_never_a_much_larger_one() {
        let mut idle = none();
        for capacity in [5000, 100_000, 6000, 90_000] {
            idle.put(Vec::with_capacity(capacity));
        }
        assert_eq!(idle.take(100_001), None);
        assert_eq!(idle.take(20_000), None);
        assert_eq!(idle.take(80_000).map(|b| b.capacity()), Some(90_000));
        assert_eq!(idle.take(80_000).map(|b| b.capacity()), Some(100_000));
        assert_eq!(idle.take(80_000), None);
        assert_eq!(idle.bytes, 11_000);
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes_first() {
        let mut idle = none();
        let (mut kept, mut freed) = (0, 0);
        for capacity in (1..100).map(|i| i << 20) {
            let before = idle.buffers.len();
            let now_freed = idle.put(Vec::with_capacity(capacity)).len();
            assert!(capacity <= MOST_BYTES || (idle.buffers.len(), now_freed) == (before, 1));
            freed += now_freed;
            kept += 1;
            let bytes: usize = idle.buffers.iter().map(Vec::capacity).sum();
            assert!(idle.bytes == bytes && bytes <= MOST_BYTES);
            assert_eq!(idle.buffers.len(), kept - freed);
        }
        for _ in 0..2 * MOST_BUFFERS {
            idle.put(Vec::with_capacity(SMALLEST));
        }
        assert_eq!(idle.buffers.len(), MOST_BUFFERS);
        assert!(idle.buffers.iter().all(|buffer| buffer.capacity() == SMALLEST));
    }

    #[test]
    fn what_a_payload_holds_is_not_printed() {
        assert_eq!(format!("{:?}", Payload::from(vec![42; 3])), "3 B");
    }
}
