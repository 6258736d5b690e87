//! A compute party as a process.

use super::control::{Begin, Control};
use super::error::ServeError;
use super::fill;
use super::report::{Report, RunReport};
use super::session::{Machine, ServeOptions, Session};
use crate::error::RunError;
use crate::net::frame::Kind;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Role};

pub(super) fn serve(options: ServeOptions) -> Result<Report, ServeError> {
    let mut session = Session::open(options)?;
    let mut next = 0;
    let outcome = run(&mut session, &mut next);
    session.close(next, outcome)
}

fn run(session: &mut Session, next: &mut u64) -> Result<Report, ServeError> {
    let begin = session.begin()?;
    let Role::Party(party) = session.options.role else { return Err(ServeError::ClientServes) };
    let seed = take_seed(session, party)?;
    let keep = Seed::from_bytes(*seed.expose_bytes());
    let mut machine = session.machine(vec![(party, seed)])?;
    let mut report = Report::new(session.options.role);
    setup(session, &mut machine, &mut report)?;
    if session.options.fill.is_some() {
        fill::party(session, begin, keep)?;
        *next = u64::MAX;
        return Ok(report);
    }
    drop(keep);
    serve_runs(session, &mut machine, begin, &mut report, next)?;
    report.trace = machine.into_trace();
    Ok(report)
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

fn setup(session: &Session, machine: &mut Machine, report: &mut Report) -> Result<(), ServeError> {
    let stored = match &session.store {
        Some(store) => Some(store.setup()?),
        None => None,
    };
    let (executor, done) = machine.phase(&session.control, (Phase::Setup, 0), stored, || ());
    done?;
    report.setup(executor.elapsed().as_secs_f64(), &executor.counts());
    session.control.say(&format!("ready after {:.2} s of setup", report.setup_s));
    Ok(())
}

fn serve_runs(
    session: &mut Session,
    machine: &mut Machine,
    begin: Begin,
    report: &mut Report,
    next: &mut u64,
) -> Result<(), ServeError> {
    *next = begin.first;
    let limit = session.options.runs.unwrap_or(u64::MAX);
    while (report.runs.len() as u64) < limit && !session.control.ends_before(*next) {
        if session.store.as_ref().is_some_and(|store| !store.has(*next)) {
            session.control.say("the store is used up; run `mpcc-party fill` again at all roles");
            break;
        }
        match one_run(session, machine, *next) {
            Ok(run) => report.runs.push(run),
            // Called off by the end of the session: the run has not been used by anyone.
            Err(ServeError::Run(RunError::Aborted { .. }))
                if session.control.ends_before(*next) =>
            {
                break;
            }
            Err(ServeError::Run(RunError::Aborted { .. })) => {}
            Err(ServeError::Run(RunError::Stalled { phase: Phase::Online, .. })) => {
                session.control.abort(*next, "a message did not come in time");
            }
            Err(error) => return Err(error),
        }
        *next += 1;
    }
    Ok(())
}

fn one_run(
    session: &mut Session,
    machine: &mut Machine,
    run: u64,
) -> Result<RunReport, ServeError> {
    session.ledger.reserve(run)?;
    let control: &Control = &session.control;
    control.begin_run(run);
    let mut report = RunReport { run, ..RunReport::default() };
    let stored = if let Some(store) = &session.store {
        Some(store.take(run)?)
    } else {
        control.tell(&[Role::Dealer], Kind::Ready, run, &[]);
        None
    };
    let (executor, done) = machine.phase(control, (Phase::Offline, run), stored, || ());
    done?;
    report.add(&executor);
    if control.role == Role::Party(0) {
        control.wait_for_offline(run)?;
    } else {
        control.tell(&[Role::Party(0)], Kind::Ready, run, &[]);
    }
    let opened = || {
        if control.role == Role::Party(0) {
            control.offer(run);
        }
    };
    let (executor, done) = machine.phase(control, (Phase::Online, run), None, opened);
    done?;
    report.add(&executor);
    // A party that needs nothing of the client is done before it: what it reveals waits here.
    control.wait_for_claim(run)?;
    let (offline, online) = (report.offline_s, report.online_s);
    control.say(&format!("run {run}: offline {offline:.3} s, online {online:.3} s"));
    Ok(report)
}
