//! Views of photographs at several sharpnesses, with the teachers' opinion of the sharp ones.
//!
//! Each photograph gives its whole and four corners of it, every other one mirrored. The student sees each view as it is and
//! shrunk to 64 and 32 pixels; the teachers, the student's own head among them, see it as it is. So the student learns what a
//! picture of few pixels shows from one of many.

use std::path::Path;

use image::RgbImage;
use image::imageops::{self, FilterType};
use pinhole_data::load_picture;
use pinhole_ranks::Ranks;
use pinhole_trainer::features::{Matrix, Photos};
use rayon::prelude::*;

use super::tower::Tower;
use crate::failure::Outcome;
use crate::pictures;

/// Shorter sides that a view is shrunk to, beside its own.
const LOW_SIDES: [u32; 2] = [64, 32];

/// Features and opinions of the photographs of `folder`.
pub(super) fn photos(
    student: &Tower,
    teachers: &[Tower],
    folder: &Path,
    ranks: &Ranks,
) -> Outcome<Photos> {
    let sharp = ranks.agree(sharp(folder))?;
    let mut features =
        student
            .encoder
            .features_of(sharp.len(), &|index| Ok(sharp[index].clone()), ranks)?;
    let mut sums = log_posteriors(student, &features);
    for teacher in teachers {
        let seen =
            teacher
                .encoder
                .features_of(sharp.len(), &|index| Ok(sharp[index].clone()), ranks)?;
        let opinion = log_posteriors(teacher, &seen);
        sums.iter_mut().zip(opinion).for_each(|(sum, x)| *sum += x);
    }
    for side in LOW_SIDES {
        let low = student.encoder.features_of(
            sharp.len(),
            &|index| Ok(shrunk(&sharp[index], side)),
            ranks,
        )?;
        features.rows += low.rows;
        features.data.extend(low.data);
    }
    let heads = 1.0 + teachers.len() as f64;
    let classes = student.weight.rows;
    let posteriors = Matrix {
        data: sums
            .chunks_exact(classes)
            .flat_map(|row| normalised(row, heads))
            .collect(),
        rows: sharp.len(),
        columns: classes,
    };
    Ok(Photos {
        features,
        posteriors,
    })
}

/// The views of all photographs of `folder`.
fn sharp(folder: &Path) -> Outcome<Vec<RgbImage>> {
    let paths = pictures::below(folder)?;
    let views = paths.par_iter().map(|path| Ok(views(&load_picture(path)?)));
    Ok(views
        .collect::<Outcome<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// The whole of a picture and its corners, squares of three quarters of its shorter side, the second and fourth mirrored.
fn views(picture: &RgbImage) -> Vec<RgbImage> {
    let (width, height) = picture.dimensions();
    let side = (width.min(height) * 3 / 4).max(1);
    let (right, bottom) = (width - side, height - side);
    let corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)];
    let mut views = vec![picture.clone()];
    for (index, (x, y)) in corners.into_iter().enumerate() {
        let corner = imageops::crop_imm(picture, x, y, side, side).to_image();
        views.push(if index % 2 == 1 {
            imageops::flip_horizontal(&corner)
        } else {
            corner
        });
    }
    views
}

/// `picture` with its shorter side `side`, or as it is where that is smaller.
fn shrunk(picture: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let shorter = width.min(height);
    if shorter <= side {
        return picture.clone();
    }
    let scaled = |length: u32| ((length * side + shorter / 2) / shorter).max(1);
    imageops::resize(
        picture,
        scaled(width),
        scaled(height),
        FilterType::CatmullRom,
    )
}

/// `log softmax(weight·x + bias)` of every row, (rows, classes), in f64.
fn log_posteriors(tower: &Tower, features: &Matrix) -> Vec<f64> {
    (0..features.rows)
        .into_par_iter()
        .flat_map_iter(|row| {
            let x = features.row(row);
            let logits: Vec<f64> = (0..tower.weight.rows)
                .map(|class| {
                    let products = tower.weight.row(class).iter().zip(x);
                    let sum: f64 = products.map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    sum + f64::from(tower.bias[class])
                })
                .collect();
            let most = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|l| (l - most).exp()).sum();
            logits.into_iter().map(move |l| l - most - total.ln())
        })
        .collect()
}

/// The distribution whose logarithm is `row / heads` up to a constant.
fn normalised(row: &[f64], heads: f64) -> Vec<f32> {
    let powers: Vec<f64> = row.iter().map(|x| (x / heads).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| (p / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::{normalised, shrunk, views};
    use image::{Rgb, RgbImage};

    #[test]
    fn a_photograph_gives_its_whole_and_four_corners_of_which_two_are_mirrored() {
        let picture = RgbImage::from_fn(8, 12, |x, y| Rgb([x as u8, y as u8, 0]));
        let views = views(&picture);
        let sizes: Vec<_> = views.iter().map(RgbImage::dimensions).collect();
        assert_eq!(sizes, [(8, 12), (6, 6), (6, 6), (6, 6), (6, 6)]);
        let first = views
            .iter()
            .map(|view| view.get_pixel(0, 0).0[..2].to_vec());
        let expected = [[0, 0], [0, 0], [7, 0], [0, 6], [7, 6]];
        assert_eq!(first.collect::<Vec<_>>(), expected.map(|p| p.to_vec()));
    }

    #[test]
    fn shrinking_keeps_the_shape_and_leaves_small_pictures_alone() {
        assert_eq!(shrunk(&RgbImage::new(300, 200), 64).dimensions(), (96, 64));
        assert_eq!(shrunk(&RgbImage::new(20, 31), 32).dimensions(), (20, 31));
    }

    #[test]
    fn two_heads_of_one_opinion_have_that_opinion() {
        let log = [0.5f64.ln() * 2.0, 0.25f64.ln() * 2.0, 0.25f64.ln() * 2.0];
        assert_eq!(normalised(&log, 2.0), [0.5, 0.25, 0.25]);
    }
}
