//! Values that are known at import: initializers and what is computed from them, shapes, and inputs fixed by an option.
//!
//! Floats are f32 and every other type is i64 (booleans 0 and 1), which is what ONNX computes shapes with. The number of
//! elements is limited, so that a file of a few bytes cannot ask for gigabytes.

use std::sync::Arc;

use super::{Refusal, refuse};
use crate::{Graph, Tensor, ValueId};

/// Most elements of one constant.
pub(super) const MAX_ELEMENTS: usize = 1 << 28;

/// Elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Elements {
    /// Any float type of the file.
    Float(Arc<Vec<f32>>),
    /// Any integer type of the file, and booleans.
    Int(Arc<Vec<i64>>),
}

/// Shape and elements, row-major, in the order of dimensions of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    pub(super) elements: Elements,
}

/// The number of elements of a shape, when a constant may have so many.
pub(super) fn checked_len(shape: &[usize]) -> Result<usize, Refusal> {
    shape
        .iter()
        .try_fold(1_usize, |len, &size| len.checked_mul(size))
        .filter(|&len| len <= MAX_ELEMENTS)
        .ok_or_else(|| {
            refuse(
                format!("a constant of shape {shape:?}, expected at most {MAX_ELEMENTS} elements"),
                "check the shapes that the file computes",
            )
        })
}

impl Constant {
    /// Floats.
    pub(super) fn float(shape: &[usize], data: Vec<f32>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self {
            shape: shape.to_vec(),
            elements: Elements::Float(Arc::new(data)),
        }
    }

    /// Integers.
    pub(super) fn int(shape: &[usize], data: Vec<i64>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self {
            shape: shape.to_vec(),
            elements: Elements::Int(Arc::new(data)),
        }
    }

    /// A list of sizes.
    pub(super) fn sizes(sizes: &[usize]) -> Self {
        Self::int(
            &[sizes.len()],
            sizes.iter().map(|&size| size as i64).collect(),
        )
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match &self.elements {
            Elements::Float(data) => data.len(),
            Elements::Int(data) => data.len(),
        }
    }

    /// The integers; floats are refused.
    pub(super) fn ints(&self) -> Result<&[i64], Refusal> {
        match &self.elements {
            Elements::Int(data) => Ok(data),
            Elements::Float(_) => Err(refuse(
                "floats where integers are expected",
                "check the file",
            )),
        }
    }

    /// The elements as floats.
    pub(super) fn to_floats(&self) -> Arc<Vec<f32>> {
        match &self.elements {
            Elements::Float(data) => Arc::clone(data),
            Elements::Int(data) => Arc::new(data.iter().map(|&value| value as f32).collect()),
        }
    }

    /// The one element, when there is only one.
    pub(super) fn scalar(&self) -> Option<f32> {
        (self.len() == 1).then(|| self.to_floats()[0])
    }

    /// As a tensor of the graph.
    pub(super) fn to_tensor(&self) -> Tensor {
        Tensor {
            shape: self.shape.clone(),
            data: crate::TensorData::F32(self.to_floats()),
        }
    }

    /// The same elements in another shape of as many.
    pub(super) fn reshaped(&self, shape: &[usize]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), self.len());
        Self {
            shape: shape.to_vec(),
            elements: self.elements.clone(),
        }
    }

    /// Elements picked by flat index into a new shape.
    pub(super) fn picked(&self, shape: &[usize], from: impl Iterator<Item = usize>) -> Self {
        match &self.elements {
            Elements::Float(data) => Self::float(shape, from.map(|index| data[index]).collect()),
            Elements::Int(data) => Self::int(shape, from.map(|index| data[index]).collect()),
        }
    }

    /// Dimension d of the result is dimension `permutation[d]`.
    pub(super) fn transposed(&self, permutation: &[usize]) -> Self {
        if permutation.iter().copied().eq(0..permutation.len()) {
            return self.clone();
        }
        let shape: Vec<usize> = permutation.iter().map(|&d| self.shape[d]).collect();
        let steps = strides(&self.shape);
        let steps: Vec<usize> = permutation.iter().map(|&d| steps[d]).collect();
        self.picked(&shape, Walk::new(&shape, &steps, 0))
    }

    /// Repeated along dimensions of size 1 to `shape`, as NumPy broadcasts.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Self {
        if self.shape == shape {
            return self.clone();
        }
        let steps = broadcast_strides(&self.shape, shape);
        self.picked(shape, Walk::new(shape, &steps, 0))
    }
}

/// Row-major steps of a shape.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        steps[d - 1] = steps[d] * shape[d];
    }
    steps
}

/// Steps through `shape` for every index of `to`, which it broadcasts to.
pub(super) fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<usize> {
    let skipped = to.len() - shape.len();
    let steps = strides(shape);
    (0..to.len())
        .map(|d| match d.checked_sub(skipped) {
            Some(own) if shape[own] != 1 => steps[own],
            _ => 0,
        })
        .collect()
}

/// The common shape, `None` when there is none.
pub(super) fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], d: usize| {
        (d + shape.len())
            .checked_sub(rank)
            .map_or(1, |own| shape[own])
    };
    (0..rank)
        .map(|d| match (size(a, d), size(b, d)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Flat indices of a strided view in row-major order of its shape.
pub(super) struct Walk {
    shape: Vec<usize>,
    steps: Vec<usize>,
    index: Vec<usize>,
    flat: usize,
    left: usize,
}

impl Walk {
    pub(super) fn new(shape: &[usize], steps: &[usize], start: usize) -> Self {
        Self {
            shape: shape.to_vec(),
            steps: steps.to_vec(),
            index: vec![0; shape.len()],
            flat: start,
            left: shape.iter().product(),
        }
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let flat = self.flat;
        for d in (0..self.shape.len()).rev() {
            self.index[d] += 1;
            self.flat += self.steps[d];
            if self.index[d] < self.shape[d] {
                break;
            }
            self.flat -= self.steps[d] * self.shape[d];
            self.index[d] = 0;
        }
        Some(flat)
    }
}

/// Adds a float constant to a graph.
pub(super) fn add_to(graph: &mut Graph, name: String, constant: &Constant) -> ValueId {
    graph.add_constant(name, constant.to_tensor())
}
