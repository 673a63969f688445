//! Halves at the shapes of networks and where the kernels of a CPU with an operating system cut them, on these CPUs
//! alone: the references in f64 take an emulated board too long.

use half::f16;
use pinhole_runtime::kernel::{AttentionF16, Kernels, Window, attention_scratch_bytes};

use crate::attention_halves::check_attention;
use crate::halves::{
    HALF_FLOOR, HALF_UNIT, Product, check_conv, check_depthwise, check_matmul, each_set, has_fp16,
};
use crate::products::UNLIMITED;
use crate::support::{Random, Sum, UNIT};
use crate::windows::square;

/// What random operands keep of the bound of sums in halves, in units of 2⁻¹¹ · Σ|terms|: less than one term of a
/// hundred.
const RANDOM_UNITS: f64 = 4.0;

/// Error of a product without clamp in those units, for a set that adds in halves; for another one in what it may err.
fn units(kernels: &dyn Kernels, sum: &Sum, x: f16) -> f64 {
    let error = (x.to_f64() - sum.value).abs();
    let floor = (sum.terms + 1) as f64 * HALF_FLOOR;
    if has_fp16(kernels) {
        return (error - floor) / (HALF_UNIT * sum.magnitude);
    }
    let single = (sum.terms + 4) as f64 * UNIT * sum.magnitude;
    let stated = single + HALF_UNIT * (sum.value.abs() + single) + floor;
    error / stated * RANDOM_UNITS
}

#[test]
fn products_of_random_halves_lose_no_term() {
    let mut random = Random(80);
    for shape in [
        [196, 40, 240],
        [197, 256, 256],
        [21, 256, 1024],
        [23, 1024, 256],
        [49, 672, 112],
        [1, 1280, 1000],
        // k around the chunks that are added up in halves, and n around the blocks.
        [9, 127, 19],
        [12, 128, 32],
        [9, 129, 24],
        [17, 263, 40],
        [700, 96, 24],
    ] {
        let mut case = Product::random(&mut random, shape);
        case.clamp = UNLIMITED;
        for (kernels, found) in each_set(|kernels| case.run(kernels)) {
            let each = found.iter().enumerate();
            let largest = each
                .map(|(i, &x)| units(kernels, &case.sum(i), x))
                .fold(0.0, f64::max);
            println!(
                "{}: {shape:?}, {largest:.2} of {RANDOM_UNITS}",
                kernels.name()
            );
            assert!(
                largest <= RANDOM_UNITS,
                "{} {shape:?}: {largest}",
                kernels.name()
            );
        }
    }
}

#[test]
fn matrices_around_a_chunk_agree() {
    let mut random = Random(81);
    for dims in [[77, 64, 77], [9, 128, 21], [9, 200, 21]] {
        check_matmul(&mut random, dims, true);
        check_matmul(&mut random, dims, false);
    }
}

#[test]
fn patches_and_stems_of_halves_agree() {
    let mut random = Random(82);
    let patches = Window {
        output: [3; 2],
        padding: [0; 2],
        ..square(48, 16, 16)
    };
    check_conv(&mut random, patches, [3, 40]);
    check_conv(&mut random, square(48, 3, 2), [3, 32]);
    check_conv(&mut random, square(14, 1, 1), [480, 16]);
}

#[test]
fn depthwise_layers_of_halves_agree() {
    let mut random = Random(83);
    for (input, kernel, stride, channels) in [
        (28, 3, 2, 96),
        (28, 5, 2, 144),
        (14, 3, 1, 480),
        (14, 5, 1, 240),
        (7, 5, 1, 64),
        (16, 7, 1, 96),
        (16, 7, 2, 40),
    ] {
        check_depthwise(&mut random, square(input, kernel, stride), channels);
    }
}

#[test]
fn depthwise_pictures_of_any_shape_agree() {
    let mut random = Random(84);
    // Taller than a band of rows, and wider than what is copied of a row.
    for (input, kernel, stride) in [
        ([40, 9], 3, 1),
        ([5, 300], 3, 1),
        ([7, 300], 5, 2),
        ([3, 260], 7, 2),
    ] {
        let window = Window {
            input,
            output: input.map(|side: usize| side.div_ceil(stride)),
            ..square(9, kernel, stride)
        };
        check_depthwise(&mut random, window, 12);
    }
    for channels in 0..=67 {
        let window = square(1 + channels % 17, [3, 5, 7][channels % 3], 1 + channels % 2);
        check_depthwise(&mut random, window, channels);
    }
}

#[test]
fn attention_over_halves_agrees_for_transformers() {
    let mut random = Random(85);
    for shape in [[128, 32, 2], [197, 64, 1], [9, 130, 2]] {
        check_attention(&mut random, shape, 1.0);
    }
}

/// What random operands keep of the bound of attention, in units of 2⁻¹¹ · (1 + M) · |v|.
const RANDOM_ATTENTION_UNITS: f64 = 2.0;

#[test]
fn attention_over_random_halves_loses_no_term() {
    let mut random = Random(86);
    for shape in [[13, 16, 2], [77, 64, 2], [197, 64, 1]] {
        for limit in [1.0, 3.0] {
            for (name, units) in check_attention(&mut random, shape, limit) {
                println!(
                    "{name}: {shape:?} within ±{limit}, {units:.2} of {RANDOM_ATTENTION_UNITS}"
                );
                assert!(
                    units <= RANDOM_ATTENTION_UNITS,
                    "{name} {shape:?} {limit}: {units}"
                );
            }
        }
    }
}

/// q, k and v are (13, 32), two heads of 16 columns.
fn attention(kernels: &dyn Kernels, [q, k, v]: [&[f16]; 3]) -> Vec<f16> {
    let tokens = 13;
    let mut scratch = vec![f32::NAN; attention_scratch_bytes(tokens).expect("small") / 4];
    let mut dst = vec![f16::NAN; tokens * 32];
    kernels.attention_f16(AttentionF16 {
        queries: tokens,
        keys: tokens,
        width: 32,
        num_heads: 2,
        scale: 0.25,
        causal: false,
        q,
        k,
        v,
        dst: &mut dst,
        scratch: &mut scratch,
    });
    dst
}

#[test]
fn special_halves_of_a_query_stay_in_their_token_and_head() {
    let ones = [f16::ONE; 13 * 32];
    let mut q = ones;
    q[2 * 32..2 * 32 + 16].fill(f16::NEG_INFINITY);
    q[9 * 32 + 20] = f16::NAN;
    for (kernels, found) in each_set(|kernels| attention(kernels, [&q, &ones, &ones])) {
        for (i, x) in found.iter().enumerate() {
            let what = format!("{} element {i}: {x}", kernels.name());
            match (i / 32, i % 32 / 16) {
                // All scores are −inf: a masked query.
                (2, 0) => assert_eq!(*x, f16::ZERO, "{what}"),
                (9, 1) => assert!(x.is_nan(), "{what}"),
                _ => assert!((x.to_f64() - 1.0).abs() <= 4.0 * HALF_UNIT, "{what}"),
            }
        }
    }
}
