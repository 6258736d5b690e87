//! The dealer as a process: deals a run as soon as all compute parties ask for it.

use super::control::State;
use super::error::ServeError;
use super::machine::Machine;
use super::options::ServeOptions;
use super::report::{Report, RunReport};
use super::session::Session;
use super::slots::serve_runs;
use crate::arena::Arena;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Role};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn serve(options: ServeOptions) -> Result<Report, ServeError> {
    let mut session = Session::open(options)?;
    let outcome = run(&mut session);
    session.close(outcome)
}

fn run(session: &mut Session) -> Result<Report, ServeError> {
    let first = session.begin()?.first;
    let parties = session.options.plan.parties;
    let all = |state: &mut State| {
        let here = (0..parties).all(|b| state.seeds.contains_key(&b));
        here.then(|| std::mem::take(&mut state.seeds).into_iter().collect::<Vec<(u8, Seed)>>())
    };
    let within = session.options.connect_within;
    let seeds = session.control.wait_within(Some(within), |_| "the parties' seeds".into(), all)?;
    let machine = session.machine(seeds)?;
    let (session, control) = (&*session, &session.control);
    let mut report = Report::new(Role::Dealer, session.options.plan.depth);
    let runs = || {
        // While the parties are busy with other runs, the disk can record the next one.
        let begin = |run| {
            session.ledger().reserve(run)?;
            is_asked_for(session, run)
        };
        let one_run = |arena: &Arc<Arena>, run| one_run(session, &machine, arena, run);
        serve_runs(session, &machine, u64::MAX, begin, one_run)
    };
    report.runs = machine
        .with_threads(control, || machine.setup_beside(control, first, None, &mut report, runs))?;
    report.trace = machine.into_trace();
    Ok(report)
}

/// Waits until all compute parties have asked for `run`; false when one of them has ended.
///
/// When stores are filled, the last party sets the pace: the others receive next to nothing.
fn is_asked_for(session: &Session, run: u64) -> Result<bool, ServeError> {
    let mut parties: Vec<Role> = session.options.plan.compute_parties().collect();
    if session.options.fill.is_some() {
        parties.drain(..parties.len() - 1);
    }
    let ready = |state: &mut State| {
        if parties.iter().any(|party| state.ended.contains(party)) {
            return Some(false);
        }
        parties.iter().all(|party| state.asked.has(*party, run)).then_some(true)
    };
    session.control.wait(ready)
}

fn one_run(
    session: &Session,
    machine: &Machine,
    arena: &Arc<Arena>,
    run: u64,
) -> Result<RunReport, ServeError> {
    let control = &session.control;
    let mut report = RunReport { run, ..RunReport::default() };
    let (executor, done) = machine.phase(control, arena, (Phase::Offline, run), None, || ());
    done?;
    report.add(&executor);
    if !session.options.plan.role(Role::Dealer).is_none_or(|own| own.online.is_empty()) {
        let opened = || control.opened(run);
        let (executor, done) = machine.phase(control, arena, (Phase::Online, run), None, opened);
        done?;
        report.add(&executor);
    }
    control.say(&format!("run {run}: dealt in {:.3} s", report.offline_s));
    if session.options.fill.is_none() {
        // The mask of the input waits here until a client says that the run is its own. One that came to its end without
        // had no use for the mask.
        control.wait_for_claim(run, Some(Duration::ZERO))?;
    }
    Ok(report)
}
