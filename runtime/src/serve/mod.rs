//! A role as a process: its links, the order of its phases, and what it reports.
//!
//! `P_0` gives out runs. All roles reserve the same number in their own ledgers and run its offline phase, while the client
//! that `P_0` gave the run to says at the others that it is its own; they wait for its input. As many runs are in flight as the
//! plan says. A client that breaks off loses its run, and only that: the number is used up and the next run begins.
//! Anything wrong among the parties and the dealer ends the process with an error that names the other role.

mod claims;
mod control;
mod dealer;
mod error;
mod fill;
mod infer;
mod links;
mod machine;
mod options;
mod owner;
mod party;
mod report;
mod session;
mod slots;

pub use error::ServeError;
pub use infer::{InferOptions, InferOutcome, infer};
pub use options::{Log, ServeOptions, StopHandle};
pub use report::{Report, RunReport, SentBytes, median, seconds_per_run};

use mpcc_ir::plan::Role;

/// Runs one role until it is stopped, its runs are done, or its peers have ended.
///
/// # Errors
/// [`ServeError`] names the role, the peer or the file that is the cause.
pub fn serve(options: ServeOptions) -> Result<Report, ServeError> {
    match options.role {
        Role::Party(_) => party::serve(options),
        Role::Dealer => dealer::serve(options),
        Role::Owner => owner::serve(options),
        Role::Client if options.fill.is_some() => fill::client(options),
        Role::Client => Err(ServeError::ClientServes),
    }
}
