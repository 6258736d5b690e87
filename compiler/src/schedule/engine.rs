//! Plays phases of runs on made-up hosts: who works on what when.
//!
//! As the runtime does it: a role has a number of compute threads, and each takes the ready step of the most urgent
//! phase, of the lowest priority number in it. A message leaves when its `Send` is done and the uplink is free, the most
//! urgent one first; it travels, is read by a thread that does only that, and makes its `Receive` ready. A thread that
//! sends waits where too much is queued already.
//!
//! What begins when is for who plays: [`Engine::next`] tells what others may wait for.

use super::cores::{Cores, Rank};
use super::network::Network;
use super::simulate::{Nanos, Setting, Steps};
use mpcc_ir::plan::{Message, Phase, Role};
use mpcc_runtime::net::MAX_QUEUED;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// A phase of a run, as it is played.
pub(super) struct Part<'a> {
    steps: &'a Steps<'a>,
    priorities: &'a [u32],
    urgency: Urgency,
    /// How many events each step waits for.
    missing: Vec<u32>,
    /// By role: whether its steps may be taken, and how many are not done.
    begun: Vec<bool>,
    left: Vec<usize>,
    /// When each step began and was done, where that is wanted.
    pub(super) times: Option<Vec<(Nanos, Nanos)>>,
}

/// Lower is more urgent: online before offline, the oldest run first.
type Urgency = (bool, u32);

impl<'a> Part<'a> {
    /// No role has begun it.
    pub(super) fn new(steps: &'a Steps<'a>, priorities: &'a [u32], run: u32) -> Self {
        Self {
            steps,
            priorities,
            urgency: (steps.phase() != Phase::Online, run),
            missing: steps.missing(),
            begun: vec![false; steps.roles().len()],
            left: (0..steps.roles().len()).map(|role| steps.range(role).len()).collect(),
            times: None,
        }
    }

    /// The same, with the times of its steps.
    pub(super) fn timed(self) -> Self {
        Self { times: Some(vec![(0, 0); self.steps.len()]), ..self }
    }

    /// When a ready step's turn is, of all those of its role.
    fn turn(&self, part: usize, step: usize) -> Turn {
        Reverse((self.urgency, self.priorities[step], part, step as u32))
    }
}

/// When a ready step's turn is: by urgency and priority; with its part and number.
type Turn = Reverse<(Urgency, u32, usize, u32)>;

/// What somebody may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice<S> {
    /// A role, by index, has done all steps of a part.
    Done { part: usize, role: usize },
    /// A message has arrived at a role that has no steps.
    Outside { part: usize, message: u32 },
    /// A role, by index, has a message for one that has no steps; it waits for [`Engine::send`].
    Held { part: usize, message: u32, role: usize },
    /// A signal has arrived.
    Signal(S),
}

/// Work that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// A step of a role, by a compute thread.
    Step { part: usize, step: u32, role: usize },
    /// The system carries a message that a thread of its sender has handed over, instead of that thread.
    Carrying { role: usize },
    /// The receiver reads a message.
    Reading { part: usize, message: u32 },
}

/// What the network does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event<S> {
    /// A message may be read at its receiver's host; where cores are not shared, it has been.
    Arrived {
        part: usize,
        message: u32,
    },
    /// A role's uplink can take the next message.
    Free(Role),
    Signal(S),
}

/// A role's messages on their way out: urgency, order, part and message.
#[derive(Default)]
struct Uplink {
    waiting: BinaryHeap<Reverse<(Urgency, u64, usize, u32)>>,
    /// What is on the wire.
    current: Option<(usize, u32)>,
}

/// Messages of one kind of phase from one role to another.
#[derive(Default)]
struct Queue {
    /// Bytes that are not on their way yet.
    bytes: u64,
    /// Sends that wait for room, and keep their threads.
    blocked: VecDeque<(usize, u32, usize)>,
}

/// All hosts and what they do. Signals are frames without payload that tell who plays something.
pub(super) struct Engine<'a, S> {
    setting: &'a Setting,
    roles: Vec<Role>,
    pub(super) parts: Vec<Part<'a>>,
    /// Whether messages to roles without steps wait to be sent.
    holds: bool,
    /// Threads of each role without work.
    idle: Vec<usize>,
    ready: Vec<BinaryHeap<Turn>>,
    events: BinaryHeap<Reverse<(Nanos, Event<S>)>>,
    cores: Cores<Work>,
    uplinks: BTreeMap<Role, Uplink>,
    queues: BTreeMap<(Role, Role, Phase), Queue>,
    sent: u64,
    /// The messages that each role has to read, the first of them in progress.
    unread: BTreeMap<Role, VecDeque<(usize, u32)>>,
    network: Network<'a>,
    notices: VecDeque<Notice<S>>,
    now: Nanos,
    /// Nanoseconds that each role's compute threads worked, together, or that the system worked in their place to carry
    /// what they had sent.
    pub(super) busy: BTreeMap<Role, Nanos>,
    /// Nanoseconds that shared cores read messages.
    pub(super) reading: Nanos,
}

