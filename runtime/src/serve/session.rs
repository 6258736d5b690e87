//! What all serving roles have in common: links, run numbers, the start and the end of a session.

use super::claims::ClaimKey;
use super::control::{Begin, Control};
use super::error::ServeError;
use super::machine::Machine;
use super::options::ServeOptions;
use super::report::Report;
use crate::error::RunError;
use crate::ledger::Ledger;
use crate::net::frame::Kind;
use crate::net::handshake::{Hello, Mode, VERSION};
use crate::net::hub::{Hub, HubOptions, Receiver};
use crate::params::Params;
use crate::share::Seed;
use crate::store::Store;
use mpcc_ir::plan::{Plan, Role, WeightsMode};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A role's session.
pub(super) struct Session {
    pub(super) options: ServeOptions,
    pub(super) control: Arc<Control>,
    partners: Vec<Role>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) store: Option<Store>,
    hub: Hub,
}

/// Run numbers that are recorded on the disk at once, but for those of a store, which has messages for each.
const RUNS_AT_ONCE: u64 = 16;

/// The order in which roles call each other: each calls those before it.
fn rank(role: Role) -> u16 {
    match role {
        Role::Party(b) => u16::from(b),
        Role::Dealer => 256,
        Role::Owner => 257,
        Role::Client => 258,
    }
}

/// The roles that `role` keeps a link to for the whole session.
fn partners(plan: &Plan, role: Role, mode: Mode) -> Vec<Role> {
    let stored = matches!(mode, Mode::Stored(_));
    let mut roles: Vec<Role> = plan.compute_parties().collect();
    if !stored {
        roles.push(Role::Dealer);
        if plan.weights == WeightsMode::Owner {
            roles.push(Role::Owner);
        }
    }
    if mode == Mode::Fill {
        roles.push(Role::Client);
    }
    // The owner and the client have nothing to say to each other.
    let strangers = [Role::Owner, Role::Client];
    roles.retain(|r| *r != role && !(strangers.contains(r) && strangers.contains(&role)));
    roles
}

/// The longest message that the plan has for `role`.
pub(super) fn data_limit(plan: &Plan, role: Role) -> u64 {
    let own = plan.messages.iter().filter(|m| m.to == role);
    own.map(|m| m.bytes).max().unwrap_or(0)
}

/// The addresses of `roles`.
pub(super) fn addresses(
    own: Role,
    peers: &BTreeMap<Role, String>,
    roles: impl IntoIterator<Item = Role>,
) -> Result<BTreeMap<Role, String>, ServeError> {
    let address = |role| match peers.get(&role) {
        Some(address) => Ok((role, address.clone())),
        None => Err(ServeError::NoAddress { own, role }),
    };
    roles.into_iter().map(address).collect()
}

impl Session {
    /// Opens ledger, store and links.
    pub(super) fn open(mut options: ServeOptions) -> Result<Self, ServeError> {
        let (role, plan) = (options.role, Arc::clone(&options.plan));
        crate::check::check_plan(&plan).map_err(RunError::from)?;
        let mut ledger = Ledger::open(&options.state_dir)?;
        let store = if options.stored {
            Some(Store::open(&options.state_dir, &plan, options.plan_digest, role)?)
        } else {
            ledger.record_at_once(RUNS_AT_ONCE);
            None
        };
        let mode = match (&store, options.fill) {
            (Some(store), _) => Mode::Stored(store.session().deployment),
            (None, Some(_)) => Mode::Fill,
            (None, None) => Mode::Live,
        };
        let listener = options.listener.take();
        if listener.is_none() && rank(role) <= rank(Role::Dealer) {
            return Err(ServeError::NoListener { own: role });
        }
        let partners = partners(&plan, role, mode);
        let callees = partners.iter().copied().filter(|r| rank(*r) < rank(role));
        let connect = addresses(role, &options.peers, callees)?;
        // Clients come and go.
        let guest = (mode != Mode::Fill && role != Role::Owner).then_some(Role::Client);
        let log = Arc::clone(&options.log);
        let control = Control::new(role, Arc::clone(&plan), log, mode);
        options.stop.watch(&control);
        let next_run = ledger.next();
        let plan_id = options.plan_digest;
        let hub = HubOptions {
            hello: Hello { version: VERSION, plan: plan_id, from: role, to: None, mode, next_run },
            partners: partners.iter().copied().chain(guest).collect(),
            data_limit: data_limit(&plan, role),
            listener,
            connect,
            connect_within: options.connect_within,
        };
        let receiver: Arc<dyn Receiver> = Arc::<Control>::clone(&control);
        let hub = Hub::start(hub, receiver).map_err(ServeError::Network)?;
        Ok(Self { options, control, partners, ledger: Mutex::new(ledger), store, hub })
    }

    /// Waits for the others; `P_0` then starts the session, and all learn how.
    pub(super) fn begin(&self) -> Result<Begin, ServeError> {
        let (control, within) = (&self.control, self.options.connect_within);
        let (mode, partners) = (control.mode, &self.partners);
        control.wait_for_peers(partners, within)?;
        if self.options.role == Role::Party(0) {
            let begin = self.first_begin(mode)?;
            control.begun(begin);
            control.tell(partners, Kind::Begin, begin.first, &begin.payload());
        }
        let ready = |state: &mut super::control::State| state.begin;
        let begin =
            control.wait_within(Some(within), |_| "P0's start of the session".into(), ready)?;
        let own = self.options.role;
        let next = self.ledger().next();
        if begin.first < next {
            let run = begin.first;
            return Err(ServeError::RunBehind { own, run, next });
        }
        if matches!(mode, Mode::Stored(id) if id != begin.deployment) {
            return Err(ServeError::Session { own });
        }
        Ok(begin)
    }

    fn first_begin(&self, mode: Mode) -> Result<Begin, ServeError> {
        // A seed is as good as any source of random bytes; these two are used for nothing else.
        let random = || Seed::random().map_err(|_| ServeError::Randomness);
        let deployment = match mode {
            Mode::Stored(id) => id,
            Mode::Live | Mode::Fill => {
                let random = random()?;
                std::array::from_fn(|i| random.expose_bytes()[i])
            }
        };
        let claims = ClaimKey(*random()?.expose_bytes());
        let state = self.control.lock();
        let theirs = state.peers.values().map(|link| link.hello.next_run).max();
        let stored = self.store.as_ref().map_or(1, |store| store.session().first);
        let first = self.ledger().next().max(theirs.unwrap_or(1)).max(stored);
        Ok(Begin { deployment, first, count: self.options.fill.unwrap_or(0), claims })
    }

    /// The role's state with these seeds.
    pub(super) fn machine(&mut self, seeds: Vec<(u8, Seed)>) -> Result<Machine, ServeError> {
        let plan = Arc::clone(&self.options.plan);
        let params = match self.options.weights.take() {
            Some(weights) => Params::owned(&plan, weights)?,
            None => Params::public(),
        };
        Machine::new(&self.options, params, seeds)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the links, and says what the session was.
    pub(super) fn close(
        mut self,
        outcome: Result<Report, ServeError>,
    ) -> Result<Report, ServeError> {
        let outcome = outcome.map_err(|error| self.control.cause(error));
        let why = match &outcome {
            Ok(_) | Err(ServeError::Stopped) => String::new(),
            Err(error) => error.to_string(),
        };
        self.hub.shut_down(self.control.first_undone(), &why);
        let report = outcome?.finish(self.hub.wire_bytes());
        Ok(report)
    }
}
