//! What a captioner says of pictures that it was never trained on, and how good that is.
//!
//! A sample is held out by its first caption, so that no caption of training is right for a picture that is measured:
//! where the first eight bytes of its SHA-256, in lower case, are a multiple of `held`.
//!
//! Two measures. The perplexity of the right caption, beside that of a caption of another held-out picture: both are
//! means over the same captions, so that only what the picture tells makes them differ. And the words of what is said,
//! beside those of what is said of another held-out picture and those of training captions drawn at random.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use pinhole_graph::Graph;
use pinhole_ranks::Ranks;
use pinhole_runtime::preprocess::InputGeometry;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::caption::Captioner;
use super::encoder::Encoder;
use super::evaluate::plain_unless_broken;
use super::source::Mixed;
use super::spatial::{cut, positions};
use super::text_tower::TextTower;
use crate::TrainError;
use crate::coca::beam::{Rules, search};
use crate::coca::score::{Score, score};
use crate::coca::{Weights, pool};
use crate::data::{LoadError, Sample, Source};
use crate::model::elements;
use crate::output::write_atomically;
use crate::rng::Rng;

/// Pictures in memory at once; few in tests, so that ranks have chunks to share.
const CHUNK: usize = if cfg!(test) { 4 } else { 32 };
/// Captions that are drawn for each picture.
const DRAWS: usize = 20;

/// How good captions of held-out pictures are. Lower perplexities and higher scores are better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CaptionReport {
    /// Pictures.
    pub pictures: usize,
    /// Of the right caption, and of that of another held-out picture.
    pub perplexity: [f64; 2],
    /// Mean F1 of words with the right caption: of what is said, of what is said of another held-out picture, of
    /// training captions drawn at random.
    pub f1: [f64; 3],
    /// Mean BLEU-1 likewise.
    pub bleu1: [f64; 3],
}

/// Whether a sample is never trained on, where each `held`-th caption is not.
pub(super) fn is_held(sample: &Sample, held: usize) -> bool {
    let Some(caption) = sample.captions.first() else {
        return false;
    };
    let digest = Sha256::digest(caption.trim().to_lowercase());
    let number = u64::from_be_bytes(std::array::from_fn(|i| digest[i]));
    number.is_multiple_of(held as u64)
}

/// Weights that do not train.
pub(super) struct Fixed(pub(super) BTreeMap<String, Tensor<2>>);

impl Weights for Fixed {
    fn weight(&self, name: &str) -> Tensor<2> {
        self.0[name].clone()
    }
}

/// A trained captioner.
pub(super) struct Measured<'a> {
    pub(super) captioner: Captioner,
    /// As it would be written.
    pub(super) image: &'a Graph,
    pub(super) geometry: InputGeometry,
    pub(super) text: TextTower,
    pub(super) weights: Fixed,
    pub(super) beams: usize,
}

/// A held-out picture.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    id: String,
    right: String,
    said: String,
    /// Sum over tokens of −ln p: of the right caption and of another's.
    surprise: [f64; 2],
}

/// What is measured of a picture, as ranks tell each other: JSON would round the bits of the two sums.
type Told = (String, [u64; 2]);

