//! Every measure against scikit-learn, SciPy and NumPy on small problems: `tests/eval/golden.py` wrote `golden/sklearn.json`.

use pinhole_evaluate::calibration::{Binning, reliability};
use pinhole_evaluate::confusion::Confusion;
use pinhole_evaluate::interval::wilson;
use pinhole_evaluate::lbfgs::Stop;
use pinhole_evaluate::logistic::Logistic;
use pinhole_evaluate::nmi::normalised_mutual_information;
use pinhole_evaluate::ranking::{hits, rank};
use pinhole_evaluate::rows::{argmax, softmax};
use pinhole_evaluate::{Rows, duplicates, knn, pca, retrieval, temperature, tsne};
use serde_json::Value;

/// Training rows of the problems that have a split.
const TRAIN: usize = 80;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/sklearn.json")).expect("JSON")
}

fn number(of: &Value) -> f64 {
    of.as_f64().expect("a number")
}

fn numbers(of: &Value) -> Vec<f64> {
    of.as_array().expect("numbers").iter().map(number).collect()
}

fn matrix(of: &Value) -> Vec<Vec<f64>> {
    of.as_array().expect("rows").iter().map(numbers).collect()
}

fn indices(of: &Value) -> Vec<usize> {
    let index = |of: &Value| usize::try_from(of.as_u64().expect("an index")).expect("a small one");
    of.as_array().expect("indices").iter().map(index).collect()
}

fn rows(golden: &Value) -> Rows {
    let to_f32 = |row: Vec<f64>| row.into_iter().map(|x| x as f32).collect();
    let rows: Vec<Vec<f32>> = matrix(&golden["rows"]).into_iter().map(to_f32).collect();
    Rows::from_vecs(&rows).expect("rows")
}

/// Rows `from..to`.
fn part(rows: &Rows, from: usize, to: usize) -> Rows {
    rows.select(&(from..to).collect::<Vec<_>>())
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs();
    assert!(error <= tolerance, "found {found}, expected {expected}");
}

#[test]
fn logistic_regression_has_the_weights_of_scikit_learn() {
    let golden = golden();
    let labels = indices(&golden["labels"]);
    let train = part(&rows(&golden), 0, TRAIN);
    let stop = Stop {
        gradient: 1e-10,
        iterations: 5000,
    };
    for case in golden["logistic"].as_array().expect("cases") {
        let fit = Logistic::fit(&train, &labels[..TRAIN], 4, number(&case["l2"]), None, stop);
        assert!(fit.converged, "after {} steps", fit.iterations);
        let expected = matrix(&case["weights"]);
        // Biases are defined up to a common number; both solvers begin at zero and keep their mean.
        for (class, expected) in expected.iter().enumerate() {
            for (found, expected) in fit.class_weights(class).iter().zip(expected) {
                near(*found, *expected, 1e-4 * expected.abs().max(1.0));
            }
        }
    }
}

#[test]
fn votes_of_neighbours_are_those_of_scikit_learn() {
    let golden = golden();
    let (rows, labels) = (rows(&golden), indices(&golden["labels"]));
    let train = part(&rows, 0, TRAIN);
    let queries = part(&rows, TRAIN, rows.len());
    let k = golden["knn"]["k"].as_u64().expect("k") as usize;
    let temperature = number(&golden["knn"]["temperature"]);
    let found = knn::votes(
        &train,
        &labels[..TRAIN],
        4,
        &queries,
        k,
        temperature,
        &|| (),
    );
    let expected = matrix(&golden["knn"]["votes"]);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        near(*found, *expected, 1e-5);
    }
}

#[test]
fn accuracies_and_confusions_are_those_of_scikit_learn() {
    let golden = golden();
    let (logits, labels) = (matrix(&golden["logits"]), indices(&golden["labels"]));
    let ranks: Vec<usize> = logits
        .iter()
        .zip(&labels)
        .map(|(l, &y)| rank(l, y))
        .collect();
    for k in 1..=3 {
        let share = hits(&ranks, k) as f64 / ranks.len() as f64;
        near(share, number(&golden["top"][k.to_string()]), 1e-12);
    }
    let predictions: Vec<usize> = logits.iter().map(|logits| argmax(logits)).collect();
    let confusion = Confusion::new(&labels, &predictions, 4);
    for class in 0..4 {
        assert_eq!(confusion.row(class), indices(&golden["confusion"][class]));
    }
    near(
        confusion.mean_per_class(),
        number(&golden["mean_per_class"]),
        1e-12,
    );
}

#[test]
fn recall_both_ways_is_that_of_sorted_cosines() {
    let golden = golden();
    let rows = rows(&golden);
    let expected = &golden["retrieval"];
    let pairs = expected["pairs"].as_array().expect("pairs");
    let pairs: Vec<(usize, usize)> = pairs.iter().map(indices).map(|p| (p[0], p[1])).collect();
    let found = retrieval::ranks(&part(&rows, 0, 30), &part(&rows, 30, 110), &pairs);
    assert_eq!(found.text, indices(&expected["text"]));
    assert_eq!(found.image, indices(&expected["image"]));
    for (ranks, expected) in [&found.text, &found.image]
        .iter()
        .zip(matrix(&expected["recall"]))
    {
        for (k, expected) in [1, 5, 10].into_iter().zip(expected) {
            near(hits(ranks, k) as f64 / ranks.len() as f64, expected, 1e-12);
        }
    }
}

