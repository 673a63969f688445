//! A Bayer mosaic to RGB, row by row.
//!
//! Bilinear: a missing colour is the mean of the nearest samples of that colour, which are two (to the left and right, or above
//! and below) or four (in a cross for green, at the corners for the colour across), rounded half up. Beyond the border the
//! mosaic is mirrored without repeating the border (sample -1 is sample 1), which keeps the colours in their places. The mosaic
//! is that of Bayer 1976, US patent 3,971,065.
//!
//! The output of a row waits for the row below it, so that two source rows and one RGB row are kept, and no frame.

use super::InputError;
use zerocopy::IntoBytes;

/// The colours of the first two rows of a mosaic, each read from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BayerPattern {
    /// Red, green; green, blue.
    Rggb,
    /// Green, red; blue, green.
    Grbg,
    /// Green, blue; red, green.
    Gbrg,
    /// Blue, green; green, red.
    Bggr,
}

impl BayerPattern {
    /// Column and row, modulo 2, of the red samples.
    const fn red(self) -> (usize, usize) {
        match self {
            Self::Rggb => (0, 0),
            Self::Grbg => (1, 0),
            Self::Gbrg => (0, 1),
            Self::Bggr => (1, 1),
        }
    }
}

/// Turns the rows of one mosaic picture into rows of RGB888, which a [`super::Preprocessor`] takes.
#[derive(Debug)]
pub struct Demosaic<'a> {
    pattern: BayerPattern,
    height: u32,
    pushed: u32,
    /// The row above the one that waits, and the row that waits, by `row % 2`.
    kept: [&'a mut [u8]; 2], // (width)
    rgb: &'a mut [u8], // (width, 3)
}

impl<'a> Demosaic<'a> {
    /// Words of scratch for pictures of this width.
    pub const fn scratch_len(width: u32) -> usize {
        2 * (width as usize).div_ceil(4) + (width as usize * 3).div_ceil(4)
    }

    /// A picture of which nothing came yet.
    ///
    /// # Errors
    /// [`InputError::SourceSize`] when a side is below 2, since a mosaic that small lacks a colour, or above
    /// [`super::MAX_SOURCE_SIDE`]; [`InputError::ScratchTooSmall`] when `scratch` is shorter than [`Demosaic::scratch_len`].
    pub fn new(
        pattern: BayerPattern,
        width: u32,
        height: u32,
        scratch: &'a mut [u32],
    ) -> Result<Self, InputError> {
        let sides = 2..=super::MAX_SOURCE_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(InputError::SourceSize { width, height });
        }
        let too_small = InputError::ScratchTooSmall {
            needed: Self::scratch_len(width) as u64,
            given: scratch.len(),
        };
        let row_words = (width as usize).div_ceil(4);
        let (even, scratch) = scratch.split_at_mut_checked(row_words).ok_or(too_small)?;
        let (odd, scratch) = scratch.split_at_mut_checked(row_words).ok_or(too_small)?;
        let rgb_bytes = width as usize * 3;
        let rgb = scratch.as_mut_bytes().get_mut(..rgb_bytes);
        let row = |words: &'a mut [u32]| words.as_mut_bytes().get_mut(..width as usize);
        Ok(Self {
            pattern,
            height,
            pushed: 0,
            kept: [row(even).unwrap_or_default(), row(odd).unwrap_or_default()],
            rgb: rgb.ok_or(too_small)?,
        })
    }

    /// Takes the next row of samples and gives `emit` the row of RGB888 that it completes: none for the first, two for the last.
    ///
    /// # Errors
    /// When the row has the wrong length or comes after the last one; those of `emit`.
    pub fn push_row(
        &mut self,
        row: &[u8],
        emit: &mut dyn FnMut(&[u8]) -> Result<(), InputError>,
    ) -> Result<(), InputError> {
        let width = self.kept[0].len();
        if row.len() != width {
            return Err(InputError::RowLength {
                expected: width,
                found: row.len(),
            });
        }
        if self.pushed == self.height {
            return Err(InputError::TooManyRows {
                expected: self.height,
            });
        }
        let y = self.pushed as usize;
        self.pushed += 1;
        if let Some(above) = y.checked_sub(1) {
            let [even, odd] = &self.kept;
            let (waiting, before) = if above.is_multiple_of(2) {
                (even, odd)
            } else {
                (odd, even)
            };
            // Row -1 is row 1, which just came.
            let before: &[u8] = if above == 0 { row } else { before };
            interpolate(self.pattern, above, [before, waiting, row], self.rgb);
            emit(self.rgb)?;
        }
        self.kept[y % 2].copy_from_slice(row);
        if self.pushed == self.height {
            let [even, odd] = &self.kept;
            let (last, before) = if y.is_multiple_of(2) {
                (even, odd)
            } else {
                (odd, even)
            };
            interpolate(self.pattern, y, [before, last, before], self.rgb);
            emit(self.rgb)?;
        }
        Ok(())
    }

    /// Ends the picture.
    ///
    /// # Errors
    /// [`InputError::RowsMissing`] when rows are missing.
    pub fn finish(self) -> Result<(), InputError> {
        if self.pushed != self.height {
            return Err(InputError::RowsMissing {
                expected: self.height,
                found: self.pushed,
            });
        }
        Ok(())
    }
}

