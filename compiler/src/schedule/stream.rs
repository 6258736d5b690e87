//! The steady state: as many runs in flight as a plan has places for, one after the other in each.
//!
//! Plays how `serve` and `infer` of the runtime go on. A compute party that has a free place begins the offline phase of the
//! next run; the dealer deals when all have. `P_0` gives a run that it begins to a client that waits, the oldest first; the
//! client says at the others that the run is its own, and gets what they keep for it. It sends its input when it has the
//! masks and `P_0` says that all are ready, and asks for another run when it has the output. Not played: what tells `P_0`
//! that others have begun a run, what the disk takes to record a run's number, the client's own computing, and limits on
//! what waits at a receiver.

use super::engine::{Engine, Notice, Part};
use super::simulate::{Nanos, Setting, Steps};
use mpcc_ir::plan::{Phase, Role};
use mpcc_runtime::serve::{median, seconds_per_run};

/// What runs in the steady state take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SteadyState {
    /// Microseconds from one output to the next.
    pub(super) run_us: f64,
    /// Microseconds from an input to its output, the median.
    pub(super) online_us: f64,
}

/// Frames without payload that tell somebody to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Signal {
    /// A compute party has begun the offline phase of a run, and asks the dealer for its part.
    Ask { run: usize },
    /// A compute party is through with it: to `P_0`.
    Ready { run: usize },
    /// The client wants a run.
    Request,
    /// `P_0` has one for it.
    Accept { run: usize },
    /// All compute parties are ready for it: from `P_0` to the client.
    Go { run: usize },
    /// It is the client's: to another role, by index.
    Claim { run: usize, role: usize },
}

/// How far a run is.
#[derive(Clone, Debug)]
struct Run {
    /// Compute parties that ask for it, and that are ready.
    asked: usize,
    ready: usize,
    /// By role: whether it is known whose the run is, whether all steps are done, and what waits for the client.
    claimed: Vec<bool>,
    done: Vec<bool>,
    held: Vec<Vec<(usize, u32)>>,
    /// Whether the client knows that all are ready.
    go: bool,
    /// Messages that the client waits for: masks, then outputs.
    masks: usize,
    outputs: usize,
    /// When the client sent its input, and had its output.
    input: Option<Nanos>,
    output: Option<Nanos>,
}

/// As many groups of runs as are in flight are played: the first one fills the places, the last one leaves them empty.
const GROUPS: usize = 5;

