//! The steady state: as many runs in flight as a plan has places for, one after the other in each.
//!
//! Plays what `serve` and `infer` of the runtime do. A compute party that is through with a run begins the offline
//! phase of the next one in the same place; the dealer deals when all have. `P_0` offers a run to the client when all are
//! ready; the client says at the dealer that the run is its own, gets the masks, sends its input, and asks for another
//! run when it has the output.

use super::engine::{Engine, Notice, Part};
use super::simulate::{Nanos, Setting, Steps};
use mpcc_ir::plan::{Phase, Role};

/// What runs in the steady state take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SteadyState {
    /// Microseconds from one output to the next.
    pub(super) run_us: f64,
    /// Microseconds from an input to its output, the median.
    pub(super) online_us: f64,
}

/// Frames without payload that tell somebody to go on; with the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Signal {
    /// A compute party has begun the offline phase: to the dealer.
    Began(usize),
    /// A compute party is through with it: to `P_0`.
    Ready(usize),
    /// The client wants a run.
    Request(usize),
    /// `P_0` has one for it.
    Accept(usize),
    /// It is the client's: to the dealer.
    Claim(usize),
}

/// How far a run is.
#[derive(Clone, Debug, Default)]
struct Run {
    /// Compute parties that have begun, and that are ready.
    began: usize,
    ready: usize,
    requested: bool,
    claimed: bool,
    /// Messages for the client that wait until the run is claimed.
    held: Vec<u32>,
    /// Messages that the client waits for: masks, then outputs.
    masks: usize,
    outputs: usize,
    /// When the client sent its input, and had its output.
    input: Nanos,
    output: Nanos,
    /// Whether the dealer has dealt it; its place is free when it is claimed, too.
    dealt: bool,
}

/// Groups of runs that are played, each as many as are in flight: those before the measured ones, the measured ones, and
/// one more, while which places stay empty.
const BEFORE: usize = 2;
const MEASURED: usize = 2;

