//! What a role needs to serve, and what stops it.

use super::control::Control;
use crate::trace::Clock;
use mpcc_ir::plan::{Plan, Role};
use mpcc_ir::weights::Weights;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Takes lines for people: progress, refused connections, runs called off.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Everything that a role needs to serve.
pub struct ServeOptions {
    /// Which role this process is.
    pub role: Role,
    /// The plan.
    pub plan: Arc<Plan>,
    /// Identity of the plan file, [`mpcc_ir::codec::digest`] of its bytes.
    pub plan_digest: [u8; 32],
    /// The weights, at the roles that know them.
    pub weights: Option<Arc<Weights>>,
    /// Where others call; compute parties and the dealer need one.
    pub listener: Option<TcpListener>,
    /// Addresses of the roles that this one calls: those before it in `P0, P1, .., dealer, owner, client`.
    pub peers: BTreeMap<Role, String>,
    /// Where run numbers and stores are kept. No other process may use it.
    pub state_dir: PathBuf,
    /// Compute threads.
    pub threads: usize,
    /// End after that many completed runs.
    pub runs: Option<u64>,
    /// Take correlations from the store in `state_dir` instead of a dealer.
    pub stored: bool,
    /// Fill the store with that many runs (`P_0` decides), and end.
    pub fill: Option<u64>,
    /// How long to wait for the other roles to start.
    pub connect_within: Duration,
    /// How long a message may be late once a phase has begun; `None` waits for ever.
    pub stall: Option<Duration>,
    /// Record with this clock when each step is executed, for [`Report::trace`](super::Report::trace).
    pub trace: Option<Clock>,
    /// Where lines for people go.
    pub log: Log,
    /// Ends the session from another thread.
    pub stop: StopHandle,
}

/// Ends a session from another thread, after the runs that clients have, if any.
#[derive(Clone, Default)]
pub struct StopHandle(Arc<Mutex<Stop>>);

#[derive(Default)]
struct Stop {
    asked: bool,
    control: Option<Weak<Control>>,
}

impl StopHandle {
    /// Asks the session to end; also works before it has begun.
    pub fn stop(&self) {
        let mut stop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stop.asked = true;
        if let Some(control) = stop.control.as_ref().and_then(Weak::upgrade) {
            control.stop();
        }
    }

    pub(super) fn watch(&self, control: &Arc<Control>) {
        let mut stop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stop.control = Some(Arc::downgrade(control));
        if stop.asked {
            control.stop();
        }
    }
}
