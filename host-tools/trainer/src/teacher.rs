//! What the frozen classifier head says about pictures without labels, and the class means that it implies.
//!
//! The posterior of picture `x` is `softmax(W·x + b)`; it turns a picture into a mixture of class texts (Norouzi et al.,
//! 2014, arXiv 1312.5650), with no label read. Two calming steps follow: division by a power of the mean posterior, which takes back
//! classes that blurred pictures drift to, and averaging over the nearest pictures, in rounds.
//!
//! Under the linear-discriminant model a head row is `W_c = Σ⁻¹(μ_c − μ)` up to a constant, so that `Σ·W_c`, with the
//! covariance `Σ` of real pictures, is the direction of the class mean in feature space. A synthetic picture of a class is that
//! mean plus noise of covariance `Σ`, which differences of random pairs of real pictures have.

use crate::features::{Features, Matrix, Photos};
use crate::model::elements;
use crate::recipe::{Synthetic, Teacher};
use crate::rng::Rng;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

/// Rows computed at a time where a whole product would not fit the cache or the memory.
const CHUNK: usize = 1024;

/// The posterior of every picture of `features`, `[pictures, classes]`: the softmax of the heads' mean log-probability,
/// calmed as `recipe` says.
pub(crate) fn posteriors(features: &Features, recipe: &Teacher, device: &Device) -> Matrix {
    let mut sums = log_posteriors(
        &features.pictures,
        &features.prototypes,
        &features.prototype_bias,
        device,
    );
    for view in &features.teachers {
        let of_view = log_posteriors(&view.features, &view.weight, &view.bias, device);
        sums.iter_mut().zip(of_view).for_each(|(sum, x)| *sum += x);
    }
    let heads = 1.0 + features.teachers.len() as f32;
    let classes = features.classes();
    let mut posteriors = Matrix {
        data: sums,
        rows: features.pictures.rows,
        columns: classes,
    };
    for row in posteriors.data.chunks_exact_mut(classes) {
        row.iter_mut().for_each(|x| *x = (*x / heads).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
    divide_by_mean(&mut posteriors, recipe.prior);
    if recipe.neighbours > 1 {
        let views = match &features.neighbourhood {
            Some(alike) => join(std::iter::once(alike)),
            None => join(
                std::iter::once(&features.pictures)
                    .chain(features.teachers.iter().map(|view| &view.features)),
            ),
        };
        let how = Averaging {
            count: recipe.neighbours,
            sharpness: recipe.sharpness,
            rounds: recipe.rounds,
        };
        posteriors = average_over_neighbours(&posteriors, &views, how, device);
    }
    posteriors
}

/// `log softmax(weight·x + bias)` of every row `x` of `features`, row-major `[features.rows, classes]`.
fn log_posteriors(features: &Matrix, weight: &Matrix, bias: &[f32], device: &Device) -> Vec<f32> {
    let weight = tensor(weight, device).transpose();
    let bias = Tensor::from_data(TensorData::new(bias.to_vec(), [1, bias.len()]), device);
    chunks(features, device)
        .flat_map(|chunk| elements(log_softmax(chunk.matmul(weight.clone()) + bias.clone(), 1)))
        .collect()
}

/// Centred unit rows of all `views`, side by side and of length one together: `[pictures, sum of columns]`.
pub(crate) fn join<'a>(views: impl Iterator<Item = &'a Matrix>) -> Matrix {
    let views: Vec<Matrix> = views.map(unit_rows_about_mean).collect();
    let weight = (views.len() as f32).sqrt().recip();
    let (rows, columns) = (views[0].rows, views.iter().map(|view| view.columns).sum());
    let data = (0..rows)
        .flat_map(|row| views.iter().flat_map(move |view| view.row(row)))
        .map(|x| x * weight)
        .collect();
    Matrix {
        data,
        rows,
        columns,
    }
}

fn unit_rows_about_mean(features: &Matrix) -> Matrix {
    let mut centred = features.clone();
    centred.standardise(&features.mean(), 1.0);
    for row in centred.data.chunks_exact_mut(features.columns) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x /= length);
    }
    centred
}

/// Divides each row by the `power` of the mean row and makes it sum to one again.
fn divide_by_mean(posteriors: &mut Matrix, power: f32) {
    if power == 0.0 {
        return;
    }
    let divisors: Vec<f32> = posteriors
        .mean()
        .iter()
        .map(|mean| (mean + 1e-5).powf(power))
        .collect();
    for row in posteriors.data.chunks_exact_mut(divisors.len()) {
        row.iter_mut().zip(&divisors).for_each(|(p, d)| *p /= d);
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
}

/// How rows are averaged over pictures that are alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Averaging {
    /// Pictures of an average, the picture itself among them.
    pub(crate) count: usize,
    /// A picture of cosine `c` weighs `exp(sharpness·(c − 1))`.
    pub(crate) sharpness: f32,
    /// How often: averages of averages, along chains of pictures that are alike.
    pub(crate) rounds: usize,
}