impl Measured<'_> {
    /// Measures on the samples of `held`: a row for each that is not broken, in order. Each of `ranks` takes a part.
    ///
    /// # Errors
    /// Graphs that cannot run, on any rank.
    pub(super) fn rows(&self, held: &Mixed, ranks: &Ranks) -> Result<Vec<Row>, TrainError> {
        let (indices, tokens) = self.pictures(held, ranks)?;
        let sample = |index: &usize| &held.samples()[*index];
        let rights = indices.iter().map(|index| &sample(index).captions[0]);
        let ids: Vec<Vec<u32>> = rights.map(|right| self.text.ids(right)).collect();
        let told = ranks.join(self.told(&tokens, &ids, ranks))?;
        let rows = indices
            .iter()
            .zip(told)
            .map(|(index, (said, surprise))| Row {
                id: sample(index).id.clone(),
                right: sample(index).captions[0].clone(),
                said,
                surprise: surprise.map(f64::from_bits),
            });
        Ok(rows.collect())
    }

    /// What this rank measures of pictures, given the `tokens` of all and the `ids` of their captions. Ranks take whole
    /// chunks, those that one process takes: in others, sums would round otherwise.
    fn told(
        &self,
        tokens: &[Vec<f32>],
        ids: &[Vec<u32>],
        ranks: &Ranks,
    ) -> Result<Vec<Told>, TrainError> {
        let all: Vec<usize> = (0..ids.len()).collect();
        let chunks: Vec<&[usize]> = all.chunks(CHUNK).collect();
        let mut told = Vec::new();
        for places in ranks.part(&chunks) {
            let pooled = self.pooled(tokens, places);
            let others: Vec<usize> = places.iter().map(|&at| other(at, ids.len())).collect();
            let of = |places: &[usize]| -> Vec<Vec<u32>> {
                places.iter().map(|&at| ids[at].clone()).collect()
            };
            let right = self.surprise(&of(places), &pooled)?;
            let wrong = self.surprise(&of(&others), &pooled)?;
            let said = self.said(places.len(), &pooled)?;
            let surprise = right.iter().zip(&wrong);
            let surprise = surprise.map(|(right, wrong)| [right, wrong].map(|x| x.to_bits()));
            told.extend(said.into_iter().zip(surprise));
        }
        Ok(told)
    }

    /// What `rows` come to; `captions` are those of training.
    pub(super) fn report(&self, rows: &[Row], captions: &[&str], seed: u64) -> CaptionReport {
        let ids: Vec<Vec<u32>> = rows.iter().map(|row| self.text.ids(&row.right)).collect();
        summary(rows, super::caption::asked(&ids), captions, seed)
    }

    /// The held-out pictures that are not broken, and their tokens. Each of `ranks` sees a part.
    fn pictures(
        &self,
        held: &Mixed,
        ranks: &Ranks,
    ) -> Result<(Vec<usize>, Vec<Vec<f32>>), TrainError> {
        let all: Vec<usize> = (0..held.samples().len()).collect();
        let own = ranks.agree(self.tokens(held, ranks.part(&all)))?;
        let (indices, tokens): (Vec<usize>, Vec<Vec<f32>>) = own.into_iter().unzip();
        let indices = ranks.join::<_, TrainError>(Ok(indices))?;
        let tokens = ranks.gather_rows(tokens)?;
        Ok((indices, tokens))
    }

    /// Tokens of those of the pictures `indices` that are not broken.
    fn tokens(
        &self,
        held: &Mixed,
        indices: &[usize],
    ) -> Result<Vec<(usize, Vec<f32>)>, TrainError> {
        let (front, _) = cut(self.image, self.captioner.image);
        let encoder = Encoder::of_graph(Path::new(&front.name), &front)?;
        let mut pictures = Vec::new();
        for chunk in indices.chunks(CHUNK) {
            let made = chunk.par_iter().map(|&index| {
                let input = plain_unless_broken(held, index, &self.geometry)?;
                Ok(input.map(|input| (index, input)))
            });
            let made = made.collect::<Result<Vec<_>, LoadError>>()?;
            let made: Vec<(usize, Vec<f32>)> = made.into_iter().flatten().collect();
            let inputs: Vec<&[f32]> = made.iter().map(|(_, input)| input.as_slice()).collect();
            let found = encoder.pictures(&inputs)?;
            pictures.extend(made.iter().map(|(index, _)| *index).zip(found));
        }
        Ok(pictures)
    }

    /// What the decoder sees of the pictures at `places`, `[places, queries, width]`.
    fn pooled(&self, tokens: &[Vec<f32>], places: &[usize]) -> Tensor<3> {
        let shape = &self.image.values[self.captioner.image].shape;
        let data: Vec<f32> = places
            .iter()
            .flat_map(|&at| tokens[at].iter().copied())
            .collect();
        let settings = &self.captioner.settings;
        let all = self.text.tower.place.tensor(data);
        let all = all.reshape([places.len(), positions(shape), settings.context]);
        pool(settings, &self.weights, all)
    }

    /// Sums of −ln p over the tokens of each text beside its picture.
    fn surprise(&self, ids: &[Vec<u32>], pooled: &Tensor<3>) -> Result<Vec<f64>, TrainError> {
        let mut sums = vec![0.0; ids.len()];
        for group in self.text.run(ids, &[self.captioner.text])? {
            let found = self.captioner.logits(&self.weights, pooled, &group, ids);
            let Some((logits, right)) = found else {
                continue;
            };
            let [_, vocabulary] = logits.dims();
            let rows = elements(log_softmax(logits, 1));
            let each = right.len() / group.rows.len();
            for (at, (row, right)) in rows.chunks_exact(vocabulary).zip(&right).enumerate() {
                sums[group.rows[at / each]] -= f64::from(row[*right]);
            }
        }
        Ok(sums)
    }

    /// The likeliest caption of each of `count` pictures.
    fn said(&self, count: usize, pooled: &Tensor<3>) -> Result<Vec<String>, TrainError> {
        let tokenizer = &self.text.tokenizer;
        let [prefix, suffix] = tokenizer.frame();
        let unknown = tokenizer.unk_id();
        let rules = Rules {
            start: prefix[0],
            end: suffix[0],
            never: [prefix[0], tokenizer.pad_id()]
                .into_iter()
                .chain(unknown)
                .filter(|&id| id != suffix[0])
                .collect(),
            most: tokenizer.max_tokens(),
            beams: self.beams,
        };
        let found = search(count, &rules, |asked| self.next(asked, pooled))?;
        let decoder = tokenizer.decoder();
        Ok(found
            .iter()
            .map(|caption| decoder.text(&caption.ids))
            .collect())
    }

    /// Logarithms of the probabilities of the token behind each text, which are of one length.
    fn next(
        &self,
        asked: &[(usize, &[u32])],
        pooled: &Tensor<3>,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        // The decoder leaves the last token of a text unread, as the one that ends it is.
        let end = self.text.tokenizer.frame()[1];
        let ids: Vec<Vec<u32>> = asked.iter().map(|(_, ids)| [*ids, end].concat()).collect();
        let seen: Vec<usize> = asked.iter().map(|(picture, _)| *picture).collect();
        let seen = crate::loss::indices(&seen, &pooled.device());
        let pooled = pooled.clone().select(0, seen);
        let mut rows = vec![Vec::new(); ids.len()];
        for group in self.text.run(&ids, &[self.captioner.text])? {
            let found = self.captioner.logits(&self.weights, &pooled, &group, &ids);
            let Some((logits, right)) = found else {
                continue;
            };
            let [_, vocabulary] = logits.dims();
            let each = right.len() / group.rows.len();
            let all = elements(log_softmax(logits, 1));
            for (text, row) in group.rows.iter().zip(all.chunks_exact(each * vocabulary)) {
                rows[*text] = row[(each - 1) * vocabulary..].to_vec();
            }
        }
        Ok(rows)
    }
}

