//! What all serving roles have in common: options, links, the start of a session, phases.

use super::claims::ClaimKey;
use super::control::{Begin, Control};
use super::error::ServeError;
use super::report::Report;
use crate::arena::Arena;
use crate::error::RunError;
use crate::executor::Executor;
use crate::kernels::Scratch;
use crate::ledger::Ledger;
use crate::net::frame::Kind;
use crate::net::handshake::{Hello, Mode, VERSION};
use crate::net::hub::{Hub, HubOptions, Receiver};
use crate::packet::Packet;
use crate::params::Params;
use crate::pool::{Pool, Until};
use crate::priority;
use crate::role::RoleState;
use crate::share::Seed;
use crate::store::Store;
use crate::trace::{Clock, Trace};
use mpcc_ir::plan::{Phase, Plan, Role, WeightsMode};
use mpcc_ir::weights::Weights;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

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
    /// Record with this clock when each step is executed, for [`Report::trace`].
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

    fn watch(&self, control: &Arc<Control>) {
        let mut stop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stop.control = Some(Arc::downgrade(control));
        if stop.asked {
            control.stop();
        }
    }
}

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
            Some(Store::open(&options.state_dir, options.plan_digest, role)?)
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
        let depth = usize::from(plan.depth);
        let role = RoleState::new(plan, self.options.role, params, seeds)?;
        let arenas = (0..depth).map(|_| role.run_arena()).collect::<Result<_, _>>()?;
        let threads = self.options.threads.max(1);
        let digest = self.options.plan_digest;
        let trace = Mutex::new(Trace::new(self.options.role, threads, depth, digest));
        let trace = self.options.trace.map(|clock| (clock, trace));
        Ok(Machine { role, arenas, threads, stall: self.options.stall, trace })
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

/// A role's state and memory.
pub(super) struct Machine {
    pub(super) role: Arc<RoleState>,
    /// One per run in flight.
    pub(super) arenas: Vec<Arc<Arena>>,
    threads: usize,
    stall: Option<Duration>,
    trace: Option<(Clock, Mutex<Trace>)>,
}

impl Machine {
    /// Does `work` while compute threads execute the steps of the phases that it starts.
    pub(super) fn with_threads<T>(
        &self,
        control: &Control,
        work: impl FnOnce() -> Result<T, ServeError>,
    ) -> Result<T, ServeError> {
        let (pool, stall) = (self.role.pool(), self.stall);
        let steps_back = priority::steps_back(self.role.plan(), self.role.role());
        std::thread::scope(|scope| {
            // Also when `work` panics: the scope waits for its threads.
            let close = Close(pool);
            let mut threads = Vec::new();
            for thread in 0..self.threads {
                let body = move || {
                    if steps_back {
                        priority::step_back();
                    }
                    let until = Until::Closed { stall };
                    pool.work(until, thread as u16, &mut Scratch::new(), control);
                };
                let name = format!("mpcc-{thread}");
                let spawned = std::thread::Builder::new().name(name).spawn_scoped(scope, body);
                let (role, count) = (self.role.role(), self.threads);
                threads.push(spawned.map_err(|_| RunError::Threads { role, threads: count })?);
            }
            let done = work();
            drop(close);
            // The phase that lost a thread to a panic has said so.
            for thread in threads {
                drop(thread.join());
            }
            done
        })
    }

    /// Runs the setup phase beside `work`, takes the memory of a first run from the system, and reports the setup.
    ///
    /// The steps of runs that `work` starts, from `first` on, wait for what they use of the setup. So the first runs'
    /// corrections and products do not wait for the weights of all layers.
    pub(super) fn setup_beside<T>(
        &self,
        control: &Control,
        first: u64,
        stored: Option<Vec<Packet>>,
        report: &mut Report,
        work: impl FnOnce() -> Result<T, ServeError>,
    ) -> Result<T, ServeError> {
        let (opened, is_open) = mpsc::channel();
        // The thread owns `opened`: when it ends early, nobody waits for that any more.
        let setup = move || {
            let opened = || {
                let _ = opened.send(());
                // The first output does not wait for the memory of later runs.
                self.arenas[0].populate();
            };
            self.setup(control, first, stored, report, opened)
        };
        std::thread::scope(|scope| {
            let spawned = std::thread::Builder::new().spawn_scoped(scope, setup);
            let threads = |_| RunError::Threads { role: control.role, threads: 1 };
            let setup = spawned.map_err(threads)?;
            let aborted = |_| Err(RunError::Aborted { role: control.role }.into());
            let done = is_open.recv().map_or_else(aborted, |()| work());
            let lost = |_| Err(RunError::ThreadLost { role: control.role }.into());
            match (setup.join().unwrap_or_else(lost), done) {
                // What ended all runs ended the setup as well.
                (Err(ServeError::Run(RunError::Aborted { .. })), Err(error)) => Err(error),
                (Err(error), _) => Err(error),
                (Ok(()), done) => done,
            }
        })
    }

    fn setup(
        &self,
        control: &Control,
        first: u64,
        stored: Option<Vec<Packet>>,
        report: &mut Report,
        opened: impl FnOnce(),
    ) -> Result<(), ServeError> {
        let start = Instant::now();
        let ending = EndAll(control);
        let (executor, done) =
            self.phase(control, &self.arenas[0], (Phase::Setup, first), stored, opened);
        if let Err(error) = done {
            // Before the executor goes: without it, a run would take the setup for done.
            drop(ending);
            return Err(error.into());
        }
        std::mem::forget(ending);
        report.setup(start.elapsed().as_secs_f64(), &executor.counts());
        control.say(&format!("ready after {:.2} s of setup", report.setup_s));
        Ok(())
    }

    /// Runs one phase. `stored` messages are delivered first; `opened` is called when the phase can take others.
    pub(super) fn phase(
        &self,
        control: &Control,
        arena: &Arc<Arena>,
        (phase, run): (Phase, u64),
        stored: Option<Vec<Packet>>,
        opened: impl FnOnce(),
    ) -> (Arc<Executor>, Result<(), RunError>) {
        let (role, pool) = (&self.role, self.role.pool());
        let executor = role.start(phase, run, arena);
        if let Some((clock, _)) = &self.trace {
            executor.record(*clock);
        }
        let execute = || {
            control.mailbox.open(&executor)?;
            for packet in stored.unwrap_or_default() {
                executor.deliver(from_plan(role.plan(), packet))?;
            }
            if phase != Phase::Setup && control.is_off(run) {
                executor.fail(RunError::Aborted { role: role.role() });
            }
            pool.add(&executor);
            opened();
            let done = executor.wait();
            pool.remove(&executor);
            done
        };
        let done = execute();
        control.mailbox.close(&executor);
        if let Some(((_, trace), phase)) = self.trace.as_ref().zip(executor.trace()) {
            trace.lock().unwrap_or_else(PoisonError::into_inner).add(phase);
        }
        (executor, done)
    }

    /// What was recorded in the setup and in the last runs.
    pub(super) fn into_trace(self) -> Option<Trace> {
        let (_, trace) = self.trace?;
        Some(trace.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends all runs when the setup does not come to its end, whatever happens.
struct EndAll<'a>(&'a Control);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.end_all(&RunError::Aborted { role: self.0.role });
    }
}

/// Lets the threads of a pool go, whatever happens.
struct Close<'a>(&'a Pool);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A stored packet with the sender that the plan names.
pub(super) fn from_plan(plan: &Plan, packet: Packet) -> Packet {
    let from = plan.messages.get(packet.message as usize).map_or(packet.from, |m| m.from);
    Packet { from, ..packet }
}
