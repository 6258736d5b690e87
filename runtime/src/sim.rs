//! All roles of a plan in one process and one seeded order of events.
//!
//! The network is a bag of messages. Each event takes one out, the oldest or, with `reorder`, any one,
//! and hands it to its receiver, which then goes on as far as it can. So one seed is one schedule, and tests can
//! lose a message or make a role hang up at any point of it. The roles are the code that runs over TCP.

use crate::arena::Arena;
use crate::client::{ClientRun, Output};
use crate::error::{PeerError, RunError};
use crate::executor::{Executor, Outbox};
use crate::kernels::Scratch;
use crate::mailbox::Mailbox;
use crate::owner::OwnerSetup;
use crate::packet::{Counts, Packet};
use crate::params::Params;
use crate::pool::Until;
use crate::role::RoleState;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Plan, Role, WeightsMode};
use mpcc_ir::weights::Weights;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// How a simulation goes.
#[derive(Clone, Copy, Debug)]
pub struct SimOptions {
    /// Decides masks and the order of events.
    pub seed: u64,
    /// Compute threads of each role.
    pub threads: usize,
    /// Deliver in random order; otherwise in the order of sending.
    pub reorder: bool,
    /// Lose this message, counted in order of delivery from 0 over the simulation's life.
    pub lose: Option<usize>,
    /// This role hangs up when that many messages have been delivered.
    pub hang_up: Option<(Role, usize)>,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self { seed: 1, threads: 1, reorder: false, lose: None, hang_up: None }
    }
}

/// What a run gave and cost.
#[derive(Clone, Debug)]
pub struct SimOutcome {
    /// The revealed outputs, in the plan's order.
    pub outputs: Vec<Output>,
    /// What each role counted in this run; in the first run, with the setup phase.
    pub counts: BTreeMap<Role, Counts>,
    /// Openings on the longest causal chain of the online phase, over all roles.
    pub rounds: u32,
}

/// Runs a plan once: setup, offline and online phase.
///
/// `inputs` holds one tensor per input of the plan.
///
/// # Errors
/// As the roles report them; the first error ends the simulation.
pub fn run(
    plan: &Plan,
    weights: &Weights,
    inputs: &[Vec<f32>],
    options: SimOptions,
) -> Result<SimOutcome, RunError> {
    let copy = Weights { word: weights.word, salt: weights.salt, params: weights.params.clone() };
    let mut sim = Sim::new(plan, Arc::new(copy), options)?;
    sim.run(1, inputs)
}

/// A deployment whose roles live in this process.
pub struct Sim {
    plan: Arc<Plan>,
    machines: Vec<Machine>,
    owner: OwnerSetup,
    clients: BTreeMap<u64, ClientRun>,
    network: Network,
    owner_counted: bool,
}

impl Sim {
    /// Starts all roles and their setup, which goes on beside the first run.
    ///
    /// # Errors
    /// A plan or weights that do not fit, or a fault that `options` asks for.
    pub fn new(plan: &Plan, weights: Arc<Weights>, options: SimOptions) -> Result<Self, RunError> {
        let plan = Arc::new(plan.clone());
        let known = Params::owned(&plan, weights)?;
        let public = Params::public();
        let owns = |role: Role| match plan.weights {
            WeightsMode::Public => true,
            WeightsMode::Party0 => role == Role::Party(0),
            WeightsMode::Owner => false,
        };
        let mut machines = Vec::new();
        for role in plan.compute_parties().chain([Role::Dealer]) {
            let params = if owns(role) { known.clone() } else { public.clone() };
            let seeds =
                (0..plan.parties).filter(|&b| role == Role::Party(b) || role == Role::Dealer);
            let seeds = seeds.map(|b| (b, party_seed(options.seed, b))).collect();
            let state = RoleState::new(Arc::clone(&plan), role, params, seeds)?;
            machines.push(Machine::new(state, options.threads)?);
        }
        let owner = OwnerSetup::new(Arc::clone(&plan), known)?;
        let network = Network::new(options);
        Ok(Self { plan, machines, owner, clients: BTreeMap::new(), network, owner_counted: false })
    }

    /// One run. `run` is its number, which must not have been used before.
    ///
    /// # Errors
    /// As the roles report them.
    pub fn run(&mut self, run: u64, inputs: &[Vec<f32>]) -> Result<SimOutcome, RunError> {
        self.begin(run, inputs)?;
        self.settle()?;
        self.outcome(run)
    }

    /// Runs with rising numbers, as many in flight as the plan says: one begins where another is over.
    ///
    /// # Errors
    /// As the roles report them.
    pub fn run_all(&mut self, runs: &[(u64, Vec<Vec<f32>>)]) -> Result<Vec<SimOutcome>, RunError> {
        let mut outcomes = BTreeMap::new();
        let mut in_flight = Vec::new();
        for (run, inputs) in runs {
            if in_flight.len() == usize::from(self.plan.depth) {
                let over = self.deliver_until_one_is_over(&mut in_flight)?;
                outcomes.insert(over, self.outcome(over)?);
            }
            self.begin(*run, inputs)?;
            in_flight.push(*run);
        }
        self.settle()?;
        for run in in_flight {
            outcomes.insert(run, self.outcome(run)?);
        }
        Ok(outcomes.into_values().collect())
    }

