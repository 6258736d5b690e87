//! `mpcc-party` as people run it: processes, configuration files, exit codes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{product_data, product_plan};
use mpcc_ir::codec;
use mpcc_ir::plan::{Phase, Role, Word};
use mpcc_runtime::trace::Trace;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const N: usize = 100;

/// An address for a process to listen at. Its port is below those that the system gives to whoever connects or asks for
/// any, so that it is still free when the process starts.
fn free_address() -> String {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let at = std::process::id() * 100 + GIVEN.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", 10_000 + at % 20_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

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
        let addresses = [(); 3].map(|()| free_address());
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

    /// Exit code and standard error of a command that prints nothing, with this directory cut out.
    fn refusal(&self, arguments: &[&str]) -> String {
        self.said(&self.run(arguments))
    }

    /// The same of a process that has ended.
    fn said(&self, output: &Output) -> String {
        assert_eq!(output.stdout, b"");
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        let text = text.replace(&format!("{}/", self.dir.path().display()), "");
        format!("{}: {}", output.status.code().unwrap(), text.trim_end())
    }

    /// The last line that a serving process says before it ends.
    fn last_words(&self, server: Child) -> String {
        let said = self.said(&server.wait_with_output().unwrap());
        let code = said.split(':').next().unwrap();
        format!("{code}: {}", said.lines().last().unwrap().trim_start_matches(&format!("{code}: ")))
    }

    /// Replaces text in a role's configuration.
    fn edit(&self, role: &str, from: &str, to: &str) {
        let path = self.path(&format!("{role}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Makes a role give up after some seconds where others are missing.
    fn give_up_after(&self, role: &str, seconds: u8) {
        self.edit(role, "plan = ", &format!("connect_s = {seconds}\nplan = "));
    }

    /// The address in a role's configuration.
    fn address(&self, role: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{role}.toml"))).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("listen = '")).unwrap();
        line.trim_end_matches('\'').to_owned()
    }
}

fn end(mut server: Child) {
    server.kill().unwrap();
    server.wait().unwrap();
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
    let more = |role| {
        let trace: &[&str] = if role == "P1" { &["--trace", "P1.json"] } else { &[] };
        [&["--json", "--runs", "2"], trace].concat()
    };
    let servers: Vec<Child> =
        ["P0", "P1", "dealer", "owner"].map(|role| site.start(role, &more(role))).into();
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
        "--trace",
        "client.json",
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
    let (plan, digest) = codec::read_file(&site.path("a.plan")).unwrap();
    let trace = |name| Trace::read(&site.path(name), &plan, digest).unwrap();
    let (of_p1, of_client) = (trace("P1.json"), trace("client.json"));
    assert_eq!((of_p1.role, of_client.role), (Role::Party(1), Role::Client));
    assert_eq!((of_p1.runs(), of_client.runs()), (vec![1, 2], vec![1, 2]));
    let last = of_p1.phases.iter().find(|phase| (phase.run, phase.phase) == (2, Phase::Online));
    assert_eq!(last.unwrap().steps.len(), plan.role(Role::Party(1)).unwrap().online.len());
}

#[test]
fn a_trace_that_cannot_be_is_refused_before_the_run() {
    let site = Site::new();
    let refusal = |arguments: &str| site.refusal(&arguments.split_whitespace().collect::<Vec<_>>());
    insta::assert_snapshot!(refusal("infer --config client.toml --trace none/t.json"), @"1: error: cannot write `none/t.json`; check the directory and the free space: No such file or directory (os error 2)");
    insta::assert_snapshot!(refusal("serve --config P0.toml --runs 1 --trace none/t.json"), @"1: error: cannot write `none/t.json`; check the directory and the free space: No such file or directory (os error 2)");
    insta::assert_snapshot!(refusal("serve --config owner.toml --runs 1 --trace t.json"), @"1: error: --trace records steps, and the owner has none; ask the other roles");
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
    let more = |role| -> &[&str] { if role == "P0" { &["--trace", "P0.json"] } else { &[] } };
    let servers: Vec<Child> =
        ["P0", "P1", "dealer", "owner"].map(|role| site.start(role, more(role))).into();
    let done = site.run(&["infer", "--config", "client.toml", "-i", "@x.npy"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let p0 = servers[0].id().to_string();
    assert!(Command::new("kill").args(["-TERM", &p0]).status().unwrap().success());
    for server in servers {
        let output = server.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (plan, digest) = codec::read_file(&site.path("a.plan")).unwrap();
    let trace = Trace::read(&site.path("P0.json"), &plan, digest).unwrap();
    assert!(trace.phases.iter().any(|phase| (phase.run, phase.phase) == (1, Phase::Online)));
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
    insta::assert_snapshot!(infer("x=@none.npy"), @"1: error: cannot read `none.npy`; check the path: No such file or directory (os error 2)");
    insta::assert_snapshot!(site.refusal(&["serve", "--config", "client.toml"]), @"1: error: the client does not serve; use `mpcc-party infer`");
    insta::assert_snapshot!(site.refusal(&["infer", "--config", "P0.toml"]), @"1: error: `role` is P0, not client");
    insta::assert_snapshot!(site.refusal(&["serve", "--config", "none.toml"]), @"1: error: cannot read the configuration `none.toml`; check the path: No such file or directory (os error 2)");
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

#[test]
fn configurations_that_lack_something() {
    let site = Site::new();
    let refusal = |text: &str| {
        std::fs::write(site.path("bad.toml"), text).unwrap();
        site.refusal(&["serve", "--config", "bad.toml"])
    };
    insta::assert_snapshot!(refusal("role = 'P0'"), @"1: error: `bad.toml`: line 1: missing field `plan`");
    insta::assert_snapshot!(refusal("plan = 'a.plan'"), @"1: error: `bad.toml`: line 1: missing field `role`");
    insta::assert_snapshot!(refusal("role = 'P0'\nplan = 'a.plan'"), @"1: error: P0 needs an address to be called at; set `listen`");
    insta::assert_snapshot!(refusal("role = 'P1'\nplan = 'a.plan'\nlisten = '127.0.0.1:0'"), @"1: error: P1 needs the address of P0; set `peers.P0`");
    insta::assert_snapshot!(refusal("role = 'owner'\nplan = 'a.plan'"), @"1: error: owner must know the weights of this plan; set `weights` in `bad.toml`");
    insta::assert_snapshot!(refusal("role = 'P1'\nplan = 'a.plan'\nweights = 'a.weights'"), @"1: error: P1 does not know the weights of this plan; remove `weights` from `bad.toml`");
    insta::assert_snapshot!(refusal("role = 'P0'\nplan = 'a.plan'\nport = 7000"), @"1: error: `bad.toml`: line 2: unknown field `port`, expected one of `role`, `plan`, `weights`, `listen`, `state_dir`, `threads`, `store`, `connect_s`, `stall_s`, `peers`");
    insta::assert_snapshot!(refusal("role = 'P9'\nplan = 'a.plan'\nlisten = '127.0.0.1:0'"), @"1: error: the plan has 2 compute parties and no P9; correct `role` in `bad.toml`");
    insta::assert_snapshot!(refusal("role = P0"), @"1: error: `bad.toml`: line 1: string values must be quoted, expected literal string");
    insta::assert_snapshot!(refusal("role = 'P0'\nplan = 'none.plan'"), @"1: error: plan `none.plan`: cannot read the plan; check that the file exists and may be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(refusal("role = 'owner'\nplan = 'a.plan'\nweights = 'a.plan'"), @"1: error: `a.plan` does not begin with `mpccwght`: give the weights file that `mpcc compile` wrote beside the plan");
}

#[test]
fn a_plan_of_another_version_is_refused() {
    let site = Site::new();
    let mut plan = std::fs::read(site.path("a.plan")).unwrap();
    plan[8] = 200;
    std::fs::write(site.path("a.plan"), plan).unwrap();
    insta::assert_snapshot!(site.refusal(&["serve", "--config", "P0.toml"]), @"1: error: plan `a.plan`: plan format 200, but this build reads format 3: compile the model again with this build, or use the build that wrote the plan");
}

#[test]
fn a_port_in_use_is_named() {
    let site = Site::new();
    let address = site.address("P0");
    let _taken = TcpListener::bind(&address).unwrap();
    let said = site.refusal(&["serve", "--config", "P0.toml"]).replace(&address, "ADDRESS");
    insta::assert_snapshot!(said, @"1: error: cannot listen at ADDRESS; stop the process that uses the port, or change `listen`: Address already in use (os error 98)");
}

#[test]
fn another_plan_at_one_party_is_named_with_its_digest() {
    let site = Site::new();
    let mut other = codec::read_file(&site.path("a.plan")).unwrap().0;
    other.name.push_str("-2");
    codec::write_file(&site.path("b.plan"), &other).unwrap();
    site.edit("P1", "a.plan", "b.plan");
    let digest = |name: &str| {
        let digest = codec::read_file(&site.path(name)).unwrap().1;
        digest.iter().take(4).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let (a, b) = (digest("a.plan"), digest("b.plan"));
    let servers = ["P0", "P1"].map(|role| site.start(role, &[]));
    let said = servers.map(|s| site.last_words(s).replace(&a, "AAAA").replace(&b, "BBBB"));
    insta::assert_snapshot!(said.join("\n"), @r"
    1: error: P1 has another plan (digest BBBB) than P0 (AAAA); copy one plan file to all
    1: error: P0 has another plan (digest AAAA) than P1 (BBBB); copy one plan file to all
    ");
}

#[test]
fn another_plan_at_the_client_is_named() {
    let site = Site::new();
    let mut other = codec::read_file(&site.path("a.plan")).unwrap().0;
    other.name.push_str("-2");
    codec::write_file(&site.path("b.plan"), &other).unwrap();
    site.edit("client", "a.plan", "b.plan");
    let servers = ["P0", "P1", "dealer", "owner"].map(|role| site.start(role, &[]));
    let said = site.refusal(&["infer", "--config", "client.toml", "-i", "@x.npy"]);
    assert!(said.starts_with("1: ") && said.contains("has another plan (digest "), "{said}");
    for server in servers {
        end(server);
    }
}

#[test]
fn a_role_at_another_ones_address_is_named() {
    let site = Site::new();
    site.give_up_after("P1", 20);
    let (p0, dealer) = (site.address("P0"), site.address("dealer"));
    site.edit("P1", &p0, &dealer);
    let server = site.start("dealer", &[]);
    let said = site.last_words(site.start("P1", &[]));
    end(server);
    insta::assert_snapshot!(said, @"1: error: the address of P0 belongs to dealer; check `peers` in this configuration");
}

#[test]
fn missing_roles_are_named() {
    let site = Site::new();
    for role in ["P0", "P1", "client"] {
        site.give_up_after(role, 1);
    }
    insta::assert_snapshot!(site.last_words(site.start("P0", &[])), @"1: error: P0 waited 1 s for P1, dealer, owner; start what is missing, or raise `connect_s`");
    let said = site.last_words(site.start("P1", &[]));
    assert!(said.starts_with("1: error: ") && said.contains("P0"), "{said}");
    let said = site.refusal(&["infer", "--config", "client.toml"]);
    assert!(
        said.contains("error: cannot reach ") && said.contains("; start it, or correct `peers."),
        "{said}"
    );
}

#[test]
fn another_protocol_version_is_named() {
    use mpcc_runtime::net::frame::{Frame, Kind};
    use mpcc_runtime::net::handshake::{Hello, Mode, VERSION};
    use std::io::{BufRead as _, BufReader, Write as _};
    let site = Site::new();
    let mut server = site.start("P0", &[]);
    let hello = Hello {
        version: VERSION + 1,
        plan: codec::read_file(&site.path("a.plan")).unwrap().1,
        from: Role::Party(1),
        to: Some(Role::Party(0)),
        mode: Mode::Live,
        next_run: 1,
    };
    let frame = Frame::control(Kind::Hello, 0, hello.encode());
    let address = site.address("P0");
    let mut stream = loop {
        match std::net::TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(_) => assert!(server.try_wait().unwrap().is_none(), "P0 does not listen"),
        }
    };
    stream.write_all(&frame.header.bytes()).unwrap();
    stream.write_all(&frame.payload).unwrap();
    let mut line = String::new();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
    end(server);
    insta::assert_snapshot!(line.trim_end(), @"P0: refused a connection: the other end speaks protocol version 4, this build 3; install the same release everywhere");
}

#[test]
fn a_peer_that_hangs_up_is_named() {
    let site = Site::new();
    let mut servers: Vec<Child> =
        ["P0", "P1", "dealer", "owner"].iter().map(|role| site.start(role, &[])).collect();
    let done = site.run(&["infer", "--config", "client.toml", "-i", "@x.npy"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    end(servers.remove(1));
    servers.pop().unwrap().wait().unwrap(); // The owner has no part in runs and ends in order.
    for server in servers {
        let said = site.last_words(server);
        assert!(said.starts_with("1: error: ") && said.contains("P1"), "{said}");
    }
}

#[test]
fn where_outputs_go_is_checked_before_the_run() {
    let site = Site::new();
    let infer = |output: &str| site.refusal(&["infer", "--config", "client.toml", "-o", output]);
    insta::assert_snapshot!(infer("none/y.npz"), @"1: error: cannot write `none/y.npz`; check the directory and the free space: No such file or directory (os error 2)");
    insta::assert_snapshot!(infer("y.txt"), @"1: error: `y.txt` cannot take 1 output(s); give a name that ends in .npz or .npy");
    insta::assert_snapshot!(site.refusal(&["infer", "--config", "client.toml", "--runs", "0"]), @r"
    2: error: invalid value '0' for '--runs <N>': 0 is not in 1..=1000000

    For more information, try '--help'.
    ");
    site.give_up_after("client", 1);
    std::fs::write(site.path("y.npz"), b"an earlier result").unwrap();
    assert!(infer("y.npz").starts_with("1: "));
    assert_eq!(std::fs::read(site.path("y.npz")).unwrap(), b"an earlier result");
}

#[test]
fn an_echo_answers_probes_until_it_is_stopped() {
    use mpcc_runtime::net::probe;
    use std::io::{BufRead as _, BufReader};
    let site = Site::new();
    let mut echo = site.command(&["echo", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(echo.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening at ").unwrap();
    let mut stages = Vec::new();
    for _ in 0..2 {
        let measured = probe::measure(address, |stage| stages.push(stage.to_owned())).unwrap();
        assert!(measured.rtt_us > 0.0 && measured.bytes_per_s.iter().all(|rate| *rate > 0.0));
    }
    assert_eq!(stages.len(), 8);
    assert!(
        Command::new("kill").args(["-INT", &echo.id().to_string()]).status().unwrap().success()
    );
    let output = echo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().next().unwrap().ends_with(": measured the link"), "{said}");
}

#[test]
fn an_echo_that_cannot_listen_says_so() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = |address: &str| site.refusal(&["echo", "--listen", address]);
    insta::assert_snapshot!(refusal(&address).replace(&address, "ADDRESS"), @"1: error: cannot listen at ADDRESS; give HOST:PORT of this host with a free port: Address already in use (os error 98)");
    insta::assert_snapshot!(refusal("7009"), @"1: error: cannot listen at 7009; give HOST:PORT of this host with a free port: invalid socket address");
    assert!(site.refusal(&["echo"]).starts_with("2: "));
}