/// Each of `rows` replaced by the weighted mean of the rows of the nearest pictures, itself among them, as often as `how` says;
/// `views` are unit rows.
///
/// A random walk from picture to picture, and what the picture at its end was thought to be (label propagation; Zhou et al.,
/// 2003, Learning with Local and Global Consistency).
pub(crate) fn average_over_neighbours(
    rows: &Matrix,
    views: &Matrix,
    how: Averaging,
    device: &Device,
) -> Matrix {
    let nearest = nearest(views, how, device);
    let mut averages = rows.clone();
    for _ in 0..how.rounds {
        let before = averages.clone();
        let places = averages.data.par_chunks_exact_mut(rows.columns);
        places.zip(&nearest).for_each(|(mean, near)| {
            mean.fill(0.0);
            for &(at, weight) in near {
                let seen = mean.iter_mut().zip(before.row(at));
                seen.for_each(|(m, &p)| *m += weight * p);
            }
        });
    }
    averages
}

/// The nearest pictures of each, by number, with weights that sum to one.
fn nearest(views: &Matrix, how: Averaging, device: &Device) -> Vec<Vec<(usize, f32)>> {
    let count = how.count.min(views.rows);
    let all = tensor(views, device).transpose();
    let of_row = |row: &[f32]| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        let nearer = |&a: &usize, &b: &usize| row[b].total_cmp(&row[a]).then(a.cmp(&b));
        order.select_nth_unstable_by(count - 1, nearer);
        order.truncate(count);
        order.sort_unstable();
        let weight = |&at: &usize| (how.sharpness * (row[at] - 1.0)).exp();
        let weights: Vec<f32> = order.iter().map(weight).collect();
        let sum: f32 = weights.iter().sum();
        let weighed = order.into_iter().zip(weights);
        weighed.map(|(at, weight)| (at, weight / sum)).collect()
    };
    chunks(views, device)
        .flat_map(|chunk| {
            let cosines = elements(chunk.matmul(all.clone()));
            let rows = cosines.par_chunks_exact(views.rows);
            rows.map(of_row).collect::<Vec<_>>()
        })
        .collect()
}

/// The implied mean of every class, `[classes, D]`, in the standardised space of `pictures`. With `photos`, their covariance
/// about their own mean counts as much as that of the pictures.
pub(crate) fn class_means(
    prototypes: &Matrix,
    pictures: &Matrix,
    photos: Option<&Matrix>,
    recipe: &Synthetic,
    device: &Device,
) -> Matrix {
    let mut rows = prototypes.clone();
    rows.standardise(&prototypes.mean(), 1.0);
    let directions = tensor(&rows, device);
    let centred = photos.map(|photos| {
        let mut centred = photos.clone();
        centred.standardise(&photos.mean(), 1.0);
        centred
    });
    let domains: Vec<&Matrix> = std::iter::once(pictures).chain(centred.as_ref()).collect();
    let mut means = Tensor::<2>::zeros([rows.rows, rows.columns], device);
    let mut variance = 0f64;
    for domain in &domains {
        let count = (domain.rows * domains.len()) as f64;
        for chunk in chunks(domain, device) {
            means = means
                + directions
                    .clone()
                    .matmul(chunk.clone().transpose())
                    .matmul(chunk)
                    .div_scalar(count as f32);
        }
        variance += domain.data.iter().map(|&x| f64::from(x * x)).sum::<f64>() / count;
    }
    // A thousandth of the mean variance on the diagonal, so that no direction of a small set is lost.
    let ridge = (variance / pictures.columns as f64 * 1e-3) as f32;
    let mut means = Matrix {
        data: elements(means + directions.mul_scalar(ridge)),
        ..rows
    };
    let squares = means.data.iter().map(|&x| f64::from(x * x)).sum::<f64>() / means.rows as f64;
    let scale = (f64::from(recipe.distance) * (variance / squares.max(1e-30)).sqrt()) as f32;
    means.data.iter_mut().for_each(|x| *x *= scale);
    means
}

