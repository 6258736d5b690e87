//! Runs in flight: a role has memory for as many as the plan's depth, and each of these slots has a thread that takes one
//! run after the other through its phases.
//!
//! These threads mostly wait: the steps of all phases are executed by the compute threads of the role's pool.

use super::control::Control;
use super::error::ServeError;
use super::machine::Machine;
use super::report::RunReport;
use super::session::Session;
use crate::arena::Arena;
use crate::error::RunError;
use mpcc_ir::plan::Phase;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Serves runs until `limit` of them are complete, or no more can be.
///
/// `begin` is asked, in order of run numbers, whether a run can begin, and has reserved its number when it says so;
/// `one_run` does it in the memory given. A run that is called off is no error; anything else ends all.
pub(super) fn serve_runs(
    session: &Session,
    machine: &Machine,
    limit: u64,
    begin: impl Fn(u64) -> Result<bool, ServeError> + Sync,
    one_run: impl Fn(&Arc<Arena>, u64) -> Result<RunReport, ServeError> + Sync,
) -> Result<Vec<RunReport>, ServeError> {
    let control: &Control = &session.control;
    let (turn, done) = (Mutex::new(()), Mutex::new((Vec::new(), None)));
    let next_run = || -> Result<Option<u64>, ServeError> {
        let _turn = lock(&turn);
        let Some(run) = control.next_run(limit)? else { return Ok(None) };
        if !begin(run)? {
            control.end_before(run);
            return Ok(None);
        }
        control.begin_run(run);
        Ok(Some(run))
    };
    let serve = |arena: &Arc<Arena>| -> Result<(), ServeError> {
        while let Some(run) = next_run()? {
            let outcome = one_run(arena, run);
            let completed = outcome.is_ok();
            match outcome {
                Ok(report) => lock(&done).0.push(report.ended()),
                Err(ServeError::Run(RunError::Aborted { .. })) if !control.has_failed() => {}
                Err(ServeError::Run(RunError::Stalled { phase: Phase::Online, .. })) => {
                    control.abort(run, "a message did not come in time");
                }
                Err(error) => return Err(error),
            }
            if !completed {
                control.wait_for_others(run)?;
            }
            control.end_run(run, completed);
        }
        Ok(())
    };
    let slot = |arena: &Arc<Arena>| match serve(arena) {
        Ok(()) | Err(ServeError::Stopped) => {}
        Err(error) => {
            lock(&done).1.get_or_insert(error);
            control.end_all(&RunError::Aborted { role: control.role });
        }
    };
    std::thread::scope(|scope| {
        for arena in &machine.arenas {
            let spawned = std::thread::Builder::new().spawn_scoped(scope, || slot(arena));
            if spawned.is_err() {
                let (role, threads) = (control.role, machine.arenas.len());
                lock(&done).1.get_or_insert(RunError::Threads { role, threads }.into());
                control.end_all(&RunError::Aborted { role });
            }
        }
    });
    let (mut reports, error) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|report: &RunReport| report.run);
    error.map_or(Ok(reports), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
