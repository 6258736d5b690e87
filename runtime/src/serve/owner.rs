//! An outside owner of the weights as a process: takes part in the setup, and leaves.

use super::control::Control;
use super::error::ServeError;
use super::options::ServeOptions;
use super::report::Report;
use super::session::Session;
use crate::executor::Outbox as _;
use crate::owner::OwnerSetup;
use crate::params::Params;
use mpcc_ir::plan::Role;
use std::sync::Arc;
use std::time::Instant;

pub(super) fn serve(options: ServeOptions) -> Result<Report, ServeError> {
    let mut session = Session::open(options)?;
    let outcome = run(&mut session);
    session.close(outcome)
}

fn run(session: &mut Session) -> Result<Report, ServeError> {
    session.begin()?;
    let plan = Arc::clone(&session.options.plan);
    let params = match session.options.weights.take() {
        Some(weights) => Params::owned(&plan, weights)?,
        None => Params::public(),
    };
    let mut setup = OwnerSetup::new(Arc::clone(&plan), params)?;
    let start = Instant::now();
    let control: &Control = &session.control;
    while !setup.is_done() {
        for packet in control.setup_packets(session.options.stall)? {
            for masked in setup.deliver(&packet)? {
                control.send(masked)?;
            }
        }
    }
    let mut report = Report::new(Role::Owner, plan.depth);
    report.setup(start.elapsed().as_secs_f64(), setup.counts());
    control.say(&format!("weights are shared after {:.2} s", report.setup_s));
    Ok(report)
}
