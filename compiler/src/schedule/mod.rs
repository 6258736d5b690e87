//! Views program to plan: which role computes what, in which steps, chunks, messages and buffers.
//!
//! 1. `groups` puts openings and dealt values that travel together into one message per chunk.
//! 2. `project` keeps for each role what that role computes.
//! 3. `fuse` decides which values need a buffer and joins element-wise operations into tile programs.
//! 4. `emit` writes the steps of each phase; `bulk` those of linear operations and data movement.
//! 5. `allocate` places the buffers in arenas; `depend` orders the steps that share bytes.
//! 6. `predict` plays the plan on simulated hosts and links (`simulate` a phase, `stream` many runs, both by the
//!    `engine`), for priorities and predicted times; `search` does this for many ways to split, and keeps the best, for
//!    `reasons` that `explain` shows.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a scheduler asks for a few operations and treats all others alike"
)]

mod allocate;
mod barriers;
mod bulk;
mod cores;
mod depend;
mod emit;
mod engine;
mod fuse;
mod groups;
mod layers;
mod network;
mod predict;
mod project;
mod reasons;
mod registers;
mod rounds;
mod search;
mod simulate;
mod splits;
mod stream;
mod tile;

#[cfg(test)]
mod simulate_tests;
#[cfg(test)]
mod tests;

pub use barriers::Overlap;
pub use network::Network;
pub use simulate::Setting;

use fuse::Fused;
use groups::{Payload, Traffic};
use mpcc_ir::masked::MaskedProgram;
use mpcc_ir::plan::{InputPort, OutputPort, ParamInfo, Plan, Role, RolePlan, WeightsMode, Word};
use mpcc_ir::views::ViewsProgram;
use project::Projected;
use splits::Splits;
use std::collections::BTreeSet;

/// Everything that a plan is made of besides the program.
///
/// Message ids in the ports and parameters are filled in by `schedule`.
#[derive(Clone, Debug)]
pub struct Model {
    /// Name for people.
    pub name: String,
    /// BLAKE3 of the ONNX file, keyed with the salt of the weights file.
    pub model_digest: [u8; 32],
    /// BLAKE3 of the weights file, salt included.
    pub weights_digest: [u8; 32],
    /// Inputs, in order.
    pub inputs: Vec<InputPort>,
    /// Outputs, in order.
    pub outputs: Vec<OutputPort>,
    /// Parameters, in order.
    pub params: Vec<ParamInfo>,
}

/// How to schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// Ring words.
    pub word: Word,
    /// Compute parties, at least 2.
    pub parties: u8,
    /// Who knows the weights.
    pub weights: WeightsMode,
    /// What may happen at once.
    pub overlap: Overlap,
    /// Runs in flight.
    pub depth: u8,
    /// Chunks into which every element-wise group is split, and parts of every product, though small ones stay whole, and all
    /// do in a sequential schedule; `None` tries several, and keeps what is predicted to take least.
    pub chunks: Option<usize>,
}

/// Elements below which a group is not split further, so that a message is worth its header.
const MIN_CHUNK: usize = 1 << 13;

/// Elements above which a group is split further, so that a large batch has no messages that caches cannot
/// hold.
const MAX_CHUNK: usize = 1 << 16;

/// First element and number of elements of each chunk of a group of `elements`; chunks begin at multiples of `unit`.
fn chunk_ranges(elements: usize, chunks: usize, unit: usize) -> Vec<(usize, usize)> {
    let size = chunk_size(elements, chunks, unit);
    (0..elements).step_by(size).map(|first| (first, size.min(elements - first))).collect()
}

/// Elements of each chunk but perhaps the last, at most as many as there are.
fn chunk_size(elements: usize, chunks: usize, unit: usize) -> usize {
    let wanted = elements.div_ceil(chunks.max(1)).clamp(MIN_CHUNK, MAX_CHUNK);
    wanted.next_multiple_of(unit).min(elements.max(1))
}

