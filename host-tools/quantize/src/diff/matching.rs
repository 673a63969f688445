//! Which operator of one model computes what an operator of another one computes.

use std::collections::{HashMap, HashSet};

use pinhole_runtime::model::Model;
use pinhole_runtime::model::op::OpKind;
use serde::Serialize;

use super::{kind, value};

/// A layer in both models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Operator of the first model.
    pub a: usize,
    /// Operator of the second.
    pub b: usize,
    /// Both write this output of their model.
    pub output: Option<usize>,
}

/// How layers were matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// By the names of values and nodes.
    Name,
    /// By order, family of operator and shape: one of the models has no names.
    Order,
}

/// The layers of two models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// In both, in the order of the first model.
    pub pairs: Vec<Pair>,
    /// Operators of the first model alone: conversions, and steps that the other one does not take.
    pub only_a: Vec<usize>,
    /// Operators of the second model alone.
    pub only_b: Vec<usize>,
    /// How.
    pub by: MatchedBy,
}

/// Matches the layers of two models. Outputs of the models are matched with each other in any case: what computes one
/// may then be in two pairs, as a projection in floats is whose embedding the other model normalises in a layer of its
/// own.
pub fn match_layers(a: &Model<'_>, b: &Model<'_>) -> Matched {
    let is_named = |model: &Model<'_>| model.value_name(0).is_some();
    let by = match is_named(a) && is_named(b) {
        true => MatchedBy::Name,
        false => MatchedBy::Order,
    };
    let mut partners = Partners::new(a, b);
    match by {
        MatchedBy::Name => by_name(a, b, &mut partners),
        MatchedBy::Order => by_order(a, b, &mut partners),
    }
    let outputs: Vec<(usize, usize)> = output_ops(a).zip(output_ops(b)).collect();
    partners.finish(&outputs, by)
}

/// Who was matched with whom so far.
struct Partners {
    of_a: Vec<Option<usize>>,
    of_b: Vec<Option<usize>>,
}

impl Partners {
    fn new(a: &Model<'_>, b: &Model<'_>) -> Self {
        Self {
            of_a: vec![None; a.ops().len()],
            of_b: vec![None; b.ops().len()],
        }
    }

    /// Matches two operators that have no partner yet.
    fn join(&mut self, a: usize, b: usize) {
        if self.of_a[a].is_none() && self.of_b[b].is_none() {
            (self.of_a[a], self.of_b[b]) = (Some(b), Some(a));
        }
    }

    fn finish(self, outputs: &[(usize, usize)], by: MatchedBy) -> Matched {
        let layers = self.of_a.iter().enumerate();
        let layers = layers.filter_map(|(a, &b)| Some((a, b?)));
        let mut both: Vec<(usize, usize)> = layers.chain(outputs.iter().copied()).collect();
        both.sort_unstable();
        both.dedup();
        let alone = |count: usize, op_of: fn(&(usize, usize)) -> usize| {
            let paired: HashSet<usize> = both.iter().map(op_of).collect();
            (0..count).filter(|op| !paired.contains(op)).collect()
        };
        let pair = |&(a, b): &(usize, usize)| Pair {
            a,
            b,
            output: outputs.iter().position(|&output| output == (a, b)),
        };
        Matched {
            pairs: both.iter().map(pair).collect(),
            only_a: alone(self.of_a.len(), |pair| pair.0),
            only_b: alone(self.of_b.len(), |pair| pair.1),
            by,
        }
    }
}

/// The operators that write the outputs of a model.
fn output_ops(model: &Model<'_>) -> impl Iterator<Item = usize> {
    model.outputs().filter_map(|output| {
        let storage = model.value(output).storage;
        (0..model.ops().len())
            .rev()
            .find(|&op| value(model, op).storage == storage)
    })
}

