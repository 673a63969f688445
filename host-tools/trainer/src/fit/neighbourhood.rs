//! Targets that are averages over pictures that are alike, as another encoder sees them.
//!
//! What a teacher says of one picture is noisy where pictures are small or odd; what it says of the pictures around it,
//! on average, is less so. Who is near is told by an encoder that need know nothing of texts, on pictures as they are: with
//! unit rows `z` of the encoder, less their mean, and unit rows `t` of the teacher, over the `k` nearest `j` of picture `i`,
//! itself among them,
//!
//! ```text
//! target_i = unit( Σ_j exp(s·(z_i·z_j − 1)) · t_j )
//! ```
//!
//! It is a step of label propagation without labels (Zhou et al., 2003, Learning with Local and Global Consistency).
//! `rounds` of it take averages of averages, and make the rows unit behind the last.

use super::encoder::unit;
use super::setup::Setup;
use super::teacher_cache::TeacherCache;
use crate::TrainError;
use crate::data::Source;
use crate::features::Matrix;
use crate::teacher::{Averaging, average_over_neighbours, join};

impl Setup {
    /// The caches of the teachers, then that of the neighbourhood.
    pub(super) fn caches(&mut self) -> impl Iterator<Item = &mut TeacherCache> {
        let teachers = self.teachers.iter_mut().map(|teacher| &mut teacher.cache);
        teachers.chain(&mut self.neighbourhood)
    }

    /// Makes the targets of all samples, where the recipe asks for averages; the caches have what was said of them.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub(super) fn average_over_neighbours(&mut self) -> Result<(), TrainError> {
        let (Some(near), Some(spec)) = (&mut self.neighbourhood, &self.loaded.recipe.neighbourhood)
        else {
            return Ok(());
        };
        let samples = self.source.samples().len();
        let broken = near.missing(0, 0, &(0..samples).collect())?;
        let seen: Vec<usize> = (0..samples)
            .filter(|i| broken.binary_search(i).is_err())
            .collect();
        let device = self.place.plain();
        let alike = join(std::iter::once(&said(near, &seen)?));
        for teacher in &mut self.teachers {
            let rows = said(&mut teacher.cache, &seen)?;
            let how = Averaging {
                count: spec.count,
                sharpness: spec.sharpness,
                rounds: spec.rounds,
            };
            let means = average_over_neighbours(&rows, &alike, how, &device);
            let columns = means.columns;
            let mut data = vec![0.0; samples * columns];
            for (&index, mean) in seen.iter().zip(means.data.chunks_exact(columns)) {
                data[index * columns..][..columns].copy_from_slice(&unit(mean.to_vec()));
            }
            teacher.averaged = Some(Matrix {
                data,
                rows: samples,
                columns,
            });
        }
        Ok(())
    }
}