#[test]
fn mutual_information_is_that_of_scikit_learn() {
    let golden = golden();
    let found =
        normalised_mutual_information(&indices(&golden["labels"]), &indices(&golden["clusters"]));
    near(found, number(&golden["nmi"]), 1e-12);
}

#[test]
fn reliability_curves_are_those_of_scikit_learn() {
    let golden = golden();
    let (logits, labels) = (matrix(&golden["logits"]), indices(&golden["labels"]));
    let predictions: Vec<(f64, bool)> = logits
        .iter()
        .zip(&labels)
        .map(|(logits, &label)| {
            (
                softmax(logits, 1.0)[argmax(logits)],
                argmax(logits) == label,
            )
        })
        .collect();
    for (name, binning) in [
        ("uniform", Binning::EqualWidth),
        ("quantile", Binning::EqualMass),
    ] {
        let expected = &golden["calibration"][name];
        let found = reliability(&predictions, binning, 15);
        near(found.ece, number(&expected["ece"]), 1e-12);
        let filled: Vec<_> = found.bins.iter().filter(|bin| bin.count > 0).collect();
        let (accuracy, confidence) = (
            numbers(&expected["accuracy"]),
            numbers(&expected["confidence"]),
        );
        assert_eq!(filled.len(), accuracy.len());
        for ((bin, accuracy), confidence) in filled.iter().zip(accuracy).zip(confidence) {
            near(bin.accuracy, accuracy, 1e-12);
            near(bin.confidence, confidence, 1e-12);
        }
    }
}

#[test]
fn the_temperature_is_that_of_a_general_minimiser() {
    let golden = golden();
    let (logits, labels) = (matrix(&golden["logits"]), indices(&golden["labels"]));
    let found = temperature::fit(&logits, &labels);
    near(found, number(&golden["temperature"]["temperature"]), 1e-6);
    let nll = temperature::negative_log_likelihood(&logits, &labels, found);
    near(nll, number(&golden["temperature"]["nll"]), 1e-12);
}

#[test]
fn groups_of_duplicates_are_connected_components() {
    let golden = golden();
    let rows = rows(&golden);
    let bound = number(&golden["duplicates"]["bound"]) as f32;
    let pairs = duplicates::pairs(&rows, bound, 10_000, &|| ()).expect("few pairs");
    let named: Vec<Vec<usize>> = pairs
        .iter()
        .map(|pair| vec![pair.first, pair.second])
        .collect();
    let expected = |key: &str| -> Vec<Vec<usize>> {
        let list = golden["duplicates"][key].as_array().expect("a list");
        list.iter().map(indices).collect()
    };
    assert_eq!(named, expected("pairs"));
    let mut groups = duplicates::groups(rows.len(), &pairs);
    groups.sort();
    assert_eq!(groups, expected("groups"));
    assert!(!groups.is_empty());
}

#[test]
fn principal_components_are_those_of_scikit_learn_but_for_their_sign() {
    let golden = golden();
    let found = pca::project(&rows(&golden), 3, 1);
    let expected = &golden["pca"];
    near(found.total_variance, number(&expected["total"]), 1e-9);
    for (found, expected) in found.variances.iter().zip(numbers(&expected["variances"])) {
        near(*found, expected, 1e-9);
    }
    let coordinates = matrix(&expected["coordinates"]);
    for component in 0..3 {
        let sign = (found.coordinates[0][component] * coordinates[0][component]).signum();
        for (found, expected) in found.coordinates.iter().zip(&coordinates) {
            near(sign * found[component], expected[component], 1e-7);
        }
    }
}

#[test]
fn neighbourhoods_divergence_and_gradient_of_a_map_are_those_of_scikit_learn() {
    let golden = golden();
    let expected = &golden["tsne"];
    let at = matrix(&expected["at"]);
    let points: Vec<Vec<f64>> = matrix(&golden["rows"]).into_iter().take(at.len()).collect();
    let affinities = tsne::affinities(&points, number(&expected["perplexity"]));
    // scikit-learn ends its search at a hundred thousandth of the entropy.
    let of_theirs = numbers(&expected["affinities"]);
    assert_eq!(affinities.len(), of_theirs.len());
    for (found, expected) in affinities.iter().zip(&of_theirs) {
        near(*found, *expected, 1e-6);
    }
    let axis = |axis: usize| -> Vec<f64> { at.iter().map(|point| point[axis]).collect() };
    let (x, y) = (axis(0), axis(1));
    near(
        tsne::divergence(&of_theirs, &x, &y),
        number(&expected["divergence"]),
        1e-6,
    );
    let gradient = tsne::gradient(&of_theirs, &x, &y, 1.0);
    for (found, expected) in gradient.iter().zip(matrix(&expected["gradient"])) {
        near(found[0], expected[0], 1e-6);
        near(found[1], expected[1], 1e-6);
    }
}

#[test]
fn intervals_of_shares_are_those_of_scipy() {
    for case in golden()["wilson"].as_array().expect("cases") {
        let whole = |key: &str| case[key].as_u64().expect("a number") as usize;
        let found = wilson(whole("hits"), whole("of"));
        near(found.low, number(&case["low"]), 1e-12);
        near(found.high, number(&case["high"]), 1e-12);
    }
}
