//! Plays a phase of a plan on made-up hosts: who works on what when, and when the phase ends.
//!
//! As the executor does it: a role has a number of compute threads, and each takes the ready step of
//! the lowest priority number. A message leaves when its `Send` is done and the uplink is free, travels, is read by a
//! thread that does only that, and makes its `Receive` ready.

use super::cores::{Cores, Rank};
use super::network::Network;
use crate::cost::{Link, Machine, StepCosts};
use mpcc_ir::plan::{Message, Phase, Plan, Role, StepOp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Simulated time in nanoseconds: whole numbers, so that equal plans have equal predictions.
pub(super) type Nanos = u64;

/// What a plan is predicted for.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Every host.
    pub machine: Machine,
    /// Every link.
    pub link: Link,
    /// Compute threads of each role.
    pub threads: usize,
    /// Processor cores that all roles share, on one host; each role has a host of its own, with enough of them, if
    /// absent.
    pub cores: Option<usize>,
}

impl Default for Setting {
    fn default() -> Self {
        Self { machine: Machine::default(), link: Link::default(), threads: 1, cores: None }
    }
}

/// How a phase went.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Start and end of every step, by role in the plan's order.
    pub(super) steps: Vec<Vec<(Nanos, Nanos)>>,
    /// When each role was done; the client when everything for it had arrived.
    pub(super) ends: BTreeMap<Role, Nanos>,
    /// Nanoseconds that each role's threads worked, together.
    pub(super) busy: BTreeMap<Role, Nanos>,
    /// Nanoseconds that shared cores read messages.
    pub(super) reading: Nanos,
    /// Microseconds that each role's uplink was in use.
    pub(super) wire_us: BTreeMap<Role, f64>,
}

impl Timeline {
    /// When the last role was done.
    pub(super) fn end(&self) -> Nanos {
        self.ends.values().copied().max().unwrap_or(0)
    }
}

