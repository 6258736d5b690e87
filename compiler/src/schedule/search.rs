//! How finely to cut: plays the plan under many choices, and keeps the one predicted to take least.
//!
//! What a plan takes is weighted: its online time, with a small part of its offline time. First everything is cut
//! alike, then class by class and product by product, those with most to send or to compute first. A choice stays
//! where it saves time by itself; the order and the number of plans that are tried depend on the program alone, so
//! the same model gives the same plan.

use super::project::Work;
use super::splits::Splits;
use super::{Base, Overlap, Setting, predict};
use mpcc_ir::Id;
use mpcc_ir::plan::{Phase, Plan};
use mpcc_ir::views::Op;
use std::collections::BTreeMap;

/// Numbers of chunks or parts that are tried.
const COUNTS: [usize; 5] = [1, 2, 4, 8, 16];

/// Elements of a chunk that are tried.
const SIZES: [usize; 4] = [1 << 14, 1 << 15, 1 << 16, 1 << 17];

/// Parts of products at most, while chunks are chosen.
const MIDDLING: usize = 4;

/// Layers that may be under way at once, as they are tried.
const AHEAD: [usize; 5] = [1, 2, 3, 4, 8];

/// Steps that all plans that are tried may have together: some seconds of work.
const BUDGET: usize = 600_000;

/// What an offline microsecond counts beside an online one.
const OFFLINE: f64 = 0.05;

/// A saving below this part of the whole is within what predictions are wrong by.
const WORTH: f64 = 2e-4;

/// What takes less than this part of the whole, on the wire or to compute, is not looked at.
const SMALL: f64 = 1e-3;

/// The splits, and why, in words, for each layer.
pub(super) fn search(base: &Base<'_>, setting: &Setting) -> (Splits, Vec<String>) {
    let layers = base.masked.names.len().max(1);
    let none = vec![String::new(); layers];
    match (base.options.overlap, base.options.chunks) {
        (Overlap::Sequential, _) => (Splits::even(base.classes, 1), none),
        (Overlap::Layer | Overlap::Pipelined, Some(chunks)) => {
            (Splits::even(base.classes, chunks), none)
        }
        (Overlap::Layer | Overlap::Pipelined, None) => {
            let mut search = Search::new(base, setting);
            search.alike();
            if base.options.overlap == Overlap::Pipelined {
                search.one_by_one();
            }
            let choices = search.words(layers);
            (search.splits, choices)
        }
    }
}

/// Something that can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    Class(usize),
    Product(Id),
}

/// What a plan is predicted to take.
#[derive(Clone, Copy)]
struct Cost {
    /// Microseconds of the online phase.
    online_us: f64,
    /// The same with [`OFFLINE`] times those of the offline phase: what plans are compared by.
    weighted_us: f64,
}

impl Cost {
    /// Any plan takes less.
    const MOST: Self = Self { online_us: f64::INFINITY, weighted_us: f64::INFINITY };

    fn of(plan: &Plan, setting: &Setting) -> Self {
        let [offline_us, online_us] = predict::times_us(plan, setting);
        Self { online_us, weighted_us: online_us + OFFLINE * offline_us }
    }
}

struct Search<'a> {
    base: &'a Base<'a>,
    setting: &'a Setting,
    splits: Splits,
    /// Of the best so far.
    cost: Cost,
    left: usize,
    /// The number chosen, and microseconds of the online phase that the best other number would add.
    chosen: BTreeMap<Choice, (usize, f64)>,
}

impl<'a> Search<'a> {
    fn new(base: &'a Base<'a>, setting: &'a Setting) -> Self {
        let splits = Splits::even(base.classes, 1);
        let (cost, chosen) = (Cost::MOST, BTreeMap::new());
        Self { base, setting, splits, cost, left: BUDGET, chosen }
    }