/// Names of what each operator writes: the value's own, those of other views of it, that of the node where one operator
/// computes it.
fn by_name(a: &Model<'_>, b: &Model<'_>, partners: &mut Partners) {
    for names in [value_names, view_names, node_names] {
        let there: HashMap<_, usize> = from_the_last(names(b)).collect();
        for (key, op) in from_the_last(names(a)) {
            if let Some(&partner) = there.get(&key) {
                partners.join(op, partner);
            }
        }
    }
}

/// Names with their number among equal ones, from the last, which is the result where a node takes several steps.
fn from_the_last(names: Vec<(&str, usize)>) -> impl Iterator<Item = ((&str, usize), usize)> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    names.into_iter().rev().map(move |(name, op)| {
        let number = count.entry(name).or_default();
        *number += 1;
        ((name, *number), op)
    })
}

fn value_names<'m>(model: &Model<'m>) -> Vec<(&'m str, usize)> {
    let name = |op: usize| model.value_name(usize::from(model.ops()[op].output.get()));
    (0..model.ops().len())
        .filter_map(|op| Some((name(op)?, op)))
        .collect()
}

/// A reshape has no operator: what it names are the bytes that an operator wrote. The same for what is normalised in
/// integers and left as it is in floats.
fn view_names<'m>(model: &Model<'m>) -> Vec<(&'m str, usize)> {
    let writers: HashMap<usize, usize> = (0..model.ops().len())
        .map(|op| (value(model, op).storage, op))
        .collect();
    let values = 0..model.values().len();
    values
        .filter_map(|index| {
            let op = writers.get(&model.value(index).storage)?;
            Some((model.value_name(index)?, *op))
        })
        .collect()
}

/// Names of nodes that one operator computes.
fn node_names<'m>(model: &Model<'m>) -> Vec<(&'m str, usize)> {
    let names = (0..model.ops().len()).filter_map(|op| Some((model.op_name(op)?, op)));
    let mut count: HashMap<&str, usize> = HashMap::new();
    names
        .clone()
        .for_each(|(name, _)| *count.entry(name).or_default() += 1);
    names.filter(|(name, _)| count[name] == 1).collect()
}

/// What operators of different types have in common; `None` for conversions, which the other model may not need.
fn family(kind: OpKind) -> Option<&'static str> {
    use OpKind::{
        Convert, DequantizeS8, LutChannelsS8, LutChannelsS16, LutS8, LutS16, MulS8, QuantizeF32,
        RescaleS16,
    };
    match kind {
        QuantizeF32 | DequantizeS8 | Convert | RescaleS16 => None,
        LutS8 | LutS16 | LutChannelsS8 | LutChannelsS16 => Some("unary"),
        OpKind::AddS8 | OpKind::AddS16 | MulS8 => Some("binary"),
        OpKind::MeanS8 | OpKind::MeanS16 => Some("reduce"),
        kind => {
            let name = kind.name();
            Some(name.rsplit_once('_').map_or(name, |(family, _)| family))
        }
    }
}

/// The longest common subsequence of families and shapes, between operators that have no partner yet.
fn by_order(a: &Model<'_>, b: &Model<'_>, partners: &mut Partners) {
    let layers = |model: &Model<'_>, partners: &[Option<usize>]| -> Vec<_> {
        let free = (0..model.ops().len()).filter(|&op| partners[op].is_none());
        free.filter_map(|op| {
            let family = kind(model, op).and_then(family)?;
            Some((op, (family, value(model, op).shape)))
        })
        .collect()
    };
    let (a, b) = (layers(a, &partners.of_a), layers(b, &partners.of_b));
    // lengths[i][j]: of the subsequence of a[i..] and b[j..]; at most 2048 operators each.
    let mut lengths = vec![vec![0u16; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i][j] = match a[i].1 == b[j].1 {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i].1 == b[j].1 {
            partners.join(a[i].0, b[j].0);
            (i, j) = (i + 1, j + 1);
        } else if lengths[i + 1][j] >= lengths[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
}
