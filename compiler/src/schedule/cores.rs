//! Processor cores: of their own for every thread, or those of one host, which all roles share.
//!
//! Where there are more threads that work than cores, all of them go on at the same lower speed. So work is timed by
//! a clock that shows how much each of them has done since the start: it runs slower while more of them work.

use super::simulate::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Work in progress, on simulated cores.
#[derive(Debug)]
pub(super) struct Cores<T> {
    /// As many as there are; `None` where every thread has its own.
    shared: Option<f64>,
    now: Nanos,
    /// What a thread that has worked all along has done.
    done: Nanos,
    /// When which work ends, on the clock of `done`.
    work: BinaryHeap<Reverse<(Nanos, T)>>,
}

impl<T: Ord + Copy> Cores<T> {
    pub(super) fn new(shared: Option<usize>) -> Self {
        Self { shared: shared.map(|n| n as f64), now: 0, done: 0, work: BinaryHeap::new() }
    }

    /// Whether threads may have to wait for a core.
    pub(super) fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Begins work that takes so long alone.
    pub(super) fn begin(&mut self, takes: Nanos, what: T) {
        self.work.push(Reverse((self.done + takes, what)));
    }

    /// When the next work ends if no other begins before.
    pub(super) fn next(&self) -> Option<Nanos> {
        let Reverse((end, _)) = self.work.peek()?;
        let left = (end - self.done) as f64 / self.speed();
        Some(self.now + left.ceil() as Nanos)
    }

    /// The work that ends at the time that `next` has said.
    pub(super) fn finish(&mut self) -> Option<T> {
        self.now = self.next()?;
        let Reverse((end, what)) = self.work.pop()?;
        self.done = end;
        Some(what)
    }

    /// Lets time pass, up to before `next`.
    pub(super) fn pass(&mut self, now: Nanos) {
        let done = self.done + ((now - self.now) as f64 * self.speed()) as Nanos;
        self.done = self.work.peek().map_or(done, |Reverse((end, _))| done.min(*end));
        self.now = now;
    }

    /// Part of a core that each thread has.
    fn speed(&self) -> f64 {
        self.shared.map_or(1.0, |cores| (cores / self.work.len().max(1) as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ends when, of work that begins at 0 but for 9, which takes 10 from 20 on.
    fn ends(shared: Option<usize>, takes: &[Nanos]) -> Vec<(usize, Nanos)> {
        let mut cores = Cores::new(shared);
        for (what, takes) in takes.iter().enumerate() {
            cores.begin(*takes, what);
        }
        let mut ends = Vec::new();
        let mut late = Some(20);
        while let Some(next) = cores.next() {
            if let Some(start) = late.take_if(|start| *start < next) {
                cores.pass(start);
                cores.begin(10, 9);
                continue;
            }
            ends.extend(cores.finish().map(|what| (what, next)));
        }
        ends
    }

    #[test]
    fn threads_that_share_cores_slow_each_other_down() {
        assert_eq!(ends(None, &[10, 20, 40]), [(0, 10), (1, 20), (9, 30), (2, 40)]);
        assert_eq!(ends(Some(3), &[10, 20, 40]), ends(None, &[10, 20, 40]));
        // Two thirds of a core each while there are three, as again from 20 on, when 1 has 5 left.
        assert_eq!(ends(Some(2), &[10, 20, 40]), [(0, 15), (1, 28), (9, 33), (2, 48)]);
        assert_eq!(ends(Some(1), &[10, 20]), [(0, 20), (1, 40), (9, 40)]);
    }
}
