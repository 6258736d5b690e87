//! Which thread of a host has a core when there are too few.

use mpcc_ir::plan::{Plan, Role};

/// Whether the compute threads of a role leave cores to others: a dealer's, where roles share a host and the dealer works for
/// later runs than the parties.
pub(crate) fn steps_back(plan: &Plan, role: Role) -> bool {
    let is_shared = plan.forecast.as_ref().is_some_and(|forecast| forecast.cores.is_some());
    role == Role::Dealer && is_shared && plan.depth > 1
}

/// Lets other threads of this host have cores before the calling one, for good; where the system has no such order for
/// threads, nothing changes.
pub(crate) fn step_back() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(BEHIND);
}

/// How much less is urgent to the system, as a nice value: a tenth of a core is left beside a thread that never stops.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use mpcc_ir::plan::{Forecast, WeightsMode, Word};

    #[test]
    fn a_dealer_for_later_runs_on_a_shared_host_steps_back() {
        let plan = |depth, cores| Plan {
            depth,
            forecast: Some(Forecast { cores, ..Forecast::default() }),
            ..Plan::empty(Word::W32, 2, WeightsMode::Party0)
        };
        assert!(steps_back(&plan(2, Some(2)), Role::Dealer));
        assert!(!steps_back(&plan(2, Some(2)), Role::Party(0)));
        assert!(!steps_back(&plan(1, Some(2)), Role::Dealer));
        assert!(!steps_back(&plan(2, None), Role::Dealer));
        assert!(!steps_back(&Plan { forecast: None, ..plan(2, None) }, Role::Dealer));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_steps_back_alone() {
        use rustix::process::getpriority_process;
        let before = getpriority_process(None).unwrap();
        let after = std::thread::spawn(|| {
            step_back();
            getpriority_process(None).unwrap()
        });
        assert_eq!(after.join().unwrap(), (before + BEHIND).min(19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
