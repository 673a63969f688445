//! Weights from the order of PyTorch to that of the graph. Tensors of other ranks, which stand for faults, stay as they are.

use crate::Tensor;

/// (out, in, height, width) to (out, height, width, in).
pub(super) fn channels_last(tensor: &Tensor) -> Tensor {
    let (&[o, i, h, w], Some(data)) = (tensor.shape.as_slice(), tensor.as_f32()) else {
        return tensor.clone();
    };
    let mut turned = Vec::with_capacity(data.len());
    for out in 0..o {
        for pixel in 0..h * w {
            turned.extend((0..i).map(|input| data[(out * i + input) * h * w + pixel]));
        }
    }
    Tensor::f32(&[o, h, w, i], turned)
}

/// (k, n) to (n, k).
pub(super) fn transposed(tensor: &Tensor) -> Tensor {
    let (&[k, n], Some(data)) = (tensor.shape.as_slice(), tensor.as_f32()) else {
        return tensor.clone();
    };
    let turned = (0..n * k).map(|at| data[at % k * n + at / k]).collect();
    Tensor::f32(&[n, k], turned)
}