/// Plays runs with `depth` of them in flight; the phases come with the priorities of their steps. `None` where
/// somebody waits for ever.
pub(super) fn steady_state(
    setting: &Setting,
    depth: usize,
    [offline, online]: [(&Steps<'_>, &[u32]); 2],
) -> Option<SteadyState> {
    let runs = depth * (BEFORE + MEASURED + 1);
    let phases = |run: usize| {
        [offline, online].map(|(steps, priorities)| Part::new(steps, priorities, run as u32))
    };
    let from_client = |(steps, _): (&Steps<'_>, _)| {
        let mut messages = steps.from_outside();
        messages.retain(|message| steps.message(*message).from == Role::Client);
        messages
    };
    let masks = offline.0.count_to(Role::Client);
    let run = Run { masks, outputs: online.0.count_to(Role::Client), ..Run::default() };
    let mut stream = Stream {
        engine: Engine::new(setting, (0..runs).flat_map(phases).collect(), true),
        roles: offline.0.roles(),
        depth,
        inputs: from_client(online),
        runs: vec![run; runs],
    };
    stream.play();
    let ends: Vec<(Nanos, Nanos)> = stream.runs.iter().map(|run| (run.input, run.output)).collect();
    if ends.iter().any(|(_, output)| *output == 0) {
        return None;
    }
    let measured = depth * BEFORE - 1..depth * (BEFORE + MEASURED) - 1;
    let span = ends.get(measured.end)?.1.saturating_sub(ends.get(measured.start)?.1);
    let mut latencies: Vec<Nanos> = ends[measured.start + 1..=measured.end]
        .iter()
        .map(|(input, output)| output - input)
        .collect();
    latencies.sort_unstable();
    Some(SteadyState {
        run_us: span as f64 / 1e3 / (depth * MEASURED) as f64,
        online_us: latencies[latencies.len() / 2] as f64 / 1e3,
    })
}

struct Stream<'a> {
    engine: Engine<'a, Signal>,
    roles: &'a [Role],
    depth: usize,
    /// What the client sends.
    inputs: Vec<u32>,
    runs: Vec<Run>,
}

impl Stream<'_> {
    fn play(&mut self) {
        for run in 0..self.depth {
            self.runs[run].requested = true;
            for role in self.parties() {
                self.begin(run, role);
            }
        }
        while let Some(notice) = self.engine.next() {
            match notice {
                Notice::Done { part, role } => match phase_of(part) {
                    (run, Phase::Online) => self.through(run, role),
                    (run, _) => self.prepared(run, role),
                },
                Notice::Held { part, message } => {
                    let (run, _) = phase_of(part);
                    if self.runs[run].claimed {
                        self.engine.send(part, message);
                    } else {
                        self.runs[run].held.push(message);
                    }
                }
                Notice::Outside { part, .. } => match phase_of(part) {
                    (run, Phase::Online) => self.revealed(run),
                    (run, _) => {
                        self.runs[run].masks -= 1;
                        self.input(run);
                    }
                },
                Notice::Signal(signal) => self.go_on(signal),
            }
        }
    }

    /// The compute parties, by index.
    fn parties(&self) -> Vec<usize> {
        let is_party = |role: &usize| matches!(self.roles[*role], Role::Party(_));
        (0..self.roles.len()).filter(is_party).collect()
    }

    fn go_on(&mut self, signal: Signal) {
        match signal {
            Signal::Began(run) => {
                self.runs[run].began += 1;
                self.deal(run);
            }
            Signal::Ready(run) => {
                self.runs[run].ready += 1;
                self.open(run);
            }
            Signal::Request(run) => {
                self.runs[run].requested = true;
                self.offer(run);
            }
            Signal::Accept(run) => {
                self.engine.signal(Role::Client, Role::Dealer, Signal::Claim(run));
                self.input(run);
            }
            Signal::Claim(run) => {
                self.runs[run].claimed = true;
                for message in std::mem::take(&mut self.runs[run].held) {
                    self.engine.send(part_of(run, Phase::Offline), message);
                }
                self.deal(run + self.depth);
            }
        }
    }

    /// A party begins a run, if there is another one.
    fn begin(&mut self, run: usize, role: usize) {
        if run < self.runs.len() {
            self.engine.begin(part_of(run, Phase::Offline), role);
            self.engine.signal(self.roles[role], Role::Dealer, Signal::Began(run));
        }
    }

    /// The dealer begins a run that all parties have begun, as soon as it has a place for it.
    fn deal(&mut self, run: usize) {
        let parties = self.parties().len();
        let is_over = |run: usize| self.runs[run].dealt && self.runs[run].claimed;
        let has_place = run.checked_sub(self.depth).is_none_or(is_over);
        let dealer = self.roles.iter().position(|role| *role == Role::Dealer);
        if let Some(dealer) = dealer.filter(|_| has_place)
            && self.runs.get(run).is_some_and(|run| run.began == parties)
        {
            self.engine.begin(part_of(run, Phase::Offline), dealer);
        }
    }

    /// A role is through with the offline phase.
    fn prepared(&mut self, run: usize, role: usize) {
        match self.roles[role] {
            Role::Party(0) => {
                self.runs[run].ready += 1;
                self.open(run);
            }
            Role::Party(_) => {
                self.engine.signal(self.roles[role], Role::Party(0), Signal::Ready(run));
                self.engine.begin(part_of(run, Phase::Online), role);
            }
            Role::Dealer | Role::Owner | Role::Client => {
                self.engine.begin(part_of(run, Phase::Online), role);
            }
        }
    }

    /// `P_0` goes online when all parties are ready.
    fn open(&mut self, run: usize) {
        let p0 = self.roles.iter().position(|role| *role == Role::Party(0));
        if let Some(p0) = p0.filter(|_| self.runs[run].ready == self.parties().len()) {
            self.engine.begin(part_of(run, Phase::Online), p0);
            self.offer(run);
        }
    }

    fn offer(&mut self, run: usize) {
        if self.runs[run].requested && self.runs[run].ready == self.parties().len() {
            self.engine.signal(Role::Party(0), Role::Client, Signal::Accept(run));
        }
    }

    /// The client sends its input when it has all masks.
    fn input(&mut self, run: usize) {
        if self.runs[run].masks == 0 && self.runs[run].input == 0 {
            self.runs[run].input = self.engine.now();
            for message in self.inputs.clone() {
                self.engine.send(part_of(run, Phase::Online), message);
            }
        }
    }

    /// The client has a part of the output.
    fn revealed(&mut self, run: usize) {
        self.runs[run].outputs -= 1;
        let next = run + self.depth;
        if self.runs[run].outputs == 0 {
            self.runs[run].output = self.engine.now();
            if next < self.runs.len() {
                self.engine.signal(Role::Client, Role::Party(0), Signal::Request(next));
            }
        }
    }

    /// A role is through with a run.
    fn through(&mut self, run: usize, role: usize) {
        if self.roles[role] == Role::Dealer {
            self.runs[run].dealt = true;
            self.deal(run + self.depth);
        } else {
            self.begin(run + self.depth, role);
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
    use super::super::simulate_tests::setting;
    use super::*;
    use mpcc_ir::plan::Plan;

    /// The dealer corrects `P1` and masks an input, which goes by `P0` and `P1` to the client.
    fn plan() -> Plan {
        let digest = "00".repeat(32);
        let text = format!(
            "plan {{
  name \"t\"
  model_digest \"{digest}\"
  weights_digest \"{digest}\"
  word 32 parties 2 weights public depth 1
  message 0: from dealer to P1 phase offline kind correction bytes 176 round 0 layer 0
  message 1: from dealer to client phase offline kind mask bytes 76 round 0 layer 0
  message 2: from client to P0 phase online kind input bytes 76 round 0 layer 0
  message 3: from P0 to P1 phase online kind open bytes 76 round 1 layer 0
  message 4: from P1 to client phase online kind reveal bytes 76 round 0 layer 0
  role P0 deploy_bytes 0 run_bytes 0 {{
    online
      0: receive message 2 dst run@0+76
      1: send message 3 src run@0+76 after [0]
  }}
  role P1 deploy_bytes 0 run_bytes 0 {{
    offline
      0: receive message 0 dst run@128+176
    online
      0: receive message 3 dst run@0+76
      1: send message 4 src run@0+76 after [0]
  }}
  role dealer deploy_bytes 0 run_bytes 0 {{
    offline
      0: send message 0 src run@0+176
      1: send message 1 src run@256+76
  }}
}}"
        );
        Plan::parse(&text).unwrap()
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
        // at 74, the correction is there at 324, both are ready at 398. The client knows at 472, the dealer at 546, the
        // mask is there at 696, the output at 1146. P1 was through at 996 and its uplink free at 1096: the dealer goes on at
        // 1170, 1096 later than before.
        let SteadyState { run_us, online_us } = play(&plan(), 1).unwrap();
        assert_eq!((run_us, online_us), (1096.0, 450.0));
    }

    #[test]
    fn runs_in_flight_share_uplinks() {
        let times = [2, 3, 4, 8].map(|depth| play(&plan(), depth).unwrap());
        for pair in times.windows(2) {
            assert!(pair[1].run_us < pair[0].run_us, "{pair:?}");
        }
        // Two runs are never in each other's way. Of many, the dealer's uplink carries 300 bytes for each: what is measured
        // begins and ends in the middle of something.
        assert_eq!(times[0].run_us, 1096.0 / 2.0);
        assert!((times[3].run_us - 300.0).abs() < 10.0, "{times:?}");
    }

    #[test]
    fn waiting_for_ever_has_no_steady_state() {
        let mut plan = plan();
        plan.roles[0].online[1].after = vec![1];
        assert_eq!(play(&plan, 1), None);
    }
}
