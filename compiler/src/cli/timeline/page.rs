//! The timeline as one HTML file: `page.html` with `page.js` and the data in it.
//!
//! Bars are rows of numbers, so that tens of thousands of them stay small and quick to draw; their words are in tables.
//! Those of a lane are in order and do not overlap. What happened on the side while a thread was at another step is in
//! lists of their own, the marks, with what took no time.

use super::describe::{self, Kind};
use super::history::{Bar, History, RoleHistory, Totals, Window, Wire};
use mpcc_ir::plan::{Phase, Plan, Role};
use mpcc_ir::text::OpText as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");

/// The page of what was measured, what is predicted, or both.
pub(super) fn html(
    plan: &Plan,
    measured: Option<&History>,
    predicted: Option<&History>,
) -> serde_json::Result<String> {
    let mut words = Words::default();
    let sources: Vec<(&str, &History)> =
        [("predicted", predicted), ("measured", measured)].into_iter().filter_map(known).collect();
    let all: BTreeSet<Role> =
        sources.iter().flat_map(|(_, h)| h.roles.iter().map(|r| r.role)).collect();
    let roles: Vec<Value> = all
        .into_iter()
        .map(|role| {
            let lanes = sources.iter().flat_map(|source| lanes(plan, *source, role, &mut words));
            let lanes: Vec<Value> = lanes.collect();
            let totals: Vec<Value> =
                sources.iter().flat_map(|source| totals(plan, *source, role)).collect();
            json!({ "name": role.to_string(), "lanes": lanes, "totals": totals })
        })
        .collect();
    let windows: Vec<Value> = sources.iter().flat_map(|source| windows(*source)).collect();
    let data = json!({
        "model": plan.name,
        "about": format!("{}-bit ring, {} compute parties, weights {}", plan.word.bits(), plan.parties, plan.weights),
        "measured": measured.is_some(),
        "predicted": predicted.is_some(),
        "run": measured.map(|history| history.run),
        "in_flight": predicted.and(plan.forecast.as_ref()).map(|f| json!({
            "depth": plan.depth, "online": rounded(f.run_online_us), "run": rounded(f.run_us),
        })),
        "unknown": predicted.iter().flat_map(|own| unknown(plan, own)).map(|phase| phase as usize).collect::<Vec<_>>(),
        "phases": Phase::ALL.map(|phase| phase.to_string()),
        "kinds": Kind::ALL.map(|(_, name)| name),
        "layers": plan.layers.iter().map(|l| json!([l.name, l.op])).collect::<Vec<_>>(),
        "windows": windows,
        "roles": roles,
        "words": words.list,
    });
    // Names come from the model: none may end the script element.
    let data = serde_json::to_string(&data)?.replace('<', "\\u003c");
    Ok(PAGE.replace("/*SCRIPT*/", SCRIPT).replace("/*DATA*/", &data))
}

fn known<'a>((name, history): (&'a str, Option<&'a History>)) -> Option<(&'a str, &'a History)> {
    history.map(|history| (name, history))
}

/// Every text once.
#[derive(Default)]
struct Words {
    list: Vec<String>,
    index: BTreeMap<String, usize>,
}

impl Words {
    fn number(&mut self, text: String) -> usize {
        if let Some(&at) = self.index.get(&text) {
            return at;
        }
        self.list.push(text.clone());
        self.index.insert(text, self.list.len() - 1);
        self.list.len() - 1
    }
}

/// A tenth of a microsecond is as fine as the clocks are.
fn rounded(us: f64) -> f64 {
    // Without a sign where it is nothing.
    (us * 10.0).round() / 10.0 + 0.0
}

fn windows((source, history): (&str, &History)) -> Vec<Value> {
    let window = |w: &Window| json!({ "source": source, "phase": w.phase as usize, "start": rounded(w.start), "end": rounded(w.end) });
    history.windows.iter().map(window).collect()
}

/// The phases that a history should have and does not: a setup is not predicted.
fn unknown(plan: &Plan, history: &History) -> impl Iterator<Item = Phase> {
    let has = move |phase: Phase| {
        let is_sent = plan.messages.iter().any(|message| message.phase == phase);
        is_sent || plan.roles.iter().any(|role| !role.steps(phase).is_empty())
    };
    let known = move |phase: Phase| history.windows.iter().any(|window| window.phase == phase);
    Phase::ALL.into_iter().filter(move |phase| has(*phase) && !known(*phase))
}

fn totals(plan: &Plan, (source, history): (&str, &History), role: Role) -> Vec<Value> {
    let Some(own) = history.roles.iter().find(|r| r.role == role) else { return Vec::new() };
    let is_predicted = source == "predicted";
    let total = |window: &Window| {
        let t: Totals = history.totals(plan, own, window);
        // A prediction has no time for what arrives at a role without steps.
        let [bytes_out, bytes_in] = if is_predicted {
            bytes_of(plan, role, window.phase)
        } else {
            [t.bytes_out, t.bytes_in]
        };
        json!({
            "source": source, "phase": window.phase as usize, "threads": own.threads,
            "busy": rounded(t.busy), "wait": rounded(t.wait), "out": rounded(t.wire_out), "in": rounded(t.wire_in),
            "bytes_out": bytes_out, "bytes_in": bytes_in,
        })
    };
    let mut totals: Vec<Value> = history.windows.iter().map(total).collect();
    if is_predicted {
        // Bytes are known where times are not.
        totals.extend(unknown(plan, history).map(|phase| {
            let [bytes_out, bytes_in] = bytes_of(plan, role, phase);
            json!({ "source": source, "phase": phase as usize, "bytes_out": bytes_out, "bytes_in": bytes_in })
        }));
        totals.sort_by_key(|total| total["phase"].as_u64());
    }
    totals
}