impl<'a, S: Copy + Ord> Engine<'a, S> {
    /// Nothing has begun. All parts are of one plan.
    pub(super) fn new(setting: &'a Setting, parts: Vec<Part<'a>>, holds: bool) -> Self {
        let roles = parts.first().map_or_else(Vec::new, |part| part.steps.roles().to_vec());
        Self {
            setting,
            parts,
            holds,
            idle: vec![setting.threads.max(1); roles.len()],
            ready: roles.iter().map(|_| BinaryHeap::new()).collect(),
            roles,
            events: BinaryHeap::new(),
            cores: Cores::new(setting.cores),
            uplinks: BTreeMap::new(),
            queues: BTreeMap::new(),
            sent: 0,
            unread: BTreeMap::new(),
            network: Network::new(&setting.link),
            notices: VecDeque::new(),
            now: 0,
            busy: BTreeMap::new(),
            reading: 0,
        }
    }

    /// The time of the last notice.
    pub(super) fn now(&self) -> Nanos {
        self.now
    }

    /// Microseconds that each role's uplink was in use.
    pub(super) fn wire_us(&self) -> &BTreeMap<Role, f64> {
        &self.network.busy_us
    }

    /// A role, by index, may take steps of a part from now on.
    pub(super) fn begin(&mut self, part: usize, role: usize) {
        let Part { steps, begun, missing, left, .. } = &mut self.parts[part];
        begun[role] = true;
        if left[role] == 0 {
            self.notices.push_back(Notice::Done { part, role });
        }
        let ready = steps.range(role).filter(|step| missing[*step] == 0).collect::<Vec<_>>();
        for step in ready {
            self.ready[role].push(self.parts[part].turn(part, step));
        }
        self.start(role);
    }

    /// Hands a message to the network.
    pub(super) fn send(&mut self, part: usize, message: u32) {
        let Message { from, to, phase, bytes, .. } = *self.message(part, message);
        self.queues.entry((from, to, phase)).or_default().bytes += bytes;
        let urgency = self.parts[part].urgency;
        let uplink = self.uplinks.entry(from).or_default();
        uplink.waiting.push(Reverse((urgency, self.sent, part, message)));
        self.sent += 1;
        if uplink.current.is_none() {
            self.transmit(from);
        }
    }

    /// Sends a signal, which goes before all messages that wait.
    pub(super) fn signal(&mut self, signal: S) {
        let us = self.setting.link.send_us(0) + self.setting.link.one_way_us();
        let arrives = self.now + (us * 1e3) as Nanos + self.wake();
        self.events.push(Reverse((arrives, Event::Signal(signal))));
    }

    /// Lets time pass until something happens that somebody may wait for; `None` when nothing will.
    pub(super) fn next(&mut self) -> Option<Notice<S>> {
        while self.notices.is_empty() {
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let work = self.cores.next();
            let from_network = match (event, work) {
                (None, None) => return None,
                (Some(event), Some(work)) => event <= work,
                (event, None) => event.is_some(),
                (None, Some(_)) => false,
            };
            if from_network {
                let Reverse((now, event)) = self.events.pop()?;
                self.cores.pass(now);
                self.now = now;
                self.happen(event);
            } else {
                self.now = work?;
                let work = self.cores.finish()?;
                self.ended(work);
            }
        }
        self.notices.pop_front()
    }

    fn happen(&mut self, event: Event<S>) {
        match event {
            Event::Arrived { part, message } if self.cores.are_shared() => {
                let to = self.message(part, message).to;
                let unread = self.unread.entry(to).or_default();
                unread.push_back((part, message));
                if unread.len() == 1 {
                    self.read(part, message);
                }
            }
            Event::Arrived { part, message } => self.received(part, message),
            Event::Free(role) => {
                let written = self.uplinks.entry(role).or_default().current.take();
                self.transmit(role);
                if let Some((part, message)) = written {
                    self.drained(part, message);
                }
            }
            Event::Signal(signal) => self.notices.push_back(Notice::Signal(signal)),
        }
    }

    fn ended(&mut self, work: Work) {
        match work {
            Work::Step { part, step, role } => {
                if let Some(queue) = self.full_queue(part, step) {
                    queue.blocked.push_back((part, step, role));
                } else {
                    self.done(part, step, role);
                }
            }
            Work::Carrying { role } => {
                self.idle[role] += 1;
                self.start(role);
            }
            Work::Reading { part, message } => {
                // Each role has one thread for that.
                let unread = self.unread.entry(self.message(part, message).to).or_default();
                unread.pop_front();
                if let Some((part, next)) = unread.front().copied() {
                    self.read(part, next);
                }
                self.received(part, message);
            }
        }
    }

