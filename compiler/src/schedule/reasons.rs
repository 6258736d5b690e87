//! Why each layer is cut as it is, in words for `explain`.

use super::groups::Traffic;
use super::splits::Splits;
use super::{Base, chunk_ranges};
use mpcc_ir::Id;
use std::collections::BTreeMap;

/// Something that can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Choice {
    Class(usize),
    Product(Id),
}

/// Why something is in as many pieces as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reason {
    /// No schedule in which nothing overlaps gains by pieces.
    Sequential,
    /// The user has said how many.
    Asked,
    /// So many are best for all that is cut; others were not tried here alone.
    Alike,
    /// As few pieces as can be were tried, and would add so many weighted microseconds.
    Saves(f64),
    /// It is in as few pieces as can be; more were tried, and would add so many.
    MoreAdd(f64),
    /// Others were tried, and make no difference that shows.
    NoGain,
}

/// What can be cut in a layer, with its elements.
type Pieces = Vec<(Choice, usize)>;

/// For each layer, in how many pieces it is and why.
pub(super) fn words(
    base: &Base<'_>,
    splits: &Splits,
    why: impl Fn(Choice) -> Reason,
) -> Vec<String> {
    let mut traffic = base.traffic.clone();
    traffic.splits = splits.clone();
    // The layer that says what a choice saves, which several may share.
    let mut said: BTreeMap<Choice, usize> = BTreeMap::new();
    let mut describe = |layer: usize, (choice, elements): (Choice, usize)| {
        let (what, count) = match choice {
            Choice::Class(class) => ("chunks", traffic.class_ranges(elements, class).len()),
            Choice::Product(view) => ("parts", traffic.parts(view, elements).len()),
        };
        let reason = why(choice);
        let first = *said.entry(choice).or_insert(layer);
        let because = match reason {
            _ if most_pieces(&traffic, choice, elements) == 1 => "too small".to_owned(),
            Reason::Saves(_) | Reason::MoreAdd(_) if first != layer => {
                format!("as {}", base.masked.names[first])
            }
            reason => because(reason),
        };
        (what, format!("{count}: {because}"))
    };
    let mut words = Vec::new();
    for (layer, pieces) in pieces(base).into_iter().enumerate() {
        // What is cut, by how and why.
        let mut of_layer: Vec<(String, Vec<&str>)> = Vec::new();
        for (what, how) in pieces.into_iter().map(|piece| describe(layer, piece)) {
            match of_layer.iter_mut().find(|(known, _)| *known == how) {
                Some((_, known)) if known.contains(&what) => {}
                Some((_, known)) => known.push(what),
                None => of_layer.push((how, vec![what])),
            }
        }
        let text = of_layer.iter().map(|(how, what)| format!("{} {how}", what.join(", ")));
        let text = text.collect::<Vec<_>>().join("; ");
        words.push(if text.is_empty() { "nothing to split".to_owned() } else { text });
    }
    words
}

fn because(reason: Reason) -> String {
    match reason {
        Reason::Sequential => "sequential".to_owned(),
        Reason::Asked => "as asked".to_owned(),
        Reason::Alike => "alike".to_owned(),
        Reason::NoGain => "no gain".to_owned(),
        Reason::MoreAdd(us) => format!("more add {}", time(us)),
        Reason::Saves(us) => format!("saves {}", time(us)),
    }
}

fn time(us: f64) -> String {
    if us < 10.0 { format!("{us:.1} us") } else { format!("{:.2} ms", us / 1e3) }
}

/// Pieces of it at most.
fn most_pieces(traffic: &Traffic, choice: Choice, elements: usize) -> usize {
    let class = match choice {
        Choice::Class(class) => Some(class),
        Choice::Product(view) => traffic.classes.of(view),
    };
    let unit = class.map(|class| traffic.classes.unit(class));
    unit.map_or(1, |unit| chunk_ranges(elements, usize::MAX, unit).len())
}

/// By layer: its products and messages, or what else it computes if it has neither.
fn pieces(base: &Base<'_>) -> Vec<Pieces> {
    let mut pieces: Vec<Pieces> = vec![Vec::new(); base.masked.names.len().max(1)];
    let elements = |view: Id| base.views[view].ty.shape.elements();
    for (view, origin) in base.products() {
        if let Some(pieces) = pieces.get_mut(base.layer(origin) as usize) {
            pieces.push((Choice::Product(view), elements(view)));
        }
    }
    for group in base.traffic.groups.values().filter(|group| group.is_split()) {
        if let Some(pieces) = pieces.get_mut(base.layer(group.origin) as usize) {
            pieces.push((Choice::Class(group.class), group.elements));
        }
    }
    let mut others: Vec<Pieces> = vec![Vec::new(); pieces.len()];
    for view in base.views.ids() {
        let layer = base.views[view].origin.map(|origin| base.layer(origin) as usize);
        let layer = layer.filter(|layer| pieces.get(*layer).is_some_and(Vec::is_empty));
        if let (Some(layer), Some(class)) = (layer, base.traffic.classes.of(view)) {
            let piece = (Choice::Class(class), elements(view));
            if !others[layer].contains(&piece) {
                others[layer].push(piece);
            }
        }
    }
    for (pieces, others) in pieces.iter_mut().zip(others) {
        pieces.extend(others);
    }
    pieces
}
