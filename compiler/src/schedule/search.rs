//! How finely to cut: plays the plan under many choices, and keeps the one predicted to take least.
//!
//! What a plan takes is weighted: its online time, with a small part of its offline time. First everything is cut
//! alike, then class by class and product by product, those with most to send or to compute first. A choice stays
//! where it saves time by itself; the order and the number of plans that are tried depend on the program alone, so
//! the same model gives the same plan.

use super::project::Work;
use super::reasons::{Choice, Reason, words};
use super::splits::Splits;
use super::{Base, Overlap, Setting, chunk_size, predict};
use mpcc_ir::Id;
use mpcc_ir::plan::{Phase, Plan};
use mpcc_ir::views::Op;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers of chunks that are tried for everything, with few parts of products.
const COUNTS: [usize; 5] = [1, 2, 4, 8, 16];

/// Numbers of chunks that are tried for everything, with as many parts of products: what `--chunks` would give.
const UNIFORM: [usize; 7] = [2, 4, 8, 16, 32, 64, 128];

/// Uniform plans are tried up to a number that takes so many times as long as the best.
const TOO_LONG: f64 = 1.2;

/// Elements of a chunk that are tried.
const SIZES: [usize; 4] = [1 << 14, 1 << 15, 1 << 16, 1 << 17];

/// Parts of products at most, while chunks are chosen.
const MIDDLING: usize = 4;

/// Layers that may be under way at once, as they are tried.
const AHEAD: [usize; 5] = [1, 2, 3, 4, 8];

/// Steps that all plans may have together in which one thing after another is cut otherwise: some seconds of work.
const BUDGET: usize = 400_000;

/// What an offline microsecond counts beside an online one.
const OFFLINE: f64 = 0.05;

/// A saving below this part of the whole is within what predictions are wrong by.
const WORTH: f64 = 2e-4;

/// What takes less than this part of the whole, on the wire or to compute, is not looked at.
const SMALL: f64 = 1e-3;

/// The splits, and why, in words, for each layer.
pub(super) fn search(base: &Base<'_>, setting: &Setting) -> (Splits, Vec<String>) {
    let even = |chunks: usize, reason: Reason| {
        let splits = Splits::even(base.classes, chunks);
        let words = words(base, &splits, |_| reason);
        (splits, words)
    };
    match (base.options.overlap, base.options.chunks) {
        (Overlap::Sequential, _) => even(1, Reason::Sequential),
        (Overlap::Layer | Overlap::Pipelined, Some(chunks)) => even(chunks, Reason::Asked),
        (Overlap::Layer | Overlap::Pipelined, None) => {
            let mut search = Search::new(base, setting);
            search.alike();
            if base.options.overlap == Overlap::Pipelined {
                search.one_by_one();
            }
            let words = words(base, &search.splits, |choice| search.reason(choice));
            (search.splits, words)
        }
    }
}

/// Microseconds that plans are compared by: those of the online phase, with [`OFFLINE`] times those of the offline phase.
fn weighted_us(plan: &Plan, setting: &Setting) -> f64 {
    let [offline_us, online_us] = predict::times_us(plan, setting);
    online_us + OFFLINE * offline_us
}

struct Search<'a> {
    base: &'a Base<'a>,
    setting: &'a Setting,
    splits: Splits,
    /// Weighted microseconds of the best so far.
    best_us: f64,
    /// Steps that plans may still have.
    left: usize,
    /// What plans take that were played, by how they are cut.
    played: BTreeMap<Cut, f64>,
    /// Why each choice was made, with how many pieces were asked for then.
    reasons: BTreeMap<Choice, (usize, Reason)>,
}

