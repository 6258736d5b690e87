//! Traces and timelines: `run --trace --timeline`, `explain --timeline`, what `mpcc-party --trace` records.

use crate::site::Site;
use insta::assert_snapshot;
use mpcc_ir::codec;
use mpcc_ir::plan::{Phase, Plan, Role, RolePlan, StepOp};
use mpcc_runtime::trace::{PhaseTrace, StepTime, Trace};
use serde_json::Value;
use std::collections::BTreeMap;

impl Site {
    pub(crate) fn plan(&self, name: &str) -> Plan {
        codec::read_file(&self.path(name)).unwrap().0
    }

    /// A copy of `m.plan`, with its weights, in which step `i` of a phase is predicted to take from `us * i` to `us * (i + 1)`.
    pub(crate) fn predict(&self, name: &str, us: f64) {
        let mut plan = self.plan("m.plan");
        for role in &mut plan.roles {
            for steps in [&mut role.setup, &mut role.offline, &mut role.online] {
                for (at, step) in steps.iter_mut().enumerate() {
                    step.predicted_us = (us * at as f64, us * (at + 1) as f64);
                }
            }
        }
        codec::write_file(&self.path(&format!("{name}.plan")), &plan).unwrap();
        self.copy("m.weights", &format!("{name}.weights"));
    }
}

impl Site {
    /// A trace of `P1` in which one step takes as long as all others, and messages come meanwhile, at no time of a thread.
    pub(crate) fn record_marks(&self, plan: &str, file: &str) {
        let role = Role::Party(1);
        record(self, plan, role, file);
        let (plan, digest) = codec::read_file(&self.path(plan)).unwrap();
        let mut trace = Trace::read(&self.path(file), &plan, digest).unwrap();
        for phase in &mut trace.phases {
            let is_receive = |at: u32| {
                matches!(
                    plan.role(role).unwrap().steps(phase.phase)[at as usize].op,
                    StepOp::Receive { .. }
                )
            };
            let long = phase.steps.iter().position(|time| !is_receive(time.step));
            let count = phase.steps.len() as u64;
            let begins = phase.steps.first().map_or(0, |time| time.start_ns);
            for (at, time) in phase.steps.iter_mut().enumerate() {
                if is_receive(time.step) {
                    (time.start_ns, time.end_ns) =
                        (begins + 100 * at as u64, begins + 100 * at as u64);
                } else if Some(at) == long {
                    (time.start_ns, time.end_ns) = (begins, begins + 1_000 * count);
                } else {
                    (time.start_ns, time.end_ns) =
                        (time.start_ns + 1_000 * count, time.end_ns + 1_000 * count);
                }
            }
        }
        trace.write(&self.path(file)).unwrap();
    }
}

#[test]
fn a_trace_has_every_step_and_message() {
    let site = Site::compiled();
    site.stdout("run m.plan -i @x.npy --runs 2 --threads 2 --trace t.json");
    let trace: Value = serde_json::from_slice(&site.read("t.json")).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let plan = site.plan("m.plan");
    let processes = events.iter().filter(|e| e["name"] == "process_name");
    let name = |e: &Value| (e["pid"].as_u64().unwrap(), e["args"]["name"].as_str().unwrap().into());
    let processes: BTreeMap<u64, String> = processes.map(name).collect();
    assert_eq!(processes.values().collect::<Vec<_>>(), ["P0", "P1", "dealer", "client"]);
    for (pid, role) in &processes {
        let role: Role = role.parse().unwrap();
        let own = |e: &&Value| e["ph"] == "X" && e["pid"] == *pid;
        let steps = events.iter().filter(own).filter(|e| e["args"]["step"].is_u64());
        let key = |e: &Value| (e["cat"].as_str().unwrap().to_owned(), e["args"]["step"].as_u64());
        let mut found: Vec<(String, Option<u64>)> = steps.map(key).collect();
        found.sort();
        let all = |phase: Phase| {
            let steps = plan.role(role).map_or(0, |own| own.steps(phase).len() as u64);
            (0..steps).map(move |at| (phase.to_string(), Some(at)))
        };
        let mut expected: Vec<(String, Option<u64>)> =
            Phase::ALL.into_iter().flat_map(all).collect();
        expected.sort();
        assert_eq!(found, expected, "{role}");
    }
    let messages = events.iter().filter(|e| e["ph"] == "X" && e["args"]["message"].is_u64());
    assert_eq!(messages.count(), 2 * plan.messages.len(), "each at both ends");
    for event in events.iter().filter(|e| e["ph"] == "X") {
        assert!(event["ts"].as_f64().unwrap() >= 0.0 && event["dur"].as_f64().unwrap() >= 0.0);
        assert!(event["args"]["layer"].is_string() && event["args"]["op"].is_string(), "{event}");
    }
    arrows_go_forwards(&plan, events);
}

