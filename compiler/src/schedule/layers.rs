//! What `explain` shows of each layer of the model.

use super::groups::Traffic;
use mpcc_ir::masked::{MaskedProgram, Op};
use mpcc_ir::plan::{Layer, MessageKind, Phase, Role};
use mpcc_ir::text::OpText as _;
use std::collections::{BTreeMap, BTreeSet};

/// One row per name of the masked program; names that nothing was made from have no operation.
pub(super) fn layers(masked: &MaskedProgram, traffic: &Traffic) -> Vec<Layer> {
    let names = if masked.names.is_empty() { &[String::new()][..] } else { &masked.names };
    let row = |(index, name): (usize, &String)| layer(index as u32, name, masked, traffic);
    names.iter().enumerate().map(row).collect()
}

fn layer(index: u32, name: &str, masked: &MaskedProgram, traffic: &Traffic) -> Layer {
    let nodes = masked.nodes.iter().filter(|n| n.origin == Some(index));
    let computed: Vec<_> = nodes.filter(|n| !matches!(n.op, Op::Weight { .. })).collect();
    let mut words: Vec<&str> = Vec::new();
    for node in &computed {
        let word = node.op.mnemonic();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let result = computed.last().map(|n| &n.ty);
    let messages = || traffic.messages.iter().filter(|m| m.layer == index);
    let opens = || messages().filter(|m| m.kind == MessageKind::Open && m.phase == Phase::Online);
    let rounds: BTreeSet<u32> = opens().map(|m| m.round).collect();
    let mut sent: BTreeMap<(Role, Role), u64> = BTreeMap::new();
    for message in opens() {
        *sent.entry((message.from, message.to)).or_default() += message.bytes;
    }
    let corrections = messages().filter(|m| m.kind == MessageKind::Correction);
    Layer {
        name: name.to_owned(),
        op: words.join(" "),
        shape: result.map(|ty| ty.shape.clone()).unwrap_or_default(),
        format: result.map(|ty| format!("{}q{}", ty.ring, ty.frac)).unwrap_or_default(),
        rounds: rounds.len() as u32,
        online_bytes: sent.values().copied().max().unwrap_or(0),
        correction_bytes: corrections.map(|m| m.bytes).sum(),
    }
}
