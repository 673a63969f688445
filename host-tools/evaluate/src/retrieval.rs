//! Recall@k between pictures and captions, both ways, with several captions a picture.
//!
//! As for Flickr30k and COCO (Karpathy and Fei-Fei, CVPR 2015; CLIP, Radford et al. 2021, table 13). Text retrieval:
//! the share of pictures that have one of their captions among the k captions nearest to them. Image retrieval: the
//! share of captions whose picture, one of them where a text is the caption of several, is among the k pictures
//! nearest. Equal texts are one caption: two copies could not both be first.

use rayon::prelude::*;

use crate::Rows;
use crate::ranking::rank;
use crate::rows::dot;

/// Ranks of the best right answer to each query, counted from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranks {
    /// Of each picture: its nearest own caption among all captions.
    pub text: Vec<usize>,
    /// Of each caption that belongs to a picture: its nearest own picture among all pictures.
    pub image: Vec<usize>,
}

/// Ranks the right answers; `pairs` are (picture, caption). Pictures and captions in no pair are candidates and no
/// queries.
///
/// # Panics
/// Where a pair names a row that is not there, or the two kinds of rows differ in width.
pub fn ranks(pictures: &Rows, captions: &Rows, pairs: &[(usize, usize)]) -> Ranks {
    assert_eq!(pictures.width(), captions.width(), "two embedding spaces");
    let mut captions_of = vec![Vec::new(); pictures.len()];
    let mut pictures_of = vec![Vec::new(); captions.len()];
    for &(picture, caption) in pairs {
        captions_of[picture].push(caption);
        pictures_of[caption].push(picture);
    }
    Ranks {
        text: best_ranks(pictures, captions, &captions_of),
        image: best_ranks(captions, pictures, &pictures_of),
    }
}

/// For each query that has a right answer, the least rank of one.
fn best_ranks(queries: &Rows, candidates: &Rows, answers: &[Vec<usize>]) -> Vec<usize> {
    answers
        .par_iter()
        .enumerate()
        .filter_map(|(query, answers)| {
            if answers.is_empty() {
                return None;
            }
            let query = queries.row(query);
            let scores: Vec<f32> = candidates.iter().map(|row| dot(query, row)).collect();
            answers.iter().map(|&answer| rank(&scores, answer)).min()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pictures on a half circle, four captions; the numbers are cosines of angles.
    #[test]
    fn the_best_of_several_captions_counts() {
        let at = |degrees: f32| {
            let angle = degrees.to_radians();
            vec![angle.cos(), angle.sin()]
        };
        let pictures = Rows::from_vecs(&[at(0.0), at(60.0), at(120.0)]).expect("rows");
        let captions = Rows::from_vecs(&[at(70.0), at(10.0), at(50.0), at(170.0)]).expect("rows");
        // Picture 0 has captions 0 and 1, picture 1 has caption 3, picture 2 has none, caption 2 no picture.
        let ranks = ranks(&pictures, &captions, &[(0, 0), (0, 1), (1, 3)]);
        // Picture 0: caption 1 is nearest. Picture 1 at 60: captions at 70, 50, 10, then 170.
        assert_eq!(ranks.text, [0, 3]);
        // Caption 0 at 70: pictures at 60, 120, then 0. Caption 1 at 10: 0 first. Caption 3 at 170: 120, 60.
        assert_eq!(ranks.image, [2, 0, 1]);
    }
}