/// The directions from the centre (the mean of the pictures, which is zero) to the mean of the photographs at each sharpness:
/// orthogonal, of length one.
pub(crate) fn sharpness_directions(photos: &Photos) -> Vec<Vec<f32>> {
    let Photos {
        features,
        posteriors,
    } = photos;
    let mut directions: Vec<Vec<f32>> = Vec::new();
    for views in features.data.chunks(posteriors.rows * features.columns) {
        let views = Matrix {
            data: views.to_vec(),
            rows: posteriors.rows,
            columns: features.columns,
        };
        let mut mean = views.mean();
        let before = length(&mean);
        for earlier in &directions {
            let along: f32 = mean.iter().zip(earlier).map(|(x, d)| x * d).sum();
            mean.iter_mut()
                .zip(earlier)
                .for_each(|(x, d)| *x -= along * d);
        }
        let left = length(&mean);
        // A mean that the earlier ones span has no direction of its own.
        if left > 1e-3 * before {
            directions.push(mean.iter().map(|x| x / left).collect());
        }
    }
    directions
}

fn length(row: &[f32]) -> f32 {
    row.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// Synthetic pictures of `classes`, row-major `[classes.len(), D]`.
pub(crate) fn synthetic(
    classes: &[usize],
    means: &Matrix,
    pictures: &Matrix,
    noise: f32,
    rng: &mut Rng,
) -> Vec<f32> {
    let strength = noise * std::f32::consts::FRAC_1_SQRT_2;
    let mut rows = Vec::with_capacity(classes.len() * means.columns);
    for &class in classes {
        let (one, other) = (rng.index(pictures.rows), rng.index(pictures.rows));
        let difference = pictures
            .row(one)
            .iter()
            .zip(pictures.row(other))
            .map(|(a, b)| strength * (a - b));
        rows.extend(
            means
                .row(class)
                .iter()
                .zip(difference)
                .map(|(mean, d)| mean + d),
        );
    }
    rows
}

fn tensor(matrix: &Matrix, device: &Device) -> Tensor<2> {
    let shape = [matrix.rows, matrix.columns];
    Tensor::from_data(TensorData::new(matrix.data.clone(), shape), device)
}

fn chunks<'a>(matrix: &'a Matrix, device: &'a Device) -> impl Iterator<Item = Tensor<2>> + 'a {
    matrix.data.chunks(CHUNK * matrix.columns).map(move |data| {
        let shape = [data.len() / matrix.columns, matrix.columns];
        Tensor::from_data(TensorData::new(data.to_vec(), shape), device)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        Averaging, average_over_neighbours, class_means, divide_by_mean, join, posteriors,
        sharpness_directions, synthetic,
    };
    use crate::features::{Features, Matrix, Photos};
    use crate::fixture::Fixture;
    use crate::recipe::{Synthetic, Teacher};
    use crate::rng::Rng;
    use burn::tensor::Device;

    #[test]
    fn posteriors_are_the_softmax_of_the_head() {
        let fixture = Fixture::new();
        let mut features = Features::load(&fixture.inputs(), fixture.folder()).unwrap();
        features.teachers.clear();
        let found = posteriors(&features, &Teacher::default(), &Device::flex());
        let x = features.pictures.row(3);
        let logits: Vec<f32> = (0..features.classes())
            .map(|c| {
                features
                    .prototypes
                    .row(c)
                    .iter()
                    .zip(x)
                    .map(|(w, x)| w * x)
                    .sum::<f32>()
                    + features.prototype_bias[c]
            })
            .collect();
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        for (p, l) in found.row(3).iter().zip(&logits) {
            assert!((p - l.exp() / sum).abs() < 1e-5);
        }
    }

    #[test]
    fn a_whole_power_of_the_prior_lifts_rare_classes() {
        let mut p = Matrix {
            data: vec![0.8, 0.2, 0.6, 0.4],
            rows: 2,
            columns: 2,
        };
        divide_by_mean(&mut p, 1.0);
        assert!(
            p.data[2] < 0.5 && (p.data[2] + p.data[3] - 1.0).abs() < 1e-6,
            "{p:?}"
        );
    }

    #[test]
    fn neighbours_share_their_posteriors() {
        let pictures = Matrix {
            data: vec![1.0, 0.0, 1.0, 0.01, -1.0, 0.0],
            rows: 3,
            columns: 2,
        };
        let p = Matrix {
            data: vec![1.0, 0.0, 0.0, 1.0, 0.5, 0.5],
            rows: 3,
            columns: 2,
        };
        let how = Averaging {
            count: 2,
            sharpness: 0.0,
            rounds: 1,
        };
        let mean =
            average_over_neighbours(&p, &join([&pictures].into_iter()), how, &Device::flex());
        assert_eq!(mean.row(0), [0.5, 0.5]);
        assert_eq!(mean.row(1), [0.5, 0.5]);
    }

    #[test]
    fn rounds_reach_pictures_that_are_alike_by_way_of_others() {
        // Each is nearest to the one before it on a quarter of a circle whose steps grow.
        let at = [0f32, 0.1, 0.3, 0.7];
        let views = Matrix {
            data: at.iter().flat_map(|a| [a.cos(), a.sin()]).collect(),
            rows: 4,
            columns: 2,
        };
        let p = Matrix {
            data: vec![1.0, 0.0, 0.0, 0.0],
            rows: 4,
            columns: 1,
        };
        let after = |rounds| {
            let how = Averaging {
                count: 2,
                sharpness: 0.0,
                rounds,
            };
            average_over_neighbours(&p, &views, how, &Device::flex()).data
        };
        assert_eq!(after(1), [0.5, 0.5, 0.0, 0.0]);
        assert_eq!(after(2), [0.5, 0.5, 0.25, 0.0]);
        assert_eq!(after(3), [0.5, 0.5, 0.375, 0.125]);
    }

    #[test]
    fn a_neighbourhood_says_alone_which_pictures_are_alike() {
        let fixture = Fixture::new();
        let mut features = Features::load(&fixture.inputs(), fixture.folder()).unwrap();
        let alone = posteriors(&features, &Teacher::default(), &Device::flex());
        // Every picture on an axis of its own, but the last two, which share one.
        let rows = features.pictures.rows;
        let mut alike = Matrix {
            data: vec![0.0; rows * rows],
            rows,
            columns: rows,
        };
        for row in 0..rows {
            alike.data[row * rows + row.min(rows - 2)] = 1.0;
        }
        features.neighbourhood = Some(alike);
        let recipe = Teacher {
            neighbours: 2,
            sharpness: 100.0,
            ..Teacher::default()
        };
        let found = posteriors(&features, &recipe, &Device::flex());
        let (one, other) = (alone.row(rows - 2), alone.row(rows - 1));
        for (column, (a, b)) in one.iter().zip(other).enumerate() {
            for row in [rows - 2, rows - 1] {
                assert!((found.row(row)[column] - (a + b) / 2.0).abs() < 1e-6);
            }
        }
        // The second nearest of the others is far, which `sharpness` leaves out.
        let far = alone.row(0).iter().zip(found.row(0));
        assert!(far.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-6);
    }

    #[test]
    fn class_means_have_the_asked_length() {
        let pictures = Matrix {
            data: vec![1.0, 0.0, -1.0, 0.0, 0.0, 2.0, 0.0, -2.0],
            rows: 4,
            columns: 2,
        };
        let prototypes = Matrix {
            data: vec![1.0, 1.0, -1.0, -1.0],
            rows: 2,
            columns: 2,
        };
        let means = class_means(
            &prototypes,
            &pictures,
            None,
            &Synthetic {
                distance: 0.5,
                noise: 0.0,
            },
            &Device::flex(),
        );
        let length = means.row(0).iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - 0.5 * 2.5f32.sqrt()).abs() < 1e-4, "{length}");
        // The covariance is diagonal (0.5, 2): the direction leans to the second axis by its ratio.
        assert!(
            (means.row(0)[1] / means.row(0)[0] - 4.0).abs() < 0.02,
            "{means:?}"
        );
    }

    #[test]
    fn sharpness_directions_are_orthogonal_and_a_mean_that_they_span_adds_none() {
        let matrix = |data: &[f32], columns| Matrix {
            data: data.to_vec(),
            rows: data.len() / columns,
            columns,
        };
        let photos = Photos {
            features: matrix(
                &[
                    2.0, 1.0, 0.0, 2.0, -1.0, 0.0, // mean (2, 0, 0)
                    1.0, 1.0, 1.0, 1.0, 1.0, -1.0, // mean (1, 1, 0)
                    0.0, 3.0, 0.0, 0.0, 5.0, 0.0, // mean (0, 4, 0)
                ],
                3,
            ),
            posteriors: matrix(&[0.5; 4], 2),
        };
        let directions = sharpness_directions(&photos);
        assert_eq!(directions, [vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0]]);
    }

    #[test]
    fn synthetic_pictures_without_noise_are_the_means() {
        let means = Matrix {
            data: vec![1.0, 2.0, 3.0, 4.0],
            rows: 2,
            columns: 2,
        };
        let rows = synthetic(&[1, 0], &means, &means, 0.0, &mut Rng::new(1));
        assert_eq!(rows, [3.0, 4.0, 1.0, 2.0]);
    }
}
