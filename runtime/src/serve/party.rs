//! A compute party as a process.

use super::control::{Begin, Control};
use super::error::ServeError;
use super::fill;
use super::machine::Machine;
use super::options::ServeOptions;
use super::report::{Report, RunReport};
use super::session::Session;
use super::slots::serve_runs;
use crate::arena::Arena;
use crate::error::RunError;
use crate::net::frame::Kind;
use crate::share::Seed;
use crate::store::Store;
use mpcc_ir::plan::{Phase, Role};
use std::sync::Arc;

pub(super) fn serve(options: ServeOptions) -> Result<Report, ServeError> {
    let mut session = Session::open(options)?;
    let outcome = run(&mut session);
    session.close(outcome)
}

fn run(session: &mut Session) -> Result<Report, ServeError> {
    let begin = session.begin()?;
    let Role::Party(party) = session.options.role else { return Err(ServeError::ClientServes) };
    let seed = take_seed(session, party)?;
    let keep = Seed::from_bytes(*seed.expose_bytes());
    let machine = session.machine(vec![(party, seed)])?;
    let session = &*session;
    let mut report = Report::new(session.options.role, session.options.plan.depth);
    machine.with_threads(&session.control, || work(session, &machine, begin, keep, &mut report))?;
    report.trace = machine.into_trace();
    Ok(report)
}

fn work(
    session: &Session,
    machine: &Machine,
    begin: Begin,
    seed: Seed,
    report: &mut Report,
) -> Result<(), ServeError> {
    let stored = session.store.as_ref().map(Store::setup).transpose()?;
    let one_run = |arena: &Arc<Arena>, run| one_run(session, machine, arena, run);
    let runs = || {
        if session.options.fill.is_some() {
            fill::party(session, begin, seed)?;
            return Ok(Vec::new());
        }
        drop(seed);
        let limit = session.options.runs.unwrap_or(u64::MAX);
        serve_runs(session, machine, limit, |run| can_begin(session, run), one_run)
    };
    report.runs = machine.setup_beside(&session.control, begin.first, stored, report, runs)?;
    Ok(())
}

/// The seed of the store, or a fresh one that the dealer learns.
fn take_seed(session: &Session, party: u8) -> Result<Seed, ServeError> {
    if let Some(store) = &session.store {
        let missing = || RunError::NoSeed { role: session.options.role, party };
        let seed = store.session().seed.as_ref().ok_or_else(missing)?;
        return Ok(Seed::from_bytes(*seed.expose_bytes()));
    }
    let seed = Seed::random().map_err(|_| ServeError::Randomness)?;
    session.control.tell(&[Role::Dealer], Kind::Seed, 0, seed.expose_bytes());
    Ok(seed)
}

/// Reserves `run`, unless the store does not have it.
fn can_begin(session: &Session, run: u64) -> Result<bool, ServeError> {
    if session.store.as_ref().is_some_and(|store| !store.has(run)) {
        session.control.say("the store is used up; run `mpcc-party fill` again at all roles");
        return Ok(false);
    }
    session.ledger().reserve(run)?;
    Ok(true)
}

fn one_run(
    session: &Session,
    machine: &Machine,
    arena: &Arc<Arena>,
    run: u64,
) -> Result<RunReport, ServeError> {
    let control: &Control = &session.control;
    let mut report = RunReport { run, ..RunReport::default() };
    let stored = if let Some(store) = &session.store {
        Some(store.take(run)?)
    } else {
        control.tell(&[Role::Dealer], Kind::Ask, run, &[]);
        None
    };
    let (executor, done) = machine.phase(control, arena, (Phase::Offline, run), stored, || ());
    done?;
    report.add(&executor);
    machine.role.wait_for_setup()?;
    if control.role == Role::Party(0) {
        control.wait_for_offline(run)?;
    } else {
        control.tell(&[Role::Party(0)], Kind::Ready, run, &[]);
    }
    let opened = || control.opened(run);
    let (executor, done) = machine.phase(control, arena, (Phase::Online, run), None, opened);
    done?;
    report.add(&executor);
    // A party that needs nothing of the client is done before it: what it reveals waits here.
    control.wait_for_claim(run, session.options.stall)?;
    let (offline, online) = (report.offline_s, report.online_s);
    control.say(&format!("run {run}: offline {offline:.3} s, online {online:.3} s"));
    Ok(report)
}