#[test]
fn a_trace_has_the_runs_in_flight() {
    let site = Site::new();
    site.stdout("compile m.onnx --calibrate x.npy --depth 2");
    site.stdout("run m.plan -i @x.npy --runs 4 --trace t.json --timeline t.html");
    let trace: Value = serde_json::from_slice(&site.read("t.json")).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let plan = site.plan("m.plan");
    let counts = |wanted: &dyn Fn(&Value) -> bool| -> Vec<usize> {
        let of_run = |run: u64| {
            let own = |e: &&Value| e["args"]["run"] == run && wanted(e);
            events.iter().filter(own).count()
        };
        (0..=5).map(of_run).collect()
    };
    let steps = |phases: &[Phase]| -> usize {
        let of_role = |role: &RolePlan| phases.iter().map(|p| role.steps(*p).len()).sum::<usize>();
        plan.roles.iter().map(of_role).sum()
    };
    let run = steps(&[Phase::Offline, Phase::Online]);
    let all_steps = counts(&|event| event["args"]["step"].is_u64());
    assert_eq!(all_steps, [steps(&[Phase::Setup]), 0, 0, run, run, 0], "the last two of four");
    let (starts, finishes) = (ends(events, "s"), ends(events, "f"));
    assert!(starts.keys().eq(finishes.keys()), "each run has its own arrows");
    assert!(starts.iter().all(|(id, at)| *at <= finishes[id]));
    let page = data(&site, "t.html");
    assert_eq!(page["run"], 4);
    let p0 = plan.role(Role::Party(0)).unwrap();
    let bars = p0.setup.len() + 2 * (p0.offline.len() + p0.online.len());
    assert!(lanes(&page).contains(&format!("P0 measured compute 0: {bars}\n")), "{}", lanes(&page));
}

/// A message between roles with steps has both ends of an arrow; it is received after it is sent.
fn arrows_go_forwards(plan: &Plan, events: &[Value]) {
    let (starts, finishes) = (ends(events, "s"), ends(events, "f"));
    assert!(starts.keys().eq(finishes.keys()));
    assert!(starts.iter().all(|(id, at)| *at <= finishes[id]));
    let sends = plan.roles.iter().flat_map(|r| Phase::ALL.map(|p| r.steps(p))).flatten();
    let sends = sends.filter(|step| matches!(step.op, StepOp::Send { .. }));
    let to_client = plan.messages.iter().filter(|m| m.to == Role::Client).count();
    assert_eq!(starts.len(), sends.count() - to_client);
}

/// When each arrow starts or ends.
fn ends(events: &[Value], end: &str) -> BTreeMap<u64, f64> {
    let ends = events.iter().filter(|e| e["ph"] == end);
    ends.map(|e| (e["id"].as_u64().unwrap(), e["ts"].as_f64().unwrap())).collect()
}