    /// Plays a plan that is cut like this, and keeps it if it takes so much less that it shows. What it takes.
    fn try_out(&mut self, splits: Splits) -> Cost {
        let (plan, _) = self.base.draft(&splits);
        let steps: usize = plan.roles.iter().map(|r| r.offline.len() + r.online.len()).sum();
        self.left = self.left.saturating_sub(steps);
        let cost = Cost::of(&plan, self.setting);
        if cost.weighted_us < self.cost.weighted_us * (1.0 - WORTH) {
            (self.cost, self.splits) = (cost, splits);
        }
        cost
    }

    /// The same number of chunks everywhere or chunks of the same size, then so many parts of products, then as
    /// many layers at once, then less at once.
    fn alike(&mut self) {
        let even = COUNTS.map(|count| Splits::even(self.base.classes, count));
        let sized = SIZES.map(|size| self.sized(size));
        for splits in even.into_iter().chain(sized) {
            self.try_out(splits.with_most_parts(Some(MIDDLING)));
        }
        for most_parts in [None, Some(1), Some(2), Some(8), Some(16)] {
            self.try_out(self.splits.clone().with_most_parts(most_parts));
        }
        if self.base.options.overlap != Overlap::Pipelined {
            return;
        }
        for ahead in AHEAD {
            let mut splits = self.splits.clone();
            splits.ahead = Some(ahead);
            self.try_out(splits);
        }
        // Small programs can be in each other's way: then the pipeline is to be no slower than none.
        self.try_out(self.splits.clone().with_overlap(Overlap::Layer));
        let whole = Splits::even(self.base.classes, 1);
        self.try_out(whole.with_overlap(Overlap::Sequential));
    }

    /// Chunks of about so many elements.
    fn sized(&self, size: usize) -> Splits {
        let mut splits = Splits::even(self.base.classes, 1);
        for group in self.base.traffic.groups.values().filter(|group| group.is_split()) {
            splits.set_chunks(group.class, group.elements.div_ceil(size));
        }
        splits
    }

    fn one_by_one(&mut self) {
        for choice in self.choices() {
            let start = self.splits.clone();
            let now = self.count(choice);
            let mut tried = vec![(now, self.cost)];
            // Whole, for comparison, and what is next to the present number.
            let near = |count: &usize| *count == 1 || *count == now / 2 || *count == now * 2;
            for count in COUNTS.into_iter().filter(|count| *count != now && near(count)) {
                if self.left == 0 {
                    return;
                }
                let mut splits = start.clone();
                set(&mut splits, choice, count);
                tried.push((count, self.try_out(splits)));
            }
            self.explain(choice, &tried);
        }
    }

    /// Records what the choice saves against leaving it whole, or what cutting it would add.
    fn explain(&mut self, choice: Choice, tried: &[(usize, Cost)]) {
        let count = self.count(choice);
        let others = tried.iter().filter(|(n, _)| (*n > 1) != (count > 1)).map(|(_, cost)| cost);
        let other = others.min_by(|a, b| a.weighted_us.total_cmp(&b.weighted_us));
        let added_us = other.unwrap_or(&self.cost).online_us - self.cost.online_us;
        self.chosen.insert(choice, (count, added_us));
    }

    fn count(&self, choice: Choice) -> usize {
        match choice {
            Choice::Class(class) => self.splits.chunks(class),
            Choice::Product(view) => {
                let class = self.base.traffic.classes.of(view);
                class.map_or(1, |class| self.splits.parts(view, class))
            }
        }
    }

