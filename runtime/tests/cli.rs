//! `mpcc-party` as people run it: processes, configuration files, exit codes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{product_data, product_plan};
use mpcc_ir::codec;
use mpcc_ir::plan::{Role, Word};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const N: usize = 100;

/// A directory with a plan, weights, and a configuration per role.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        let (x, weights, _) = product_data(Word::W32, N);
        let mut plan = product_plan(2, Word::W32, N as u64);
        plan.weights_digest = weights.write(&site.path("a.weights")).unwrap();
        codec::write_file(&site.path("a.plan"), &plan).unwrap();
        site.write_npy("x.npy", &x);
        let roles = [Role::Party(0), Role::Party(1), Role::Dealer, Role::Owner, Role::Client];
        let ports: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<String> =
            ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
        for (at, role) in roles.iter().enumerate() {
            let mut text = format!("role = '{role}'\nplan = 'a.plan'\n");
            if let Some(address) = addresses.get(at) {
                let _ = writeln!(text, "listen = '{address}'");
            }
            if *role == Role::Owner {
                text.push_str("weights = 'a.weights'\n");
            }
            text.push_str("[peers]\n");
            for (peer, address) in roles.iter().zip(&addresses).take(at) {
                let _ = writeln!(text, "{peer} = '{address}'");
            }
            std::fs::write(site.path(&format!("{role}.toml")), text).unwrap();
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_npy(&self, name: &str, values: &[f32]) {
        npyz::to_file_1d(self.path(name), values.iter().copied()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mpcc-party"));
        command.args(arguments).current_dir(self.dir.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start(&self, role: &str, more: &[&str]) -> Child {
        let config = format!("{role}.toml");
        let arguments = [&["serve", "--config", &config], more].concat();
        self.command(&arguments).spawn().unwrap()
    }

    /// Exit code and standard error, with this directory cut out.
    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        let text = text.replace(&format!("{}/", self.dir.path().display()), "");
        format!("{}: {}", output.status.code().unwrap(), text.trim_end())
    }
}

fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| {
        panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    })
}

#[test]
fn an_inference_by_five_processes() {
    let site = Site::new();
    let servers: Vec<Child> = ["P0", "P1", "dealer", "owner"]
        .iter()
        .map(|role| site.start(role, &["--json", "--runs", "2"]))
        .collect();
    let arguments = [
        "infer",
        "--config",
        "client.toml",
        "-i",
        "x=@x.npy",
        "-o",
        "y.npz",
        "--runs",
        "2",
        "--json",
    ];
    let client = json(&site.run(&arguments));
    let (_, _, y) = product_data(Word::W32, N);
    let y: Vec<f64> = y.iter().map(|&y| y as f64 / 16.0).collect();
    let revealed: Vec<f64> = client["outputs"][0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    assert_eq!(revealed, y);
    assert_eq!(client["report"]["runs"].as_array().unwrap().len(), 2);
    assert_eq!(client["report"]["rounds"], 1);
    assert_eq!(read_back(&site.path("y.npz"), "y"), y);
    for server in servers {
        let output = server.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let report = json(&output);
        assert!(report["peak_rss_bytes"].as_u64().unwrap() > 0);
        assert!(report["sent_bytes"]["setup"].is_u64());
    }
}

fn read_back(path: &Path, name: &str) -> Vec<f64> {
    let mut archive = npyz::npz::NpzArchive::open(path).unwrap();
    let array = archive.by_name(name).unwrap().unwrap();
    assert_eq!(array.shape(), [N as u64]);
    array.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

#[test]
fn a_signal_ends_all_roles_in_order() {
    let site = Site::new();
    let servers: Vec<Child> =
        ["P0", "P1", "dealer", "owner"].iter().map(|role| site.start(role, &[])).collect();
    let done = site.run(&["infer", "--config", "client.toml", "-i", "@x.npy"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let p0 = servers[0].id().to_string();
    assert!(Command::new("kill").args(["-TERM", &p0]).status().unwrap().success());
    for server in servers {
        let output = server.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn common_mistakes_are_explained() {
    let site = Site::new();
    let infer = |input: &str| site.refusal(&["infer", "--config", "client.toml", "-i", input]);
    site.write_npy("short.npy", &[1.0, 2.0]);
    let mut bad = vec![0.5_f32; N];
    bad[5] = f32::NAN;
    site.write_npy("bad.npy", &bad);
    insta::assert_snapshot!(infer("x=x.npy"), @"1: error: `x=x.npy` is not an input; write name=@file.npy, or @file.npz with one array per input");
    insta::assert_snapshot!(infer("image=@x.npy"), @"1: error: the model has no input `image`; it has `x`");
    insta::assert_snapshot!(infer("x=@short.npy"), @"1: error: `short.npy` has shape [2], but input `x` wants [100]; give data of that shape");
    insta::assert_snapshot!(infer("x=@bad.npy"), @"1: error: input `x`, element 5: not a finite number; clean the data first");
    insta::assert_snapshot!(infer("x=@none.npy"), @"1: error: cannot read `none.npy`: No such file or directory (os error 2)");
    insta::assert_snapshot!(site.refusal(&["serve", "--config", "client.toml"]), @"1: error: the client does not serve; use `mpcc-party infer`");
    insta::assert_snapshot!(site.refusal(&["infer", "--config", "P0.toml"]), @"1: error: `role` is P0, not client");
    insta::assert_snapshot!(site.refusal(&["serve", "--config", "none.toml"]), @"1: error: cannot read the configuration `none.toml`: No such file or directory (os error 2)");
    assert!(site.refusal(&["serve"]).starts_with("2: "));
}

#[test]
fn damaged_files_are_refused() {
    let site = Site::new();
    let plan = std::fs::read(site.path("a.plan")).unwrap();
    let serve = || site.refusal(&["serve", "--config", "owner.toml"]);
    std::fs::write(site.path("a.plan"), &plan[..plan.len() / 2]).unwrap();
    insta::assert_snapshot!(serve(), @"1: error: plan `a.plan`: the plan is damaged: its digest does not match its contents; copy the file again");
    std::fs::write(site.path("a.plan"), &plan).unwrap();
    let mut weights = std::fs::read(site.path("a.weights")).unwrap();
    weights[40] ^= 1;
    std::fs::write(site.path("a.weights"), weights).unwrap();
    insta::assert_snapshot!(serve(), @"1: error: `a.weights` is damaged: its digest does not match its contents; copy the file again");
}
