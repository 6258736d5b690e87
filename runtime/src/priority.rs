//! Which thread of a host has a core when there are too few.

/// Lets other threads of this host have cores before the calling one, for good; where the system has no such order for
/// threads, nothing changes.
pub(crate) fn step_back() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(BEHIND);
}

/// How much less is urgent to the system, as a nice value: a tenth of a core is left beside a thread that never stops.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 10;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn a_thread_steps_back_alone() {
        let before = getpriority_process(None).unwrap();
        let after = std::thread::spawn(|| {
            step_back();
            getpriority_process(None).unwrap()
        });
        assert_eq!(after.join().unwrap(), (before + BEHIND).min(19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
