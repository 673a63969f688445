//! Rows of a table in bytes, each with a factor of its own.

use crate::kernel::{DstS8, EmbeddingS8};

/// See [`EmbeddingS8`]: a product is at most 2²³.
pub fn embedding_s8(args: EmbeddingS8<'_>) {
    let (width, vocabulary) = (args.width, args.multiplier.len());
    let half = 1 << (args.shift - 1);
    let mut dst = args.dst;
    for (token, &id) in args.ids.iter().enumerate() {
        let inside = usize::try_from(id).ok().filter(|&id| id < vocabulary);
        let row = inside.unwrap_or(0);
        let multiplier = i32::from(args.multiplier[row]);
        let numbers = args.table[row * width..(row + 1) * width]
            .iter()
            .map(|&q| ((i32::from(q) * multiplier + half) >> args.shift) + args.output_zero_point);
        let columns = token * width..(token + 1) * width;
        match &mut dst {
            DstS8::I8(dst) => dst[columns]
                .iter_mut()
                .zip(numbers)
                .for_each(|(dst, x)| *dst = x.clamp(-128, 127) as i8),
            DstS8::I16(dst) => dst[columns]
                .iter_mut()
                .zip(numbers)
                .for_each(|(dst, x)| *dst = x.clamp(-32768, 32767) as i16),
        }
    }
}
