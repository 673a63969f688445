//! The task `retrieval`: pictures look for their captions, captions for their pictures.

use pinhole_evaluate::{Rows, ranking, retrieval};
use serde::Serialize;

use super::labelled::Share;
use super::source::Item;

/// One direction.
#[derive(Debug, Serialize)]
pub(super) struct Recall {
    pub(super) recall1: Share,
    pub(super) recall5: Share,
    pub(super) recall10: Share,
    /// Counted from 1.
    pub(super) median_rank: usize,
    pub(super) candidates: usize,
}

impl Recall {
    fn new(ranks: &[usize], candidates: usize) -> Self {
        let at = |k: usize| Share::new(ranking::hits(ranks, k), ranks.len());
        Self {
            recall1: at(1),
            recall5: at(5),
            recall10: at(10),
            median_rank: ranking::median_rank(ranks),
            candidates,
        }
    }
}

/// Both directions.
#[derive(Debug, Serialize)]
pub(super) struct Retrieval {
    /// Pictures look for captions.
    pub(super) image_to_text: Recall,
    /// Captions look for pictures.
    pub(super) text_to_image: Recall,
}

/// Measures both directions.
pub(super) fn retrieval(items: &[Item], pictures: &Rows, captions: &Rows) -> Retrieval {
    let captions_of = |(index, item): (usize, &Item)| -> Vec<(usize, usize)> {
        item.captions
            .iter()
            .map(|&caption| (index, caption))
            .collect()
    };
    let pairs: Vec<(usize, usize)> = items.iter().enumerate().flat_map(captions_of).collect();
    let ranks = retrieval::ranks(pictures, captions, &pairs);
    Retrieval {
        image_to_text: Recall::new(&ranks.text, captions.len()),
        text_to_image: Recall::new(&ranks.image, pictures.len()),
    }
}
