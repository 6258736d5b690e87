//! The steps of a phase with what they cost and wait for, and how the phase goes on its own: who works on what when, and
//! when the phase ends.

use super::engine::{Engine, Notice, Part};
use crate::cost::{Link, Machine, StepCosts};
use mpcc_ir::plan::{Message, Phase, Plan, Role, StepOp};
use std::collections::BTreeMap;
use std::ops::Range;

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
    /// Nanoseconds that each role's compute threads worked, together, or that the system worked in their place to carry
    /// what they had sent.
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
    /// The message that each step sends.
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

    /// Number of steps of all roles.
    pub(super) fn len(&self) -> usize {
        self.costs.len()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Those that have steps.
    pub(super) fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The steps of a role, by its index.
    pub(super) fn range(&self, role: usize) -> Range<usize> {
        self.first[role]..self.first[role + 1]
    }

    /// The index of the role that a step belongs to.
    pub(super) fn role_of(&self, step: u32) -> usize {
        self.first.partition_point(|first| *first <= step as usize) - 1
    }

    /// Nanoseconds of a compute thread.
    pub(super) fn cost(&self, step: u32) -> Nanos {
        self.costs[step as usize]
    }

    /// The steps of the same role that wait for a step.
    pub(super) fn waiting(&self, step: u32) -> &[u32] {
        &self.next[self.starts[step as usize] as usize..self.starts[step as usize + 1] as usize]
    }

    /// The message that a step sends.
    pub(super) fn sent(&self, step: u32) -> Option<u32> {
        self.sends[step as usize]
    }

    /// The step that receives a message.
    pub(super) fn receiver(&self, message: u32) -> Option<u32> {
        self.receiver[message as usize]
    }

    /// Whether a step receives a message: it waits for that message as well.
    pub(super) fn is_receive(&self, step: u32) -> bool {
        let role = self.role_of(step);
        let op = &self.plan.roles[role].steps(self.phase)[step as usize - self.first[role]].op;
        matches!(op, StepOp::Receive { .. })
    }

    pub(super) fn message(&self, message: u32) -> &'a Message {
        &self.plan.messages[message as usize]
    }

    /// How many messages somebody gets.
    pub(super) fn count_to(&self, role: Role) -> usize {
        let is_its = |info: &&Message| info.phase == self.phase && info.to == role;
        self.plan.messages.iter().filter(is_its).count()
    }

    /// The messages of those that have no steps, in the order of the plan.
    pub(super) fn from_outside(&self) -> Vec<u32> {
        let own = |message: &u32| {
            let info = self.message(*message);
            info.phase == self.phase && self.is_outside(info)
        };
        (0..self.plan.messages.len() as u32).filter(own).collect()
    }

    /// Time from the start of each step to the end of the phase if every host did everything at once:
    /// along the longest path, messages included.
    pub(super) fn tails(&self) -> Vec<Nanos> {
        let order = self.topological();
        let mut tails = vec![0; self.costs.len()];
        for at in order.into_iter().rev() {
            let at = at as usize;
            let mut rest =
                self.waiting(at as u32).iter().map(|n| tails[*n as usize]).max().unwrap_or(0);
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
            for next in self.waiting(at).iter().copied().chain(sent) {
                missing[next as usize] -= 1;
                if missing[next as usize] == 0 {
                    order.push(next);
                }
            }
        }
        order
    }

    /// How many events each step waits for.
    pub(super) fn missing(&self) -> Vec<u32> {
        let events =
            |at: usize| self.after[at].len() as u32 + u32::from(self.is_receive(at as u32));
        (0..self.costs.len()).map(events).collect()
    }

    fn is_outside(&self, message: &Message) -> bool {
        !self.roles.contains(&message.from)
    }

    /// Plays the phase with the given priorities: everybody begins at once.
    pub(super) fn play(&self, priorities: &[u32]) -> Timeline {
        let parts = vec![Part::new(self, priorities, 0).timed()];
        let mut engine: Engine<'_, ()> = Engine::new(self.setting, parts, false);
        let mut ends = BTreeMap::new();
        for role in 0..self.roles.len() {
            engine.begin(0, role);
        }
        // In the order of the plan.
        for message in self.from_outside() {
            engine.send(0, message);
        }
        while let Some(notice) = engine.next() {
            let role = match notice {
                Notice::Done { role, .. } => self.roles[role],
                Notice::Outside { message, .. } => self.message(message).to,
                Notice::Held { .. } | Notice::Signal(()) => continue,
            };
            ends.insert(role, engine.now());
        }
        let times = engine.parts.swap_remove(0).times.unwrap_or_default();
        Timeline {
            steps: (0..self.roles.len()).map(|role| times[self.range(role)].to_vec()).collect(),
            ends,
            wire_us: engine.wire_us().clone(),
            busy: engine.busy,
            reading: engine.reading,
        }
    }
}
