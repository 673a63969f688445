//! A constant of a graph.

use std::sync::Arc;

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// IEEE single.
    F32(Arc<Vec<f32>>),
    /// Indices and shapes, and the biases of integer layers in units of their sums.
    I32(Arc<Vec<i32>>),
    /// Quantised elements; the value says their scale.
    I8(Arc<Vec<i8>>),
}

/// Shape and elements; cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many as the product of `shape`.
    pub data: TensorData,
}

impl Tensor {
    /// A float tensor.
    ///
    /// # Panics
    /// When the number of elements is not the product of `shape`: the caller's mistake.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "elements of shape {shape:?}"
        );
        Self {
            shape: shape.to_vec(),
            data: TensorData::F32(Arc::new(data)),
        }
    }

    /// An integer tensor.
    ///
    /// # Panics
    /// As [`Tensor::f32`].
    pub fn i32(shape: &[usize], data: Vec<i32>) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "elements of shape {shape:?}"
        );
        Self {
            shape: shape.to_vec(),
            data: TensorData::I32(Arc::new(data)),
        }
    }

    /// A tensor of bytes.
    ///
    /// # Panics
    /// As [`Tensor::f32`].
    pub fn i8(shape: &[usize], data: Vec<i8>) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "elements of shape {shape:?}"
        );
        Self {
            shape: shape.to_vec(),
            data: TensorData::I8(Arc::new(data)),
        }
    }

    /// The floats, when it holds floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(data) => Some(data),
            TensorData::I32(_) | TensorData::I8(_) => None,
        }
    }

    /// The integers, when it holds integers.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            TensorData::I32(data) => Some(data),
            TensorData::F32(_) | TensorData::I8(_) => None,
        }
    }

    /// The bytes, when it holds bytes.
    pub fn as_i8(&self) -> Option<&[i8]> {
        match &self.data {
            TensorData::I8(data) => Some(data),
            TensorData::F32(_) | TensorData::I32(_) => None,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