/// The steps of all roles in one phase, numbered one role after another.
pub(super) struct Steps<'a> {
    plan: &'a Plan,
    phase: Phase,
    setting: &'a Setting,
    roles: Vec<Role>,
    /// First number of each role, and the number of all.
    first: Vec<usize>,
    costs: Vec<Nanos>,
    after: Vec<&'a [u32]>,
    /// The message that a step sends or receives.
    sends: Vec<Option<u32>>,
    /// The step that receives each message.
    receiver: Vec<Option<u32>>,
    /// `next[starts[i]..starts[i + 1]]` wait for step `i`.
    starts: Vec<u32>,
    next: Vec<u32>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(plan: &'a Plan, phase: Phase, setting: &'a Setting) -> Self {
        let costs = StepCosts::new(&setting.machine, plan);
        let mut steps = Self {
            plan,
            phase,
            setting,
            roles: plan.roles.iter().map(|role| role.role).collect(),
            first: vec![0],
            costs: Vec::new(),
            after: Vec::new(),
            sends: Vec::new(),
            receiver: vec![None; plan.messages.len()],
            starts: Vec::new(),
            next: Vec::new(),
        };
        for role in &plan.roles {
            for step in role.steps(phase) {
                let at = steps.costs.len();
                steps.costs.push((costs.step_us(&step.op) * 1e3).round() as Nanos);
                steps.after.push(&step.after);
                let mut sent = None;
                if let StepOp::Receive { message, .. } = step.op {
                    steps.receiver[message as usize] = Some(at as u32);
                } else if let StepOp::Send { message, .. } = step.op {
                    sent = Some(message);
                }
                steps.sends.push(sent);
            }
            steps.first.push(steps.costs.len());
        }
        steps.link_up();
        steps
    }

    /// Inverts `after`.
    fn link_up(&mut self) {
        let all = self.costs.len();
        self.starts = vec![0; all + 1];
        for role in 0..self.roles.len() {
            for at in self.range(role) {
                for before in self.after[at] {
                    self.starts[self.first[role] + *before as usize + 1] += 1;
                }
            }
        }
        for at in 0..all {
            self.starts[at + 1] += self.starts[at];
        }
        let mut fill = self.starts.clone();
        self.next = vec![0; self.starts[all] as usize];
        for role in 0..self.roles.len() {
            for at in self.range(role) {
                for before in self.after[at] {
                    let slot = &mut fill[self.first[role] + *before as usize];
                    self.next[*slot as usize] = at as u32;
                    *slot += 1;
                }
            }
        }
    }

    fn range(&self, role: usize) -> std::ops::Range<usize> {
        self.first[role]..self.first[role + 1]
    }

    fn waiting(&self, at: usize) -> &[u32] {
        &self.next[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// Steps that the receipt of a message starts with.
    fn is_receive(&self, at: usize) -> bool {
        matches!(self.op(at), StepOp::Receive { .. })
    }

    fn op(&self, at: usize) -> &StepOp {
        let role = self.first.partition_point(|first| *first <= at) - 1;
        &self.plan.roles[role].steps(self.phase)[at - self.first[role]].op
    }

    /// Time from the start of each step to the end of the phase if every host did everything at once:
    /// along the longest path, messages included.
    pub(super) fn tails(&self) -> Vec<Nanos> {
        let order = self.topological();
        let mut tails = vec![0; self.costs.len()];
        for at in order.into_iter().rev() {
            let at = at as usize;
            let mut rest = self.waiting(at).iter().map(|n| tails[*n as usize]).max().unwrap_or(0);
            if let Some(message) = self.sends[at] {
                let bytes = self.plan.messages[message as usize].bytes;
                let link = &self.setting.link;
                let wire = ((link.send_us(bytes) + link.one_way_us()) * 1e3) as Nanos;
                let receiver = self.receiver[message as usize];
                rest = rest.max(wire + receiver.map_or(0, |step| tails[step as usize]));
            }
            tails[at] = self.costs[at] + rest;
        }
        tails
    }

    /// All steps in an order in which they could be done; a plan that the verifier accepts has one.
    fn topological(&self) -> Vec<u32> {
        let mut missing = self.missing();
        let mut order: Vec<u32> =
            (0..self.costs.len() as u32).filter(|at| missing[*at as usize] == 0).collect();
        // What comes from roles without steps is there from the start.
        for (message, info) in self.plan.messages.iter().enumerate() {
            if let Some(step) = self.receiver[message].filter(|_| self.is_outside(info)) {
                missing[step as usize] -= 1;
                if missing[step as usize] == 0 {
                    order.push(step);
                }
            }
        }
        let mut done = 0;
        while let Some(at) = order.get(done).copied() {
            done += 1;
            let sent = self.sends[at as usize].and_then(|message| self.receiver[message as usize]);
            for next in self.waiting(at as usize).iter().copied().chain(sent) {
                missing[next as usize] -= 1;
                if missing[next as usize] == 0 {
                    order.push(next);
                }
            }
        }
        order
    }

    /// How many events each step waits for.
    fn missing(&self) -> Vec<u32> {
        let events = |at: usize| self.after[at].len() as u32 + u32::from(self.is_receive(at));
        (0..self.costs.len()).map(events).collect()
    }

    fn is_outside(&self, message: &Message) -> bool {
        !self.roles.contains(&message.from)
    }

    /// Plays the phase with the given priorities.
    pub(super) fn play(&self, priorities: &[u32]) -> Timeline {
        let mut play = Play {
            steps: self,
            priorities,
            missing: self.missing(),
            idle: vec![self.setting.threads.max(1); self.roles.len()],
            ready: self.roles.iter().map(|_| BinaryHeap::new()).collect(),
            arrivals: BinaryHeap::new(),
            cores: Cores::new(self.setting.cores),
            unread: BTreeMap::new(),
            network: Network::new(&self.setting.link),
            times: vec![(0, 0); self.costs.len()],
            timeline: Timeline::default(),
        };
        play.run();
        let Play { times, mut timeline, network, .. } = play;
        timeline.wire_us = network.busy_us;
        timeline.steps =
            (0..self.roles.len()).map(|role| times[self.range(role)].to_vec()).collect();
        timeline
    }
}

/// Work that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// A step of a role, by a compute thread.
    Step { step: u32, role: u32 },
    /// The system carries a message that a thread of its sender has handed over, instead of that thread.
    Carrying { message: u32, role: u32 },
    /// The receiver reads a message.
    Reading { message: u32 },
}

struct Play<'a> {
    steps: &'a Steps<'a>,
    priorities: &'a [u32],
    missing: Vec<u32>,
    /// Threads of each role without work.
    idle: Vec<usize>,
    ready: Vec<BinaryHeap<Reverse<(u32, u32)>>>,
    /// When which message may be read at its receiver's host; where cores are not shared, when it has been read.
    arrivals: BinaryHeap<Reverse<(Nanos, u32)>>,
    cores: Cores<Work>,
    /// The messages that each role has to read, the first of them in progress.
    unread: BTreeMap<Role, VecDeque<u32>>,
    network: Network<'a>,
    times: Vec<(Nanos, Nanos)>,
    timeline: Timeline,
}

