//! The task `map`: test pictures in the plane, by PCA and t-SNE.

use pinhole_evaluate::draw::{self, Point};
use pinhole_evaluate::{Rows, pca, split, tsne};
use serde::Serialize;

use super::source::Item;
use crate::failure::{Failure, Outcome};
use crate::progress;

/// Pictures on the map at most; each step looks at all their pairs.
const MOST: usize = 2000;
/// Principal components that distances are taken in.
const COMPONENTS: usize = 50;
const PERPLEXITY: f64 = 30.0;
const STEPS: usize = 1000;

/// A map.
#[derive(Debug, Serialize)]
pub(super) struct Map {
    pub(super) pictures: usize,
    pub(super) components: usize,
    /// Share of the variance that they hold.
    pub(super) explained: f64,
    pub(super) perplexity: f64,
    pub(super) steps: usize,
    /// Divergence that is left, in nats.
    pub(super) divergence: f64,
    #[serde(skip)]
    pub(super) svg: String,
}

/// Draws pictures, at most [`MOST`] of them.
pub(super) fn map(rows: &Rows, items: &[Item], classes: usize, seed: u64) -> Outcome<Map> {
    let drawn = split::draw(rows.len(), MOST, seed);
    let projection = pca::project(&rows.select(&drawn), COMPONENTS, seed);
    let coordinates = &projection.coordinates;
    if coordinates
        .first()
        .is_some_and(|of_first| of_first.len() < 2)
    {
        return Err(
            Failure::new("map: found embeddings of one dimension, expected at least two")
                .help("leave map out of --tasks"),
        );
    }
    let bar = progress::bar("drawing the map", STEPS);
    let found = tsne::map(coordinates, coordinates, PERPLEXITY, STEPS, &|| bar.inc(1));
    bar.finish_and_clear();
    let points: Vec<Point> = found
        .points
        .iter()
        .zip(&drawn)
        .map(|(&at, &index)| Point {
            at,
            class: items[index].label,
        })
        .collect();
    Ok(Map {
        pictures: drawn.len(),
        components: projection.variances.len(),
        explained: projection.variances.iter().sum::<f64>()
            / projection.total_variance.max(f64::MIN_POSITIVE),
        perplexity: PERPLEXITY,
        steps: STEPS,
        divergence: found.divergence,
        svg: draw::map(&points, classes).map_err(Failure::new)?,
    })
}
