//! Numbers from one type to another; those from or to integers by way of f32.

use half::f16;

use crate::arena::{elements, elements_mut};
use crate::kernel::Kernels;
use crate::model::format::DType;
use crate::model::step::Quantised;

/// Numbers that are converted at once.
const CHUNK: usize = 64;

/// Converts all of `src`, of type `from`, to `dst`, of type `to`.
pub(super) fn convert(
    [from, to]: [Quantised; 2],
    src: &[u8],
    dst: &mut [u8],
    kernels: &dyn Kernels,
) -> Option<()> {
    match (from.dtype, to.dtype) {
        (DType::F32, DType::F16) => {
            kernels.narrow_f32(elements(src)?, elements_mut::<f16>(dst)?);
            return Some(());
        }
        (DType::F16, DType::F32) => {
            kernels.widen_f16(elements::<f16>(src)?, elements_mut(dst)?);
            return Some(());
        }
        _ => {}
    }
    let mut numbers = [0.0; CHUNK];
    let (from_bytes, to_bytes) = (CHUNK * from.dtype.bytes(), CHUNK * to.dtype.bytes());
    for (src, dst) in src.chunks(from_bytes).zip(dst.chunks_mut(to_bytes)) {
        let numbers = &mut numbers[..src.len() / from.dtype.bytes()];
        read(from, src, numbers, kernels)?;
        write(to, numbers, dst, kernels)?;
    }
    Some(())
}

fn read(from: Quantised, src: &[u8], numbers: &mut [f32], kernels: &dyn Kernels) -> Option<()> {
    let Quantised {
        dtype,
        scale,
        zero_point,
    } = from;
    match dtype {
        DType::F32 => numbers.copy_from_slice(elements(src)?),
        DType::F16 => kernels.widen_f16(elements::<f16>(src)?, numbers),
        DType::I8 => kernels.dequantize_s8(elements(src)?, scale, zero_point, numbers),
        DType::I16 => {
            for (number, &x) in numbers.iter_mut().zip(elements::<i16>(src)?) {
                *number = scale * i32::from(x).wrapping_sub(zero_point) as f32;
            }
        }
        DType::I32 => return None,
    }
    Some(())
}

fn write(to: Quantised, numbers: &[f32], dst: &mut [u8], kernels: &dyn Kernels) -> Option<()> {
    let Quantised {
        dtype,
        scale,
        zero_point,
    } = to;
    match dtype {
        DType::F32 => elements_mut(dst)?.copy_from_slice(numbers),
        DType::F16 => kernels.narrow_f32(numbers, elements_mut::<f16>(dst)?),
        DType::I8 => kernels.quantize_f32(numbers, scale, zero_point, elements_mut(dst)?),
        DType::I16 => {
            for (dst, &number) in elements_mut::<i16>(dst)?.iter_mut().zip(numbers) {
                // As `quantize_f32`: the cast takes NaN to 0 and saturates.
                let rounded = libm::roundf(number / scale) as i32;
                let limits = (i16::MIN.into(), i16::MAX.into());
                *dst = rounded.saturating_add(zero_point).clamp(limits.0, limits.1) as i16;
            }
        }
        DType::I32 => return None,
    }
    Some(())
}
