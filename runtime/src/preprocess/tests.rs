//! Behaviour that needs the inside of [`Preprocessor`]; equality with Pillow is tested in `runtime/tests/resize.rs`.

extern crate std;

use super::*;
use crate::kernel::{Scalar, available, detect};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

struct Collect(Vec<Vec<u8>>);

impl RowSink for Collect {
    fn row(&mut self, y: usize, rgb: &[u8]) {
        assert_eq!(y, self.0.len(), "rows leave once and in order");
        self.0.push(rgb.to_vec());
    }
}

fn geometry(width: u16, height: u16, resize_shorter: u16) -> InputGeometry {
    InputGeometry {
        width,
        height,
        resize_shorter,
        mean: [0.5; 3],
        std: [0.5; 3],
    }
}

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// The rows of a picture, which every kernel set computes alike.
fn run_plan(plan: Plan, size: (u32, u32), format: PixelFormat, pixels: &[u8]) -> Vec<Vec<u8>> {
    let of_scalar = run_plan_with(&Scalar, plan, size, format, pixels);
    for set in available() {
        let rows = run_plan_with(set, plan, size, format, pixels);
        assert!(rows == of_scalar, "{} {size:?} {plan:?}", set.name());
    }
    of_scalar
}

fn run_plan_with(
    kernels: &dyn Kernels,
    plan: Plan,
    size: (u32, u32),
    format: PixelFormat,
    pixels: &[u8],
) -> Vec<Vec<u8>> {
    // Garbage in the scratch and no word to spare.
    let mut scratch = vec![0xdead_beef; plan.scratch_words() as usize];
    let mut sink = Collect(Vec::new());
    let mut preprocessor =
        Preprocessor::with_plan(kernels, plan, size.0, size.1, format, &mut scratch).unwrap();
    for row in pixels.chunks(size.0 as usize * format.bytes_per_pixel()) {
        preprocessor.push_row(row, &mut sink).unwrap();
    }
    preprocessor.finish(&mut sink).unwrap();
    sink.0
}

#[test]
fn ring_and_sums_give_the_same_bits() {
    for (size, geometry) in [
        ((64, 64), geometry(16, 16, 16)),
        ((64, 64), geometry(64, 64, 64)),
        ((37, 53), geometry(20, 24, 30)),
        ((301, 203), geometry(7, 5, 9)),
        ((100, 80), geometry(90, 90, 79)),
        ((3, 200), geometry(3, 3, 3)),
        ((257, 256), geometry(224, 224, 255)),
    ] {
        let pixels = noise((size.0 * size.1 * 3) as usize, 7);
        let plan = Plan::new(&geometry, size.0, size.1).unwrap();
        assert!(!plan.rows.grows());
        let [ring, sums] = [Vertical::Ring, Vertical::Sums].map(|vertical| {
            run_plan(
                Plan { vertical, ..plan },
                size,
                PixelFormat::Rgb888,
                &pixels,
            )
        });
        assert_eq!(ring.len(), usize::from(geometry.height));
        assert!(ring == sums, "{size:?} {geometry:?}");
    }
}

#[test]
fn a_picture_of_the_size_of_the_crop_passes_unchanged() {
    let pixels = noise(20 * 10 * 3, 1);
    let plan = Plan::new(&geometry(20, 10, 10), 20, 10).unwrap();
    let rows = run_plan(plan, (20, 10), PixelFormat::Rgb888, &pixels);
    assert_eq!(rows.concat(), pixels);
}

#[test]
fn every_format_gives_what_its_rgb_expansion_gives() {
    let (size, geometry) = ((19, 11), geometry(8, 9, 10));
    let plan = Plan::new(&geometry, size.0, size.1).unwrap();
    let words = noise(19 * 11 * 2, 3);
    for (format, to_u16) in [
        (
            PixelFormat::Rgb565,
            u16::from_le_bytes as fn([u8; 2]) -> u16,
        ),
        (PixelFormat::Rgb565Be, u16::from_be_bytes),
    ] {
        let rgb: Vec<u8> = words
            .as_chunks()
            .0
            .iter()
            .flat_map(|word| pixel::rgb565_to_rgb(to_u16(*word)))
            .collect();
        let expected = run_plan(plan, size, PixelFormat::Rgb888, &rgb);
        assert_eq!(run_plan(plan, size, format, &words), expected);
    }
    let grey = noise(19 * 11, 4);
    let rgb: Vec<u8> = grey.iter().flat_map(|grey| [*grey; 3]).collect();
    let expected = run_plan(plan, size, PixelFormat::Rgb888, &rgb);
    assert_eq!(run_plan(plan, size, PixelFormat::Grey8, &grey), expected);
}

