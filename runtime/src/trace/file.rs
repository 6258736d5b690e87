//! A role's trace as a file, so that those of all hosts can be looked at together.

use super::{PhaseTrace, Trace};
use mpcc_ir::files::write_atomically;
use mpcc_ir::plan::{Plan, Role};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;

/// Bytes of a file that [`Trace::read`] accepts: two million steps.
pub const MAX_TRACE_BYTES: u64 = 256 << 20;

/// Why a file is not a trace of a plan's runs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum TraceError {
    #[error("cannot read it")]
    Read(#[from] io::Error),
    #[error("it is no trace; `mpcc-party serve --trace` and `mpcc-party infer --trace` write them")]
    Parse(#[from] serde_json::Error),
    #[error("it has {bytes} bytes, more than the limit of {MAX_TRACE_BYTES}")]
    TooLarge { bytes: u64 },
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
        let bytes = file.metadata()?.len();
        if bytes > MAX_TRACE_BYTES {
            return Err(TraceError::TooLarge { bytes });
        }
        // The limit holds even where the file is a pipe or grows while it is read.
        let trace: Self = serde_json::from_reader(BufReader::new(file.take(MAX_TRACE_BYTES)))?;
        if trace.plan_digest != plan_digest {
            return Err(TraceError::OtherPlan);
        }
        if !trace.phases.iter().all(|phase| belongs(phase, plan, trace.role, trace.threads)) {
            return Err(TraceError::Contents);
        }
        Ok(trace)
    }
}

/// Whether all that a role recorded exists in the plan.
fn belongs(phase: &PhaseTrace, plan: &Plan, role: Role, threads: u16) -> bool {
    let steps = plan.roles.iter().find(|known| known.role == role);
    let steps = steps.map_or(0, |role| role.steps(phase.phase).len());
    let known = |message: u32| (message as usize) < plan.messages.len();
    phase.steps.iter().all(|step| (step.step as usize) < steps && step.thread < threads)
        && phase.sent.iter().chain(&phase.received).all(|message| known(message.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{MessageTime, StepTime};
    use mpcc_ir::plan::{
        Message, MessageKind, Phase, Region, RolePlan, Span, Step, StepOp, WeightsMode, Word,
    };

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
            online: vec![Step {
                op: StepOp::Receive { message: 0, dst },
                after: vec![],
                priority: 0,
                layer: 0,
                predicted_us: (0.0, 0.0),
            }],
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
        for (step, message, thread) in [(1, 0, 0), (0, 1, 0), (0, 0, 2)] {
            let refused = read(&trace(step, message, thread));
            assert!(matches!(refused, Err(TraceError::Contents)), "{step} {message} {thread}");
        }
        let other = Trace { plan_digest: [8; 32], ..trace(0, 0, 1) };
        assert!(matches!(read(&other), Err(TraceError::OtherPlan)));
        let of_other_role = Trace { role: Role::Dealer, ..trace(0, 0, 1) };
        assert!(matches!(read(&of_other_role), Err(TraceError::Contents)));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(Trace::read(&path, &plan(), DIGEST), Err(TraceError::Parse(_))));
        File::create(&path).unwrap().set_len(MAX_TRACE_BYTES + 1).unwrap();
        assert!(matches!(Trace::read(&path, &plan(), DIGEST), Err(TraceError::TooLarge { .. })));
        assert!(matches!(
            Trace::read(dir.path(), &plan(), DIGEST),
            Err(TraceError::Read(_) | TraceError::Parse(_))
        ));
    }
}
