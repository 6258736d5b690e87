//! Three compute parties instead of two: any two of them may pool what they see and still learn
//! nothing. The model belongs to somebody who is none of them.
//!
//!     cargo run --release --example three_parties
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use mpcc_compiler::compile::{CompileOptions, compile};
use mpcc_ir::plan::{Phase, Role, WeightsMode};
use mpcc_models::small;
use mpcc_runtime::sim::{SimOptions, SimOutcome, run};

fn main() -> anyhow::Result<()> {
    for parties in [2, 3] {
        let outcome = predict(parties)?;
        println!("{parties} parties: {:?}", outcome.outputs[0].values);
        let at_parties = |role: &Role| matches!(role, Role::Party(_));
        for (role, counts) in outcome.counts.iter().filter(|(role, _)| at_parties(role)) {
            println!("  {role} sent {} bytes online", counts.sent_bytes(Phase::Online));
        }
    }
    Ok(())
}

fn predict(parties: u8) -> anyhow::Result<SimOutcome> {
    let model = small::small_resnet(1);
    let weights = WeightsMode::Owner;
    let options = CompileOptions { parties, weights, ..CompileOptions::default() };
    let compiled = compile(&model.onnx, &options, &mut |_| ())?;
    Ok(run(&compiled.plan, &compiled.weights, &[model.sample(7)], SimOptions::default())?)
}

#[test]
fn a_third_party_changes_the_cost_and_not_the_scores() {
    let [two, three] = [2, 3].map(|parties| predict(parties).unwrap());
    for (a, b) in two.outputs[0].values.iter().zip(&three.outputs[0].values) {
        assert!((a - b).abs() < 0.02, "{a} {b}");
    }
    // Every opening goes to two others instead of one.
    let sent = |outcome: &SimOutcome| outcome.counts[&Role::Party(1)].sent_bytes(Phase::Online);
    assert!(sent(&three) > 3 * sent(&two) / 2);
    assert_eq!(two.rounds, three.rounds);
}