#[test]
fn formats_agree_where_tiles_end_and_where_a_span_is_longer_than_one() {
    for (size, geometry) in [
        ((900, 4), geometry(300, 4, 4)),
        ((700, 90), geometry(40, 6, 8)),
        ((2000, 1500), geometry(8, 6, 8)),
    ] {
        let plan = Plan::new(&geometry, size.0, size.1).unwrap();
        let words = noise((size.0 * size.1 * 2) as usize, 5);
        let to_rgb = |word: &[u8; 2]| pixel::rgb565_to_rgb(u16::from_le_bytes(*word));
        let rgb: Vec<u8> = words.as_chunks().0.iter().flat_map(to_rgb).collect();
        let expected = run_plan(plan, size, PixelFormat::Rgb888, &rgb);
        assert!(
            run_plan(plan, size, PixelFormat::Rgb565, &words) == expected,
            "{size:?}"
        );
    }
}

#[test]
fn pairs_of_pixels_give_what_their_rgb_expansion_gives() {
    for (size, geometry) in [
        ((18, 11), geometry(8, 9, 10)),
        ((900, 4), geometry(300, 4, 4)),
        ((700, 90), geometry(40, 6, 8)),
        ((2000, 1500), geometry(8, 6, 8)),
    ] {
        let plan = Plan::new(&geometry, size.0, size.1).unwrap();
        let bytes = noise((size.0 * size.1 * 2) as usize, 6);
        for (format, [y0, u, y1, v]) in [
            (PixelFormat::Yuyv, [0, 1, 2, 3]),
            (PixelFormat::Uyvy, [1, 0, 3, 2]),
        ] {
            let expand = |pair: &[u8; 4]| {
                [pair[y0], pair[y1]].map(|y| pixel::yuv_to_rgb(y, pair[u], pair[v]))
            };
            let rgb: Vec<u8> = bytes
                .as_chunks()
                .0
                .iter()
                .flat_map(expand)
                .flatten()
                .collect();
            let expected = run_plan(plan, size, PixelFormat::Rgb888, &rgb);
            assert!(
                run_plan(plan, size, format, &bytes) == expected,
                "{format:?} {size:?}"
            );
        }
    }
}

#[test]
fn an_odd_width_of_paired_pixels_is_refused() {
    let geometry = geometry(4, 4, 4);
    let mut scratch = vec![0; Preprocessor::scratch_len(&geometry, 7, 2).unwrap()];
    let refused = Preprocessor::new(&Scalar, &geometry, 7, 2, PixelFormat::Yuyv, &mut scratch);
    assert_eq!(
        refused.err(),
        Some(InputError::WidthMultiple {
            multiple: 2,
            found: 7
        })
    );
}

#[test]
fn a_resized_picture_smaller_than_the_crop_is_padded_with_black() {
    let plan = Plan::new(&geometry(8, 4, 3), 3, 3).unwrap();
    let rows = run_plan(plan, (3, 3), PixelFormat::Rgb888, &[255; 27]);
    let mut expected = vec![vec![0; 24]; 4];
    for row in &mut expected[..3] {
        row[6..15].fill(255);
    }
    assert_eq!(rows, expected);
}

#[test]
fn memory_does_not_grow_with_the_source_height() {
    let geometry = geometry(224, 224, 256);
    let words = |height| Preprocessor::scratch_len(&geometry, 320, height).unwrap();
    assert!(words(20_000) <= words(320));
    // Horizontal weights aside, a large frame takes the five rows of sums and two rows of bytes.
    let plan = Plan::new(&geometry, 20_000, 20_000).unwrap();
    assert_eq!(plan.vertical, Vertical::Sums);
    assert_eq!(plan.vertical_words(), 5 * 224 * 3 + 224 * 3 / 4);
}

#[test]
fn extreme_sizes_are_computed() {
    for size in [(1, 1), (1, 20_000), (20_000, 1), (1, 65_535), (65_535, 2)] {
        let geometry = geometry(24, 24, 32);
        let pixels = vec![200; (size.0 * size.1) as usize];
        let plan = Plan::new(&geometry, size.0, size.1).unwrap();
        let rows = run_plan(plan, size, PixelFormat::Grey8, &pixels);
        assert!(
            rows.len() == 24 && rows.concat().iter().all(|sample| *sample == 200),
            "{size:?}"
        );
    }
}