/// The data in a page.
fn data(site: &Site, page: &str) -> Value {
    let page = String::from_utf8(site.read(page)).unwrap();
    for outside in ["http://", "https://", "src=", "href=", "import"] {
        assert!(!page.contains(outside), "the page is to stand alone: {outside}");
    }
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// The bars of a lane begin where the one before is over, or later.
fn bars_are_apart(lane: &Value) {
    let bars: Vec<f64> =
        lane["bars"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    let bars: Vec<&[f64]> = bars.chunks_exact(10).collect();
    for pair in bars.windows(2) {
        assert!(pair[0][0] + pair[0][1] <= pair[1][0] + 1e-6, "{} {pair:?}", lane["name"]);
    }
}

/// Role, source, name and number of bars and marks of each lane.
fn lanes(data: &Value) -> String {
    let mut lines = Vec::new();
    for role in data["roles"].as_array().unwrap() {
        for lane in role["lanes"].as_array().unwrap() {
            let text = |key: &str| lane[key].as_str().unwrap().to_owned();
            let rows = |key: &str| lane[key].as_array().unwrap().len() / 10;
            let bars = rows("bars") + rows("marks");
            bars_are_apart(lane);
            let role = role["name"].as_str().unwrap();
            lines.push(format!("{role} {} {}: {bars}", text("source"), text("name")));
        }
    }
    lines.join("\n")
}

#[test]
fn a_page_of_what_was_measured() {
    let site = Site::compiled();
    site.predict("none", 0.0);
    site.stdout("run none.plan -i @x.npy --timeline t.html");
    let data = data(&site, "t.html");
    assert_eq!((&data["measured"], &data["predicted"]), (&true.into(), &false.into()));
    let plan = site.plan("m.plan");
    let lanes = lanes(&data);
    let phases = |role| Phase::ALL.map(|phase| plan.role(role).unwrap().steps(phase).len());
    for role in [Role::Party(0), Role::Party(1), Role::Dealer] {
        let steps: usize = phases(role).iter().sum();
        assert!(lanes.contains(&format!("{role} measured compute 0: {steps}\n")), "{lanes}");
    }
    for totals in
        data["roles"].as_array().unwrap().iter().flat_map(|r| r["totals"].as_array().unwrap())
    {
        let window =
            data["windows"].as_array().unwrap().iter().find(|w| w["phase"] == totals["phase"]);
        let window = window.unwrap();
        let length = window["end"].as_f64().unwrap() - window["start"].as_f64().unwrap();
        for figure in ["wait", "out", "in"] {
            let us = totals[figure].as_f64().unwrap();
            assert!((0.0..=length + 0.2).contains(&us), "{figure}: {totals} {window}");
        }
    }
}

#[test]
fn a_page_of_both_and_of_what_is_predicted() {
    let site = Site::compiled();
    site.predict("some", 3.0);
    site.stdout("run some.plan -i @x.npy --trace t.json --timeline both.html");
    let both = data(&site, "both.html");
    assert_eq!((&both["measured"], &both["predicted"]), (&true.into(), &true.into()));
    let of = |data: &Value, source: &str| {
        let lines = lanes(data);
        let lines = lines.lines().filter(|line| line.contains(source));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        site.stdout("explain some.plan --timeline p.html"),
        site.stdout("explain some.plan")
    );
    let predicted = data(&site, "p.html");
    assert_eq!((&predicted["measured"], &predicted["predicted"]), (&false.into(), &true.into()));
    assert_eq!(of(&both, "predicted"), of(&predicted, "predicted"));
    for key in ["windows", "lanes", "totals"] {
        assert_eq!(of_source(&both, key), of_source(&predicted, key), "{key}");
    }
    assert_eq!(of(&predicted, "measured"), "");
    let plan = site.plan("some.plan");
    let online = plan.role(Role::Party(1)).unwrap().online.len() as f64;
    let windows = predicted["windows"].as_array().unwrap();
    let window = windows.iter().find(|w| w["phase"] == Phase::Online as usize).unwrap();
    assert_eq!(window["start"], 0.0);
    assert!(window["end"].as_f64().unwrap() >= 3.0 * online);
}

/// What a page says of predictions: windows, or the lanes or totals of roles that have some.
fn of_source(page: &Value, key: &str) -> Vec<Value> {
    let roles = page["roles"].as_array().unwrap().iter();
    let lists: Vec<&Value> = match key {
        "windows" => vec![&page[key]],
        _ => roles.map(|role| &role[key]).collect(),
    };
    let all = lists.into_iter().flat_map(|list| list.as_array().unwrap());
    let mut own: Vec<Value> = all.filter(|item| item["source"] == "predicted").cloned().collect();
    for lane in &mut own {
        // Words are numbered over all that a page shows.
        for rows in ["bars", "marks"] {
            if let Some(rows) = lane.get_mut(rows).and_then(Value::as_array_mut) {
                rows.iter_mut().skip(4).step_by(10).for_each(|word| *word = Value::Null);
            }
        }
    }
    own
}

#[test]
fn predicted_phases_follow_each_other() {
    let site = Site::compiled();
    site.stdout("run m.plan -i @x.npy --threads 2 --timeline both.html");
    site.stdout("explain m.plan --timeline p.html");
    let (both, predicted) = (data(&site, "both.html"), data(&site, "p.html"));
    for key in ["windows", "lanes", "totals"] {
        assert_eq!(of_source(&both, key), of_source(&predicted, key), "{key}");
    }
    let forecast = site.plan("m.plan").forecast.unwrap();
    let windows = of_source(&both, "windows");
    let span = |phase: Phase| {
        let window = windows.iter().find(|w| w["phase"] == phase as usize)?;
        Some([&window["start"], &window["end"]].map(|at| at.as_f64().unwrap()))
    };
    let near = |span: Option<[f64; 2]>, from: f64, to: f64| {
        let [start, end] = span.unwrap();
        (start - from).abs() < 0.1 && (end - to).abs() < 0.1
    };
    assert!(near(span(Phase::Offline), -forecast.offline_us, 0.0), "{windows:?}");
    assert!(near(span(Phase::Online), 0.0, forecast.online_us), "{windows:?}");
    assert_eq!(span(Phase::Setup), None);
    assert_eq!(both["unknown"], serde_json::json!([Phase::Setup as usize]));
    let totals = of_source(&both, "totals");
    for total in &totals {
        let is_known = total["phase"] != Phase::Setup as usize;
        assert_eq!(total["busy"].is_f64() && total["wait"].is_f64(), is_known, "{total}");
        assert_eq!(total["threads"], if is_known { 1.into() } else { Value::Null }, "{total}");
    }
    let setup = totals.iter().filter(|total| total["phase"] == Phase::Setup as usize);
    assert_eq!(setup.map(|total| total["bytes_out"].as_u64().unwrap()).max(), Some(5952));
}

/// A role's trace of one run in which every step took a microsecond, one after the other.
fn record(site: &Site, plan: &str, role: Role, file: &str) {
    let (plan, plan_digest) = codec::read_file(&site.path(plan)).unwrap();
    let phase = |(at, phase): (u64, Phase)| {
        let steps = plan.role(role).map_or(0, |own| own.steps(phase).len());
        let time = |step: usize| {
            let start_ns = 1_000_000 * (at + 1) + 1_000 * step as u64;
            StepTime { step: step as u32, thread: 0, start_ns, end_ns: start_ns + 1_000 }
        };
        let steps = (0..steps).map(time).collect();
        let run = u64::from(phase != Phase::Setup);
        PhaseTrace { run, phase, steps, sent: vec![], received: vec![] }
    };
    let phases = (0..).zip(Phase::ALL).map(phase).collect();
    let trace = Trace { role, threads: 1, depth: 1, plan_digest, phases };
    trace.write(&site.path(file)).unwrap();
}

#[test]
fn a_page_of_what_roles_recorded_on_their_hosts() {
    let site = Site::compiled();
    site.predict("some", 3.0);
    for (role, file) in [(Role::Party(0), "P0.json"), (Role::Dealer, "dealer.json")] {
        record(&site, "some.plan", role, file);
    }
    site.stdout("explain some.plan --timeline t.html --measured P0.json --measured dealer.json");
    let page = data(&site, "t.html");
    let plan = site.plan("some.plan");
    for role in [Role::Party(0), Role::Dealer] {
        let own = plan.role(role).unwrap();
        let steps = Phase::ALL.iter().map(|phase| own.steps(*phase).len()).sum::<usize>();
        for source in ["measured", "predicted"] {
            let lane = format!("{role} {source} compute 0: {steps}");
            assert!(lanes(&page).lines().any(|line| line == lane), "{lane}: {}", lanes(&page));
        }
    }
    assert!(!lanes(&page).contains("P1 measured"));
}

#[test]
fn refusals() {
    let site = Site::compiled();
    record(&site, "m.plan", Role::Party(0), "P0.json");
    let explain = |more: &str| site.refusal(&format!("explain m.plan --timeline t.html {more}"));
    assert_snapshot!(explain("--measured P0.json --measured P0.json"), @"1: error: `P0.json` is a second trace of P0; give one for each role");
    assert_snapshot!(explain("--measured none.json"), @"1: error: trace `none.json`: cannot read it: No such file or directory (os error 2)");
    site.stdout("run m.plan -i @x.npy --trace events.json");
    assert_snapshot!(explain("--measured events.json"), @"1: error: `events.json` has trace events of `mpcc run`, for Perfetto; give what `--trace` of `mpcc-party serve` or `infer` has recorded, or see a run of this host with `mpcc run --timeline`");
    assert_snapshot!(explain("--measured x.npy"), @"1: error: trace `x.npy`: it is no trace; `mpcc-party serve --trace` and `mpcc-party infer --trace` write them: expected value at line 1 column 1");
    assert_snapshot!(site.refusal("explain m.plan --measured P0.json"), @"
    2: error: the following required arguments were not provided:
      --timeline <OUT.html>

    Usage: mpcc explain --timeline <OUT.html> --measured <ROLE.json> <PLAN>

    For more information, try '--help'.
    ");
    site.predict("none", 0.0);
    assert_snapshot!(site.refusal("explain none.plan --timeline t.html --measured P0.json"), @"1: error: trace `P0.json`: it was recorded with another plan; give the plan file that the roles had");
    assert_snapshot!(site.refusal("explain none.plan --timeline t.html"), @"1: error: `none.plan` has no predicted times; measure them: mpcc run none.plan --timeline t.html");
    assert_snapshot!(site.refusal("explain none.plan --timeline none/t.html"), @"1: error: cannot write `none/t.html`; check the directory and the free space: No such file or directory (os error 2)");
    assert_snapshot!(site.refusal("run m.plan --trace none/t.json"), @"1: error: cannot write `none/t.json`; check the directory and the free space: No such file or directory (os error 2)");
    assert_snapshot!(site.refusal("run m.plan --timeline ."), @"1: error: cannot write `.`; check the directory and the free space: is a directory");
    assert_snapshot!(site.refusal("run m.plan --trace t --timeline ./t"), @"1: error: --trace `t` and --timeline `./t` are one file; give two names");
}

#[test]
fn nothing_that_is_read_is_replaced() {
    let site = Site::compiled();
    record(&site, "m.plan", Role::Party(0), "P0.json");
    let run = |more: &str| site.refusal(&format!("run m.plan -i input=@x.npy {more}"));
    assert_snapshot!(run("--trace ./m.plan"), @"1: error: --trace `./m.plan` would replace the plan `m.plan`; give --trace another name");
    assert_snapshot!(run("--timeline m.weights"), @"1: error: --timeline `m.weights` would replace the weights `m.weights`; give --timeline another name");
    assert_snapshot!(run("--timeline ./x.npy"), @"1: error: --timeline `./x.npy` would replace the input `x.npy`; give --timeline another name");
    assert_snapshot!(run("-o x.npy"), @"1: error: --output `x.npy` would replace the input `x.npy`; give --output another name");
    assert_snapshot!(run("-o y.npy --timeline ./y.npy"), @"1: error: --timeline `./y.npy` and --output `y.npy` are one file; give two names");
    assert_snapshot!(run("--compare m.onnx --trace m.onnx"), @"1: error: --trace `m.onnx` would replace the --compare file `m.onnx`; give --trace another name");
    assert_snapshot!(site.refusal("run m.onnx --calibrate x.npy --trace x.npy"), @"1: error: --trace `x.npy` would replace the samples `x.npy`; give --trace another name");
    assert_snapshot!(site.refusal("run m.onnx --trace m.onnx"), @"1: error: --trace `m.onnx` would replace the model `m.onnx`; give --trace another name");
    assert_snapshot!(site.refusal("explain m.plan --timeline m.plan"), @"1: error: --timeline `m.plan` would replace the plan `m.plan`; give --timeline another name");
    assert_snapshot!(site.refusal("explain m.plan --timeline m.weights"), @"1: error: --timeline `m.weights` would replace the weights `m.weights`; give --timeline another name");
    assert_snapshot!(site.refusal("explain m.plan --measured P0.json --timeline ./P0.json"), @"1: error: --timeline `./P0.json` would replace the trace `P0.json`; give --timeline another name");
}