/// Another of `count` pictures, each another's once.
fn other(at: usize, count: usize) -> usize {
    (at + count / 2) % count
}

fn summary(rows: &[Row], tokens: usize, captions: &[&str], seed: u64) -> CaptionReport {
    let mut rng = Rng::new(seed ^ 0xca_0000);
    let mut scores = [Score::default(); 3];
    let mut add = |column: usize, found: Score, share: f64| {
        scores[column].f1 += share * found.f1;
        scores[column].bleu1 += share * found.bleu1;
    };
    let each = 1.0 / rows.len().max(1) as f64;
    let draws = if captions.is_empty() { 0 } else { DRAWS };
    for (at, row) in rows.iter().enumerate() {
        add(0, score(&row.said, &row.right), each);
        add(
            1,
            score(&rows[other(at, rows.len())].said, &row.right),
            each,
        );
        for _ in 0..draws {
            let drawn = captions[rng.index(captions.len())];
            add(2, score(drawn, &row.right), each / DRAWS as f64);
        }
    }
    let sum = |side: usize| rows.iter().map(|row| row.surprise[side]).sum::<f64>();
    CaptionReport {
        pictures: rows.len(),
        perplexity: [0, 1].map(|side| (sum(side) / tokens.max(1) as f64).exp()),
        f1: scores.map(|score| score.f1),
        bleu1: scores.map(|score| score.bleu1),
    }
}

/// Writes `rows` to `path`.
///
/// # Errors
/// A disk that refuses.
pub(super) fn write(path: &Path, rows: &[Row]) -> Result<(), TrainError> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let columns = [
        "id",
        "caption",
        "said",
        "f1",
        "bleu1",
        "surprise",
        "surprise_of_another",
    ];
    let mut result = table.write_record(columns);
    for row in rows {
        let found = score(&row.said, &row.right);
        let [right, another] = row.surprise;
        let numbers = [found.f1, found.bleu1, right, another].map(|x| format!("{x:.4}"));
        let texts = [&row.id, &row.right, &row.said];
        let cells = texts.into_iter().chain(&numbers);
        result = result.and_then(|()| table.write_record(cells));
    }
    let bytes = result
        .map_err(|error| error.to_string())
        .and_then(|()| table.into_inner().map_err(|error| error.to_string()));
    let bytes =
        bytes.map_err(|message| TrainError::Setup(format!("{}: {message}", path.display())))?;
    write_atomically(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_out_depends_on_the_caption_alone() {
        let sample = |caption: &str| Sample {
            captions: vec![caption.to_owned()],
            ..Sample::default()
        };
        let held = |caption: &str| is_held(&sample(caption), 10);
        let captions: Vec<String> = (0..500).map(|n| format!("picture {n}")).collect();
        let count = captions.iter().filter(|caption| held(caption)).count();
        assert!((30..70).contains(&count), "{count}");
        assert!(
            captions
                .iter()
                .all(|caption| held(caption) == held(&format!(" {} ", caption.to_uppercase())))
        );
        assert!(!is_held(&Sample::default(), 1) && is_held(&sample("a"), 1));
    }

    #[test]
    fn every_picture_is_anothers_once() {
        for count in [2, 3, 10, 11] {
            let mut others: Vec<usize> = (0..count).map(|at| other(at, count)).collect();
            assert!(others.iter().enumerate().all(|(at, other)| at != *other));
            others.sort_unstable();
            assert_eq!(others, (0..count).collect::<Vec<_>>());
        }
    }
}
