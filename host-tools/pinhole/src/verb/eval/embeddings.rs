//! Pictures and captions as unit vectors, in the precision of the run.

use image::RgbImage;
use indicatif::ProgressBar;
use pinhole_evaluate::Rows;
use pinhole_ranks::Ranks;
use rayon::prelude::*;

use super::cache::{self, Cache, Key};
use super::source::{Dataset, Item};
use crate::encoder::{Embedding, ImageEncoder, ImageSession, TextEncoder};
use crate::failure::{Failure, Outcome};
use crate::progress;

/// The place of an item that is no readable picture, and why.
type Fault = (usize, String);

/// The pictures of a split that could be embedded.
pub(super) struct Embedded {
    /// Unit embeddings, in the order of the items.
    pub(super) rows: Rows,
    /// What each picture is known by.
    pub(super) keys: Vec<Key>,
    /// Items that are no readable picture, in order, and why.
    pub(super) broken: Vec<Fault>,
}

/// What makes embeddings of pictures, and keeps them.
pub(super) struct Embedder<'a> {
    pub(super) encoder: &'a ImageEncoder,
    /// Else int8.
    pub(super) float: bool,
    pub(super) cache: Cache,
    pub(super) ranks: &'a Ranks,
}

/// An embedding that a rank made, as bytes, or why there is none; beside the picture's place.
type Made = (usize, Result<Vec<u8>, String>);

impl Embedder<'_> {
    /// Unit embeddings of pictures, on all cores of all ranks, each of which takes a part; all have all of them. What is
    /// in the cache is not embedded again.
    ///
    /// # Errors
    /// A file that cannot be read, and items of which none can be decoded; fewer are [`Embedded::broken`].
    pub(super) fn pictures(
        &mut self,
        data: &Dataset,
        items: &[Item],
        what: &str,
    ) -> Outcome<Embedded> {
        let bar = progress::bar(what, items.len());
        let (mut rows, mut found, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        let mut done = 0;
        for share in items.chunks(cache::BLOCK * self.ranks.count()) {
            let (keys, faults) = self.embed(data, share, &bar)?;
            broken.extend(faults.into_iter().map(|(place, why)| (done + place, why)));
            done += share.len();
            bar.set_position(done as u64);
            for key in keys {
                if let Some(embedding) = self.cache.find(&key) {
                    rows.push(from_bytes(embedding, self.float));
                    found.push(key);
                }
            }
        }
        bar.finish_and_clear();
        if let (true, Some((_, reason))) = (rows.is_empty(), broken.first()) {
            return Err(Failure::new(format_args!(
                "{what}: found no picture that can be decoded, expected some; the first: {reason}"
            ))
            .help("give pictures that an image viewer can open"));
        }
        let rows = Rows::from_vecs(&rows).ok_or_else(|| {
            Failure::new("found embeddings of different lengths in the cache, expected one length")
                .help("--no-cache embeds all pictures again")
        })?;
        Ok(Embedded {
            rows,
            keys: found,
            broken,
        })
    }

    /// Puts what is missing of `items` into the cache: their keys, and why some are broken, by their places.
    fn embed(
        &mut self,
        data: &Dataset,
        items: &[Item],
        bar: &ProgressBar,
    ) -> Outcome<(Vec<Key>, Vec<Fault>)> {
        let ranks = self.ranks;
        let keys = ranks.part(items).par_iter();
        let keys = keys.map(|item| Ok(cache::key(&data.bytes(item)?)));
        let keys = ranks.join(keys.collect::<Outcome<Vec<Key>>>())?;
        self.cache.share(&keys, ranks)?;
        let unknown = ranks.range(items.len());
        let unknown = unknown.filter(|&place| self.cache.find(&keys[place]).is_none());
        let made = made(
            (self.encoder, self.float),
            data,
            items,
            unknown.collect(),
            bar,
        );
        let made = ranks.join(made)?;
        let broken = ranks.agree(self.keep(&keys, made))?;
        Ok((keys, broken))
    }

    /// Writes what was `made` in the blocks that one process writes; what is broken.
    fn keep(&mut self, keys: &[Key], made: Vec<Made>) -> Outcome<Vec<Fault>> {
        let mut broken = Vec::new();
        for block in made.chunk_by(|(a, _), (b, _)| a / cache::BLOCK == b / cache::BLOCK) {
            let mut new = Vec::new();
            for (place, made) in block {
                let key = keys[*place];
                match made {
                    // Of a block before this one.
                    _ if self.cache.find(&key).is_some() => {}
                    Ok(embedding) => new.push((key, embedding.clone())),
                    Err(why) => broken.push((*place, why.clone())),
                }
            }
            self.cache.add(new)?;
        }
        Ok(broken)
    }
}