    fn begin(&mut self, run: u64, inputs: &[Vec<f32>]) -> Result<(), RunError> {
        self.clients.insert(run, ClientRun::new(Arc::clone(&self.plan), run, inputs)?);
        self.machines.iter_mut().try_for_each(|machine| machine.begin(run))
    }

    /// Delivers messages until nothing is left to do.
    fn settle(&mut self) -> Result<(), RunError> {
        self.poll()?;
        while self.step()? {}
        match self.machines.iter().find_map(Machine::waiting_for) {
            Some(stalled) => Err(stalled),
            None => Ok(()),
        }
    }

    /// Delivers messages until a run is over at all roles, which is then no longer in flight.
    fn deliver_until_one_is_over(&mut self, in_flight: &mut Vec<u64>) -> Result<u64, RunError> {
        self.poll()?;
        loop {
            let is_over = |run: &u64| {
                self.clients.get(run).is_some_and(ClientRun::is_done)
                    && !self.machines.iter().any(|machine| machine.has(*run))
            };
            if let Some(at) = in_flight.iter().position(is_over) {
                return Ok(in_flight.remove(at));
            }
            if !self.step()? {
                let stalled = self.machines.iter().find_map(Machine::waiting_for);
                return Err(stalled.unwrap_or_else(|| self.client_waits(in_flight[0])));
            }
        }
    }

    fn poll(&mut self) -> Result<(), RunError> {
        self.machines.iter_mut().try_for_each(|machine| machine.poll(&self.network))
    }

    /// Delivers one message; false if there is none.
    fn step(&mut self) -> Result<bool, RunError> {
        let Some(packet) = self.network.take()? else { return Ok(false) };
        match packet.to {
            Role::Client => self.at_client(packet)?,
            Role::Owner => self.network.send_all(self.owner.deliver(&packet)?)?,
            Role::Party(_) | Role::Dealer => {
                let to = packet.to;
                if let Some(machine) = self.machines.iter_mut().find(|m| m.role.role() == to) {
                    machine.mailbox.deliver(&self.plan, packet)?;
                    machine.poll(&self.network)?;
                }
            }
        }
        Ok(true)
    }

    fn at_client(&mut self, packet: Packet) -> Result<(), RunError> {
        let Some(client) = self.clients.get_mut(&packet.run) else { return Ok(()) };
        client.deliver(packet)?;
        self.network.send_all(client.masked_inputs().unwrap_or_default())
    }

    fn client_waits(&self, run: u64) -> RunError {
        let message = self.clients.get(&run).and_then(ClientRun::awaited).unwrap_or(0);
        let info = &self.plan.messages[message as usize];
        let (phase, kind, from) = (info.phase, info.kind, info.from);
        RunError::Stalled { role: Role::Client, phase, message, kind, from }
    }

    fn outcome(&mut self, run: u64) -> Result<SimOutcome, RunError> {
        let mut counts = BTreeMap::new();
        for machine in &mut self.machines {
            counts.insert(machine.role.role(), machine.take_counts(run));
        }
        if !std::mem::replace(&mut self.owner_counted, true) {
            counts.insert(Role::Owner, self.owner.counts().clone());
        }
        let client = self.clients.get(&run);
        let done = client.and_then(|c| Some((c.outputs()?, c.counts().clone())));
        let Some((outputs, own)) = done else { return Err(self.client_waits(run)) };
        self.clients.remove(&run);
        counts.insert(Role::Client, own);
        let rounds = counts.values().map(|c| c.rounds).max().unwrap_or(0);
        Ok(SimOutcome { outputs, counts, rounds })
    }
}

/// A seed that depends on the simulation's seed and the party alone: simulations can be repeated.
pub fn party_seed(seed: u64, party: u8) -> Seed {
    let mut random = SplitMix(seed ^ (u64::from(party) << 56));
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    Seed::from_bytes(bytes)
}

/// A compute party or the dealer.
struct Machine {
    role: Arc<RoleState>,
    mailbox: Mailbox,
    setup: Option<Arc<Executor>>,
    slots: Vec<Slot>,
    scratch: Vec<Scratch>,
    /// By run; 0 is the setup.
    counts: BTreeMap<u64, Counts>,
}

/// Memory of a run, with the phases that lie before it.
struct Slot {
    arena: Arc<Arena>,
    run: u64,
    todo: VecDeque<Phase>,
    current: Option<Arc<Executor>>,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.todo.is_empty() && self.current.is_none()
    }
}