/// Plays runs with `depth` of them in flight; the phases come with the priorities of their steps. `None` where
/// somebody waits for ever.
pub(super) fn steady_state(
    setting: &Setting,
    depth: usize,
    [offline, online]: [(&Steps<'_>, &[u32]); 2],
) -> Option<SteadyState> {
    let roles = offline.0.roles();
    let phases = |run: usize| {
        [offline, online].map(|(steps, priorities)| Part::new(steps, priorities, run as u32))
    };
    let run = Run {
        asked: 0,
        ready: 0,
        claimed: vec![false; roles.len()],
        done: vec![false; roles.len()],
        held: vec![Vec::new(); roles.len()],
        go: false,
        masks: offline.0.count_to(Role::Client),
        outputs: online.0.count_to(Role::Client),
        input: None,
        output: None,
    };
    let is_party = |role: &usize| matches!(roles[*role], Role::Party(_));
    let index_of = |wanted: Role| roles.iter().position(|role| *role == wanted);
    let mut inputs = online.0.from_outside();
    inputs.retain(|message| online.0.message(*message).from == Role::Client);
    let mut stream = Stream {
        engine: Engine::new(setting, (0..depth * GROUPS).flat_map(phases).collect(), true),
        roles,
        parties: (0..roles.len()).filter(is_party).collect(),
        p0: index_of(Role::Party(0))?,
        dealer: index_of(Role::Dealer)?,
        inputs,
        places: vec![depth; roles.len()],
        next: vec![0; roles.len()],
        // One waits for each run in flight.
        requests: 2 * depth,
        offered: 0,
        runs: vec![run; depth * GROUPS],
    };
    stream.play();
    let measured = &stream.runs[..depth * (GROUPS - 1)];
    let time = |at: Option<Nanos>| at.map(|ns| ns as f64 / 1e9);
    let outputs = measured.iter().map(|run| time(run.output)).collect::<Option<Vec<f64>>>()?;
    let online = |run: &Run| Some(time(run.output)? - time(run.input)?);
    let latencies = measured[depth..].iter().map(online).collect::<Option<Vec<f64>>>()?;
    Some(SteadyState {
        run_us: seconds_per_run(&outputs, depth)? * 1e6,
        online_us: median(latencies) * 1e6,
    })
}

struct Stream<'a> {
    engine: Engine<'a, Signal>,
    roles: &'a [Role],
    /// The compute parties, by index.
    parties: Vec<usize>,
    /// `P_0` and the dealer, by index.
    p0: usize,
    dealer: usize,
    /// What the client sends.
    inputs: Vec<u32>,
    /// By role: free places, and the run that comes next.
    places: Vec<usize>,
    next: Vec<usize>,
    /// What the client wants and has not got.
    requests: usize,
    /// Runs that it has got.
    offered: usize,
    runs: Vec<Run>,
}

impl Stream<'_> {
    fn play(&mut self) {
        for party in self.parties.clone() {
            self.begin(party);
        }
        while let Some(notice) = self.engine.next() {
            match notice {
                Notice::Done { part, role } => match phase_of(part) {
                    (run, Phase::Online) => {
                        self.runs[run].done[role] = true;
                        self.leave(run, role);
                    }
                    (run, _) => self.prepared(run, role),
                },
                Notice::Held { part, message, role } => {
                    let (run, _) = phase_of(part);
                    if self.runs[run].claimed[role] {
                        self.engine.send(part, message);
                    } else {
                        self.runs[run].held[role].push((part, message));
                    }
                }
                Notice::Outside { part, .. } => match phase_of(part) {
                    (run, Phase::Online) => {
                        self.runs[run].outputs -= 1;
                        self.end(run);
                    }
                    (run, _) => {
                        self.runs[run].masks -= 1;
                        self.input(run);
                    }
                },
                Notice::Signal(signal) => self.go_on(signal),
            }
        }
    }

    fn go_on(&mut self, signal: Signal) {
        match signal {
            Signal::Ask { run } => {
                self.runs[run].asked += 1;
                self.begin(self.dealer);
            }
            Signal::Ready { run } => self.ready(run),
            Signal::Request => {
                self.requests += 1;
                self.offer();
            }
            Signal::Accept { run } => {
                for role in (0..self.roles.len()).filter(|role| *role != self.p0) {
                    self.engine.signal(Signal::Claim { run, role });
                }
            }
            Signal::Go { run } => {
                self.runs[run].go = true;
                self.input(run);
            }
            Signal::Claim { run, role } => self.claim(run, role),
        }
    }

    /// A role begins what runs it has places for; the dealer only those that all parties have begun.
    fn begin(&mut self, role: usize) {
        while let Some(run) = Some(self.next[role]).filter(|run| *run < self.runs.len()) {
            let wanted = role != self.dealer || self.runs[run].asked == self.parties.len();
            if self.places[role] == 0 || !wanted {
                return;
            }
            self.places[role] -= 1;
            self.next[role] += 1;
            if role != self.dealer {
                self.engine.signal(Signal::Ask { run });
            }
            self.engine.begin(part_of(run, Phase::Offline), role);
            if role == self.p0 {
                self.offer();
            }
        }
    }

    /// A role is through with the offline phase.
    fn prepared(&mut self, run: usize, role: usize) {
        match self.roles[role] {
            // It waits for the others.
            Role::Party(0) => return self.ready(run),
            Role::Party(_) => self.engine.signal(Signal::Ready { run }),
            Role::Dealer | Role::Owner | Role::Client => {}
        }
        self.engine.begin(part_of(run, Phase::Online), role);
    }

    /// One more party is ready; when all are, `P_0` goes online.
    fn ready(&mut self, run: usize) {
        self.runs[run].ready += 1;
        if self.runs[run].ready == self.parties.len() {
            self.engine.begin(part_of(run, Phase::Online), self.p0);
            if self.runs[run].claimed[self.p0] {
                self.engine.signal(Signal::Go { run });
            }
        }
    }

    /// `P_0` gives the client the runs that it has begun, in order.
    fn offer(&mut self) {
        while self.requests > 0 && self.offered < self.next[self.p0] {
            let run = self.offered;
            (self.requests, self.offered) = (self.requests - 1, run + 1);
            self.engine.signal(Signal::Accept { run });
            self.claim(run, self.p0);
            if self.runs[run].ready == self.parties.len() {
                self.engine.signal(Signal::Go { run });
            }
        }
    }

    /// A role knows whose a run is.
    fn claim(&mut self, run: usize, role: usize) {
        self.runs[run].claimed[role] = true;
        for (part, message) in std::mem::take(&mut self.runs[run].held[role]) {
            self.engine.send(part, message);
        }
        self.leave(run, role);
    }

    /// A role's place is free when the run is done and claimed there.
    fn leave(&mut self, run: usize, role: usize) {
        if self.runs[run].done[role] && self.runs[run].claimed[role] {
            self.places[role] += 1;
            self.begin(role);
        }
    }

    /// The client sends its input if nothing is missing.
    fn input(&mut self, run: usize) {
        if self.runs[run].masks > 0 || !self.runs[run].go {
            return;
        }
        self.runs[run].input = Some(self.engine.now());
        for message in self.inputs.clone() {
            self.engine.send(part_of(run, Phase::Online), message);
        }
        self.end(run);
    }

    /// The client is through with a run when it has sent its input and has all of the output.
    fn end(&mut self, run: usize) {
        if self.runs[run].outputs == 0 && self.runs[run].input.is_some() {
            self.runs[run].output = Some(self.engine.now());
            self.engine.signal(Signal::Request);
        }
    }
}