/// Embeddings of the items at `places`, on all cores.
fn made(
    (encoder, float): (&ImageEncoder, bool),
    data: &Dataset,
    items: &[Item],
    places: Vec<usize>,
    bar: &ProgressBar,
) -> Outcome<Vec<Made>> {
    let made = places.into_par_iter().map_init(
        || encoder.session(),
        |session, place| {
            let made = match data.picture(&items[place]) {
                Ok(picture) => Ok(to_bytes(&embed(session, &picture, &items[place], float)?)),
                Err(broken) => Err(broken.to_string()),
            };
            bar.inc(1);
            Ok((place, made))
        },
    );
    made.collect()
}

fn embed(
    session: &mut ImageSession,
    picture: &RgbImage,
    item: &Item,
    float: bool,
) -> Outcome<Embedding> {
    let embedding = session.encode(picture)?;
    if !float {
        return Ok(Embedding::I8(embedding.to_i8()));
    }
    let numbers = embedding.to_unit_f32();
    if numbers.iter().all(|x| x.is_finite()) {
        return Ok(Embedding::F32(numbers));
    }
    Err(Failure::new(format_args!(
        "{}: found an embedding with NaN, expected finite numbers",
        item.name()
    ))
    .help("pinhole diff compares the layers of the graph with those of another"))
}

fn to_bytes(embedding: &Embedding) -> Vec<u8> {
    match embedding {
        Embedding::I8(numbers) => numbers.iter().map(|x| x.cast_unsigned()).collect(),
        Embedding::F32(numbers) => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn from_bytes(bytes: &[u8], float: bool) -> Vec<f32> {
    if float {
        let (numbers, _) = bytes.as_chunks::<4>();
        return numbers.iter().map(|x| f32::from_le_bytes(*x)).collect();
    }
    Embedding::I8(bytes.iter().map(|x| x.cast_signed()).collect()).to_unit_f32()
}

/// Unit embeddings of sentences, as a class bank would hold them; each of `ranks` encodes a part.
pub(super) fn captions(
    text: &TextEncoder,
    captions: &[String],
    float: bool,
    ranks: &Ranks,
) -> Outcome<Rows> {
    let prompts: Vec<Vec<u32>> = captions
        .iter()
        .map(|caption| text.tokenizer.encode(caption))
        .collect();
    as_scored(
        text.encode_on(ranks, "embedding captions", &prompts)?,
        float,
    )
}

/// Rows of text embeddings: int8 unless `float`.
pub(super) fn as_scored(embeddings: Vec<Vec<f32>>, float: bool) -> Outcome<Rows> {
    let rounded = |embedding: Vec<f32>| match float {
        true => Embedding::F32(embedding).to_unit_f32(),
        false => Embedding::I8(Embedding::F32(embedding).to_i8()).to_unit_f32(),
    };
    let rows: Vec<Vec<f32>> = embeddings.into_iter().map(rounded).collect();
    Rows::from_vecs(&rows).ok_or_else(|| Failure::new("found no text to embed, expected some"))
}
