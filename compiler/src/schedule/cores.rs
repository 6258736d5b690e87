//! Processor cores: of their own for every thread, or those of one host, which all roles share.
//!
//! Where there are more threads that work than cores, those of one rank go on at the same lower speed; urgent ones, which
//! are short and wait most of the time, have cores before others, as systems schedule them; so has what the system does
//! itself, such as carrying messages. So work is timed by a clock for each rank that shows how much a thread has done since
//! the start: it runs slower while more of them work.

use super::simulate::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Who has cores before whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// The system, and threads that wait for the network and wake up for a short time.
    Urgent,
    /// Threads that compute.
    Steady,
}

/// Work in progress, on simulated cores.
#[derive(Debug)]
pub(super) struct Cores<T> {
    /// As many as there are; `None` where every thread has its own.
    shared: Option<f64>,
    now: Nanos,
    /// By rank.
    ranks: [Working<T>; 2],
}

/// Work of one rank.
#[derive(Debug)]
struct Working<T> {
    /// What a thread that has worked all along has done.
    done: Nanos,
    /// When which work ends, on the clock of `done`.
    work: BinaryHeap<Reverse<(Nanos, T)>>,
}

impl<T: Ord + Copy> Cores<T> {
    pub(super) fn new(shared: Option<usize>) -> Self {
        let rank = || Working { done: 0, work: BinaryHeap::new() };
        Self { shared: shared.map(|n| n as f64), now: 0, ranks: [rank(), rank()] }
    }

    /// Whether threads may have to wait for a core.
    pub(super) fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Begins work that takes so long alone.
    pub(super) fn begin(&mut self, rank: Rank, takes: Nanos, what: T) {
        let Working { done, work } = &mut self.ranks[rank as usize];
        work.push(Reverse((*done + takes, what)));
    }

    /// When the next work ends if no other begins before.
    pub(super) fn next(&self) -> Option<Nanos> {
        self.next_of_all().map(|(end, _)| end)
    }

    /// The work that ends at the time that `next` has said.
    pub(super) fn finish(&mut self) -> Option<T> {
        let (now, rank) = self.next_of_all()?;
        self.pass(now);
        let Reverse((end, what)) = self.ranks[rank].work.pop()?;
        self.ranks[rank].done = end;
        Some(what)
    }

    /// Lets time pass, up to `next`.
    pub(super) fn pass(&mut self, now: Nanos) {
        let speeds = self.speeds();
        for (rank, speed) in self.ranks.iter_mut().zip(speeds) {
            let done = rank.done + ((now - self.now) as f64 * speed) as Nanos;
            rank.done = rank.work.peek().map_or(done, |Reverse((end, _))| done.min(*end));
        }
        self.now = now;
    }

    /// When the next work ends, and its rank.
    fn next_of_all(&self) -> Option<(Nanos, usize)> {
        let speeds = self.speeds();
        let ends = self.ranks.iter().zip(speeds).enumerate().filter_map(|(at, (rank, speed))| {
            let Reverse((end, _)) = rank.work.peek()?;
            let left = (end - rank.done) as f64 / speed;
            // Work for which no core is left goes on when urgent work ends.
            left.is_finite().then(|| (self.now + left.ceil() as Nanos, at))
        });
        ends.min()
    }

    /// Part of a core that each thread has, by rank.
    fn speeds(&self) -> [f64; 2] {
        let Some(mut cores) = self.shared else { return [1.0; 2] };
        [Rank::Urgent, Rank::Steady].map(|rank| {
            let working = self.ranks[rank as usize].work.len() as f64;
            let speed = (cores / working.max(1.0)).min(1.0);
            cores -= speed * working;
            speed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ends when, of work that begins at 0 but for 9, which takes 10 from 20 on.
    fn ends(shared: Option<usize>, takes: &[Nanos], late: Rank) -> Vec<(usize, Nanos)> {
        let mut cores = Cores::new(shared);
        for (what, takes) in takes.iter().enumerate() {
            cores.begin(Rank::Steady, *takes, what);
        }
        let mut ends = Vec::new();
        let mut start = Some(20);
        while let Some(next) = cores.next() {
            if let Some(start) = start.take_if(|start| *start < next) {
                cores.pass(start);
                cores.begin(late, 10, 9);
                continue;
            }
            ends.extend(cores.finish().map(|what| (what, next)));
        }
        ends
    }

    #[test]
    fn threads_that_share_cores_slow_each_other_down() {
        let ends = |shared, takes: &[Nanos]| ends(shared, takes, Rank::Steady);
        assert_eq!(ends(None, &[10, 20, 40]), [(0, 10), (1, 20), (9, 30), (2, 40)]);
        assert_eq!(ends(Some(3), &[10, 20, 40]), ends(None, &[10, 20, 40]));
        // Two thirds of a core each while there are three, as again from 20 on, when 1 has 5 left.
        assert_eq!(ends(Some(2), &[10, 20, 40]), [(0, 15), (1, 28), (9, 33), (2, 48)]);
        assert_eq!(ends(Some(1), &[10, 20]), [(0, 20), (1, 40), (9, 40)]);
    }

    #[test]
    fn urgent_work_has_cores_before_others() {
        let ends = |shared, takes: &[Nanos]| ends(shared, takes, Rank::Urgent);
        assert_eq!(ends(None, &[10, 40]), [(0, 10), (9, 30), (1, 40)]);
        assert_eq!(ends(Some(2), &[10, 40]), ends(None, &[10, 40]));
        // From 20 to 30, 1 and 2 have half a core each of what is left.
        assert_eq!(ends(Some(2), &[10, 30, 40]), [(0, 15), (9, 30), (1, 40), (2, 50)]);
        // Nothing is left while urgent work has the only core.
        assert_eq!(ends(Some(1), &[15, 20]), [(9, 30), (0, 40), (1, 45)]);
    }
}
