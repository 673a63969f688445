//! Tasks over labelled pictures: zero-shot, linear probe, nearest neighbours, clusters.

use pinhole_evaluate::confusion::Confusion;
use pinhole_evaluate::interval::{self, Interval};
use pinhole_evaluate::rows::{argmax, dot};
use pinhole_evaluate::{Rows, kmeans, knn, nmi, probe, ranking};
use serde::Serialize;

use crate::progress;

/// Samples of a bootstrap.
pub(super) const RESAMPLES: usize = 1000;
/// Starts of k-means.
const STARTS: usize = 10;

/// A share of pictures with Wilson's 95 % interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Share {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) hits: usize,
    pub(super) of: usize,
}

impl Share {
    pub(super) fn new(hits: usize, of: usize) -> Self {
        let Interval { value, low, high } = interval::wilson(hits, of);
        Self {
            value,
            low,
            high,
            hits,
            of,
        }
    }
}

/// A number with its bootstrap interval of 95 %.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl From<Interval> for Estimate {
    fn from(interval: Interval) -> Self {
        let Interval { value, low, high } = interval;
        Self { value, low, high }
    }
}

/// How the pictures of a class were named.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OfClass {
    pub(super) class: String,
    pub(super) top1: Share,
    /// What it is most often mistaken for, and how often.
    pub(super) mistaken_for: Option<(String, usize)>,
}

/// What a classifier made of the measured pictures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Classified {
    pub(super) top1: Share,
    pub(super) top5: Share,
    /// Mean of the top-1 shares of the classes that are measured.
    pub(super) mean_per_class: f64,
    pub(super) per_class: Vec<OfClass>,
    #[serde(skip)]
    pub(super) predictions: Vec<usize>,
    #[serde(skip)]
    pub(super) confusion: Confusion,
}

impl Classified {
    /// From scores: (pictures, classes).
    pub(super) fn new(scores: &[Vec<f64>], labels: &[usize], classnames: &[String]) -> Self {
        let ranks: Vec<usize> = scores
            .iter()
            .zip(labels)
            .map(|(scores, &label)| ranking::rank(scores, label))
            .collect();
        let predictions: Vec<usize> = scores.iter().map(|scores| argmax(scores)).collect();
        let confusion = Confusion::new(labels, &predictions, classnames.len());
        let of_class = |(class, name): (usize, &String)| {
            let row = confusion.row(class);
            let mistaken_for = confusion.most_confused(class);
            OfClass {
                class: name.clone(),
                top1: Share::new(row[class], row.iter().sum()),
                mistaken_for: mistaken_for.map(|c| (classnames[c.predicted].clone(), c.count)),
            }
        };
        Self {
            top1: Share::new(ranking::hits(&ranks, 1), ranks.len()),
            top5: Share::new(ranking::hits(&ranks, 5), ranks.len()),
            mean_per_class: confusion.mean_per_class(),
            per_class: classnames.iter().enumerate().map(of_class).collect(),
            predictions,
            confusion,
        }
    }
}

/// Cosines to the class embeddings: (pictures, classes).
pub(super) fn cosines(pictures: &Rows, classes: &Rows) -> Vec<Vec<f64>> {
    let of_picture = |picture: &[f32]| {
        classes
            .iter()
            .map(|class| f64::from(dot(picture, class)))
            .collect()
    };
    pictures.iter().map(of_picture).collect()
}

/// The linear probe.
#[derive(Debug, Serialize)]
pub(super) struct LinearProbe {
    #[serde(flatten)]
    pub(super) classified: Classified,
    /// Weight of the penalty, chosen on training pictures.
    pub(super) l2: f64,
    /// Training pictures of the last fit.
    pub(super) train: usize,
    /// Those of them that chose the penalty.
    pub(super) held_out: usize,
    /// Their accuracy with it.
    pub(super) held_out_top1: f64,
    /// Whether the last fit reached its tolerance.
    pub(super) converged: bool,
}

/// Pictures of both splits with their labels.
pub(super) struct Labelled<'a> {
    pub(super) test: &'a Rows,
    pub(super) test_labels: &'a [usize],
    pub(super) train: &'a Rows,
    pub(super) train_labels: &'a [usize],
    pub(super) classnames: &'a [String],
}

/// Fits to the training split and names the test split.
pub(super) fn linear_probe(data: &Labelled<'_>, seed: u64) -> LinearProbe {
    let bar = progress::bar("fitting the probe", probe::fits());
    let classes = data.classnames.len();
    let found = probe::fit(data.train, data.train_labels, classes, seed, &|| bar.inc(1));
    bar.finish_and_clear();
    let logits: Vec<Vec<f64>> = data.test.iter().map(|row| found.fit.logits(row)).collect();
    let chosen = found.tried.iter().find(|tried| tried.l2 == found.l2);
    LinearProbe {
        classified: Classified::new(&logits, data.test_labels, data.classnames),
        l2: found.l2,
        train: data.train.len(),
        held_out: found.held_out,
        held_out_top1: chosen.map_or(0.0, |tried| tried.accuracy),
        converged: found.fit.converged,
    }
}

/// Nearest neighbours.
#[derive(Debug, Serialize)]
pub(super) struct Neighbours {
    #[serde(flatten)]
    pub(super) classified: Classified,
    pub(super) k: usize,
    pub(super) temperature: f64,
    /// Training pictures that vote.
    pub(super) train: usize,
}

/// Lets the training split vote about the test split.
pub(super) fn neighbours(data: &Labelled<'_>) -> Neighbours {
    let bar = progress::bar("finding neighbours", data.test.len());
    let classes = data.classnames.len();
    let done = || bar.inc(1);
    let (k, temperature) = (knn::K, knn::TEMPERATURE);
    let votes = knn::votes(
        data.train,
        data.train_labels,
        classes,
        data.test,
        k,
        temperature,
        &done,
    );
    bar.finish_and_clear();
    Neighbours {
        classified: Classified::new(&votes, data.test_labels, data.classnames),
        k,
        temperature,
        train: data.train.len(),
    }
}

/// Clusters against classes.
#[derive(Debug, Serialize)]
pub(super) struct Clustering {
    pub(super) nmi: Estimate,
    pub(super) clusters: usize,
    pub(super) starts: usize,
    /// Mean cosine of pictures to the centres of their clusters.
    pub(super) cohesion: f64,
}

/// As many clusters as the measured pictures have classes; labels are looked at afterwards only.
pub(super) fn clustering(rows: &Rows, labels: &[usize], seed: u64) -> Clustering {
    let mut present = labels.to_vec();
    present.sort_unstable();
    present.dedup();
    let bar = progress::bar("clustering", STARTS);
    let found = kmeans::spherical(rows, present.len(), STARTS, seed, &|| bar.inc(1));
    bar.finish_and_clear();
    let pick =
        |of: &[usize], sample: &[usize]| -> Vec<usize> { sample.iter().map(|&i| of[i]).collect() };
    let nmi = interval::bootstrap(labels.len(), RESAMPLES, seed, |sample| {
        nmi::normalised_mutual_information(&pick(labels, sample), &pick(&found.assignments, sample))
    });
    Clustering {
        nmi: nmi.into(),
        clusters: present.len(),
        starts: STARTS,
        cohesion: found.cohesion,
    }
}
