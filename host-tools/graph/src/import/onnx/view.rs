//! How a value of the file lies in a value of the graph.
//!
//! The file says (1, C, H, W), the graph holds (1, H, W, C). A [`View`] joins the two: the shape that the file sees, and
//! for each dimension of the graph's value the dimension of the file that it is. Transposing, squeezing and unsqueezing
//! change the view alone; a `Transpose` or `Reshape` node appears only when an operator needs another arrangement. So a
//! convolutional network comes out without any.

use super::constant::Constant;
use super::{Builder, Refusal, constant};
use crate::{Op, ValueId};

/// For each dimension of the graph's value, the dimension of the file, or `None` for one of size 1 that the file does
/// not have.
pub(super) type Pattern = Vec<Option<usize>>;

/// A computed value as the file sees it. Dimensions of the file that the pattern lacks have size 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) id: ValueId,
    pub(super) pattern: Pattern,
    pub(super) shape: Vec<usize>,
}

/// (1, C, H, W) of the file as (1, H, W, C).
pub(super) fn picture_pattern() -> Pattern {
    vec![Some(0), Some(2), Some(3), Some(1)]
}

/// Every dimension in the order of the file.
pub(super) fn full_pattern(rank: usize) -> Pattern {
    (0..rank).map(Some).collect()
}

/// Every dimension in the order of the file, without a leading 1 where there are three dimensions or more: one picture or
/// one sequence at a time needs no batch dimension.
pub(super) fn plain_pattern(shape: &[usize]) -> Pattern {
    let skipped = usize::from(shape.len() >= 3 && shape[0] == 1);
    (skipped..shape.len()).map(Some).collect()
}

impl View {
    /// Dimensions of the file.
    pub(super) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Where dimension `d` of the file lies in the graph's value.
    pub(super) fn place(&self, d: usize) -> Option<usize> {
        self.pattern.iter().position(|&own| own == Some(d))
    }

    /// Dimensions of the file larger than 1, in the order in which the graph's value has them.
    pub(super) fn order(&self) -> Vec<usize> {
        order(&self.pattern, &self.shape)
    }

    /// Size that each dimension of a pattern has.
    pub(super) fn sizes(&self, pattern: &[Option<usize>]) -> Vec<usize> {
        pattern
            .iter()
            .map(|d| d.map_or(1, |d| self.shape[d]))
            .collect()
    }

    /// With dimensions of size 1 before the first, up to `rank`.
    pub(super) fn with_rank(mut self, rank: usize) -> Self {
        let added = rank.saturating_sub(self.rank());
        self.pattern
            .iter_mut()
            .flatten()
            .for_each(|dimension| *dimension += added);
        self.shape.splice(0..0, std::iter::repeat_n(1, added));
        self
    }

    /// Renumbers the dimensions of the file: old dimension `d` becomes `to[d]`, or none where it had size 1.
    pub(super) fn renumbered(&self, to: &[Option<usize>], shape: Vec<usize>) -> Self {
        Self {
            id: self.id,
            pattern: self.pattern.iter().map(|d| d.and_then(|d| to[d])).collect(),
            shape,
        }
    }
}

fn order(pattern: &[Option<usize>], shape: &[usize]) -> Vec<usize> {
    pattern
        .iter()
        .flatten()
        .copied()
        .filter(|&d| shape[d] > 1)
        .collect()
}