impl Play<'_> {
    fn run(&mut self) {
        for role in 0..self.idle.len() {
            for at in self.steps.range(role) {
                if self.missing[at] == 0 {
                    self.ready[role].push(Reverse((self.priorities[at], at as u32)));
                }
            }
            self.start(role, 0);
        }
        // Who has no steps sends at once, in the order of the plan.
        for message in 0..self.steps.plan.messages.len() {
            let info = &self.steps.plan.messages[message];
            if info.phase == self.steps.phase && self.steps.is_outside(info) {
                self.send(0, message as u32);
            }
        }
        loop {
            let arrival = self.arrivals.peek().map(|Reverse((at, _))| *at);
            let role = match (arrival, self.cores.next()) {
                (Some(now), end) if end.is_none_or(|end| now <= end) => {
                    self.cores.pass(now);
                    let Some(Reverse((_, message))) = self.arrivals.pop() else { break };
                    (self.received(now, message), now)
                }
                (_, Some(now)) => match self.cores.finish() {
                    Some(Work::Step { step, role }) => (Some(self.done(now, step, role)), now),
                    Some(Work::Carrying { role, .. }) => {
                        self.idle[role as usize] += 1;
                        (Some(role as usize), now)
                    }
                    Some(Work::Reading { message }) => {
                        self.read_next(self.message(message).to);
                        (self.arrived(now, message), now)
                    }
                    None => break,
                },
                (_, None) => break,
            };
            if let (Some(role), now) = role {
                self.start(role, now);
            }
        }
    }

    /// A message is handed to the network.
    fn send(&mut self, now: Nanos, message: u32) {
        let Message { from, to, bytes, .. } = *self.message(message);
        // The thread that reads from the network has to wake up.
        let arrives = self.network.send(now, from, to, bytes) + self.wake();
        let at = if self.cores.are_shared() {
            // What has arrived is read while the rest is under way.
            now.max(arrives.saturating_sub(self.reading(message)))
        } else {
            arrives + (self.steps.setting.machine.receive_us * 1e3) as Nanos
        };
        self.arrivals.push(Reverse((at, message)));
    }

    /// What it takes to read a message.
    fn reading(&self, message: u32) -> Nanos {
        let machine = &self.steps.setting.machine;
        self.cost(message, machine.receive_us, machine.receive_us_per_kb)
    }

    /// What it takes to carry a message.
    fn carrying(&self, message: u32) -> Nanos {
        let machine = &self.steps.setting.machine;
        self.cost(message, machine.carry_us, machine.carry_us_per_kb)
    }

    fn cost(&self, message: u32, us: f64, us_per_kb: f64) -> Nanos {
        (us * 1e3 + us_per_kb * self.message(message).bytes as f64) as Nanos
    }

    /// A message may be read, or has been; says which role may go on.
    fn received(&mut self, now: Nanos, message: u32) -> Option<usize> {
        if !self.cores.are_shared() {
            return self.arrived(now, message);
        }
        let to = self.message(message).to;
        let unread = self.unread.entry(to).or_default();
        unread.push_back(message);
        if unread.len() == 1 {
            self.read(message);
        }
        None
    }

    fn read(&mut self, message: u32) {
        let takes = self.reading(message);
        self.timeline.reading += takes;
        self.cores.begin(Rank::Urgent, takes, Work::Reading { message });
    }

    /// A role has read a message: each has one thread for that.
    fn read_next(&mut self, role: Role) {
        let unread = self.unread.entry(role).or_default();
        unread.pop_front();
        if let Some(next) = unread.front().copied() {
            self.read(next);
        }
    }

    fn message(&self, message: u32) -> &Message {
        &self.steps.plan.messages[message as usize]
    }

    fn wake(&self) -> Nanos {
        (self.steps.setting.machine.wake_us * 1e3) as Nanos
    }

    /// The role that may go on.
    fn arrived(&mut self, now: Nanos, message: u32) -> Option<usize> {
        if let Some(step) = self.steps.receiver[message as usize] {
            let role = self.steps.first.partition_point(|first| *first <= step as usize) - 1;
            self.arrive(role, step);
            return Some(role);
        }
        let end = self.timeline.ends.entry(self.message(message).to);
        let end = end.or_insert(0);
        *end = (*end).max(now);
        None
    }

    fn done(&mut self, now: Nanos, step: u32, role: u32) -> usize {
        let (steps, at) = (self.steps, role as usize);
        self.times[step as usize].1 = now;
        self.timeline.ends.insert(steps.roles[at], now);
        let carried = steps.sends[step as usize].filter(|message| self.carrying(*message) > 0);
        if let Some(message) = carried {
            let takes = self.carrying(message);
            *self.timeline.busy.entry(steps.roles[at]).or_insert(0) += takes;
            self.cores.begin(Rank::Steady, takes, Work::Carrying { message, role });
        } else {
            self.idle[at] += 1;
        }
        if let Some(message) = steps.sends[step as usize] {
            self.send(now, message);
        }
        for next in steps.waiting(step as usize) {
            self.arrive(at, *next);
        }
        at
    }

    fn arrive(&mut self, role: usize, step: u32) {
        self.missing[step as usize] -= 1;
        if self.missing[step as usize] == 0 {
            self.ready[role].push(Reverse((self.priorities[step as usize], step)));
        }
    }

    /// Gives ready steps to idle threads.
    fn start(&mut self, role: usize, now: Nanos) {
        while self.idle[role] > 0 {
            let Some(Reverse((_, step))) = self.ready[role].pop() else { return };
            // A thread that waited for a message wakes up first.
            let waited = self.steps.is_receive(step as usize);
            let wake = if waited { self.wake() } else { 0 };
            let takes = self.steps.costs[step as usize];
            self.idle[role] -= 1;
            self.times[step as usize].0 = now + wake;
            *self.timeline.busy.entry(self.steps.roles[role]).or_insert(0) += takes;
            self.cores.begin(Rank::Steady, wake + takes, Work::Step { step, role: role as u32 });
        }
    }
}