/// Everything that a plan depends on: chunks and parts of each view node that has a class, and what may happen at once.
type Cut = (Vec<[usize; 2]>, Option<usize>, &'static str);

impl<'a> Search<'a> {
    fn new(base: &'a Base<'a>, setting: &'a Setting) -> Self {
        let splits = Splits::even(base.classes, 1);
        let (played, reasons) = (BTreeMap::new(), BTreeMap::new());
        Self { base, setting, splits, best_us: f64::INFINITY, left: BUDGET, played, reasons }
    }

    /// Plays a plan that is cut like this, and keeps it if it takes so much less that it shows. What it takes.
    fn try_out(&mut self, splits: Splits) -> f64 {
        let cut = self.cut(&splits);
        let us = self.played.get(&cut).copied().unwrap_or_else(|| {
            let (plan, _) = self.base.draft(&splits);
            let steps: usize = plan.roles.iter().map(|r| r.offline.len() + r.online.len()).sum();
            self.left = self.left.saturating_sub(steps);
            weighted_us(&plan, self.setting)
        });
        self.played.insert(cut, us);
        if us < self.best_us * (1.0 - WORTH) {
            (self.best_us, self.splits) = (us, splits);
        }
        us
    }

    fn cut(&self, splits: &Splits) -> Cut {
        let (views, classes) = (self.base.views, &self.base.traffic.classes);
        let pieces = |view: Id| {
            let (class, elements) = (classes.of(view)?, views[view].ty.shape.elements());
            let pieces = [splits.chunks(class), splits.parts(view, class)];
            Some(pieces.map(|pieces| chunk_size(elements, pieces, classes.unit(class))))
        };
        let overlap = splits.overlap(self.base.options.overlap);
        (views.ids().filter_map(pieces).collect(), splits.ahead, overlap.name())
    }

    /// The same number of chunks everywhere or chunks of the same size, then so many parts of products, then as
    /// many parts as chunks, then as many layers at once, then less at once.
    fn alike(&mut self) {
        let even = COUNTS.map(|count| Splits::even(self.base.classes, count));
        let sized = SIZES.map(|size| self.sized(size));
        for splits in even.into_iter().chain(sized) {
            self.try_out(splits.with_most_parts(Some(MIDDLING)));
        }
        for most_parts in [None, Some(1), Some(2), Some(8), Some(16)] {
            self.try_out(self.splits.clone().with_most_parts(most_parts));
        }
        for count in UNIFORM {
            let us = self.try_out(Splits::even(self.base.classes, count));
            if us > self.best_us * TOO_LONG && count > 8 {
                break;
            }
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
        self.left = BUDGET;
        for choice in self.choices() {
            let start = self.splits.clone();
            let now = self.count(choice);
            let (pieces, mut tried) = (self.pieces(choice, now), vec![(now, self.best_us)]);
            // As few as can be, for comparison, and what is next to the present number; not what would be the same.
            let near = BTreeSet::from([1, now / 2, now * 2]);
            for count in near.into_iter().filter(|count| *count > 0) {
                if self.pieces(choice, count) == pieces {
                    continue;
                }
                if self.left == 0 {
                    return;
                }
                let mut splits = start.clone();
                set(&mut splits, choice, count);
                tried.push((count, self.try_out(splits)));
            }
            if tried.len() > 1 {
                self.explain(choice, &tried);
            }
        }
    }

    /// Records what the choice saves against as few pieces as can be, or what more would add.
    fn explain(&mut self, choice: Choice, tried: &[(usize, f64)]) {
        let (fewest, count) = (self.pieces(choice, 1), self.count(choice));
        let are_fewest = |count: usize| self.pieces(choice, count) == fewest;
        let is_whole = are_fewest(count);
        let others = tried.iter().filter(|(other, _)| are_fewest(*other) != is_whole);
        let other_us = others.map(|(_, us)| *us).min_by(f64::total_cmp);
        let saved_us = other_us.map_or(0.0, |us| us - self.best_us);
        let reason = match (saved_us > self.best_us * WORTH, is_whole) {
            (false, _) => Reason::NoGain,
            (true, true) => Reason::MoreAdd(saved_us),
            (true, false) => Reason::Saves(saved_us),
        };
        self.reasons.insert(choice, (count, reason));
    }

    /// Why a choice is what it is. What follows from a later choice has no reason of its own.
    fn reason(&self, choice: Choice) -> Reason {
        let known = self.reasons.get(&choice).filter(|(count, _)| *count == self.count(choice));
        known.map_or(Reason::Alike, |(_, reason)| *reason)
    }

    /// Elements of each piece, of each thing that the choice cuts, if so many pieces are asked for.
    fn pieces(&self, choice: Choice, count: usize) -> BTreeSet<(usize, usize)> {
        let classes = &self.base.traffic.classes;
        let size = |view: Id, class: usize| {
            let elements = self.base.views[view].ty.shape.elements();
            (elements, chunk_size(elements, count, classes.unit(class)))
        };
        match choice {
            Choice::Product(view) => {
                classes.of(view).map(|class| size(view, class)).into_iter().collect()
            }
            Choice::Class(class) => {
                let own = self.base.views.ids().filter(|view| classes.of(*view) == Some(class));
                own.map(|view| size(view, class)).collect()
            }
        }
    }

    /// Pieces that are asked for; there are fewer where those would be too small.
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
        let worth = self.best_us * SMALL * self.setting.link.bytes_per_us();
        let mut choices: Vec<(u64, Choice)> = sizes
            .into_iter()
            .map(|(choice, size)| (size, choice))
            .filter(|(size, _)| *size as f64 > worth)
            .collect();
        choices.sort_by_key(|(size, choice)| (u64::MAX - size, *choice));
        choices.into_iter().map(|(_, choice)| choice).collect()
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
        self.base.products().into_iter().map(time).collect()
    }
}

impl Base<'_> {
    /// The layer of a node of the masked program.
    pub(super) fn layer(&self, origin: u32) -> u32 {
        self.masked.nodes.get(origin as usize).and_then(|node| node.origin).unwrap_or(0)
    }

    /// The products that a compute party computes online, with the masked node they are for.
    pub(super) fn products(&self) -> BTreeMap<Id, u32> {
        let mut found = BTreeMap::new();
        for fused in &self.fused {
            for (value, live) in fused.values.iter().zip(&fused.live) {
                let product = matches!(value.work, Work::Bulk(Op::Conv { .. } | Op::MatMul));
                if *live && product && value.phase == Phase::Online {
                    found.insert(value.view, value.origin);
                }
            }
        }
        found
    }
}

fn set(splits: &mut Splits, choice: Choice, count: usize) {
    match choice {
        Choice::Class(class) => splits.set_chunks(class, count),
        Choice::Product(view) => splits.set_parts(view, count),
    }
}