/// The embeddings of `indices`.
fn said(cache: &mut TeacherCache, indices: &[usize]) -> Result<Matrix, TrainError> {
    Ok(Matrix {
        data: cache.rows(0, 0, indices)?,
        rows: indices.len(),
        columns: cache.encoder.width,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, PICTURES, WIDTH};
    use super::super::recipe::Loaded;
    use super::super::setup::Setup;
    use crate::data::Shard;
    use crate::device::Place;
    use pinhole_ranks::Ranks;

    const SECTIONS: &str = "[loss]\nfeature = 1.0\n[[teacher]]\nmodel = \"teacher.phg\"\n[reinforced]\nplain = true\n\
        [[data.augmentation]]\nkind = \"random_resized_crop\"\n[data]\nviews = 2\n";
    const NEAR: &str = "[neighbourhood]\nmodel = \"image.phg\"\ncount = 3\nsharpness = 2.0\n";

    fn setup(fixture: &Fixture) -> Setup {
        let recipe = fixture.recipe(&format!("{SECTIONS}{NEAR}"));
        let folder = fixture.path("");
        let loaded = Loaded::open(&recipe).unwrap();
        let shard = Shard::of(&Ranks::alone());
        let mut setup = Setup::new(loaded, (&folder, &folder), shard, Place::cpu()).unwrap();
        let all: Vec<usize> = (0..PICTURES).collect();
        for cache in setup.caches() {
            cache.fill(0, 0, &all).unwrap();
        }
        setup
    }

    #[test]
    fn targets_are_means_of_the_nearest_by_the_other_encoder() {
        let fixture = Fixture::new();
        // Samples are sorted by path: it is the fifth of them.
        let broken = 4;
        let path = fixture.path("pictures/blue/4.png");
        // Its header is whole, so that only decoding tells.
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
        let mut setup = setup(&fixture);
        setup.average_over_neighbours().unwrap();
        let seen: Vec<usize> = (0..PICTURES).filter(|&i| i != broken).collect();
        let mut rows = setup.caches().map(|cache| cache.rows(0, 0, &seen).unwrap());
        let (taught, near) = (rows.next().unwrap(), rows.next().unwrap());
        drop(rows);
        let mean: Vec<f32> = (0..WIDTH)
            .map(|c| near.iter().skip(c).step_by(WIDTH).sum::<f32>() / seen.len() as f32)
            .collect();
        let unit = |row: Vec<f32>| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.into_iter().map(|x| x / length).collect::<Vec<f32>>()
        };
        let centred: Vec<Vec<f32>> = near
            .chunks(WIDTH)
            .map(|row| unit(row.iter().zip(&mean).map(|(x, m)| x - m).collect()))
            .collect();
        let found = setup.teachers[0].averaged.as_ref().unwrap();
        for (at, &index) in seen.iter().enumerate() {
            let cosine = |other: &Vec<f32>| -> f32 {
                centred[at].iter().zip(other).map(|(a, b)| a * b).sum()
            };
            let mut order: Vec<(f32, usize)> = centred.iter().map(cosine).zip(0..).collect();
            order.sort_by(|a, b| b.0.total_cmp(&a.0));
            let mut expected = vec![0f32; WIDTH];
            for (cosine, other) in &order[..3] {
                let weight = (2.0 * (cosine - 1.0)).exp();
                let row = taught.chunks(WIDTH).nth(*other).unwrap();
                expected
                    .iter_mut()
                    .zip(row)
                    .for_each(|(e, x)| *e += weight * x);
            }
            for (a, b) in found.row(index).iter().zip(unit(expected)) {
                assert!((a - b).abs() < 1e-5, "{index}: {a} {b}");
            }
        }
        assert!(
            found.row(broken).iter().all(|&x| x == 0.0),
            "it is never drawn"
        );
    }

    #[test]
    fn plain_teachers_see_a_picture_once_whatever_the_views_and_epochs() {
        let fixture = Fixture::new();
        let files = |sections: &str| {
            let _ = std::fs::remove_dir_all(fixture.path("reinforced"));
            fixture.fit(sections).unwrap();
            std::fs::read_dir(fixture.path("reinforced"))
                .unwrap()
                .count()
        };
        assert_eq!(files(SECTIONS), 1);
        assert_eq!(files(&SECTIONS.replace("plain = true", "epochs = 2")), 4);
        let plain = fixture.bytes("out/log.csv");
        assert_eq!(files(&format!("{SECTIONS}{NEAR}")), 2);
        assert!(fixture.bytes("out/log.csv") != plain);
        let itself = NEAR.replace("image.phg", "teacher.phg");
        assert_eq!(files(&format!("{SECTIONS}{itself}")), 1, "it says so once");
    }

    #[test]
    fn a_neighbourhood_needs_plain_pictures_and_a_teacher() {
        let fixture = Fixture::new();
        let cropped = SECTIONS.replace("plain = true", "epochs = 2");
        let message = fixture.refused(&format!("{cropped}{NEAR}"));
        assert!(
            message.contains("`plain = true` under [reinforced]"),
            "{message}"
        );
        let both = SECTIONS.replace("plain = true", "plain = true\nepochs = 2");
        let message = fixture.refused(&both);
        assert!(message.contains("`reinforced.epochs` counts"), "{message}");
        let alone = "[loss]\nsup_con = 1.0\n[reinforced]\nplain = true\n";
        let message = fixture.refused(&format!("{alone}{NEAR}"));
        assert!(message.contains("there is no `[[teacher]]`"), "{message}");
    }
}
