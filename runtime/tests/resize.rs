//! The streaming resize against Pillow's, on pictures that `golden/make_resize.py` resized.

use pinhole_runtime::kernel::{Kernels, available};
use pinhole_runtime::preprocess::{InputGeometry, PixelFormat, Preprocessor, RowSink};

struct Picture(Vec<u8>);

impl RowSink for Picture {
    fn row(&mut self, _: usize, rgb: &[u8]) {
        self.0.extend_from_slice(rgb);
    }
}

/// The source picture that the script makes from the same pattern.
fn source(pattern: u16, width: usize, height: usize) -> Vec<u8> {
    let mut state = (width as u32) << 16 | height as u32;
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                pixels.push(match pattern {
                    0 => {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    }
                    1 => (x * (c + 1) + y * 2 + c * 40) as u8,
                    _ if (x / 3 + y / 3 + c) % 2 == 0 => 255,
                    _ => 0,
                });
            }
        }
    }
    pixels
}

fn resize(
    kernels: &dyn Kernels,
    geometry: &InputGeometry,
    width: u32,
    height: u32,
    pixels: &[u8],
) -> Vec<u8> {
    let mut scratch = vec![0; Preprocessor::scratch_len(geometry, width, height).unwrap()];
    let mut preprocessor = Preprocessor::new(
        kernels,
        geometry,
        width,
        height,
        PixelFormat::Rgb888,
        &mut scratch,
    )
    .unwrap();
    let mut picture = Picture(Vec::new());
    for row in pixels.chunks(width as usize * 3) {
        preprocessor.push_row(row, &mut picture).unwrap();
    }
    preprocessor.finish(&mut picture).unwrap();
    picture.0
}

#[test]
fn every_sample_equals_pillow() {
    let path = std::env::var("PINHOLE_RESIZE_GOLDEN")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/resize.bin").into());
    let golden = std::fs::read(path).unwrap();
    let mut rest = golden.as_slice();
    let (mut cases, mut samples, mut differing, mut largest) = (0, 0, 0, 0);
    while let Some((head, tail)) = rest.split_first_chunk::<12>() {
        let field = |index: usize| u16::from_le_bytes([head[index * 2], head[index * 2 + 1]]);
        let (source_width, source_height) = (field(1), field(2));
        let geometry = InputGeometry {
            width: field(4),
            height: field(5),
            resize_shorter: field(3),
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let (expected, tail) =
            tail.split_at(usize::from(geometry.width) * usize::from(geometry.height) * 3);
        rest = tail;
        let pixels = source(field(0), source_width.into(), source_height.into());
        for set in available() {
            let found = resize(
                set,
                &geometry,
                source_width.into(),
                source_height.into(),
                &pixels,
            );
            assert_eq!(found.len(), expected.len());
            let before = differing;
            for (found, expected) in found.iter().zip(expected) {
                let difference = found.abs_diff(*expected);
                differing += usize::from(difference != 0);
                largest = largest.max(difference);
            }
            if differing > before {
                println!(
                    "{}, pattern {}, {source_width}x{source_height} -> {geometry:?}: {} of {} samples differ",
                    set.name(),
                    field(0),
                    differing - before,
                    expected.len()
                );
            }
        }
        samples += expected.len();
        cases += 1;
    }
    let sets: Vec<_> = available().map(|set| set.name()).collect();
    println!("kernel sets covered: {}", sets.join(", "));
    println!(
        "{cases} pictures, {samples} samples, {differing} differ, largest difference {largest}"
    );
    assert!(cases > 0 && rest.is_empty());
    assert_eq!(largest, 0);
}
