//! Filling a store: everything of setup and offline phases that a role receives goes into files.

use super::control::Begin;
use super::error::ServeError;
use super::options::ServeOptions;
use super::report::Report;
use super::session::Session;
use crate::net::frame::Kind;
use crate::share::Seed;
use crate::store::{Session as StoreSession, StoreWriter};
use mpcc_ir::plan::{Message, MessageKind, Phase, Role};

/// Fills the store of a compute party.
pub(super) fn party(session: &Session, begin: Begin, seed: Seed) -> Result<(), ServeError> {
    fill(session, begin, Some(seed))
}

/// Fills the store of a client: the masks of its inputs.
pub(super) fn client(options: ServeOptions) -> Result<Report, ServeError> {
    let session = Session::open(options)?;
    let depth = session.options.plan.depth;
    let outcome = session.begin().and_then(|begin| {
        fill(&session, begin, None)?;
        Ok(Report::new(Role::Client, depth))
    });
    session.close(outcome)
}

fn fill(session: &Session, begin: Begin, seed: Option<Seed>) -> Result<(), ServeError> {
    let (role, control) = (session.options.role, &session.control);
    let writer = StoreWriter::create(&session.options.state_dir)?;
    // What compute parties open ahead, they open when the run takes place.
    let expected = |phase: Phase| {
        let own = |m: &&Message| m.to == role && m.phase == phase && m.kind != MessageKind::Open;
        session.options.plan.messages.iter().filter(own).count()
    };
    writer.put(None, &control.recorded(0, expected(Phase::Setup))?)?;
    for run in begin.first..begin.first + begin.count {
        if role != Role::Client {
            control.tell(&[Role::Dealer], Kind::Ask, run, &[]);
        }
        let packets = control.recorded(run, expected(Phase::Offline))?;
        writer.put(Some(run), &packets)?;
        control.say(&format!("stored run {run}"));
    }
    writer.finish(&StoreSession {
        plan: session.options.plan_digest,
        role,
        deployment: begin.deployment,
        seed,
        first: begin.first,
        count: begin.count,
    })?;
    Ok(())
}