impl Machine {
    fn new(role: Arc<RoleState>, threads: usize) -> Result<Self, RunError> {
        let slot = || {
            let (todo, current) = (VecDeque::new(), None);
            Ok(Slot { arena: role.run_arena()?, run: 0, todo, current })
        };
        let slots: Vec<Slot> =
            (0..role.plan().depth).map(|_| slot()).collect::<Result<_, RunError>>()?;
        let setup = role.start(Phase::Setup, 0, &slots[0].arena);
        let mut machine = Self {
            mailbox: Mailbox::new(role.role()),
            setup: None,
            slots,
            scratch: (0..threads.max(1)).map(|_| Scratch::new()).collect(),
            counts: BTreeMap::new(),
            role,
        };
        machine.open(&setup)?;
        machine.setup = Some(setup);
        Ok(machine)
    }

    fn open(&self, executor: &Arc<Executor>) -> Result<(), RunError> {
        self.mailbox.open(executor)?;
        self.role.pool().add(executor);
        Ok(())
    }

    fn close(&mut self, executor: &Executor) -> Result<(), RunError> {
        executor.wait()?;
        self.role.pool().remove(executor);
        self.mailbox.close(executor);
        self.counts.entry(executor.run()).or_default().add(&executor.counts());
        Ok(())
    }

    /// Puts the phases of a run into a free slot.
    fn begin(&mut self, run: u64) -> Result<(), RunError> {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_free()) else {
            return Err(RunError::Aborted { role: self.role.role() });
        };
        (slot.run, slot.todo) = (run, VecDeque::from([Phase::Offline, Phase::Online]));
        self.mailbox.begin(run);
        Ok(())
    }

    fn has(&self, run: u64) -> bool {
        self.slots.iter().any(|slot| slot.run == run && !slot.is_free())
    }

    /// Goes on as far as possible without another message.
    fn poll(&mut self, outbox: &Network) -> Result<(), RunError> {
        loop {
            for at in 0..self.slots.len() {
                let Slot { arena, run, todo, current } = &mut self.slots[at];
                if current.is_none()
                    && let Some(phase) = todo.pop_front()
                {
                    let executor = self.role.start(phase, *run, arena);
                    *current = Some(Arc::clone(&executor));
                    self.open(&executor)?;
                }
            }
            self.work(outbox);
            let is_over = |executor: &mut Arc<Executor>| executor.is_over();
            let mut over: Vec<Arc<Executor>> = self.setup.take_if(is_over).into_iter().collect();
            over.extend(self.slots.iter_mut().filter_map(|slot| slot.current.take_if(is_over)));
            if over.is_empty() {
                return Ok(());
            }
            for executor in over {
                self.close(&executor)?;
            }
            for slot in self.slots.iter().filter(|slot| slot.is_free()) {
                self.mailbox.end(slot.run);
            }
        }
    }

    /// Has all threads work until there is nothing to do.
    fn work(&mut self, outbox: &Network) {
        let Some((own, others)) = self.scratch.split_first_mut() else { return };
        let pool = self.role.pool();
        std::thread::scope(|scope| {
            for (scratch, thread) in others.iter_mut().zip(1..) {
                scope.spawn(move || pool.work(Until::Idle, thread, scratch, outbox));
            }
            pool.work(Until::Idle, 0, own, outbox);
        });
    }

    /// What was counted in `run`, and in the setup if it was not taken before.
    fn take_counts(&mut self, run: u64) -> Counts {
        let mut counts = self.counts.remove(&0).unwrap_or_default();
        counts.add(&self.counts.remove(&run).unwrap_or_default());
        counts
    }

    fn waiting_for(&self) -> Option<RunError> {
        let slots = self.slots.iter().filter_map(|slot| slot.current.as_ref());
        let current = self.setup.iter().chain(slots);
        current.min_by_key(|executor| executor.run())?.waiting_for()
    }
}

/// Messages on their way.
struct Network {
    options: SimOptions,
    state: Mutex<(VecDeque<Packet>, SplitMix, usize)>,
}

impl Network {
    fn new(options: SimOptions) -> Self {
        Self { options, state: Mutex::new((VecDeque::new(), SplitMix(options.seed), 0)) }
    }

    fn send_all(&self, packets: Vec<Packet>) -> Result<(), RunError> {
        packets.into_iter().try_for_each(|packet| self.send(packet))
    }

    /// The next message to deliver.
    fn take(&self) -> Result<Option<Packet>, RunError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (bag, random, delivered) = &mut *state;
        loop {
            if bag.is_empty() {
                return Ok(None);
            }
            let at = if self.options.reorder { random.below(bag.len()) } else { 0 };
            let Some(packet) = bag.remove(at) else { return Ok(None) };
            let count = *delivered;
            *delivered += 1;
            let gone = self.options.hang_up.filter(|(_, after)| count >= *after);
            if let Some((gone, _)) = gone.filter(|(r, _)| packet.from == *r || packet.to == *r) {
                let role = if packet.to == gone { packet.from } else { packet.to };
                return Err(RunError::Peer { role, source: PeerError::HungUp { role: gone } });
            }
            if self.options.lose != Some(count) {
                return Ok(Some(packet));
            }
        }
    }
}

impl Outbox for Network {
    fn send(&self, packet: Packet) -> Result<(), RunError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.push_back(packet);
        Ok(())
    }
}

/// `SplitMix64`: decides orders and test seeds, nothing secret.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