/// One row of RGB from the rows above, at and below it.
fn interpolate(pattern: BayerPattern, y: usize, rows: [&[u8]; 3], rgb: &mut [u8]) {
    let (red_column, red_row) = pattern.red();
    let in_red_row = y % 2 == red_row;
    let width = rows[1].len();
    let sample = |row: &[u8], x: usize| u16::from(row.get(x).copied().unwrap_or_default());
    for (x, rgb) in rgb.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let left = if x == 0 { 1 } else { x - 1 };
        let right = if x + 1 == width {
            x.saturating_sub(1)
        } else {
            x + 1
        };
        let [above, here, below] = rows;
        let own = sample(here, x) as u8;
        let beside = sample(here, left) + sample(here, right);
        let upright = sample(above, x) + sample(below, x);
        let two = |sum: u16| sum.div_ceil(2) as u8;
        let four = |sum: u16| ((sum + 2) / 4) as u8;
        // A row holds green and one of red and blue.
        let is_green = (x % 2 == red_column) != in_red_row;
        let [of_row, green, of_other_rows] = if is_green {
            [two(beside), own, two(upright)]
        } else {
            let corners = sample(above, left)
                + sample(above, right)
                + sample(below, left)
                + sample(below, right);
            [own, four(beside + upright), four(corners)]
        };
        *rgb = if in_red_row {
            [of_row, green, of_other_rows]
        } else {
            [of_other_rows, green, of_row]
        };
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const PATTERNS: [(BayerPattern, [u8; 4]); 4] = [
        (BayerPattern::Rggb, *b"rggb"),
        (BayerPattern::Grbg, *b"grbg"),
        (BayerPattern::Gbrg, *b"gbrg"),
        (BayerPattern::Bggr, *b"bggr"),
    ];

    fn run(pattern: BayerPattern, width: usize, samples: &[u8]) -> Vec<[u8; 3]> {
        let height = samples.len() / width;
        // Garbage in the scratch and no word to spare.
        let mut scratch = vec![u32::MAX; Demosaic::scratch_len(width as u32)];
        let mut demosaic =
            Demosaic::new(pattern, width as u32, height as u32, &mut scratch).unwrap();
        let mut pixels = Vec::new();
        for row in samples.chunks(width) {
            demosaic
                .push_row(row, &mut |rgb| {
                    pixels.extend_from_slice(rgb.as_chunks().0);
                    Ok(())
                })
                .unwrap();
        }
        demosaic.finish().unwrap();
        pixels
    }

    /// The whole picture at once: every colour is the mean of the nearest samples of that colour in the mirrored mosaic.
    fn reference(colours: [u8; 4], width: usize, samples: &[u8]) -> Vec<[u8; 3]> {
        let height = samples.len() / width;
        let mirror = |at: i64, len: usize| {
            let last = len as i64 - 1;
            (if at < 0 {
                -at
            } else if at > last {
                2 * last - at
            } else {
                at
            }) as usize
        };
        let colour_at = |x: i64, y: i64| colours[(y.rem_euclid(2) * 2 + x.rem_euclid(2)) as usize];
        let mut pixels = Vec::new();
        for y in 0..height as i64 {
            for x in 0..width as i64 {
                pixels.push((*b"rgb").map(|colour| {
                    for distance in 0..=2 {
                        let mut near = Vec::new();
                        for dy in -1..=1i64 {
                            for dx in -1..=1i64 {
                                if dx * dx + dy * dy == distance
                                    && colour_at(x + dx, y + dy) == colour
                                {
                                    let row = mirror(y + dy, height);
                                    near.push(u32::from(
                                        samples[row * width + mirror(x + dx, width)],
                                    ));
                                }
                            }
                        }
                        if !near.is_empty() {
                            let count = near.len() as u32;
                            return ((near.iter().sum::<u32>() + count / 2) / count) as u8;
                        }
                    }
                    unreachable!("every colour is within one pixel")
                }));
            }
        }
        pixels
    }

    #[test]
    fn plain_colours_stay_plain_in_every_pattern() {
        for (pattern, colours) in PATTERNS {
            let (width, height) = (6, 5);
            let samples: Vec<u8> = (0..width * height)
                .map(|at| match colours[(at / width % 2) * 2 + at % width % 2] {
                    b'r' => 200,
                    b'g' => 90,
                    _ => 30,
                })
                .collect();
            let pixels = run(pattern, width, &samples);
            assert_eq!(pixels, vec![[200, 90, 30]; width * height], "{pattern:?}");
        }
    }

    #[test]
    fn misuse_is_refused_with_the_numbers() {
        let mut scratch = [0; 32];
        let small = Demosaic::new(BayerPattern::Rggb, 1, 4, &mut scratch);
        let size = InputError::SourceSize {
            width: 1,
            height: 4,
        };
        assert_eq!(small.err(), Some(size));
        let needed = Demosaic::scratch_len(8);
        let short = Demosaic::new(BayerPattern::Rggb, 8, 4, &mut scratch[..needed - 1]);
        let error = InputError::ScratchTooSmall {
            needed: needed as u64,
            given: needed - 1,
        };
        assert_eq!(short.err(), Some(error));
        let mut demosaic = Demosaic::new(BayerPattern::Rggb, 8, 2, &mut scratch).unwrap();
        let mut emit = |_: &[u8]| Ok(());
        let length = InputError::RowLength {
            expected: 8,
            found: 9,
        };
        assert_eq!(demosaic.push_row(&[0; 9], &mut emit), Err(length));
        demosaic.push_row(&[0; 8], &mut emit).unwrap();
        demosaic.push_row(&[0; 8], &mut emit).unwrap();
        let many = InputError::TooManyRows { expected: 2 };
        assert_eq!(demosaic.push_row(&[0; 8], &mut emit), Err(many));
        let missing = InputError::RowsMissing {
            expected: 2,
            found: 0,
        };
        let fresh = Demosaic::new(BayerPattern::Rggb, 8, 2, &mut scratch).unwrap();
        assert_eq!(fresh.finish(), Err(missing));
    }

    proptest! {
        #[test]
        fn rows_give_what_the_whole_picture_gives(
            width in 2usize..20, height in 2usize..12, which in 0usize..4, seed: u32,
        ) {
            let mut state = seed;
            let samples: Vec<u8> = (0..width * height).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }).collect();
            let (pattern, colours) = PATTERNS[which];
            prop_assert_eq!(run(pattern, width, &samples), reference(colours, width, &samples));
        }
    }
}
