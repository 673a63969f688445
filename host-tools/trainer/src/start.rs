//! The closed-form start: ridge regression of reduced rank (Izenman, 1975) from sentences to class prototypes.
//!
//! With the centred mean sentence feature `e_g` of each group as the rows of `A`, weights `w_g`, and the unit mean of the group's
//! centred prototypes as the rows of `T`,
//!
//! ```text
//! G = Aᵀ·diag(w)·A,   B = (G + λ·tr(G)/E·I)⁻¹·Aᵀ·diag(w)·T        [E, D]
//! L·Lᵀ = G + small,   (Lᵀ·B)·(Lᵀ·B)ᵀ = U·S²·Uᵀ,   V = (Lᵀ·B)ᵀ·U·S⁻¹    [D, embedding]
//! image.weight = Vᵀ,   text.weight = (B·V)ᵀ
//! ```
//!
//! `V` spans what a text can say about a picture: the best subspace of its size for the regression's own predictions. Contrast
//! then starts from the most that a linear map knows, instead of forgetting words that few classes need.

use crate::features::{Features, Matrix};
use crate::linalg::{eigen_symmetric, factor, solve_positive};
use crate::recipe::Start;

/// Image and text weights, `[embedding, D]` and `[embedding, E]`, and the text bias, `[embedding]`, for standardised features.
/// `None` when the sentences span no space that could be regressed on.
pub(crate) fn closed_form(
    features: &Features,
    embedding: usize,
    recipe: &Start,
) -> Option<[Vec<f32>; 3]> {
    let (inputs, outputs) = (features.texts.columns, features.prototypes.columns);
    let rows = rows(features, recipe);
    let total: f64 = rows.iter().map(|row| row.weight).sum();
    let mut centre = vec![0f64; inputs];
    for row in &rows {
        centre
            .iter_mut()
            .zip(&row.text)
            .for_each(|(c, x)| *c += row.weight / total * x);
    }
    let mut gram = vec![0f64; inputs * inputs];
    let mut b = vec![0f64; inputs * outputs];
    for row in &rows {
        let text: Vec<f64> = row.text.iter().zip(&centre).map(|(x, c)| x - c).collect();
        for (i, &x) in text.iter().enumerate() {
            accumulate(&mut gram[i * inputs..][..inputs], &text, row.weight * x);
            accumulate(
                &mut b[i * outputs..][..outputs],
                &row.target,
                row.weight * x,
            );
        }
    }
    let trace = (0..inputs).map(|i| gram[i * inputs + i]).sum::<f64>() / inputs as f64;
    let with_diagonal = |share: f64| {
        let mut a = gram.clone();
        (0..inputs).for_each(|i| a[i * inputs + i] += share * trace);
        a
    };
    if !solve_positive(
        &mut with_diagonal(f64::from(recipe.ridge)),
        &mut b,
        inputs,
        outputs,
    ) {
        return None;
    }
    let mut lower = with_diagonal(1e-6);
    if !factor(&mut lower, inputs) {
        return None;
    }
    let v = directions(&lower, &b, inputs, outputs, embedding);
    let image: Vec<f32> = v.iter().flatten().map(|&x| x as f32).collect();
    let mut text = Vec::with_capacity(embedding * inputs);
    let mut bias = Vec::with_capacity(embedding);
    for direction in &v {
        let row: Vec<f64> = b
            .chunks_exact(outputs)
            .map(|from| dot(from, direction))
            .collect();
        bias.push(-dot(&row, &centre) as f32);
        text.extend(row.iter().map(|&x| x as f32));
    }
    Some([image, text, bias])
}

/// One group in the regression.
struct Row {
    text: Vec<f64>,
    target: Vec<f64>,
    weight: f64,
}