    /// Everything worth trying, the largest first.
    fn choices(&self) -> Vec<Choice> {
        let mut sizes: BTreeMap<Choice, u64> = BTreeMap::new();
        for group in self.base.traffic.groups.values().filter(|group| group.is_split()) {
            if group.elements > super::MIN_CHUNK {
                *sizes.entry(Choice::Class(group.class)).or_default() +=
                    group.bytes(group.elements) as u64;
            }
        }
        let (plan, _) = self.base.draft(&Splits::even(self.base.classes, 1));
        let costs = crate::cost::StepCosts::new(&self.setting.machine, &plan);
        // Products are weighed by what the link could send in the time that they take.
        for (view, op_us) in self.product_times(&plan, &costs) {
            let bytes = op_us * self.setting.link.bytes_per_us();
            sizes.insert(Choice::Product(view), bytes as u64);
        }
        let worth = self.cost.weighted_us * SMALL * self.setting.link.bytes_per_us();
        let mut choices: Vec<(u64, Choice)> = sizes
            .into_iter()
            .map(|(choice, size)| (size, choice))
            .filter(|(size, _)| *size as f64 > worth)
            .collect();
        choices.sort_by_key(|(size, choice)| (u64::MAX - size, *choice));
        choices.into_iter().map(|(_, choice)| choice).collect()
    }

    /// The products that a compute party computes online, with the masked node they are for.
    fn products(&self) -> BTreeMap<Id, u32> {
        let mut found = BTreeMap::new();
        for fused in &self.base.fused {
            for (value, live) in fused.values.iter().zip(&fused.live) {
                let product = matches!(value.work, Work::Bulk(Op::Conv { .. } | Op::MatMul));
                if *live && product && value.phase == Phase::Online {
                    found.insert(value.view, value.origin);
                }
            }
        }
        found
    }

    /// Microseconds of the online products of each layer, given to each of its products.
    fn product_times(&self, plan: &Plan, costs: &crate::cost::StepCosts<'_>) -> Vec<(Id, f64)> {
        use mpcc_ir::plan::StepOp;
        let mut by_layer: BTreeMap<u32, f64> = BTreeMap::new();
        for step in plan.roles.iter().flat_map(|role| &role.online) {
            if matches!(step.op, StepOp::Conv { .. } | StepOp::MatMul { .. }) {
                *by_layer.entry(step.layer).or_default() += costs.step_us(&step.op);
            }
        }
        let time = |(view, origin): (Id, u32)| {
            let layer = self.base.layer(origin);
            (view, by_layer.get(&layer).copied().unwrap_or(0.0))
        };
        self.products().into_iter().map(time).collect()
    }

    /// For each layer, what was chosen and why.
    fn words(&self, layers: usize) -> Vec<String> {
        let mut words = vec![Vec::new(); layers];
        for (view, origin) in self.products() {
            if let (Some(chosen), Some(words)) = (
                self.chosen.get(&Choice::Product(view)),
                words.get_mut(self.base.layer(origin) as usize),
            ) {
                words.push(said("product", *chosen));
            }
        }
        for group in self.base.traffic.groups.values().filter(|group| group.is_split()) {
            let Some(words) = words.get_mut(self.base.layer(group.origin) as usize) else {
                continue;
            };
            if let Some(chosen) = self.chosen.get(&Choice::Class(group.class)) {
                let said = said("chunks", *chosen);
                if !words.contains(&said) {
                    words.push(said);
                }
            }
        }
        words.into_iter().map(|words| words.join("; ")).collect()
    }
}

impl Base<'_> {
    /// The layer of a node of the masked program.
    fn layer(&self, origin: u32) -> u32 {
        self.masked.nodes.get(origin as usize).and_then(|node| node.origin).unwrap_or(0)
    }
}

fn set(splits: &mut Splits, choice: Choice, count: usize) {
    match choice {
        Choice::Class(class) => splits.set_chunks(class, count),
        Choice::Product(view) => splits.set_parts(view, count),
    }
}

/// A choice, and what it does to the online phase: `added_us` are the microseconds that the other choice would add.
fn said(what: &str, (count, added_us): (usize, f64)) -> String {
    let ms = added_us.abs() / 1e3;
    match (count, added_us >= 0.0) {
        (1, true) => format!("{what} whole: a split would add {ms:.2} ms online"),
        (1, false) => format!("{what} whole: a split would save only {ms:.2} ms online"),
        (n, true) => format!("{what} {n}: saves {ms:.2} ms online"),
        (n, false) => format!("{what} {n}: adds {ms:.2} ms online here"),
    }
}
