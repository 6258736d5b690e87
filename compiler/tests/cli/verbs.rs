//! One success of each verb.

use crate::site::{Site, blur, stored};
use insta::assert_snapshot;
use serde_json::Value;

#[test]
fn inspect() {
    let site = Site::new();
    assert_snapshot!(site.stdout("inspect m.onnx"), @r"
    producer    unknown
    opset       17
    parameters  1597
    operators   Div 1, Gemm 3, Relu 2, Sigmoid 1, Sub 1
    input       input [8x30]
    output      output [8x1]
    runs privately: yes
    ");
    let object = site.json("inspect m.onnx --json");
    assert_snapshot!(object, @r#"{"inputs":[{"name":"input","shape":"[8x30]"}],"operators":{"Div":1,"Gemm":3,"Relu":2,"Sigmoid":1,"Sub":1},"opset":17,"outputs":[{"name":"output","shape":"[8x1]"}],"parameters":1597,"producer":"unknown","runs_privately":true}"#);
}

#[test]
fn compile() {
    assert_snapshot!(Site::new().stdout("compile m.onnx --calibrate x.npy"));
}

#[test]
fn compile_as_json() {
    let site = Site::new();
    let said = site.json("compile m.onnx --calibrate x.npy --json");
    let explained = site.json("explain m.plan --json");
    for key in ["digest", "rounds", "sent_bytes", "forecast", "roles"] {
        assert_eq!(said[key], explained[key], "{key}");
    }
    assert_eq!((&said["plan"], &said["weights_file"]), (&"m.plan".into(), &"m.weights".into()));
    assert_eq!(said["random_calibration"], false);
    assert!(said["headroom"][0]["bits"].is_f64() && said["output_error"][0].is_f64());
}

#[test]
fn compile_to_another_place_and_again() {
    let site = Site::compiled();
    site.stdout("compile m.onnx --calibrate x.npy -o again.plan");
    site.stdout("compile m.onnx --calibrate x.npy -o again.plan");
    assert_eq!(site.stdout("explain again.plan"), site.stdout("explain m.plan"));
}

#[test]
fn compile_without_samples_warns() {
    let output = Site::new().run("compile m.onnx");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let warning: Vec<&str> = stderr.lines().filter(|line| line.starts_with("warning")).collect();
    assert_snapshot!(warning.join("\n"), @"warning: number formats were calibrated on random inputs; real inputs may leave their ranges and give wrong results. Give samples with --calibrate");
}

#[test]
fn explain() {
    assert_snapshot!(Site::compiled().stdout("explain m.plan"));
}

#[test]
fn explain_as_json() {
    let mut object = Site::compiled().json("explain m.plan --json");
    for digest in ["digest", "model_digest"] {
        assert_eq!(object[digest].as_str().unwrap().len(), 64);
        object[digest] = "..".into();
    }
    assert_snapshot!(serde_json::to_string_pretty(&object).unwrap());
}

#[test]
fn explain_the_whole_plan() {
    let text = Site::compiled().stdout("explain m.plan --text");
    assert_snapshot!(text.lines().next().unwrap(), @"plan {");
}

#[test]
fn run_a_plan() {
    let site = Site::compiled();
    let said = site.stdout("run m.plan -i input=@x.npy --compare m.onnx -o y.npz --runs 2");
    assert_snapshot!(blur(&said), @"
    output [8x1]: #, #, #, #, # ...
    compared with the clear result: largest error # (predicted: at most #), largest value #
    # s online, # s offline before it; 10 rounds
    first output after # s; # s setup once, beside the first offline phase
    predicted online: # s with 1 in flight, # s alone, and at least # s (schedule pipelined, link lan, 1 thread a role on a host of its own; measured on one host over loopback)
    throughput: # s a run, # runs a second, with 1 in flight (predicted: # s, and at least # s)
    P0: sent 1992 B online, 0 B offline, 5952 B setup; # CPU s; # MB peak memory
    P1: sent 2901 B online, 1587 B offline, 0 B setup; # CPU s; # MB peak memory
    dealer: sent 0 B online, # kB offline, 0 B setup; # CPU s; # MB peak memory
    ");
    assert!(site.path("y.npz").is_file());
}

#[test]
fn run_a_model() {
    let site = Site::new();
    let model = stored("mnist-minionn");
    let (model, x) = (model.join("model.onnx"), model.join("input_0.npy"));
    let (model, x) = (model.display(), x.display());
    let said = site.stdout(&format!("run {model} --calibrate {x} -i @{x} --cores 2"));
    assert_snapshot!(blur(&said), @"
    logits: class 7; largest scores: 7 (#), 2 (#), 3 (#), 9 (#), 1 (#)
    compared with the clear result: the same class; largest error # (predicted: at most #), largest value #
    # s online, # s offline before it; 24 rounds
    first output after # s; # s setup once, beside the first offline phase
    predicted online: # s with 1 in flight, # s alone, and at least # s (schedule pipelined, link lan, 1 thread a role on 2 cores that all share; measured over loopback)
    P0: sent # kB online, 0 B offline, # kB setup; # CPU s; # MB peak memory
    P1: sent # kB online, # kB offline, 0 B setup; # CPU s; # MB peak memory
    dealer: sent 0 B online, # kB offline, 0 B setup; # CPU s; # MB peak memory
    ");
}

#[test]
fn run_as_json() {
    let site = Site::compiled();
    let ran = site.json("run m.plan -i @x.npy --compare m.onnx --json");
    let explained = site.json("explain m.plan --json");
    let roles = ["P0", "P1", "dealer", "client"];
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_snapshot!(keys(&ran).join(" "), @"argmax_equal busy_s cpu_s depth first_output_s largest link lower_bound_s lower_bound_s_per_run max_abs_err offline_s online_s outputs peak_rss_bytes predicted_alone_s predicted_cores predicted_err predicted_offline_s predicted_s predicted_s_per_run predicted_threads role_online_s rounds runs_per_s s_per_run schedule sent_bytes setup_s wait_s wall_s wire_s");
    for figure in ["online_s", "offline_s", "setup_s", "wall_s"] {
        assert!(ran[figure].as_f64().is_some_and(|s| s >= 0.0), "{figure}");
    }
    for figure in ["cpu_s", "peak_rss_bytes", "sent_bytes"] {
        assert_eq!(keys(&ran[figure]).len(), roles.len(), "{figure}");
    }
    for role in roles {
        assert!(ran["cpu_s"][role].as_f64().is_some_and(|s| s >= 0.0), "{role}");
        assert!(ran["peak_rss_bytes"][role].as_u64().is_some_and(|b| b > 1 << 20), "{role}");
        assert_eq!(keys(&ran["sent_bytes"][role]), ["offline", "online", "setup"]);
    }
    assert_eq!(ran["sent_bytes"], explained["sent_bytes"]);
    assert_eq!(ran["rounds"], explained["rounds"]);
    for (said, of_plan) in
        [("predicted_s", "online_ms_in_flight"), ("predicted_alone_s", "online_ms")]
    {
        let ms = explained["forecast"][of_plan].as_f64().unwrap();
        assert!((ran[said].as_f64().unwrap() * 1e3 - ms).abs() < 1e-9, "{said}");
    }
    let output = &ran["outputs"][0];
    assert_eq!(output["name"], "output");
    assert_eq!(output["shape"], serde_json::json!([8, 1]));
    assert_eq!(output["values"].as_array().unwrap().len(), 8);
    assert!(ran["max_abs_err"].as_f64().is_some_and(|e| e < 0.05), "{}", ran["max_abs_err"]);
    assert_eq!(ran["argmax_equal"], true);
}

#[test]
fn weights_of_an_owner_and_three_parties() {
    let site = Site::new();
    site.stdout("compile m.onnx --calibrate x.npy --weights owner --parties 3");
    let (ran, explained) = (site.json("run m.plan --json"), site.json("explain m.plan --json"));
    assert_eq!(ran["sent_bytes"].as_object().unwrap().len(), 6);
    assert_eq!(ran["sent_bytes"], explained["sent_bytes"]);
    assert_eq!(ran["rounds"], explained["rounds"]);
    assert!(ran.get("max_abs_err").is_none());
}

#[test]
fn bench_measures_beside_the_clear_model() {
    let site = Site::new();
    let said = site.json("bench m.onnx --calibrate x.npy -i @x.npy --runs 3 --json");
    let keys = said.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_snapshot!(keys.join(" "), @"argmax_equal busy_s clear_s cpu_s depth first_output_s kernels largest link lower_bound_s lower_bound_s_per_run max_abs_err model offline_s online_per_clear online_s parties predicted_alone_s predicted_cores predicted_err predicted_offline_s predicted_s predicted_s_per_run predicted_threads ring role_online_s roles rounds runs runs_per_s s_per_run schedule setup_s threads wait_s wire_s");
    for figure in ["online_s", "offline_s", "clear_s"] {
        let spread = ["min", "median", "max"].map(|of| said[figure][of].as_f64().unwrap());
        assert!(spread.is_sorted() && spread[0] > 0.0, "{figure}: {spread:?}");
    }
    let ratio =
        said["online_s"]["median"].as_f64().unwrap() / said["clear_s"]["median"].as_f64().unwrap();
    assert!((said["online_per_clear"].as_f64().unwrap() - ratio).abs() < 1e-6 * ratio);
    let roles = ["P0", "P1", "dealer", "client"];
    let cpu_s: f64 = roles.iter().map(|role| said["roles"][role]["cpu_s"].as_f64().unwrap()).sum();
    assert!((cpu_s - said["cpu_s"].as_f64().unwrap()).abs() < 1e-9, "{said}");
    let text = site.stdout("bench m.onnx --calibrate x.npy -i @x.npy --runs 1");
    assert!(text.contains("times as long as in the clear"), "{text}");
}

#[test]
fn runs_in_flight_are_a_property_of_the_plan() {
    let site = Site::new();
    site.stdout("compile m.onnx --calibrate x.npy --depth 3");
    let said = site.stdout("explain m.plan");
    let lines = said.lines().filter(|line| line.contains("depth") || line.contains("in flight"));
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @"
    m: ring 32, 2 compute parties, weights party0, depth 3
      with 3 in flight 0.42 ms a run in the steady state, each 0.88 ms online; a run at least 0.15 ms (0.15 ms compute, 0.01 ms wire, 0.07 ms latency)
    ");
    let (deep, flat) = (site.json("explain m.plan --json"), Site::compiled());
    let flat = flat.json("explain m.plan --json");
    assert_eq!((&deep["depth"], &flat["depth"]), (&3.into(), &1.into()));
    let peak = |plan: &Value| plan["roles"]["P0"]["peak_bytes"].as_u64().unwrap();
    assert!(peak(&deep) > peak(&flat), "each run in flight takes memory");
    let ran = site.json("run m.plan -i @x.npy --compare m.onnx --runs 8 --json");
    assert!(ran["max_abs_err"].as_f64().is_some_and(|e| e < 0.05), "{}", ran["max_abs_err"]);
    for figure in ["s_per_run", "runs_per_s", "predicted_s_per_run", "lower_bound_s_per_run"] {
        assert!(ran[figure].as_f64().is_some_and(|s| s > 0.0), "{figure}");
    }
    assert_snapshot!(site.refusal("run m.plan --depth 3"), @"1: error: `m.plan` is compiled already, so --depth has no effect; remove it, or give an ONNX file");
    assert_snapshot!(site.refusal("compile m.onnx --depth 17"), @"
    2: error: invalid value '17' for '--depth <D>': 17 is not in 1..=16

    For more information, try '--help'.
    ");
}

#[test]
fn bench_measures_throughput() {
    let site = Site::new();
    let arguments = "bench m.onnx --calibrate x.npy -i @x.npy --runs 6 --depth 2";
    let said = site.json(&format!("{arguments} --json"));
    assert_eq!(said["depth"], 2);
    let [s_per_run, runs_per_s] = ["s_per_run", "runs_per_s"].map(|f| said[f].as_f64().unwrap());
    assert!((s_per_run * runs_per_s - 1.0).abs() < 1e-9, "{said}");
    let text = site.stdout(arguments);
    let line = text.lines().find(|line| line.starts_with("throughput")).unwrap();
    assert_snapshot!(blur(line), @"throughput: # s a run, # runs a second, with 2 in flight (predicted: # s, and at least # s)");
    // One run shows no throughput, and is not one that begins during the setup.
    let one = site.json("run m.onnx --calibrate x.npy -i @x.npy --json");
    assert!(one["s_per_run"].is_null(), "{one}");
    let one = site.json("bench m.onnx --calibrate x.npy -i @x.npy --runs 1 --depth 4 --json");
    assert!(one["s_per_run"].as_f64().unwrap() > 0.0, "{one}");
    assert_eq!(one["runs"], 4, "a whole group of those in flight counts");
}
