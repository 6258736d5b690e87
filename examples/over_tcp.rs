//! The roles of a deployment over TCP, here as threads of one process. `mpcc-party serve` and
//! `mpcc-party infer` do the same on hosts of their own.
//!
//!     cargo run --release --example over_tcp
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use mpcc_compiler::compile::{CompileOptions, compile};
use mpcc_ir::codec;
use mpcc_ir::plan::Role;
use mpcc_models::small;
use mpcc_runtime::serve::{InferOptions, InferOutcome, ServeOptions, StopHandle, infer, serve};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    let outcome = predictions(3)?;
    for outputs in &outcome.outputs {
        println!("{:?}", outputs[0].values);
    }
    println!("{:.1} ms from input to output", 1e3 * outcome.report.online_s);
    Ok(())
}

fn predictions(runs: u64) -> anyhow::Result<InferOutcome> {
    let model = small::lenet(1);
    let compiled = compile(&model.onnx, &CompileOptions::default(), &mut |_| ())?;
    let (plan, weights) = (Arc::new(compiled.plan), Arc::new(compiled.weights));
    // All roles compare this before anything else.
    let plan_digest = codec::digest(&codec::encode(&plan));
    let state = tempfile::tempdir()?;
    let patience = Duration::from_secs(30);

    // Each role calls those before it in this order; the client calls everybody.
    let mut peers = BTreeMap::new();
    let mut servers = Vec::new();
    for role in plan.compute_parties().chain([Role::Dealer]) {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let options = ServeOptions {
            role,
            plan: Arc::clone(&plan),
            plan_digest,
            // P0 owns the model; nobody else sees the weights.
            weights: (role == Role::Party(0)).then(|| Arc::clone(&weights)),
            listener: Some(listener),
            peers: peers.clone(),
            state_dir: state.path().join(role.to_string()),
            threads: 1,
            runs: Some(runs),
            stored: false,
            fill: None,
            connect_within: patience,
            stall: Some(patience),
            trace: None,
            log: Arc::new(|_| ()),
            stop: StopHandle::default(),
        };
        servers.push(thread::spawn(move || serve(options)));
        peers.insert(role, address);
    }

    let client = InferOptions {
        plan,
        plan_digest,
        peers,
        state_dir: state.path().join("client"),
        stored: false,
        runs,
        keep: None,
        connect_within: patience,
        stall: Some(patience),
        trace: None,
        log: Arc::new(|_| ()),
    };
    let outcome = infer(&client, &[model.sample(7)])?;
    for server in servers {
        server.join().map_err(|_| anyhow::anyhow!("a role panicked"))??;
    }
    Ok(outcome)
}

#[test]
fn runs_with_fresh_masks_give_the_same_scores() {
    let outcome = predictions(2).unwrap();
    let [first, second] = &outcome.outputs[..] else { panic!("two runs were asked for") };
    assert_eq!(first[0].values.len(), 10);
    for (a, b) in first[0].values.iter().zip(&second[0].values) {
        assert!((a - b).abs() < 0.02, "{a} {b}");
    }
}
