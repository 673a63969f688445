//! Pictures and captions as unit vectors, in the precision of the run.

use pinhole_evaluate::Rows;
use rayon::prelude::*;

use super::cache::{self, Cache, Key};
use super::source::{Dataset, Item};
use crate::encoder::{Embedding, ImageEncoder, ImageSession, TextEncoder};
use crate::failure::{Failure, Outcome};
use crate::progress;

/// Unit embeddings of pictures, on all cores, in order; int8 unless `float`. What is in the cache is not embedded
/// again.
pub(super) fn pictures(
    encoder: &ImageEncoder,
    data: &Dataset,
    items: &[Item],
    float: bool,
    cache: &mut Cache,
    what: &str,
) -> Outcome<Rows> {
    let bar = progress::bar(what, items.len());
    let mut rows = Vec::with_capacity(items.len());
    for block in items.chunks(cache::BLOCK) {
        let keys: Vec<Key> = block
            .par_iter()
            .map(|item| Ok(cache::key(&data.bytes(item)?)))
            .collect::<Outcome<_>>()?;
        let unknown: Vec<usize> = (0..block.len())
            .filter(|&i| cache.find(&keys[i]).is_none())
            .collect();
        bar.inc((block.len() - unknown.len()) as u64);
        let embedded: Vec<(Key, Vec<u8>)> = unknown
            .into_par_iter()
            .map_init(
                || encoder.session(),
                |session, index| {
                    let embedding = embed(session, data, &block[index], float)?;
                    bar.inc(1);
                    Ok((keys[index], to_bytes(&embedding)))
                },
            )
            .collect::<Outcome<_>>()?;
        cache.add(embedded)?;
        let found = keys
            .iter()
            .map(|key| from_bytes(cache.find(key).unwrap_or_default(), float));
        rows.extend(found);
    }
    bar.finish_and_clear();
    Rows::from_vecs(&rows).ok_or_else(|| {
        Failure::new("found embeddings of different lengths in the cache, expected one length")
            .help("--no-cache embeds all pictures again")
    })
}

fn embed(
    session: &mut ImageSession,
    data: &Dataset,
    item: &Item,
    float: bool,
) -> Outcome<Embedding> {
    let embedding = session.encode(&data.picture(item)?)?;
    Ok(match float {
        true => Embedding::F32(embedding.to_unit_f32()),
        false => Embedding::I8(embedding.to_i8()),
    })
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