/// The rows of all groups with sentences that contain classes; the related ones stand near theirs and are left out.
fn rows(features: &Features, recipe: &Start) -> Vec<Row> {
    let mut prototypes = features.prototypes.clone();
    prototypes.standardise(&features.prototypes.mean(), 1.0);
    for row in prototypes.data.chunks_exact_mut(prototypes.columns) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x /= length);
    }
    let is_used =
        |&group: &usize| !features.related[group] && !features.sentences[group].is_empty();
    (0..features.members.len())
        .filter(is_used)
        .map(|group| {
            let mut target = mean_of(&prototypes, &features.members[group]);
            let length = dot(&target, &target).sqrt().max(1e-12);
            target.iter_mut().for_each(|x| *x /= length);
            let weight = if group < features.classes() {
                1.0
            } else {
                f64::from(recipe.groups)
            };
            Row {
                text: mean_of(&features.texts, &features.sentences[group]),
                target,
                weight,
            }
        })
        .collect()
}

fn mean_of(matrix: &Matrix, rows: &[usize]) -> Vec<f64> {
    let mut mean = vec![0f64; matrix.columns];
    for &row in rows {
        mean.iter_mut()
            .zip(matrix.row(row))
            .for_each(|(m, &x)| *m += f64::from(x) / rows.len() as f64);
    }
    mean
}

/// The `embedding` leading right singular vectors of `lowerᵀ·b`, one a row; zero rows where the rank is smaller.
fn directions(
    lower: &[f64],
    b: &[f64],
    inputs: usize,
    outputs: usize,
    embedding: usize,
) -> Vec<Vec<f64>> {
    let mut m = vec![0f64; inputs * outputs];
    for (k, from) in b.chunks_exact(outputs).enumerate() {
        for i in 0..=k {
            accumulate(
                &mut m[i * outputs..][..outputs],
                from,
                lower[k * inputs + i],
            );
        }
    }
    let mut square = vec![0f64; inputs * inputs];
    for i in 0..inputs {
        for j in 0..=i {
            let product = dot(&m[i * outputs..][..outputs], &m[j * outputs..][..outputs]);
            (square[i * inputs + j], square[j * inputs + i]) = (product, product);
        }
    }
    let (values, vectors) = eigen_symmetric(square, inputs);
    let mut rows = vec![vec![0f64; outputs]; embedding];
    for ((row, value), vector) in rows.iter_mut().zip(&values).zip(&vectors) {
        if *value > 1e-12 * values[0] {
            vector
                .iter()
                .zip(m.chunks_exact(outputs))
                .for_each(|(u, from)| accumulate(row, from, u / value.sqrt()));
        }
    }
    rows
}

fn accumulate(row: &mut [f64], other: &[f64], factor: f64) {
    row.iter_mut()
        .zip(other)
        .for_each(|(x, y)| *x += factor * y);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::closed_form;
    use crate::features::Features;
    use crate::fixture::Fixture;
    use crate::recipe::Start;

    #[test]
    fn at_full_rank_and_with_hardly_a_ridge_a_class_text_points_to_its_prototype() {
        let fixture = Fixture::new();
        let mut features = Features::load(&fixture.inputs(), fixture.folder()).unwrap();
        // Four text dimensions separate five points at most: keep four classes, and their rows alone.
        features.members.truncate(4);
        features.prototypes.rows = 4;
        features.prototypes.data.truncate(4 * 8);
        let [image, text, bias] = closed_form(
            &features,
            4,
            &Start {
                ridge: 1e-9,
                groups: 0.0,
            },
        )
        .unwrap();
        let rows = super::rows(
            &features,
            &Start {
                ridge: 1e-9,
                groups: 0.0,
            },
        );
        for class in 0..4 {
            let z: Vec<f32> = (0..4)
                .map(|d| {
                    (0..4)
                        .map(|c| text[d * 4 + c] * rows[class].text[c] as f32)
                        .sum::<f32>()
                        + bias[d]
                })
                .collect();
            let mean = |c: usize| rows.iter().map(|row| row.target[c]).sum::<f64>() / 4.0;
            let x: Vec<f32> = (0..8)
                .map(|c| (rows[class].target[c] - mean(c)) as f32)
                .collect();
            let y: Vec<f32> = (0..4)
                .map(|d| (0..8).map(|c| image[d * 8 + c] * x[c]).sum())
                .collect();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let cosine = dot(&z, &y) / (dot(&z, &z) * dot(&y, &y)).sqrt();
            assert!(cosine > 0.999, "class {class}: cosine {cosine}");
        }
    }
}
