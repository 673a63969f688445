//! The random numbers of one view: a function of what they are for, and of nothing that depends on threads or time.

use crate::rng::Rng;

/// What is drawn for: the seed of the run, the epoch, the sample and which of its views.
///
/// The sample counts by its id, so that pictures added to a data set leave the draws of the others alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw<'a> {
    /// The seed of the run.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: usize,
    /// [`super::Sample::id`].
    pub id: &'a str,
    /// The view of the sample, from 0.
    pub view: usize,
}

impl Draw<'_> {
    /// The generator for one purpose; purposes do not share random numbers.
    pub(crate) fn rng(&self, purpose: &str) -> Rng {
        let numbers = [self.seed, self.epoch as u64, self.view as u64];
        let mut hash = Fnv::new();
        for number in numbers {
            hash.add(&number.to_le_bytes());
        }
        hash.add(purpose.as_bytes());
        // No purpose has a zero byte, so that the end of one cannot pass for the beginning of an id.
        hash.add(&[0]);
        hash.add(self.id.as_bytes());
        Rng::new(hash.0)
    }
}

/// FNV-1a with 64 bits (Fowler, Noll and Vo); [`Rng::new`] mixes what it gives.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// A number between `least` and `most`, uniform.
pub(crate) fn uniform(rng: &mut Rng, [least, most]: [f32; 2]) -> f32 {
    least + (most - least) * rng.unit()
}

/// A number between `least` and `most`, both above 0, whose logarithm is uniform.
pub(crate) fn log_uniform(rng: &mut Rng, [least, most]: [f32; 2]) -> f32 {
    match least == most {
        true => least,
        false => uniform(rng, [least.ln(), most.ln()])
            .exp()
            .clamp(least, most),
    }
}

/// Two independent numbers of the standard normal distribution (Box and Muller, 1958).
pub(crate) fn normal_pair(rng: &mut Rng) -> [f32; 2] {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    let (sin, cos) = (std::f32::consts::TAU * rng.unit()).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Draw = Draw {
        seed: 1,
        epoch: 2,
        id: "a.jpg",
        view: 3,
    };

    #[test]
    fn each_part_of_a_draw_and_each_purpose_gives_other_numbers() {
        let first = |draw: Draw, purpose| draw.rng(purpose).next_u64();
        let mut found = vec![
            first(DRAW, "view"),
            first(DRAW, "text"),
            first(Draw { seed: 2, ..DRAW }, "view"),
            first(Draw { epoch: 1, ..DRAW }, "view"),
            first(
                Draw {
                    id: "b.jpg",
                    ..DRAW
                },
                "view",
            ),
            first(Draw { view: 0, ..DRAW }, "view"),
        ];
        assert_eq!(first(DRAW, "view"), found[0]);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn the_numbers_have_the_moments_of_their_distributions() {
        let mut rng = Rng::new(5);
        let count = 50_000;
        let normal: Vec<f32> = (0..count).flat_map(|_| normal_pair(&mut rng)).collect();
        let mean = normal.iter().sum::<f32>() / normal.len() as f32;
        let variance = normal.iter().map(|x| x * x).sum::<f32>() / normal.len() as f32;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        let below = (0..count).filter(|_| log_uniform(&mut rng, [0.25, 4.0]) < 1.0);
        let share = below.count() as f32 / count as f32;
        assert!((share - 0.5).abs() < 0.01, "{share}");
        assert_eq!(log_uniform(&mut rng, [0.3, 0.3]), 0.3);
    }
}
