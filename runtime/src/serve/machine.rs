//! The phases of a role, its memory, and the threads that work on them.

use super::control::Control;
use super::error::ServeError;
use super::options::ServeOptions;
use super::report::Report;
use crate::arena::Arena;
use crate::error::RunError;
use crate::executor::Executor;
use crate::kernels::Scratch;
use crate::packet::Packet;
use crate::params::Params;
use crate::pool::{Pool, Until};
use crate::priority;
use crate::role::RoleState;
use crate::share::Seed;
use crate::trace::{Clock, Trace};
use mpcc_ir::plan::Phase;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A role's state and memory.
pub(super) struct Machine {
    pub(super) role: Arc<RoleState>,
    /// One per run in flight.
    pub(super) arenas: Vec<Arc<Arena>>,
    threads: usize,
    stall: Option<Duration>,
    trace: Option<(Clock, Mutex<Trace>)>,
}

impl Machine {
    /// The role's state with these parameters and seeds, and memory for as many runs as the plan has in flight.
    pub(super) fn new(
        options: &ServeOptions,
        params: Params,
        seeds: Vec<(u8, Seed)>,
    ) -> Result<Self, ServeError> {
        let (plan, depth) = (Arc::clone(&options.plan), usize::from(options.plan.depth));
        let role = RoleState::new(plan, options.role, params, seeds)?;
        let arenas = (0..depth).map(|_| role.run_arena()).collect::<Result<_, _>>()?;
        let threads = options.threads.max(1);
        let trace = Mutex::new(Trace::new(options.role, threads, depth, options.plan_digest));
        let trace = options.trace.map(|clock| (clock, trace));
        Ok(Self { role, arenas, threads, stall: options.stall, trace })
    }

    /// Does `work` while compute threads execute the steps of the phases that it starts.
    pub(super) fn with_threads<T>(
        &self,
        control: &Control,
        work: impl FnOnce() -> Result<T, ServeError>,
    ) -> Result<T, ServeError> {
        let (pool, stall) = (self.role.pool(), self.stall);
        let steps_back = priority::steps_back(self.role.plan(), self.role.role());
        std::thread::scope(|scope| {
            // Also when `work` panics: the scope waits for its threads.
            let close = Close(pool);
            let mut threads = Vec::new();
            for thread in 0..self.threads {
                let body = move || {
                    if steps_back {
                        priority::step_back();
                    }
                    let until = Until::Closed { stall };
                    pool.work(until, thread as u16, &mut Scratch::new(), control);
                };
                let name = format!("mpcc-{thread}");
                let spawned = std::thread::Builder::new().name(name).spawn_scoped(scope, body);
                let (role, count) = (self.role.role(), self.threads);
                threads.push(spawned.map_err(|_| RunError::Threads { role, threads: count })?);
            }
            let done = work();
            drop(close);
            // The phase that lost a thread to a panic has said so.
            for thread in threads {
                drop(thread.join());
            }
            done
        })
    }

    /// Runs the setup phase beside `work`, takes the memory of a first run from the system, and reports the setup.
    ///
    /// The steps of runs that `work` starts, from `first` on, wait for what they use of the setup. So the first runs'
    /// corrections and products do not wait for the weights of all layers.
    pub(super) fn setup_beside<T>(
        &self,
        control: &Control,
        first: u64,
        stored: Option<Vec<Packet>>,
        report: &mut Report,
        work: impl FnOnce() -> Result<T, ServeError>,
    ) -> Result<T, ServeError> {
        let (opened, is_open) = mpsc::channel();
        // The thread owns `opened`: when it ends early, nobody waits for that any more.
        let setup = move || {
            let opened = || {
                let _ = opened.send(());
                // The first output does not wait for the memory of later runs.
                self.arenas[0].populate();
            };
            self.setup(control, first, stored, report, opened)
        };
        std::thread::scope(|scope| {
            let spawned = std::thread::Builder::new().spawn_scoped(scope, setup);
            let threads = |_| RunError::Threads { role: control.role, threads: 1 };
            let setup = spawned.map_err(threads)?;
            let aborted = |_| Err(RunError::Aborted { role: control.role }.into());
            let done = is_open.recv().map_or_else(aborted, |()| work());
            let lost = |_| Err(RunError::ThreadLost { role: control.role }.into());
            match (setup.join().unwrap_or_else(lost), done) {
                // What ended all runs ended the setup as well.
                (Err(ServeError::Run(RunError::Aborted { .. })), Err(error)) => Err(error),
                (Err(error), _) => Err(error),
                (Ok(()), done) => done,
            }
        })
    }

    fn setup(
        &self,
        control: &Control,
        first: u64,
        stored: Option<Vec<Packet>>,
        report: &mut Report,
        opened: impl FnOnce(),
    ) -> Result<(), ServeError> {
        let start = Instant::now();
        let ending = EndAll(control);
        let (executor, done) =
            self.phase(control, &self.arenas[0], (Phase::Setup, first), stored, opened);
        if let Err(error) = done {
            // Before the executor goes: without it, a run would take the setup for done.
            drop(ending);
            return Err(error.into());
        }
        std::mem::forget(ending);
        report.setup(start.elapsed().as_secs_f64(), &executor.counts());
        control.say(&format!("ready after {:.2} s of setup", report.setup_s));
        Ok(())
    }

    /// Runs one phase. `stored` messages are delivered first; `opened` is called when the phase can take others.
    pub(super) fn phase(
        &self,
        control: &Control,
        arena: &Arc<Arena>,
        (phase, run): (Phase, u64),
        stored: Option<Vec<Packet>>,
        opened: impl FnOnce(),
    ) -> (Arc<Executor>, Result<(), RunError>) {
        let (role, pool) = (&self.role, self.role.pool());
        let executor = role.start(phase, run, arena);
        if let Some((clock, _)) = &self.trace {
            executor.record(*clock);
        }
        let execute = || {
            control.mailbox.open(&executor)?;
            for packet in stored.unwrap_or_default() {
                executor.deliver(packet)?;
            }
            if phase != Phase::Setup && control.is_off(run) {
                executor.fail(RunError::Aborted { role: role.role() });
            }
            pool.add(&executor);
            opened();
            let done = executor.wait();
            pool.remove(&executor);
            done
        };
        let done = execute();
        control.mailbox.close(&executor);
        if let Some(((_, trace), phase)) = self.trace.as_ref().zip(executor.trace()) {
            trace.lock().unwrap_or_else(PoisonError::into_inner).add(phase);
        }
        (executor, done)
    }

    /// What was recorded in the setup and in the last runs.
    pub(super) fn into_trace(self) -> Option<Trace> {
        let (_, trace) = self.trace?;
        Some(trace.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends all runs when the setup does not come to its end, whatever happens.
struct EndAll<'a>(&'a Control);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.end_all(&RunError::Aborted { role: self.0.role });
    }
}

/// Lets the threads of a pool go, whatever happens.
struct Close<'a>(&'a Pool);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
