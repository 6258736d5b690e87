//! The dealer as a process: deals a run as soon as all compute parties ask for it.

use super::control::State;
use super::error::ServeError;
use super::report::{Report, RunReport};
use super::session::{Machine, ServeOptions, Session};
use crate::error::RunError;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Role};

pub(super) fn serve(options: ServeOptions) -> Result<Report, ServeError> {
    let mut session = Session::open(options)?;
    let mut next = 0;
    let outcome = run(&mut session, &mut next);
    session.close(next, outcome)
}

fn run(session: &mut Session, next: &mut u64) -> Result<Report, ServeError> {
    session.begin()?;
    let parties = session.options.plan.parties;
    let all = |state: &mut State| {
        let here = (0..parties).all(|b| state.seeds.contains_key(&b));
        here.then(|| std::mem::take(&mut state.seeds).into_iter().collect::<Vec<(u8, Seed)>>())
    };
    let within = session.options.connect_within;
    let seeds = session.control.wait(Some(within), |_| "the parties' seeds".into(), all)?;
    let mut machine = session.machine(seeds)?;
    let mut report = Report::new(Role::Dealer);
    let (executor, done) = machine.phase(&session.control, (Phase::Setup, 0), None, || ());
    done?;
    report.setup(executor.elapsed().as_secs_f64(), &executor.counts());
    session.control.say(&format!("ready after {:.2} s of setup", report.setup_s));
    let mut reserved = 0;
    while let Some(run) = asked_for(session, *next)? {
        *next = run + 1;
        if run > reserved {
            session.ledger.reserve(run)?;
        }
        match one_run(session, &mut machine, run) {
            Ok(run) => report.runs.push(run),
            Err(ServeError::Run(RunError::Aborted { .. })) => {}
            Err(error) => return Err(error),
        }
        // While the parties are busy with this run, the disk can record the next one.
        reserved = run + 1;
        session.ledger.reserve(reserved)?;
    }
    report.trace = machine.into_trace();
    Ok(report)
}

/// The run from `next` on that all compute parties are ready for; `None` when one of them has ended.
///
/// When stores are filled, the last party sets the pace: the others receive next to nothing.
fn asked_for(session: &Session, next: u64) -> Result<Option<u64>, ServeError> {
    let mut parties: Vec<Role> = session.options.plan.compute_parties().collect();
    if session.options.fill.is_some() {
        parties.drain(..parties.len() - 1);
    }
    let ready = |state: &mut State| {
        if parties.iter().any(|party| state.ended.contains(party)) {
            return Some(None);
        }
        let asked = parties.iter().map(|party| state.ready.get(party).copied());
        let asked: Option<Vec<u64>> = asked.collect();
        let run = asked?.into_iter().min()?;
        (run >= next && parties.iter().all(|p| state.ready.get(p) == Some(&run)))
            .then_some(Some(run))
    };
    match session.control.wait(None, |_| String::new(), ready) {
        Err(ServeError::Stopped) => Ok(None),
        other => other,
    }
}

fn one_run(session: &Session, machine: &mut Machine, run: u64) -> Result<RunReport, ServeError> {
    let control = &session.control;
    control.begin_run(run);
    let mut report = RunReport { run, ..RunReport::default() };
    let (executor, done) = machine.phase(control, (Phase::Offline, run), None, || ());
    done?;
    report.add(&executor);
    if !session.options.plan.role(Role::Dealer).is_none_or(|own| own.online.is_empty()) {
        let (executor, done) = machine.phase(control, (Phase::Online, run), None, || ());
        done?;
        report.add(&executor);
    }
    control.say(&format!("run {run}: dealt in {:.3} s", report.offline_s));
    Ok(report)
}
