//! Shards of a WebDataset: tar archives in which the files of a sample share their name up to the first dot.
//!
//! `dog/0017.jpg` is the picture of sample `dog/0017`, `dog/0017.txt` its caption, `dog/0017.json` an object with
//! `caption` (or `text`), `captions` and `label`, `dog/0017.cls` its label. Opening reads the headers and the texts and
//! remembers where each picture begins; a picture is then read from the middle of its shard, so that samples can be
//! taken in any order and nothing is unpacked. A compressed shard has no middle to read from and is refused.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::{DataError, decode_picture, picture};
use serde::Deserialize;

use super::super::error::LoadError;
use super::{LeftOut, Listing, Sample, Source, expand_braces};

/// A text longer than this is no caption.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// A picture whose file is longer than this is not read.
const MAX_PICTURE_BYTES: u64 = 1 << 30;
/// The bytes by which a format is told.
const START_BYTES: u64 = 64;

/// The samples of all shards.
#[derive(Debug)]
pub struct WebDataset {
    shards: Vec<PathBuf>,
    entries: Vec<Entry>,
    listing: Listing,
}

/// Where a picture lies.
#[derive(Clone, Debug)]
struct Entry {
    shard: usize,
    name: String,
    offset: u64,
    bytes: u64,
}

impl WebDataset {
    /// Reads the index of every shard that `pattern` names, see [`expand_braces`].
    ///
    /// # Errors
    /// [`LoadError::Settings`] for a wrong pattern, [`LoadError::NothingGood`] where no shard has a picture.
    pub fn open(pattern: &str) -> Result<Self, LoadError> {
        let shards: Vec<PathBuf> = expand_braces(pattern)?
            .into_iter()
            .map(PathBuf::from)
            .collect();
        let mut found = Self {
            shards: Vec::new(),
            entries: Vec::new(),
            listing: Listing::default(),
        };
        for (index, shard) in shards.iter().enumerate() {
            let mut records = BTreeMap::new();
            // What a cut shard has before the cut is good.
            if let Err(reason) = read_shard(index, shard, &mut records, &mut found.listing.left_out)
            {
                found.listing.left_out.broken(shard.display(), reason);
            }
            found.take(shard, records);
        }
        found.shards = shards;
        let Listing {
            samples, left_out, ..
        } = &found.listing;
        left_out.check(pattern, samples.len())?;
        Ok(found)
    }

    fn take(&mut self, shard: &Path, records: BTreeMap<String, Record>) {
        let Listing {
            samples, left_out, ..
        } = &mut self.listing;
        let file = shard.file_name().unwrap_or_default().to_string_lossy();
        for (key, record) in records {
            let place = format!("{}: {key}", shard.display());
            let Some(entry) = record.picture else {
                // A record whose picture is broken has been listed.
                if record.has_text && !record.is_broken {
                    left_out.without_picture.push(place);
                }
                continue;
            };
            if record.captions.is_empty() {
                left_out.without_caption.push(place);
            }
            self.entries.push(entry);
            samples.push(Sample {
                id: format!("{file}/{key}"),
                captions: record.captions,
                label: record.label,
            });
        }
    }
}

impl Source for WebDataset {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn place(&self, index: usize) -> String {
        let Entry { shard, name, .. } = &self.entries[index];
        format!("{}: {name}", self.shards[*shard].display())
    }

    fn picture(&self, index: usize) -> Result<RgbImage, LoadError> {
        let entry = &self.entries[index];
        let shard = &self.shards[entry.shard];
        let mut file = File::open(shard).map_err(LoadError::io("read", shard))?;
        file.seek(SeekFrom::Start(entry.offset))
            .map_err(LoadError::io("read", shard))?;
        let mut bytes = vec![0; entry.bytes as usize];
        file.read_exact(&mut bytes)
            .map_err(LoadError::io("read", shard))?;
        Ok(decode_picture(self.place(index), &bytes)?)
    }
}

/// What the files of one base name say.
#[derive(Debug, Default)]
struct Record {
    picture: Option<Entry>,
    captions: Vec<String>,
    label: Option<usize>,
    has_text: bool,
    is_broken: bool,
}

/// The `.json` of a sample; other keys are passed over.
#[derive(Deserialize)]
struct Metadata {
    caption: Option<String>,
    text: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
    label: Option<usize>,
}

