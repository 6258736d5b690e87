//! All roles of a plan in one process and one seeded order of events.
//!
//! The network is a bag of messages. Each event takes one out, the oldest or, with `reorder`, any one,
//! and hands it to its receiver, which then goes on as far as it can. So one seed is one schedule, and tests can
//! lose a message or make a role hang up at any point of it. The roles are the code that runs over TCP.

use crate::arena::Arena;
use crate::client::{ClientRun, Output};
use crate::error::{PeerError, RunError};
use crate::executor::{Executor, Outbox, Until, work_on};
use crate::kernels::Scratch;
use crate::mailbox::Mailbox;
use crate::owner::OwnerSetup;
use crate::packet::{Counts, Packet};
use crate::params::Params;
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
    client: Option<ClientRun>,
    network: Network,
    owner_counted: bool,
}

impl Sim {
    /// Starts all roles and runs the setup phase.
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
        let mut sim = Self { plan, machines, owner, client: None, network, owner_counted: false };
        for machine in &mut sim.machines {
            machine.todo.push_back((Phase::Setup, 0));
        }
        sim.settle()?;
        Ok(sim)
    }

    /// One run. `run` is its number, which must not have been used before.
    ///
    /// # Errors
    /// As the roles report them.
    pub fn run(&mut self, run: u64, inputs: &[Vec<f32>]) -> Result<SimOutcome, RunError> {
        self.client = Some(ClientRun::new(Arc::clone(&self.plan), run, inputs)?);
        for machine in &mut self.machines {
            machine.todo.extend([(Phase::Offline, run), (Phase::Online, run)]);
        }
        self.settle()?;
        self.outcome()
    }

    /// Delivers messages until nothing is left to do.
    fn settle(&mut self) -> Result<(), RunError> {
        for at in 0..self.machines.len() {
            self.machines[at].poll(&self.network)?;
        }
        while let Some(packet) = self.network.take()? {
            match packet.to {
                Role::Client => self.at_client(packet)?,
                Role::Owner => self.network.send_all(self.owner.deliver(&packet)?)?,
                Role::Party(_) | Role::Dealer => {
                    let to = packet.to;
                    let found = self.machines.iter_mut().find(|m| m.role.role() == to);
                    let Some(machine) = found else { continue };
                    machine.mailbox.deliver(&self.plan, packet)?;
                    machine.poll(&self.network)?;
                }
            }
        }
        match self.machines.iter().find_map(Machine::waiting_for) {
            Some(stalled) => Err(stalled),
            None => Ok(()),
        }
    }

    fn at_client(&mut self, packet: Packet) -> Result<(), RunError> {
        let Some(client) = &mut self.client else { return Ok(()) };
        client.deliver(packet)?;
        self.network.send_all(client.masked_inputs().unwrap_or_default())
    }

    fn outcome(&mut self) -> Result<SimOutcome, RunError> {
        let mut counts = BTreeMap::new();
        for machine in &mut self.machines {
            counts.insert(machine.role.role(), std::mem::take(&mut machine.counts));
        }
        if !std::mem::replace(&mut self.owner_counted, true) {
            counts.insert(Role::Owner, self.owner.counts().clone());
        }
        let client = self.client.take();
        let done = client.as_ref().and_then(|c| Some((c.outputs()?, c.counts().clone())));
        let Some((outputs, own)) = done else {
            let awaited = client.and_then(|c| c.awaited()).unwrap_or(0);
            let info = &self.plan.messages[awaited as usize];
            let (phase, kind, from) = (info.phase, info.kind, info.from);
            let message = awaited;
            return Err(RunError::Stalled { role: Role::Client, phase, message, kind, from });
        };
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

/// A compute party or the dealer with the phases that lie before it.
struct Machine {
    role: Arc<RoleState>,
    mailbox: Mailbox,
    arena: Arc<Arena>,
    todo: VecDeque<(Phase, u64)>,
    current: Option<Arc<Executor>>,
    scratch: Vec<Scratch>,
    counts: Counts,
}

impl Machine {
    fn new(role: Arc<RoleState>, threads: usize) -> Result<Self, RunError> {
        Ok(Self {
            mailbox: Mailbox::new(role.role()),
            arena: role.run_arena()?,
            todo: VecDeque::new(),
            current: None,
            scratch: (0..threads.max(1)).map(|_| Scratch::new()).collect(),
            counts: Counts::default(),
            role,
        })
    }

    /// Goes on as far as possible without another message.
    fn poll(&mut self, outbox: &Network) -> Result<(), RunError> {
        loop {
            if self.current.is_none() {
                let Some((phase, run)) = self.todo.pop_front() else { return Ok(()) };
                let executor = self.role.start(phase, run, &self.arena);
                self.mailbox.open(&executor)?;
                self.current = Some(executor);
            }
            let Some(executor) = &self.current else { return Ok(()) };
            work_on(executor, Until::Idle, &mut self.scratch, outbox)?;
            if !executor.is_done() {
                return Ok(());
            }
            self.counts.add(&executor.counts());
            self.mailbox.close(executor);
            self.current = None;
        }
    }

    fn waiting_for(&self) -> Option<RunError> {
        self.current.as_ref().and_then(|executor| executor.waiting_for())
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
