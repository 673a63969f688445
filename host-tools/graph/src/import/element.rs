//! Elements of foreign tensors, and how they become those of the graph: floats f32, integers i32.

use half::{bf16, f16};

use crate::Tensor;

/// Type of the elements of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
}

impl Element {
    /// Bytes of one.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

/// Little-endian elements as a tensor: floats as f32, integers as i32.
pub(super) fn to_tensor(element: Element, shape: &[usize], bytes: &[u8]) -> Result<Tensor, String> {
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
        .filter(|count| count.checked_mul(element.bytes()) == Some(bytes.len()))
        .ok_or_else(|| {
            format!(
                "{} bytes do not make shape {shape:?} of {element:?}",
                bytes.len()
            )
        })?;
    let floats = |data: Vec<f32>| {
        debug_assert_eq!(data.len(), count);
        Ok(Tensor::f32(shape, data))
    };
    match element {
        Element::F64 => floats(
            chunks(bytes)
                .map(|b| f64::from_le_bytes(b) as f32)
                .collect(),
        ),
        Element::F32 => floats(chunks(bytes).map(f32::from_le_bytes).collect()),
        Element::F16 => floats(
            chunks(bytes)
                .map(|b| f16::from_le_bytes(b).to_f32())
                .collect(),
        ),
        Element::Bf16 => floats(
            chunks(bytes)
                .map(|b| bf16::from_le_bytes(b).to_f32())
                .collect(),
        ),
        _ => integers(element, shape, bytes),
    }
}

fn integers(element: Element, shape: &[usize], bytes: &[u8]) -> Result<Tensor, String> {
    let data: Vec<i32> = match element {
        Element::I64 => chunks(bytes)
            .map(|b| {
                let value = i64::from_le_bytes(b);
                i32::try_from(value).map_err(|_| format!("integer {value} does not fit in 32 bits"))
            })
            .collect::<Result<_, _>>()?,
        Element::I32 => chunks(bytes).map(i32::from_le_bytes).collect(),
        Element::I16 => chunks(bytes)
            .map(|b| i16::from_le_bytes(b).into())
            .collect(),
        Element::I8 => bytes.iter().map(|&b| (b as i8).into()).collect(),
        _ => bytes.iter().map(|&b| b.into()).collect(),
    };
    Ok(Tensor::i32(shape, data))
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}