/// The part of a run's phase.
fn part_of(run: usize, phase: Phase) -> usize {
    2 * run + usize::from(phase == Phase::Online)
}

/// The run and phase of a part.
fn phase_of(part: usize) -> (usize, Phase) {
    (part / 2, [Phase::Offline, Phase::Online][part % 2])
}

#[cfg(test)]
mod tests {
    use super::super::simulate_tests::{parse, setting};
    use super::*;
    use mpcc_ir::plan::{Message, Plan, RolePlan, StepOp};

    /// The dealer corrects `P1` and masks an input, which goes by `P0` and `P1` to the client.
    fn plan() -> Plan {
        parse(
            "  message 0: from dealer to P1 phase offline kind correction bytes 176 round 0 layer 0
  message 1: from dealer to client phase offline kind mask bytes 76 round 0 layer 0
  message 2: from client to P0 phase online kind input bytes 76 round 0 layer 0
  message 3: from P0 to P1 phase online kind open bytes 76 round 1 layer 0
  message 4: from P1 to client phase online kind reveal bytes 76 round 0 layer 0
  role P0 deploy_bytes 0 run_bytes 0 {
    online
      0: receive message 2 dst run@0+76
      1: send message 3 src run@0+76 after [0]
  }
  role P1 deploy_bytes 0 run_bytes 0 {
    offline
      0: receive message 0 dst run@128+176
    online
      0: receive message 3 dst run@0+76
      1: send message 4 src run@0+76 after [0]
  }
  role dealer deploy_bytes 0 run_bytes 0 {
    offline
      0: send message 0 src run@0+176
      1: send message 1 src run@256+76
  }
",
        )
    }

    fn play(plan: &Plan, depth: usize) -> Option<SteadyState> {
        let mut setting = setting(1);
        setting.machine.send_us_per_kb = 0.0;
        let [offline, online] =
            [Phase::Offline, Phase::Online].map(|phase| Steps::new(plan, phase, &setting));
        let listed: Vec<u32> = (0..8).collect();
        steady_state(&setting, depth, [(&offline, &listed), (&online, &listed)])
    }

    #[test]
    fn a_run_takes_all_that_somebody_waits_for() {
        // A signal takes 24 us on the wire and 50 to the other host, a message of 76 bytes 100 and 50. Run 1: both have begun
        // at 74, the correction is there at 324, both are ready at 398. The client knows at 472; its mask is there by then, as
        // the run was its own at the dealer at 172. The output is there at 922. P1 was through at 772: the dealer goes on
        // at 846, 772 later than before.
        let SteadyState { run_us, online_us } = play(&plan(), 1).unwrap();
        assert_eq!((run_us.round(), online_us.round()), (772.0, 450.0));
    }

    #[test]
    fn runs_in_flight_share_uplinks() {
        // Two runs are never in each other's way. The dealer's uplink carries 300 bytes for each, which bounds them from
        // three on.
        let run_us = [2, 3, 4, 8].map(|depth| play(&plan(), depth).unwrap().run_us.round());
        assert_eq!(run_us, [386.0, 300.0, 300.0, 300.0]);
    }

    #[test]
    fn what_is_for_the_client_waits_until_the_run_is_its_own() {
        // P1 needs nothing of the client here, and has its output when it begins; what P0 gets goes nowhere.
        let mut plan = plan();
        plan.roles[0].online.truncate(1);
        plan.roles[1].online.remove(0);
        plan.roles[1].online[0].after.clear();
        // P1 is told at 172, as the dealer is, and has the correction at 324: the output is there at 474, and the client knows
        // at 472 that all are ready.
        let SteadyState { online_us, .. } = play(&plan, 1).unwrap();
        assert_eq!(online_us.round(), 2.0);
    }

    #[test]
    fn a_run_is_ready_when_all_parties_are() {
        let mut plan = plan();
        let mut third = RolePlan { role: Role::Party(2), online: vec![], ..plan.roles[1].clone() };
        let mut dealt = plan.roles[2].offline[0].clone();
        plan.messages.push(Message { to: Role::Party(2), ..plan.messages[0].clone() });
        for op in [&mut third.offline[0].op, &mut dealt.op] {
            if let StepOp::Receive { message, .. } | StepOp::Send { message, .. } = op {
                *message = 5;
            }
        }
        plan.roles[2].offline.insert(1, dealt);
        plan.roles.insert(2, third);
        // Its correction is there 200 later than that of P1, and all the rest as well.
        let SteadyState { run_us, online_us } = play(&plan, 1).unwrap();
        assert_eq!((run_us.round(), online_us.round()), (972.0, 450.0));
    }

    #[test]
    fn waiting_for_ever_has_no_steady_state() {
        let mut plan = plan();
        plan.roles[0].online[1].after = vec![1];
        assert_eq!(play(&plan, 1), None);
    }
}
