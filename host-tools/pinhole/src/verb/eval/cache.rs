//! Embeddings on disk, so that a picture is embedded once for each model.
//!
//! A folder a model; its name is the SHA-256 of the packed model (as it runs, with its preprocessing), the kernel set
//! and the versions of this layout and of the command. In it, files of up to [`BLOCK`] embeddings, each with the SHA-256 of the picture's
//! bytes. A file is written whole or not at all and named after its content, so that an interrupted run goes on where
//! it stopped, and two runs at once do not disturb each other.
//!
//! File: `PHE1`, bytes of an embedding (u32, little-endian), then picture's SHA-256 and embedding for each, then the
//! SHA-256 of all before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pinhole_data::GetOptions;
use pinhole_ranks::Ranks;
use sha2::{Digest, Sha256};

use super::Args;
use crate::encoder::ImageEncoder;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::note;

/// Pictures between two writes; few in tests, so that there are several.
pub(super) const BLOCK: usize = if cfg!(test) { 4 } else { 256 };
const MAGIC: &[u8; 4] = b"PHE1";
const HASH_BYTES: usize = 32;

/// SHA-256 of a picture's bytes.
pub(super) type Key = [u8; HASH_BYTES];

/// The key of a picture.
pub(super) fn key(picture: &[u8]) -> Key {
    Sha256::digest(picture).into()
}

/// The embeddings of one model: an empty cache keeps nothing on disk.
#[derive(Default)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    known: HashMap<Key, Vec<u8>>,
}

impl Cache {
    /// Reads what there is; with `--no-cache` nothing is read or written.
    pub(super) fn open(args: &Args, encoder: &ImageEncoder) -> Outcome<Self> {
        let mut cache = Self::default();
        if args.no_cache {
            return Ok(cache);
        }
        let folder = match &args.cache {
            Some(folder) => folder.clone(),
            None => pinhole_data::get::cache_dir(&GetOptions::default())?.join("embeddings"),
        };
        let folder = folder.join(model_key(encoder, args.float));
        std::fs::create_dir_all(&folder).map_err(|error| {
            Failure::new(format_args!(
                "{}: cannot make it: {error}",
                folder.display()
            ))
            .help("--cache DIR names another folder, --no-cache keeps none")
        })?;
        cache.read(&folder)?;
        cache.folder = Some(folder);
        Ok(cache)
    }

    fn read(&mut self, folder: &Path) -> Outcome {
        let entries =
            std::fs::read_dir(folder).map_err(|error| files::cannot_read(folder, &error))?;
        for entry in entries {
            let path = entry
                .map_err(|error| files::cannot_read(folder, &error))?
                .path();
            if path.extension().is_none_or(|ending| ending != "phe") {
                continue;
            }
            match parse(&files::read(&path)?) {
                Some(embeddings) => self.known.extend(embeddings),
                None => note!(
                    "{}: damaged; its pictures are embedded again",
                    path.display()
                ),
            }
        }
        Ok(())
    }

    /// The embedding of a picture.
    pub(super) fn find(&self, key: &Key) -> Option<&[u8]> {
        self.known.get(key).map(Vec::as_slice)
    }

    /// Gives all ranks what the first one knows of `keys`: it alone reads and writes the folder.
    ///
    /// # Errors
    /// A rank that is gone.
    pub(super) fn share(&mut self, keys: &[Key], ranks: &Ranks) -> Outcome {
        if ranks.count() == 1 {
            return Ok(());
        }
        let told = ranks.broadcast(|| {
            let known: Vec<Option<&[u8]>> = keys.iter().map(|key| self.find(key)).collect();
            serde_json::to_vec(&known).map_err(Failure::new)
        })?;
        let known: Vec<Option<Vec<u8>>> = serde_json::from_slice(&told).map_err(Failure::new)?;
        let known = keys.iter().zip(known);
        self.known
            .extend(known.filter_map(|(key, found)| Some((*key, found?))));
        Ok(())
    }

    /// Adds embeddings, all as long as the first, and writes them.
    pub(super) fn add(&mut self, embeddings: Vec<(Key, Vec<u8>)>) -> Outcome {
        if let (Some(folder), false) = (&self.folder, embeddings.is_empty()) {
            let bytes = format(&embeddings);
            let name = files::hex(&bytes[bytes.len() - HASH_BYTES..][..8]);
            files::write(&folder.join(format!("{name}.phe")), &bytes)?;
        }
        self.known.extend(embeddings);
        Ok(())
    }
}

fn model_key(encoder: &ImageEncoder, float: bool) -> String {
    let mut hash = Sha256::new();
    hash.update(MAGIC);
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(Sha256::digest(encoder.loaded.model.bytes()));
    hash.update(encoder.loaded.kernels.name());
    hash.update(if float { " f32" } else { " i8" });
    files::hex(&hash.finalize())
}

fn format(embeddings: &[(Key, Vec<u8>)]) -> Vec<u8> {
    let length = embeddings
        .first()
        .map_or(0, |(_, embedding)| embedding.len());
    let mut bytes = MAGIC.to_vec();
    bytes.extend((length as u32).to_le_bytes());
    for (key, embedding) in embeddings {
        bytes.extend(key);
        bytes.extend(embedding);
    }
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash);
    bytes
}

/// `None` where the file is not what was written.
fn parse(bytes: &[u8]) -> Option<Vec<(Key, Vec<u8>)>> {
    let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    if Sha256::digest(content).as_slice() != hash {
        return None;
    }
    let (length, records) = content.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let record = HASH_BYTES + usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if !records.len().is_multiple_of(record) {
        return None;
    }
    let read = |record: &[u8]| {
        let (key, embedding) = record.split_first_chunk::<HASH_BYTES>()?;
        Some((*key, embedding.to_vec()))
    };
    records.chunks_exact(record).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_change_is_seen() {
        let embeddings = vec![(key(b"a"), vec![1, 2, 3]), (key(b"b"), vec![4, 5, 6])];
        let bytes = format(&embeddings);
        assert_eq!(parse(&bytes), Some(embeddings));
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert_eq!(parse(&damaged), None);
            assert_eq!(parse(&bytes[..index]), None);
        }
    }
}