impl Builder<'_> {
    /// The value arranged as `pattern`, which has every dimension larger than 1.
    pub(super) fn arrange(
        &mut self,
        view: &View,
        pattern: &[Option<usize>],
    ) -> Result<ValueId, Refusal> {
        if view.pattern == pattern {
            return Ok(view.id);
        }
        let held = self.graph.values[view.id].shape.clone();
        let sizes = view.sizes(pattern);
        let (from, to) = (view.order(), order(pattern, &view.shape));
        if from == to {
            return self.reshape_node(view.id, &sizes);
        }
        if let Some(permutation) = permutation(view, pattern, &held) {
            return self.transpose_node(view.id, permutation);
        }
        // Sizes of 1 are in the way: without them, turned, then with those of the pattern.
        let bare: Vec<usize> = from.iter().map(|&d| view.shape[d]).collect();
        let bare = self.reshape_node(view.id, &bare)?;
        let turn = to
            .iter()
            .map(|d| from.iter().position(|own| own == d).unwrap_or(0))
            .collect();
        let turned = self.transpose_node(bare, turn)?;
        self.reshape_node(turned, &sizes)
    }

    /// [`Builder::arrange`] as a view.
    pub(super) fn arranged(&mut self, view: &View, pattern: Pattern) -> Result<View, Refusal> {
        let id = self.arrange(view, &pattern)?;
        Ok(View {
            id,
            pattern,
            shape: view.shape.clone(),
        })
    }

    /// The view itself when dimension `d` comes last in the graph's value, else one in the order of the file.
    pub(super) fn with_last(&mut self, view: &View, d: usize) -> Result<View, Refusal> {
        if view.pattern.last() == Some(&Some(d)) {
            return Ok(view.clone());
        }
        let mut pattern: Pattern = view
            .pattern
            .iter()
            .copied()
            .filter(|own| own.is_some() && *own != Some(d))
            .collect();
        pattern.push(Some(d));
        self.arranged(view, pattern)
    }

    fn reshape_node(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId, Refusal> {
        // Reshape after reshape is one.
        let x = self.reshaped_from.get(&x).copied().unwrap_or(x);
        if self.graph.values[x].shape == shape {
            return Ok(x);
        }
        let key = (x, shape.to_vec(), None);
        if let Some(&known) = self.arrangements.get(&key) {
            return Ok(known);
        }
        let id = self.emit_part("reshape", Op::Reshape, &[x], shape)?;
        self.reshaped_from.insert(id, x);
        self.arrangements.insert(key, id);
        Ok(id)
    }

    fn transpose_node(&mut self, x: ValueId, permutation: Vec<usize>) -> Result<ValueId, Refusal> {
        let key = (x, Vec::new(), Some(permutation.clone()));
        if let Some(&known) = self.arrangements.get(&key) {
            return Ok(known);
        }
        let id = self.emit_part("transpose", Op::Transpose { permutation }, &[x], &[])?;
        self.arrangements.insert(key, id);
        Ok(id)
    }

    /// A reshape of a view as the file means it, through whole groups of dimensions where they lie together, so that (1, C,
    /// H, W) held as (1, H, W, C) becomes (1, C, H·W) without moving an element.
    pub(super) fn reshape(&mut self, view: &View, shape: &[usize]) -> Result<View, Refusal> {
        if shape.iter().product::<usize>() != view.shape.iter().product::<usize>() {
            let reason = format!("reshape of {:?} to {shape:?}", view.shape);
            return Err(super::refuse(
                reason,
                "check the fixed sizes of the inputs; expected as many elements",
            ));
        }
        let groups = groups(&view.shape, shape);
        let mut view = view.clone();
        if order_of_groups(&view.order(), &groups).is_none() {
            let pattern = plain_pattern(&view.shape);
            view = self.arranged(&view, pattern)?;
        }
        let order = order_of_groups(&view.order(), &groups).unwrap_or_default();
        let split: Vec<usize> = order
            .iter()
            .flat_map(|&g| groups[g].1.iter().copied())
            .collect();
        if groups.iter().all(|(old, new)| old.len() == new.len()) {
            // Only sizes of 1 come and go.
            let mut to = vec![None; view.rank()];
            groups
                .iter()
                .filter(|(old, _)| old.len() == 1)
                .for_each(|(old, new)| to[old[0]] = Some(new[0]));
            return Ok(view.renumbered(&to, shape.to_vec()));
        }
        let target = View {
            id: view.id,
            pattern: Vec::new(),
            shape: shape.to_vec(),
        };
        let plain = plain_pattern(shape);
        let pattern = if split.is_sorted() {
            plain
        } else {
            split.iter().copied().map(Some).collect()
        };
        let sizes = target.sizes(&pattern);
        let id = self.reshape_node(view.id, &sizes)?;
        Ok(View {
            id,
            pattern,
            ..target
        })
    }

    /// A constant as a value of the graph, arranged as `pattern` over its shape filled up with leading 1s to `rank`.
    pub(super) fn constant_as(
        &mut self,
        name: &str,
        constant: &Constant,
        pattern: &[Option<usize>],
        rank: usize,
    ) -> ValueId {
        let arranged = arrange_constant(constant, pattern, rank);
        let name = self.unique(name);
        constant::add_to(&mut self.graph, name, &arranged)
    }
}

/// A constant arranged as `pattern` over its shape filled up with leading 1s to `rank`.
pub(super) fn arrange_constant(
    constant: &Constant,
    pattern: &[Option<usize>],
    rank: usize,
) -> Constant {
    let mut shape = vec![1; rank - constant.shape.len()];
    shape.extend(&constant.shape);
    let full = constant.reshaped(&shape);
    let mut permutation: Vec<usize> = pattern.iter().flatten().copied().collect();
    permutation.extend((0..rank).filter(|&d| !pattern.contains(&Some(d))));
    let sizes: Vec<usize> = pattern.iter().map(|d| d.map_or(1, |d| shape[d])).collect();
    full.transposed(&permutation).reshaped(&sizes)
}

/// One permutation that arranges the value, when it has as many dimensions as the pattern.
fn permutation(view: &View, pattern: &[Option<usize>], held: &[usize]) -> Option<Vec<usize>> {
    if view.pattern.len() != pattern.len() {
        return None;
    }
    let mut ones = (0..held.len()).filter(|&place| held[place] == 1);
    pattern
        .iter()
        .map(|d| match d.filter(|&d| view.shape[d] > 1) {
            Some(d) => view.place(d),
            None => ones.next(),
        })
        .collect()
}

/// Smallest groups of dimensions larger than 1 with equal products in both shapes.
fn groups(old: &[usize], new: &[usize]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let large = |shape: &[usize]| {
        (0..shape.len())
            .filter(|&d| shape[d] > 1)
            .collect::<Vec<_>>()
    };
    let (mut olds, mut news) = (
        large(old).into_iter().peekable(),
        large(new).into_iter().peekable(),
    );
    let mut groups = Vec::new();
    while olds.peek().is_some() && news.peek().is_some() {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let (mut product_left, mut product_right) = (1, 1);
        loop {
            let next = if product_left <= product_right {
                olds.next().map(|d| {
                    product_left *= old[d];
                    left.push(d);
                })
            } else {
                news.next().map(|d| {
                    product_right *= new[d];
                    right.push(d);
                })
            };
            if product_left == product_right || next.is_none() {
                break;
            }
        }
        groups.push((left, right));
    }
    groups
}

/// The order in which the groups lie, when each lies together and in the order of the file.
fn order_of_groups(held: &[usize], groups: &[(Vec<usize>, Vec<usize>)]) -> Option<Vec<usize>> {
    let mut order = Vec::new();
    let mut rest = held;
    while let Some(&first) = rest.first() {
        let group = groups
            .iter()
            .position(|(old, _)| old.first() == Some(&first))?;
        rest = rest.strip_prefix(groups[group].0.as_slice())?;
        order.push(group);
    }
    Some(order)
}