#[test]
fn a_frame_of_20000_by_20000_is_computed() {
    let geometry = geometry(8, 8, 8);
    let mut scratch = vec![0; Preprocessor::scratch_len(&geometry, 20_000, 20_000).unwrap()];
    let mut sink = Collect(Vec::new());
    let mut preprocessor = Preprocessor::new(
        detect(),
        &geometry,
        20_000,
        20_000,
        PixelFormat::Grey8,
        &mut scratch,
    )
    .unwrap();
    let row = vec![9; 20_000];
    for _ in 0..20_000 {
        preprocessor.push_row(&row, &mut sink).unwrap();
    }
    preprocessor.finish(&mut sink).unwrap();
    assert_eq!(sink.0, vec![vec![9; 24]; 8]);
}

#[test]
fn misuse_is_refused_with_the_numbers() {
    let geometry = geometry(4, 4, 4);
    let needed = Preprocessor::scratch_len(&geometry, 6, 2).unwrap();
    let mut scratch = vec![0; needed];
    fn start<'a>(
        geometry: &InputGeometry,
        scratch: &'a mut [u32],
    ) -> Result<Preprocessor<'a>, InputError> {
        Preprocessor::new(&Scalar, geometry, 6, 2, PixelFormat::Grey8, scratch)
    }
    assert_eq!(
        start(&geometry, &mut scratch[1..]).err(),
        Some(InputError::ScratchTooSmall {
            needed: needed as u64,
            given: needed - 1
        })
    );
    let mut sink = Collect(Vec::new());
    let mut preprocessor = start(&geometry, &mut scratch).unwrap();
    assert_eq!(
        preprocessor.push_row(&[0; 7], &mut sink),
        Err(InputError::RowLength {
            expected: 6,
            found: 7
        })
    );
    preprocessor.push_row(&[0; 6], &mut sink).unwrap();
    preprocessor.push_row(&[0; 6], &mut sink).unwrap();
    assert_eq!(
        preprocessor.push_row(&[0; 6], &mut sink),
        Err(InputError::TooManyRows { expected: 2 })
    );
    let mut scratch = vec![0; needed];
    assert_eq!(
        start(&geometry, &mut scratch).unwrap().finish(&mut sink),
        Err(InputError::RowsMissing {
            expected: 2,
            found: 0
        })
    );
    for (width, height) in [(0, 1), (1, 0), (65_536, 1), (1, u32::MAX)] {
        assert_eq!(
            Preprocessor::scratch_len(&geometry, width, height),
            Err(InputError::SourceSize { width, height })
        );
    }
    let empty = InputGeometry {
        resize_shorter: 0,
        ..geometry
    };
    assert!(matches!(
        Preprocessor::scratch_len(&empty, 1, 1),
        Err(InputError::EmptyGeometry {
            resize_shorter: 0,
            ..
        })
    ));
}

proptest! {
    #[test]
    fn any_size_and_any_row_lengths_end_without_a_panic(
        width in 0u32..70, height in 0u32..70,
        out_width in 0u16..40, out_height in 0u16..40, resize_shorter in 0u16..80,
        wrong_row in 0usize..80, wrong_len in 0usize..300, spare in 0usize..3,
    ) {
        let geometry = geometry(out_width, out_height, resize_shorter);
        let Ok(needed) = Preprocessor::scratch_len(&geometry, width, height) else {
            prop_assert!([width, height, out_width.into(), out_height.into(), resize_shorter.into()].contains(&0));
            return Ok(());
        };
        let mut scratch = vec![u32::MAX; (needed + spare).saturating_sub(1)];
        let Ok(mut preprocessor) = Preprocessor::new(detect(), &geometry, width, height, PixelFormat::Rgb888, &mut scratch) else {
            prop_assert_eq!(spare, 0);
            return Ok(());
        };
        let row = noise(width as usize * 3, 5);
        let wrong = noise(wrong_len, 6);
        let mut sink = Collect(Vec::new());
        for index in 0..height as usize {
            if index == wrong_row {
                let _ = preprocessor.push_row(&wrong, &mut sink);
            }
            let _ = preprocessor.push_row(&row, &mut sink);
        }
        if preprocessor.finish(&mut sink).is_ok() {
            prop_assert_eq!(sink.0.len(), usize::from(out_height));
        }
    }

    #[test]
    fn scratch_length_never_panics(
        width: u32, height: u32, out_width: u16, out_height: u16, resize_shorter: u16,
    ) {
        let geometry = geometry(out_width, out_height, resize_shorter);
        let _ = Preprocessor::scratch_len(&geometry, width, height);
        let _ = Preprocessor::scratch_len(&geometry, width % 65_536, height % 65_536);
    }
}
