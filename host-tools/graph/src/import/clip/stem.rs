//! Patches by several convolutions, each as large as its stride, as MobileCLIP-B has them: norm and activation behind all but the
//! last.
//!
//! Xiao et al., "Early Convolutions Help Transformers See Better", 2021 (<https://arxiv.org/abs/2106.14881>).

use super::blocks::{Builder, size};
use crate::import::checkpoint::Checkpoint;
use crate::import::fold::Kernel;
use crate::op::Unary;
use crate::{Op, ValueId};

/// Whether a checkpoint has convolutions of this name.
pub(super) fn has(checkpoint: &Checkpoint, name: &str) -> bool {
    checkpoint.tensors.contains_key(&weight(name, 0))
}

/// Pixels of a side of a patch, and channels.
///
/// # Errors
/// With the sentence for it, when the size of one is no square or none.
pub(super) fn sizes(checkpoint: &Checkpoint, name: &str) -> Result<(usize, usize), String> {
    let (mut patch, mut width) = (1usize, 0);
    for number in 0..count(checkpoint, name) {
        let key = weight(name, number);
        let shape = checkpoint.shape(&key).unwrap_or_default();
        let &[outputs, _, rows, columns] = shape else {
            return Err(format!("{key} is {shape:?}, expected a convolution"));
        };
        patch = patch.saturating_mul(rows);
        width = outputs;
        if rows != columns || rows == 0 {
            return Err(format!("{key} is {rows} × {columns}, expected a square"));
        }
    }
    Ok((patch, width))
}

/// The patches of a picture: (1, grid, grid, width).
pub(super) fn patches(tower: &mut Builder<'_>, name: &str, image: ValueId) -> ValueId {
    let count = count(tower.checkpoint, name);
    let mut x = image;
    for number in 0..count {
        let layer = format!("{name}.{number}");
        let last = number + 1 == count;
        let kernel = if last {
            Kernel::biased(&mut tower.weights, &format!("{layer}.conv"))
        } else {
            Kernel::normed(&mut tower.weights, &layer)
        };
        x = kernel.patches(&mut tower.graph, &layer, x);
        if !last {
            let op = Op::Unary {
                function: Unary::Gelu,
            };
            let shape = tower.graph.values[x].shape.clone();
            x = tower
                .graph
                .add_node(format!("{layer}.act"), op, &[x], &shape);
        }
    }
    x
}

fn count(checkpoint: &Checkpoint, name: &str) -> usize {
    (0..)
        .take_while(|&number| size(checkpoint, &weight(name, number), 0) > 0)
        .count()
}

fn weight(name: &str, number: usize) -> String {
    format!("{name}.{number}.conv.weight")
}
