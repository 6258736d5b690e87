//! A role's trace as a file, so that those of all hosts can be looked at together.

use super::{MessageTime, PhaseTrace, StepTime, Trace};
use crate::config::MAX_THREADS;
use mpcc_ir::files::write_atomically;
use mpcc_ir::plan::{Message, Plan, Role, RolePlan};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;

/// Bytes of a step or message in a file, at most: names, two times, a number and a thread.
const RECORD_BYTES: u64 = 128;

/// Why a file is not a trace of a plan's runs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum TraceError {
    #[error("cannot read it")]
    Read(#[from] io::Error),
    #[error("it is no trace; `mpcc-party serve --trace` and `mpcc-party infer --trace` write them")]
    Parse(#[from] serde_json::Error),
    #[error("it has {bytes} bytes, more than the {most} that runs of the plan may take")]
    TooLarge { bytes: u64, most: u64 },
    #[error("it was recorded with another plan; give the plan file that the roles had")]
    OtherPlan,
    #[error("it has steps or messages that the plan does not; record it again")]
    Contents,
}

impl Trace {
    /// Writes the trace as JSON; the file is whole or absent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_atomically(path, |file| {
            let mut file = BufWriter::new(file);
            serde_json::to_writer(&mut file, self)?;
            file.flush()
        })
    }

    /// Reads what [`Self::write`] has written, if it belongs to the plan with this digest.
    ///
    /// # Errors
    /// [`TraceError`]; the caller names the file.
    pub fn read(path: &Path, plan: &Plan, plan_digest: [u8; 32]) -> Result<Self, TraceError> {
        let file = File::open(path)?;
        let (bytes, most) = (file.metadata()?.len(), most_bytes(plan));
        if bytes > most {
            return Err(TraceError::TooLarge { bytes, most });
        }
        // The limit holds even where the file is a pipe or grows while it is read.
        let read = serde_json::from_reader(BufReader::new(file.take(most)));
        let trace: Self = read.map_err(|error: serde_json::Error| {
            if error.is_io() { TraceError::Read(error.into()) } else { TraceError::Parse(error) }
        })?;
        if trace.plan_digest != plan_digest {
            return Err(TraceError::OtherPlan);
        }
        let threads = usize::from(trace.threads);
        let known = |phase: &PhaseTrace| belongs(phase, plan, trace.role, threads);
        if threads > MAX_THREADS || !trace.phases.iter().all(known) {
            return Err(TraceError::Contents);
        }
        Ok(trace)
    }
}

/// What the setup and the runs take that are kept.
fn most_bytes(plan: &Plan) -> u64 {
    let steps = |role: &RolePlan| role.setup.len() + role.offline.len() + role.online.len();
    let steps = plan.roles.iter().map(steps).max().unwrap_or(0);
    let records = (steps + plan.messages.len()) as u64 * (1 + 2 * u64::from(plan.depth));
    (1 << 20) + records * RECORD_BYTES
}

/// Whether all that a role recorded exists in the plan.
fn belongs(phase: &PhaseTrace, plan: &Plan, role: Role, threads: usize) -> bool {
    let steps = plan.role(role).map_or(0, |role| role.steps(phase.phase).len());
    let step = |time: &StepTime| {
        let known = (time.step as usize) < steps && usize::from(time.thread) < threads;
        known && time.start_ns <= time.end_ns
    };
    let message = |time: &MessageTime, end: fn(&Message) -> Role| {
        let message = plan.messages.get(time.message as usize);
        message.is_some_and(|message| message.phase == phase.phase && end(message) == role)
    };
    phase.steps.iter().all(step)
        && phase.sent.iter().all(|time| message(time, |message| message.from))
        && phase.received.iter().all(|time| message(time, |message| message.to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpcc_ir::plan::{MessageKind, Phase, Region, Span, Step, StepOp, WeightsMode, Word};

    const DIGEST: [u8; 32] = [7; 32];

    /// `P0` has one step, and there is one message.
    fn plan() -> Plan {
        let dst = Span { region: Region::Run, at: 0, len: 4 };
        let role = RolePlan {
            role: Role::Party(0),
            deploy_bytes: 0,
            run_bytes: 4,
            setup: vec![],
            offline: vec![],
            online: vec![Step::new(StepOp::Receive { message: 0, dst })],
        };
        let message = Message {
            from: Role::Client,
            to: Role::Party(0),
            phase: Phase::Online,
            kind: MessageKind::Input,
            bytes: 4,
            round: 0,
            layer: 0,
        };
        Plan {
            roles: vec![role],
            messages: vec![message],
            ..Plan::empty(Word::W32, 2, WeightsMode::Party0)
        }
    }

    fn trace(step: u32, message: u32, thread: u16) -> Trace {
        let phase = PhaseTrace {
            run: 1,
            phase: Phase::Online,
            steps: vec![StepTime { step, thread, start_ns: 1, end_ns: 2 }],
            sent: vec![],
            received: vec![MessageTime { message, at_ns: 1 }],
        };
        Trace { phases: vec![phase], ..Trace::new(Role::Party(0), 2, 1, DIGEST) }
    }

    #[test]
    fn only_traces_of_the_plan_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("P0.json");
        let read = |trace: &Trace| {
            trace.write(&path).unwrap();
            Trace::read(&path, &plan(), DIGEST)
        };
        assert_eq!(read(&trace(0, 0, 1)).unwrap(), trace(0, 0, 1));
        let refused = |trace: &Trace| matches!(read(trace), Err(TraceError::Contents));
        assert!(refused(&trace(1, 0, 0)) && refused(&trace(0, 1, 0)) && refused(&trace(0, 0, 2)));
        let mut backwards = trace(0, 0, 0);
        backwards.phases[0].steps[0].end_ns = 0;
        let mut sent = trace(0, 0, 0);
        sent.phases[0].sent = std::mem::take(&mut sent.phases[0].received);
        let many = Trace { threads: u16::MAX, ..trace(0, 0, 1) };
        assert!(refused(&backwards) && refused(&sent) && refused(&many));
        let other = Trace { plan_digest: [8; 32], ..trace(0, 0, 1) };
        assert!(matches!(read(&other), Err(TraceError::OtherPlan)));
        assert!(refused(&Trace { role: Role::Dealer, ..trace(0, 0, 1) }));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(Trace::read(&path, &plan(), DIGEST), Err(TraceError::Parse(_))));
        File::create(&path).unwrap().set_len(most_bytes(&plan()) + 1).unwrap();
        assert!(matches!(Trace::read(&path, &plan(), DIGEST), Err(TraceError::TooLarge { .. })));
        assert!(matches!(Trace::read(dir.path(), &plan(), DIGEST), Err(TraceError::Read(_))));
    }
}