/// Takes the entries of a shard into `records`, up to the end or to the first one that cannot be read.
fn read_shard(
    index: usize,
    shard: &Path,
    records: &mut BTreeMap<String, Record>,
    left_out: &mut LeftOut,
) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut file = File::open(shard).map_err(told)?;
    let shard_bytes = file.metadata().map_err(told)?.len();
    refuse_compressed(&mut file).map_err(told)?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let entries = archive.entries_with_seek().map_err(told)?;
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|e| format!("cannot be read after {count} entries: {e}"))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        let place = format!("{}: {name}", shard.display());
        if !kind.is_file() {
            left_out.broken(
                place,
                "a link, a device or a sparse file, expected a plain file",
            );
            continue;
        }
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        if offset.saturating_add(bytes) > shard_bytes {
            let missing = offset.saturating_add(bytes) - shard_bytes;
            return Err(format!("is cut off: {missing} bytes of {name} are missing"));
        }
        let Some((key, ending)) = key_and_ending(&name) else {
            left_out.other += 1;
            continue;
        };
        let record = records.entry(key.to_owned()).or_default();
        let found = match ending.as_str() {
            "txt" | "json" | "cls" => {
                record.has_text = true;
                read_text(&mut entry).and_then(|text| record.add_text(&ending, &text))
            }
            _ if is_ending_of_pictures(&ending) => {
                let mut start = Vec::new();
                let read = (&mut entry).take(START_BYTES).read_to_end(&mut start);
                read.map_err(told)?;
                let entry = Entry {
                    shard: index,
                    name: name.clone(),
                    offset,
                    bytes,
                };
                record.add_picture(&place, entry, &start)
            }
            _ => {
                left_out.other += 1;
                Ok(())
            }
        };
        if let Err(reason) = found {
            left_out.broken(place, reason);
        }
    }
    Ok(())
}

/// Fails where the first bytes are those of gzip, bzip2, xz or zstd.
fn refuse_compressed(file: &mut File) -> std::io::Result<()> {
    const STARTS: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gunzip"),
        (b"BZh", "bunzip2"),
        (b"\xfd7zXZ", "unxz"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
    ];
    let mut start = Vec::new();
    file.by_ref().take(6).read_to_end(&mut start)?;
    file.rewind()?;
    match STARTS.iter().find(|(known, _)| start.starts_with(known)) {
        None => Ok(()),
        Some((_, command)) => Err(std::io::Error::other(format!(
            "is compressed, expected a plain tar file: {command} it first"
        ))),
    }
}

/// `a/b` and `jpg` of `./a/b.jpg`; the key ends at the first dot of the file name, the ending is in lower case.
fn key_and_ending(name: &str) -> Option<(&str, String)> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.')?;
    (dot > file).then(|| (&name[..dot], name[dot + 1..].to_ascii_lowercase()))
}

/// Whether a file with this ending is the picture of its sample: `jpg`, but not the `mask.png` beside it.
fn is_ending_of_pictures(ending: &str) -> bool {
    !ending.contains('.')
        && picture::is_named_like_a_picture(&Path::new("x").with_extension(ending))
}

fn read_text(entry: &mut impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    entry
        .take(MAX_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(format!("a text longer than {MAX_TEXT_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "text that is not UTF-8".into())
}

impl Record {
    fn add_text(&mut self, ending: &str, text: &str) -> Result<(), String> {
        let trimmed = text.trim_start_matches('\u{feff}').trim();
        match ending {
            "txt" => self.add_caption(trimmed),
            "cls" => {
                let label = trimmed.parse();
                self.label =
                    Some(label.map_err(|_| format!("found `{trimmed}`, expected a class index"))?);
            }
            _ => {
                let metadata: Metadata =
                    serde_json::from_str(trimmed).map_err(|e| e.to_string())?;
                let captions = metadata.caption.or(metadata.text);
                for caption in captions.iter().chain(&metadata.captions) {
                    self.add_caption(caption.trim());
                }
                self.label = metadata.label.or(self.label);
            }
        }
        Ok(())
    }

    /// A caption that the text file and the metadata share counts once.
    fn add_caption(&mut self, caption: &str) {
        if !caption.is_empty() && !self.captions.iter().any(|known| known == caption) {
            self.captions.push(caption.to_owned());
        }
    }

    fn add_picture(&mut self, place: &str, entry: Entry, start: &[u8]) -> Result<(), String> {
        if let Some(first) = &self.picture {
            return Err(format!(
                "a second picture of its name beside {}",
                first.name
            ));
        }
        if entry.bytes > MAX_PICTURE_BYTES {
            self.is_broken = true;
            return Err(format!(
                "{} bytes, expected at most {MAX_PICTURE_BYTES}",
                entry.bytes
            ));
        }
        if let Err(error) = picture::format_of_bytes(Path::new(place), start) {
            self.is_broken = true;
            return Err(match error {
                DataError::Picture {
                    found, expected, ..
                } => format!("found {found}, expected {expected}"),
                other => other.to_string(),
            });
        }
        self.picture = Some(entry);
        Ok(())
    }
}
