//! The compute threads of a role and the phases that they work on: those of all runs in flight.
//!
//! A thread takes the first ready step of the most urgent phase that has one: online before offline, the oldest
//! run first. So the oldest run goes on as if it were alone but for steps that have begun, and younger ones use
//! the time that it waits for messages. A thread without a step sleeps until a message or another thread wakes it.

use crate::error::RunError;
use crate::executor::{Executor, Outbox, Task};
use crate::kernels::Scratch;
use mpcc_ir::plan::Phase;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When [`Pool::work`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// As soon as no step of any phase can go on without a message.
    Idle,
    /// When the pool is closed. A phase fails when a message that it waits for does not come for so long
    /// (`None`: never), while nothing happens in more urgent ones either: those may be what keeps it. The wait
    /// for the first message of an online phase has no limit before somebody is told to send it: nobody may want a run.
    Closed {
        /// How long.
        stall: Option<Duration>,
    },
}

/// Phases in execution, and the threads that wait for work.
#[derive(Default)]
pub struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    computing: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// The most urgent first.
    open: Vec<Arc<Executor>>,
    closed: bool,
    failed: Option<RunError>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a phase to the threads.
    pub fn add(&self, executor: &Arc<Executor>) {
        let mut state = self.lock();
        if let Some(error) = &state.failed {
            executor.fail(error.clone());
        }
        let at = state.open.partition_point(|other| other.urgency() < executor.urgency());
        state.open.insert(at, Arc::clone(executor));
        drop(state);
        self.wake.notify_all();
    }

    /// Takes a phase back that is over.
    pub fn remove(&self, executor: &Executor) {
        let mut state = self.lock();
        if let Some(at) = state.open.iter().position(|other| Arc::as_ptr(other) == executor) {
            state.open.remove(at);
            state.open[at..].iter().for_each(|behind| behind.touch());
        }
    }

    /// Lets all threads go.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// Ends all phases, now and in the future.
    pub(crate) fn fail(&self, error: &RunError) {
        let mut state = self.lock();
        state.failed.get_or_insert_with(|| error.clone());
        state.open.iter().for_each(|executor| executor.fail(error.clone()));
        drop(state);
        self.wake.notify_all();
    }

    /// Something has become ready. Taking the lock makes sure that no thread is between looking and sleeping.
    pub(crate) fn wake_one(&self) {
        drop(self.lock());
        self.wake.notify_one();
    }

    /// As many steps have become ready.
    pub(crate) fn wake(&self, steps: usize) {
        match steps {
            0 => {}
            1 => self.wake_one(),
            2.. => {
                drop(self.lock());
                self.wake.notify_all();
            }
        }
    }

    /// Counts the calling thread as computing, rather than as waiting or sending, until the guard is dropped.
    pub(crate) fn computing(&self) -> Computing<'_> {
        self.computing.fetch_add(1, Ordering::Relaxed);
        Computing(&self.computing)
    }

    /// Whether a thread is computing.
    pub(crate) fn is_computing(&self) -> bool {
        self.computing.load(Ordering::Relaxed) > 0
    }

    /// Runs ready steps on the calling thread; several threads, told apart by number, may call this at once.
    /// What goes wrong is known to the phase that it happens in.
    pub fn work(&self, until: Until, thread: u16, scratch: &mut Scratch, outbox: &dyn Outbox) {
        let mut state = self.lock();
        while !state.closed {
            if let Some((executor, task)) = state.next_task() {
                drop(state);
                let wake = executor.execute(task, thread, scratch, outbox);
                state = self.lock();
                if wake {
                    self.wake.notify_all();
                }
                continue;
            }
            let pause = match until {
                Until::Idle if !state.open.iter().any(|executor| executor.is_running()) => {
                    self.wake.notify_all();
                    return;
                }
                Until::Idle => None,
                Until::Closed { stall } => stall.and_then(|limit| state.patience(limit)),
            };
            state = self.wait(state, pause);
        }
    }

    /// Sleeps until there may be something to do, at most for `limit`.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let first = state.open.iter().find(|executor| !executor.is_over()).cloned();
        let start = Instant::now();
        let state = match limit {
            Some(limit) => {
                self.wake.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        if let Some(first) = first {
            first.count_wait(start.elapsed());
        }
        state
    }
}

impl State {
    fn next_task(&self) -> Option<(Arc<Executor>, Task)> {
        self.open.iter().find_map(|executor| Some((Arc::clone(executor), executor.take_step()?)))
    }

    /// Fails the phases that have waited for `limit`; how long the others may still wait.
    fn patience(&self, limit: Duration) -> Option<Duration> {
        // What the setup does, phases of runs may wait for, here or through other roles.
        let setup = self.open.iter().find(|executor| executor.phase() == Phase::Setup);
        let (mut last, mut least) = (setup.and_then(|setup| setup.last_event()), None);
        for executor in &self.open {
            let Some(event) = executor.last_event() else { continue };
            let since = last.map_or(event, |last: Instant| last.max(event));
            last = Some(since);
            if !executor.is_waiting() {
                continue;
            }
            match limit.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
                Some(left) => least = Some(least.map_or(left, |least: Duration| least.min(left))),
                None => executor.give_up(),
            }
        }
        least
    }
}

/// A thread that computes.
pub(crate) struct Computing<'a>(&'a AtomicUsize);

impl Drop for Computing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
