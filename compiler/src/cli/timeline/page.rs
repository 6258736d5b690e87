//! The timeline as one HTML file: `page.html` with `page.js` and the data in it.
//!
//! Bars are rows of numbers, so that tens of thousands of them stay small and quick to draw; their words are in tables.

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
    (us * 10.0).round() / 10.0
}

fn windows((source, history): (&str, &History)) -> Vec<Value> {
    let window = |w: &Window| json!({ "source": source, "phase": w.phase as usize, "start": rounded(w.start), "end": rounded(w.end) });
    history.windows.iter().map(window).collect()
}

fn totals(plan: &Plan, (source, history): (&str, &History), role: Role) -> Vec<Value> {
    let Some(own) = history.roles.iter().find(|r| r.role == role) else { return Vec::new() };
    let total = |window: &Window| {
        let t: Totals = history.totals(plan, own, window);
        json!({
            "source": source, "phase": window.phase as usize, "threads": own.threads,
            "busy": rounded(t.busy), "wait": rounded(t.wait), "out": rounded(t.wire_out), "in": rounded(t.wire_in),
            "bytes_out": t.bytes_out, "bytes_in": t.bytes_in,
        })
    };
    history.windows.iter().map(total).collect()
}

/// Compute lanes, then a lane per link out and per link in.
fn lanes(
    plan: &Plan,
    (source, history): (&str, &History),
    role: Role,
    words: &mut Words,
) -> Vec<Value> {
    let Some(own) = history.roles.iter().find(|r| r.role == role) else { return Vec::new() };
    let lane = |kind: &str, name: String, bars: Vec<f64>| json!({ "kind": kind, "source": source, "name": name, "bars": bars });
    let mut lanes = Vec::new();
    for thread in 0..own.threads {
        let bars = own.bars.iter().filter(|bar| bar.thread == thread);
        let bars = bars.filter_map(|bar| bar_row(plan, own, bar, words)).flatten().collect();
        lanes.push(lane("compute", format!("compute {thread}"), bars));
    }
    let mut links: BTreeMap<(bool, Role), Vec<f64>> = BTreeMap::new();
    for wire in &history.wires {
        let message = &plan.messages[wire.message as usize];
        for (into, end, other) in
            [(false, message.from, message.to), (true, message.to, message.from)]
        {
            if end == role {
                links.entry((into, other)).or_default().extend(wire_row(plan, wire, words));
            }
        }
    }
    for ((into, other), bars) in links {
        let (kind, name) = if into {
            ("in", format!("\u{2190} {other}"))
        } else {
            ("out", format!("\u{2192} {other}"))
        };
        lanes.push(lane(kind, name, bars));
    }
    lanes
}

/// Start, duration, kind, layer, words, step, phase, bytes; -1 for the time of handing over; run.
fn bar_row(plan: &Plan, own: &RoleHistory, bar: &Bar, words: &mut Words) -> Option<[f64; 10]> {
    let step = describe::step_of(plan, own.role, bar.phase, bar.step)?;
    let text = format!("{}: {}", step.op.mnemonic(), describe::step(plan, step));
    Some([
        rounded(bar.start),
        rounded(bar.end - bar.start),
        Kind::of(&step.op) as usize as f64,
        f64::from(step.layer),
        words.number(text) as f64,
        f64::from(bar.step),
        bar.phase as usize as f64,
        describe::bytes(step) as f64,
        -1.0,
        bar.run as f64,
    ])
}

/// The same for a message; the last but one is how long it waited for the link, -1 where that is not known.
fn wire_row(plan: &Plan, wire: &Wire, words: &mut Words) -> [f64; 10] {
    let message = &plan.messages[wire.message as usize];
    [
        rounded(wire.start),
        rounded(wire.end - wire.start),
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
