//! Processor time, which other processes on the machine disturb less than they do the wall clock.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// What all threads of this process have used.
pub fn of_process() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// What this thread has used.
pub fn of_thread() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let used = clock_gettime(clock);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}
