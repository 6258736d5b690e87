//! The same bits over TCP as in the simulator.
//!
//! Masks decide how a truncating opening rounds, and every run has fresh ones. Comparisons and lifts do not
//! round, so a maximum or a ReLU of an input has the same bits whatever the masks and the transport.

use mpcc_compiler::compile::{CompileOptions, Compiled, compile};
use mpcc_ir::codec;
use mpcc_ir::plan::Role;
use mpcc_runtime::serve::{InferOptions, ServeOptions, StopHandle, infer, serve};
use mpcc_runtime::sim::{SimOptions, run};
use mpcc_tests::conformance::{Case, cases};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn tcp_and_simulator_give_the_same_bits() {
    let exact = ["test_relu", "test_maxpool_2d_pads", "test_max_example", "test_clip"];
    for (name, depth) in exact.into_iter().zip([1, 2, 4, 3]) {
        let case = cases().unwrap().into_iter().find(|case| case.name == name).unwrap();
        for parties in [2, 3] {
            let samples = vec![case.inputs.clone()];
            let options = CompileOptions { parties, depth, samples, ..CompileOptions::default() };
            let compiled = compile(&case.model, &options, &mut |_| ()).unwrap();
            let over_tcp = over_tcp(&compiled, &case).unwrap();
            assert_eq!(over_tcp.len() as u64, RUNS);
            for (seed, reorder) in [(1, false), (2, true)] {
                let options = SimOptions { seed, reorder, ..SimOptions::default() };
                let outcome =
                    run(&compiled.plan, &compiled.weights, &inputs(&case), options).unwrap();
                let bits: Vec<Vec<i64>> = outcome.outputs.into_iter().map(|o| o.raw).collect();
                assert!(over_tcp.iter().all(|run| *run == bits), "{name}, {parties} parties");
            }
        }
    }
}

fn inputs(case: &Case) -> Vec<Vec<f32>> {
    case.inputs.iter().map(|tensor| tensor.data.clone()).collect()
}

/// Enough for several in flight.
const RUNS: u64 = 6;

/// The revealed ring elements of some runs, with every role on a thread of its own.
fn over_tcp(compiled: &Compiled, case: &Case) -> Result<Vec<Vec<Vec<i64>>>, Box<dyn Error>> {
    let plan = Arc::new(compiled.plan.clone());
    let plan_digest = codec::digest(&codec::encode(&plan));
    let state = tempfile::tempdir()?;
    let patience = Duration::from_secs(60);
    let mut peers = BTreeMap::new();
    let mut servers = Vec::new();
    for role in plan.compute_parties().chain([Role::Dealer]) {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let options = ServeOptions {
            role,
            plan: Arc::clone(&plan),
            plan_digest,
            weights: None,
            listener: Some(listener),
            peers: peers.clone(),
            state_dir: state.path().join(role.to_string()),
            threads: 2,
            runs: Some(RUNS),
            stored: false,
            fill: None,
            connect_within: patience,
            stall: Some(patience),
            log: Arc::new(|_| ()),
            stop: StopHandle::default(),
            trace: None,
        };
        servers.push(std::thread::spawn(move || serve(options)));
        peers.insert(role, address);
    }
    let client = InferOptions {
        plan,
        plan_digest,
        peers,
        state_dir: state.path().join("client"),
        stored: false,
        runs: RUNS,
        keep: None,
        connect_within: patience,
        stall: Some(patience),
        log: Arc::new(|_| ()),
        trace: None,
    };
    let outcome = infer(&client, &inputs(case))?;
    for server in servers {
        server.join().map_err(|_| "a role panicked")??;
    }
    let bits = |outputs: Vec<mpcc_runtime::client::Output>| outputs.into_iter().map(|o| o.raw);
    Ok(outcome.outputs.into_iter().map(|run| bits(run).collect()).collect())
}