/// Makes the plan of a views program.
///
/// `masked` is the program that `views` was expanded from; it names the layers.
pub fn schedule(
    masked: &MaskedProgram,
    views: &ViewsProgram,
    model: Model,
    options: ScheduleOptions,
    setting: &Setting,
) -> Plan {
    let base = Base::new(masked, views, model, options);
    let (splits, choices) = search::search(&base, setting);
    let mut plan = base.emit(&splits);
    predict::predict(&mut plan, setting, options.overlap);
    if let Some(forecast) = &mut plan.forecast {
        forecast.choices = choices;
    }
    plan
}

/// What roles need of others: payload, sender and receiver.
fn wanted(projected: &[(Role, Projected)]) -> BTreeSet<(Payload, Role, Role)> {
    let of = |(to, p): &(Role, Projected)| {
        p.received().map(|(payload, from)| (payload, from, *to)).collect::<Vec<_>>()
    };
    projected.iter().flat_map(of).collect()
}

/// What is the same however finely a program is cut.
struct Base<'a> {
    masked: &'a MaskedProgram,
    views: &'a ViewsProgram,
    model: Model,
    options: ScheduleOptions,
    traffic: Traffic,
    wanted: BTreeSet<(Payload, Role, Role)>,
    roles: Vec<Role>,
    fused: Vec<Fused>,
    classes: usize,
}

impl<'a> Base<'a> {
    fn new(
        masked: &'a MaskedProgram,
        views: &'a ViewsProgram,
        model: Model,
        options: ScheduleOptions,
    ) -> Self {
        let depths = groups::depths(views);
        let mut traffic = Traffic::new(views, &depths, &model, options);
        let roles: Vec<Role> =
            (0..options.parties).map(Role::Party).chain([Role::Dealer]).collect();
        let project = |traffic: &Traffic| -> Vec<(Role, Projected)> {
            let project = |role: &Role| (*role, project::project(views, traffic, *role, options));
            roles.iter().map(project).collect()
        };
        // What can be opened ahead, and what P0 keeps, is known once roles have been told what they compute, and changes
        // when and what they do.
        let first = project(&traffic);
        let ahead =
            first.iter().flat_map(|(role, p)| p.ahead.iter().map(|payload| (*payload, *role)));
        traffic.ahead = ahead.collect();
        traffic.keep(views, &wanted(&first));
        let projected = project(&traffic);
        let wanted = wanted(&projected);
        let mut fused: Vec<Fused> = projected
            .into_iter()
            .map(|(role, projected)| fuse::fuse(projected, &traffic, role, &depths, options.word))
            .collect();
        let classes = splits::classify(views, &mut traffic, &mut fused);
        Self { masked, views, model, options, traffic, wanted, roles, fused, classes }
    }

    /// The plan that is cut like this, without predictions.
    fn emit(&self, splits: &Splits) -> Plan {
        let (mut plan, traffic) = self.draft(splits);
        let model = self.model.clone();
        (plan.name, plan.model_digest, plan.weights_digest) =
            (model.name, model.model_digest, model.weights_digest);
        (plan.inputs, plan.outputs, plan.params) = (model.inputs, model.outputs, model.params);
        traffic.fill_ports(&mut plan.inputs, &mut plan.outputs, &mut plan.params);
        plan
    }

    /// The same without the model's ports and parameters, which public weights make large: enough to be played,
    /// and the traffic that fills them in.
    fn draft(&self, splits: &Splits) -> (Plan, Traffic) {
        let options = self.options;
        let mut traffic = self.traffic.clone();
        traffic.splits = splits.clone();
        traffic.number(self.masked, &self.wanted);
        let mut programs = tile::Programs::default();
        let emit = |(role, fused): (&Role, &Fused)| {
            emit::role_plan(fused, &traffic, &mut programs, self.masked, *role, options)
        };
        let roles: Vec<RolePlan> = self.roles.iter().zip(&self.fused).map(emit).collect();
        rounds::count(&mut traffic.messages, &roles);
        let layers = layers::layers(self.masked, &traffic);
        let messages = std::mem::take(&mut traffic.messages);
        let plan = Plan {
            depth: options.depth,
            programs: programs.into_list(),
            messages,
            roles,
            layers,
            ..Plan::empty(options.word, options.parties, options.weights)
        };
        (plan, traffic)
    }
}
