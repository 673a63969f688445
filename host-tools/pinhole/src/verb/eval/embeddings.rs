//! Pictures and captions as unit vectors, in the precision of the run.

use image::RgbImage;
use pinhole_evaluate::Rows;
use rayon::prelude::*;

use super::cache::{self, Cache, Key};
use super::source::{Dataset, Item};
use crate::encoder::{Embedding, ImageEncoder, ImageSession, TextEncoder};
use crate::failure::{Failure, Outcome};
use crate::progress;

/// The pictures of a split that could be embedded.
pub(super) struct Embedded {
    /// Unit embeddings, in the order of the items.
    pub(super) rows: Rows,
    /// What each picture is known by.
    pub(super) keys: Vec<Key>,
    /// Items that are no readable picture, in order, and why.
    pub(super) broken: Vec<(usize, String)>,
}

/// Unit embeddings of pictures, on all cores; int8 unless `float`. What is in the cache is not embedded again.
///
/// # Errors
/// A file that cannot be read, and items of which none can be decoded; fewer are [`Embedded::broken`].
pub(super) fn pictures(
    encoder: &ImageEncoder,
    data: &Dataset,
    items: &[Item],
    float: bool,
    cache: &mut Cache,
    what: &str,
) -> Outcome<Embedded> {
    let bar = progress::bar(what, items.len());
    let (mut rows, mut found, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for (number, block) in items.chunks(cache::BLOCK).enumerate() {
        let keys: Vec<Key> = block
            .par_iter()
            .map(|item| Ok(cache::key(&data.bytes(item)?)))
            .collect::<Outcome<_>>()?;
        let unknown: Vec<usize> = (0..block.len())
            .filter(|&i| cache.find(&keys[i]).is_none())
            .collect();
        bar.inc((block.len() - unknown.len()) as u64);
        let embedded: Vec<(usize, Outcome<Embedding>)> = unknown
            .into_par_iter()
            .map_init(
                || encoder.session(),
                |session, index| {
                    let embedding = match data.picture(&block[index]) {
                        Ok(picture) => Ok(embed(session, &picture, &block[index], float)?),
                        Err(broken) => Err(broken),
                    };
                    bar.inc(1);
                    Ok((index, embedding))
                },
            )
            .collect::<Outcome<_>>()?;
        let mut new = Vec::with_capacity(embedded.len());
        for (index, embedding) in embedded {
            match embedding {
                Ok(embedding) => new.push((keys[index], to_bytes(&embedding))),
                Err(error) => broken.push((number * cache::BLOCK + index, error.to_string())),
            }
        }
        cache.add(new)?;
        for key in keys {
            if let Some(embedding) = cache.find(&key) {
                rows.push(from_bytes(embedding, float));
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

/// Unit embeddings of sentences, as a class bank would hold them.
pub(super) fn captions(text: &TextEncoder, captions: &[String], float: bool) -> Outcome<Rows> {
    let prompts: Vec<Vec<u32>> = captions
        .iter()
        .map(|caption| text.tokenizer.encode(caption))
        .collect();
    let bar = progress::bar("embedding captions", prompts.len());
    let embeddings = text.encode(&prompts, &|| bar.inc(1))?;
    bar.finish_and_clear();
    as_scored(embeddings, float)
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
