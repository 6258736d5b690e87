//! Proves that a plan can be run: nothing out of bounds, nothing racy, nothing leaked, nothing stuck.
//!
//! | file | rule |
//! |---|---|
//! | `tables.rs` | ports, parameters and messages agree with each other |
//! | `program.rs` | element-wise programs are well-formed |
//! | `step.rs` | spans lie in their arena, lengths and indices fit the operation |
//! | `messages.rs` | every message is sent once and received once |
//! | `progress.rs` | all roles come to their end |
//! | `order.rs` | accesses that conflict are ordered, and what is read has been written |
//! | `masks.rs`, `flow.rs`, `safety.rs`, `circles.rs` | what leaves a role is hidden by a mask that nothing else uses |
//!
//! Plans come from files, so nothing here trusts them: no arithmetic can overflow, and the work is
//! bounded by [`Work`].

mod circles;
mod error;
mod flow;
mod masks;
mod messages;
mod order;
mod program;
mod progress;
mod safety;
mod step;
mod tables;
#[cfg(test)]
pub(crate) mod testing;

pub use error::{Place, PlanError, Rule, SpanText, Unmasked};

use super::{Phase, Plan, Role};
use flow::Flow;

type Check = Result<(), PlanError>;

/// No arena, tensor or address in a plan is larger, in bytes or elements. Far above any machine, and
/// sums and products with small factors stay far below `u64`.
const MAX_SIZE: u64 = 1 << 40;

impl Plan {
    /// Checks every rule that a plan must keep; see the list at the top of this module.
    ///
    /// Needs time in proportion to the plan for plans that the compiler writes, and gives up on others
    /// that would need much more.
    ///
    /// # Errors
    /// Names the place and the first rule that is broken.
    pub fn verify(&self) -> Result<(), PlanError> {
        let mut work = Work::default();
        tables::check(self)?;
        program::check(self)?;
        step::check(self)?;
        messages::check(self)?;
        let sources = messages::sources(self);
        let [setup, offline, online] =
            Phase::ALL.map(|phase| progress::turns(self, &sources, phase));
        let turns = [setup?, offline?, online?];
        let mut flow = Flow::new(self);
        let payloads = order::check(self, &turns, &sources, &mut flow, &mut work)?;
        safety::check(self, &payloads, &mut flow, &mut work)
    }
}

/// Counts what verification does, so that a hostile plan cannot keep it busy for hours.
#[derive(Default)]
struct Work(u64);

impl Work {
    /// Some seconds.
    const LIMIT: u64 = 1 << 30;

    fn spend(&mut self, units: u64) -> Result<(), Rule> {
        self.0 = self.0.saturating_add(units);
        if self.0 > Self::LIMIT { Err(Rule::TooMuchWork) } else { Ok(()) }
    }
}

fn at_step(role: Role, phase: Phase, step: usize) -> impl Fn(Rule) -> PlanError {
    move |rule| PlanError { place: Place::Step { role, phase, step }, rule }
}

/// Refuses an index that is not in a table of `len` entries.
fn index(what: &'static str, index: u32, len: usize) -> Result<usize, Rule> {
    let at = index as usize;
    if at < len { Ok(at) } else { Err(Rule::Index { what, index, len }) }
}

/// Product of factors; `None` above [`MAX_SIZE`].
fn product(factors: impl IntoIterator<Item = u64>) -> Option<u64> {
    // A zero anywhere makes the product zero, however large the others are.
    let (mut total, mut zero) = (1_u64, false);
    for factor in factors {
        zero |= factor == 0;
        total = total.saturating_mul(factor.max(1));
    }
    if zero { Some(0) } else { Some(total).filter(|&total| total <= MAX_SIZE) }
}

/// Bytes of `count` elements of `bits` bits each, for `count` up to [`MAX_SIZE`].
fn packed_bytes(count: u64, bits: u8) -> u64 {
    count.saturating_mul(u64::from(bits)).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::testing::small;

    #[test]
    fn the_small_plan_keeps_every_rule() {
        assert_eq!(small().verify(), Ok(()));
    }
}