/// What a role sends and receives in a phase.
fn bytes_of(plan: &Plan, role: Role, phase: Phase) -> [u64; 2] {
    let received = plan.messages.iter().filter(|m| m.phase == phase && m.to == role);
    [plan.sent_bytes(role, phase), received.map(|message| message.bytes).sum()]
}

/// Compute lanes, then a lane per link out and per link in.
fn lanes(
    plan: &Plan,
    (source, history): (&str, &History),
    role: Role,
    words: &mut Words,
) -> Vec<Value> {
    let Some(own) = history.roles.iter().find(|r| r.role == role) else { return Vec::new() };
    let lane = |kind: &str, name: String, bars: Vec<Row>, marks: Vec<Row>| json!({ "kind": kind, "source": source, "name": name, "bars": bars.concat(), "marks": marks.concat() });
    let mut lanes = Vec::new();
    for thread in 0..own.threads {
        let bars = own.bars.iter().filter(|bar| bar.thread == thread);
        let rows = bars.flat_map(|bar| bar_rows(plan, own, bar, words)).collect();
        let (bars, marks) = apart(rows);
        lanes.push(lane("compute", format!("compute {thread}"), bars, marks));
    }
    let mut links: BTreeMap<(bool, Role), Vec<Row>> = BTreeMap::new();
    for wire in &history.wires {
        let message = &plan.messages[wire.message as usize];
        for (into, end, other) in
            [(false, message.from, message.to), (true, message.to, message.from)]
        {
            if end == role {
                links.entry((into, other)).or_default().push(wire_row(plan, wire, words));
            }
        }
    }
    for ((into, other), bars) in links {
        let (kind, name) = if into {
            ("in", format!("\u{2190} {other}"))
        } else {
            ("out", format!("\u{2192} {other}"))
        };
        lanes.push(lane(kind, name, bars, Vec::new()));
    }
    lanes
}

/// Start, duration, kind, layer, words, step, phase, bytes; -1 for the time of handing over; run.
type Row = [f64; 10];

/// Takes rows of a thread, in order of time, apart into bars and marks.
fn apart(rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let mut until = f64::NEG_INFINITY;
    rows.into_iter().partition(|[start, time, ..]| {
        // Starts and ends are multiples of 0.1, as near as sums of floating-point numbers are.
        let is_bar = *time > 0.0 && *start > until - 0.05;
        until = if is_bar { start + time } else { until };
        is_bar
    })
}

/// A step, after its wait where it sends.
fn bar_rows(plan: &Plan, own: &RoleHistory, bar: &Bar, words: &mut Words) -> Vec<Row> {
    let Some(step) = describe::step_of(plan, own.role, bar.phase, bar.step) else {
        return Vec::new();
    };
    let text = format!("{}: {}", step.op.mnemonic(), describe::step(plan, step));
    let text = words.number(text) as f64;
    let row = |from: f64, to: f64, kind: Kind| {
        let from = rounded(from);
        [
            from,
            rounded(rounded(to) - from),
            kind as usize as f64,
            f64::from(step.layer),
            text,
            f64::from(bar.step),
            bar.phase as usize as f64,
            describe::bytes(step) as f64,
            -1.0,
            bar.run as f64,
        ]
    };
    let begins = bar.start + bar.queued;
    let wait = (bar.queued >= 0.05).then(|| row(bar.start, begins, Kind::Queued));
    wait.into_iter().chain([row(begins, bar.end, Kind::of(&step.op))]).collect()
}

/// The same for a message; the last but one is how long it waited for the link, -1 where that is not known.
fn wire_row(plan: &Plan, wire: &Wire, words: &mut Words) -> Row {
    let message = &plan.messages[wire.message as usize];
    [
        rounded(wire.start),
        rounded(rounded(wire.end) - rounded(wire.start)),
        Kind::Wire as usize as f64,
        f64::from(message.layer),
        words.number(describe::message(plan, wire.message)) as f64,
        f64::from(wire.message),
        message.phase as usize as f64,
        message.bytes as f64,
        wire.handed.map_or(-1.0, |at| rounded(wire.start - at)),
        wire.run as f64,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_do_not_overlap() {
        let row = |start: f64, time: f64| [start, time, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0];
        let spans = |rows: &[Row]| rows.iter().map(|row| (row[0], row[1])).collect::<Vec<_>>();
        let rows = [(0.0, 0.0), (0.0, 0.3), (0.1 + 0.2, 9.0), (4.0, 0.0), (5.0, 1.0), (20.0, 1.0)];
        let (bars, marks) = apart(rows.map(|(start, time)| row(start, time)).to_vec());
        assert_eq!(spans(&bars), [(0.0, 0.3), (0.1 + 0.2, 9.0), (20.0, 1.0)]);
        assert_eq!(spans(&marks), [(0.0, 0.0), (4.0, 0.0), (5.0, 1.0)]);
    }
}
