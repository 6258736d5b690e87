//! The trace event format of Chrome, which Perfetto and `chrome://tracing` open.
//!
//! A process per role, a thread per compute thread and per link; arrows follow the messages.

use super::describe;
use super::history::{Bar, History, Wire};
use mpcc_ir::plan::{Plan, Role, StepOp};
use mpcc_ir::text::OpText as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Threads that stand for links are numbered from here on.
const SENT: usize = 1000;
const RECEIVED: usize = 2000;

/// All events; times are microseconds from the first of them, as some viewers want none below zero.
pub(super) fn events(plan: &Plan, history: &History) -> Value {
    let bars = history.roles.iter().flat_map(|role| &role.bars).map(|bar| bar.start);
    let wires = history.wires.iter().map(|wire| wire.start);
    let origin = bars.chain(wires).fold(f64::INFINITY, f64::min);
    let events = Events { plan, history, origin };
    let list: Vec<Value> = events.roles().chain(events.links()).collect();
    json!({ "displayTimeUnit": "ms", "otherData": { "model": plan.name }, "traceEvents": list })
}

struct Events<'a> {
    plan: &'a Plan,
    history: &'a History,
    origin: f64,
}

impl Events<'_> {
    /// The steps of all roles.
    fn roles(&self) -> impl Iterator<Item = Value> {
        self.history.roles.iter().enumerate().flat_map(|(pid, role)| {
            let mut events = vec![
                name("process_name", pid, 0, &role.role.to_string()),
                json!({ "ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": { "sort_index": pid } }),
            ];
            for tid in 0..usize::from(role.threads) {
                events.push(name("thread_name", pid, tid, &format!("compute {tid}")));
            }
            events.extend(role.bars.iter().flat_map(|bar| self.step(pid, role.role, bar)));
            events
        })
    }

    /// The messages, at both ends of their links.
    fn links(&self) -> impl Iterator<Item = Value> {
        let mut named = BTreeSet::new();
        self.history.wires.iter().flat_map(move |wire| {
            let message = &self.plan.messages[wire.message as usize];
            let (from, to) = (message.from, message.to);
            let is_new = named.insert((from, to));
            let ends = [(from, SENT, to, "sent to"), (to, RECEIVED, from, "received from")];
            let mut events = Vec::new();
            for (role, first, other, words) in ends {
                let Some(pid) = self.number(role) else { continue };
                let tid = first + self.number(other).unwrap_or(self.history.roles.len());
                if is_new {
                    events.push(name("thread_name", pid, tid, &format!("{words} {other}")));
                }
                events.push(self.wire(pid, tid, wire));
            }
            events
        })
    }

    fn number(&self, role: Role) -> Option<usize> {
        self.history.roles.iter().position(|own| own.role == role)
    }

    /// Rounded to nanoseconds.
    fn time(&self, us: f64) -> f64 {
        ((us - self.origin) * 1e3).round() / 1e3
    }

    /// A step, and where it sends or receives a message the end of an arrow.
    fn step(&self, pid: usize, role: Role, bar: &Bar) -> Vec<Value> {
        let plan = self.plan;
        let Some(step) = describe::step_of(plan, role, bar.phase, bar.step) else {
            return Vec::new();
        };
        let layer = &plan.layers[step.layer as usize];
        let (tid, ts, end) = (bar.thread, self.time(bar.start), self.time(bar.end));
        let event = json!({
            "ph": "X", "pid": pid, "tid": tid, "ts": ts, "dur": end - ts,
            "name": format!("{} {}", step.op.mnemonic(), layer.name),
            "cat": bar.phase.to_string(),
            "args": {
                "layer": layer.name, "layer_op": layer.op, "op": describe::step(plan, step),
                "bytes": describe::bytes(step), "step": bar.step, "run": bar.run,
            },
        });
        let arrow = |end: &str, message: u32| {
            let id = bar.run * plan.messages.len() as u64 + u64::from(message);
            json!({
                "ph": end, "bp": "e", "id": id, "name": "message",
                "cat": "message", "pid": pid, "tid": tid, "ts": ts,
            })
        };
        let message = |id: u32| &plan.messages[id as usize];
        let mut events = vec![event];
        if bar.queued > 0.0 {
            // Inside the send.
            events.push(json!({
                "ph": "X", "pid": pid, "tid": tid, "ts": ts, "dur": self.time(bar.start + bar.queued) - ts,
                "name": "wait for the wire", "cat": bar.phase.to_string(),
                "args": { "layer": layer.name, "op": describe::step(plan, step), "run": bar.run },
            }));
        }
        if let StepOp::Send { message: id, .. } = step.op
            && self.has_steps(message(id).to)
        {
            events.push(arrow("s", id));
        }
        if let StepOp::Receive { message: id, .. } = step.op
            && self.has_steps(message(id).from)
        {
            events.push(arrow("f", id));
        }
        events
    }

    fn has_steps(&self, role: Role) -> bool {
        self.history.roles.iter().any(|own| own.role == role && own.threads > 0)
    }

    fn wire(&self, pid: usize, tid: usize, wire: &Wire) -> Value {
        let message = &self.plan.messages[wire.message as usize];
        let layer = &self.plan.layers[message.layer as usize];
        let (ts, end) = (self.time(wire.start), self.time(wire.end));
        json!({
            "ph": "X", "pid": pid, "tid": tid, "ts": ts, "dur": end - ts,
            "name": format!("{} {}", message.kind, layer.name),
            "cat": message.phase.to_string(),
            "args": {
                "layer": layer.name, "op": describe::message(self.plan, wire.message),
                "bytes": message.bytes, "message": wire.message, "run": wire.run,
                "handed_over": wire.handed.map(|at| self.time(at)),
            },
        })
    }
}

fn name(what: &str, pid: usize, tid: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": { "name": name } })
}