    /// Puts the most urgent message on the wire.
    fn transmit(&mut self, role: Role) {
        let uplink = self.uplinks.entry(role).or_default();
        let Some(Reverse((_, _, part, message))) = uplink.waiting.pop() else { return };
        uplink.current = Some((part, message));
        let Message { from, to, bytes, .. } = *self.message(part, message);
        // The thread that reads from the network has to wake up.
        let arrives = self.network.send(self.now, from, to, bytes) + self.wake();
        let free = self.network.free(from);
        let at = if self.cores.are_shared() {
            // What has arrived is read while the rest is under way.
            self.now.max(arrives.saturating_sub(self.reading_takes(part, message)))
        } else {
            arrives + (self.setting.machine.receive_us * 1e3) as Nanos
        };
        self.events.push(Reverse((at, Event::Arrived { part, message })));
        self.events.push(Reverse((free, Event::Free(from))));
    }

    /// The queue of a message that a step sends, if there is no room for it.
    fn full_queue(&mut self, part: usize, step: u32) -> Option<&mut Queue> {
        let message = self.parts[part].steps.sent(step)?;
        let Message { from, to, phase, .. } = *self.message(part, message);
        self.queues.get_mut(&(from, to, phase)).filter(|queue| queue.bytes > MAX_QUEUED)
    }

    /// A message has left its queue: a send that waited may be done.
    fn drained(&mut self, part: usize, message: u32) {
        let Message { from, to, phase, bytes, .. } = *self.message(part, message);
        let queue = self.queues.entry((from, to, phase)).or_default();
        queue.bytes -= bytes;
        while let Some(queue) = self.queues.get_mut(&(from, to, phase))
            && queue.bytes <= MAX_QUEUED
            && let Some((part, step, role)) = queue.blocked.pop_front()
        {
            self.done(part, step, role);
        }
    }

    fn message(&self, part: usize, message: u32) -> &'a Message {
        self.parts[part].steps.message(message)
    }

    fn read(&mut self, part: usize, message: u32) {
        let takes = self.reading_takes(part, message);
        self.reading += takes;
        self.cores.begin(Rank::Urgent, takes, Work::Reading { part, message });
    }

    fn reading_takes(&self, part: usize, message: u32) -> Nanos {
        let machine = &self.setting.machine;
        self.cost(part, message, machine.receive_us, machine.receive_us_per_kb)
    }

    fn carrying_takes(&self, part: usize, message: u32) -> Nanos {
        let machine = &self.setting.machine;
        self.cost(part, message, machine.carry_us, machine.carry_us_per_kb)
    }

    fn cost(&self, part: usize, message: u32, us: f64, us_per_kb: f64) -> Nanos {
        (us * 1e3 + us_per_kb * self.message(part, message).bytes as f64) as Nanos
    }

    fn wake(&self) -> Nanos {
        (self.setting.machine.wake_us * 1e3) as Nanos
    }

    /// A message is where it belongs.
    fn received(&mut self, part: usize, message: u32) {
        let steps = self.parts[part].steps;
        if let Some(step) = steps.receiver(message) {
            let role = steps.role_of(step);
            self.arrive(part, role, step);
            self.start(role);
        } else {
            self.notices.push_back(Notice::Outside { part, message });
        }
    }

    fn done(&mut self, part: usize, step: u32, role: usize) {
        let steps = self.parts[part].steps;
        if let Some(times) = &mut self.parts[part].times {
            times[step as usize].1 = self.now;
        }
        let sent = steps.sent(step);
        match sent.map_or(0, |message| self.carrying_takes(part, message)) {
            0 => self.idle[role] += 1,
            takes => {
                *self.busy.entry(self.roles[role]).or_insert(0) += takes;
                self.cores.begin(Rank::Urgent, takes, Work::Carrying { role });
            }
        }
        if let Some(message) = sent {
            if self.holds && steps.receiver(message).is_none() {
                self.notices.push_back(Notice::Held { part, message, role });
            } else {
                self.send(part, message);
            }
        }
        for next in steps.waiting(step) {
            self.arrive(part, role, *next);
        }
        self.parts[part].left[role] -= 1;
        if self.parts[part].left[role] == 0 {
            self.notices.push_back(Notice::Done { part, role });
        }
        self.start(role);
    }

    /// One of the events that a step waits for.
    fn arrive(&mut self, part: usize, role: usize, step: u32) {
        let own = &mut self.parts[part];
        own.missing[step as usize] -= 1;
        if own.missing[step as usize] == 0 && own.begun[role] {
            self.ready[role].push(own.turn(part, step as usize));
        }
    }

    /// Gives ready steps to idle threads.
    fn start(&mut self, role: usize) {
        while self.idle[role] > 0 {
            let Some(Reverse((_, _, part, step))) = self.ready[role].pop() else { return };
            let steps = self.parts[part].steps;
            // A thread that waited for a message wakes up first.
            let wake = if steps.is_receive(step) { self.wake() } else { 0 };
            let takes = steps.cost(step);
            self.idle[role] -= 1;
            if let Some(times) = &mut self.parts[part].times {
                times[step as usize].0 = self.now + wake;
            }
            *self.busy.entry(self.roles[role]).or_insert(0) += takes;
            self.cores.begin(Rank::Steady, wake + takes, Work::Step { part, step, role });
        }
    }
}
