//! A table of paths and captions, as CSV or TSV.
//!
//! Fields may be quoted with `"`, a quote inside is doubled (RFC 4180); a tab divides the fields of a `.tsv` file.
//! Paths are relative to the table. Rows of one picture become one sample with all their captions, so that two
//! sentences about a picture never are each other's negatives.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use image::RgbImage;
use pinhole_data::{DataError, load_picture, picture};
use serde::Deserialize;

use super::super::error::LoadError;
use super::{LeftOut, Listing, Sample, Source};

/// Which column is what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The names of the columns of a table without a header; the first row is the header without this key.
    pub names: Option<Vec<String>>,
    /// The column of the path.
    pub picture: String,
    /// The columns of captions; empty fields are no captions.
    pub captions: Vec<String>,
    /// The column of the class name.
    pub class: Option<String>,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            names: None,
            picture: "path".into(),
            captions: vec!["caption".into()],
            class: None,
        }
    }
}

/// The pictures that a table names.
#[derive(Debug)]
pub struct Table {
    paths: Vec<PathBuf>,
    listing: Listing,
}

impl Table {
    /// Reads the table and the header of every picture.
    ///
    /// # Errors
    /// [`LoadError::Data`] where the table cannot be read or lacks a column, [`LoadError::NothingGood`] without a
    /// picture.
    pub fn open(table: impl AsRef<Path>, columns: &Columns) -> Result<Self, LoadError> {
        let table = table.as_ref();
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter(table)?)
            .has_headers(false)
            .flexible(true)
            .from_path(table)
            .map_err(|error| refused(table, error, "a table of paths and captions"))?;
        let mut record = ByteRecord::new();
        let names = match &columns.names {
            Some(names) => names.clone(),
            None => {
                reader
                    .read_byte_record(&mut record)
                    .map_err(|error| refused(table, error, "a header"))?;
                let fields = record.iter();
                fields
                    .map(|field| String::from_utf8_lossy(field).trim().to_owned())
                    .collect()
            }
        };
        let mut rows = Rows {
            folder: table.parent().unwrap_or(Path::new("")),
            fields: names.len(),
            columns: Indices::find(table, &names, columns)?,
            found: Vec::new(),
            at: HashMap::new(),
            left_out: LeftOut::default(),
        };
        loop {
            let more = reader.read_byte_record(&mut record);
            let line = record.position().map_or(0, csv::Position::line);
            let place = format!("{}, line {line}", table.display());
            match more {
                Ok(false) => break,
                Ok(true) => rows.add(place, &record),
                Err(error) => return Err(refused(table, error, "a table that can be read")),
            }
        }
        rows.finish(table)
    }
}

impl Source for Table {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn place(&self, index: usize) -> String {
        self.paths[index].display().to_string()
    }

    fn picture(&self, index: usize) -> Result<RgbImage, LoadError> {
        Ok(load_picture(&self.paths[index])?)
    }
}

fn delimiter(table: &Path) -> Result<u8, LoadError> {
    match table.extension().and_then(|ending| ending.to_str()) {
        Some(ending) if ending.eq_ignore_ascii_case("csv") => Ok(b','),
        Some(ending) if ending.eq_ignore_ascii_case("tsv") => Ok(b'\t'),
        _ => Err(refused(table, "another ending", "a .csv or .tsv file")),
    }
}

fn refused(table: &Path, found: impl ToString, expected: &str) -> LoadError {
    LoadError::Data(DataError::Layout {
        path: table.to_path_buf(),
        found: found.to_string(),
        expected: expected.into(),
    })
}

/// Where the columns stand in a row.
struct Indices {
    picture: usize,
    captions: Vec<usize>,
    class: Option<usize>,
}

impl Indices {
    fn find(table: &Path, names: &[String], columns: &Columns) -> Result<Self, LoadError> {
        let index = |name: &String| {
            names.iter().position(|known| known == name).ok_or_else(|| {
                let found = format!("the columns {}", names.join(", "));
                refused(table, found, &format!("a column `{name}`"))
            })
        };
        Ok(Self {
            picture: index(&columns.picture)?,
            captions: columns
                .captions
                .iter()
                .map(index)
                .collect::<Result<_, _>>()?,
            class: columns.class.as_ref().map(index).transpose()?,
        })
    }
}

/// `a/b.png` of `./a//b.png`, so that a picture has one id however its path is spelled; an address stays as it is.
fn plain_path(text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    let parts = Path::new(text).components();
    let parts: PathBuf = parts.filter(|part| *part != Component::CurDir).collect();
    parts.to_string_lossy().into_owned()
}

/// One picture of the table.
struct Found {
    id: String,
    path: PathBuf,
    captions: Vec<String>,
    class: Option<String>,
}

struct Rows<'a> {
    folder: &'a Path,
    fields: usize,
    columns: Indices,
    found: Vec<Found>,
    /// The place in `found` of each path met, `None` for one that cannot be read.
    at: HashMap<String, Option<usize>>,
    left_out: LeftOut,
}

impl Rows<'_> {
    fn add(&mut self, place: String, record: &ByteRecord) {
        if record.len() != self.fields {
            let reason = format!("{} fields, expected {}", record.len(), self.fields);
            return self.left_out.broken(place, reason);
        }
        let fields: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
        let Ok(fields) = fields else {
            return self.left_out.broken(place, "text that is not UTF-8");
        };
        let captions = self.columns.captions.iter().map(|i| fields[*i].trim());
        let captions: Vec<String> = captions
            .filter(|caption| !caption.is_empty())
            .map(str::to_owned)
            .collect();
        let class = self.columns.class.map(|i| fields[i].trim().to_owned());
        let id = plain_path(fields[self.columns.picture].trim());
        if id.is_empty() {
            return self.left_out.without_picture.push(place);
        }
        let index = match self.at.get(&id) {
            Some(known) => *known,
            None => {
                let index = self.open(&place, &id);
                self.at.insert(id, index);
                index
            }
        };
        let Some(index) = index else { return };
        let found = &mut self.found[index];
        let class = class.filter(|class| !class.is_empty());
        match (&found.class, class) {
            (Some(known), Some(class)) if *known != class => {
                let reason = format!("class `{class}` of a picture of class `{known}`");
                return self.left_out.broken(place, reason);
            }
            (None, Some(class)) => found.class = Some(class),
            _ => {}
        }
        found.captions.extend(captions);
    }

    /// The place in `found` of a picture that was not met before.
    fn open(&mut self, place: &str, id: &str) -> Option<usize> {
        let path = self.folder.join(id);
        if id.contains("://") {
            let reason = format!("the address {id}, expected the path of a file");
            self.left_out.broken(place, reason);
            return None;
        }
        if !path.exists() {
            self.left_out
                .without_picture
                .push(format!("{place}: no {}", path.display()));
            return None;
        }
        if let Err(error) = picture::check_header(&path) {
            self.left_out.broken(place, error);
            return None;
        }
        self.found.push(Found {
            id: id.to_owned(),
            path,
            captions: Vec::new(),
            class: None,
        });
        Some(self.found.len() - 1)
    }

    fn finish(mut self, table: &Path) -> Result<Table, LoadError> {
        let mut classes: BTreeMap<String, usize> = self
            .found
            .iter()
            .filter_map(|found| found.class.clone())
            .map(|class| (class, 0))
            .collect();
        for (label, index) in classes.values_mut().zip(0..) {
            *label = index;
        }
        let (mut paths, mut samples) = (Vec::new(), Vec::new());
        for found in self.found {
            if found.captions.is_empty() && !self.columns.captions.is_empty() {
                let path = found.path.display().to_string();
                self.left_out.without_caption.push(path);
            }
            paths.push(found.path);
            samples.push(Sample {
                id: found.id,
                captions: found.captions,
                label: found.class.and_then(|class| classes.get(&class).copied()),
            });
        }
        self.left_out.check(table.display(), samples.len())?;
        Ok(Table {
            paths,
            listing: Listing {
                samples,
                classnames: classes.into_keys().collect(),
                left_out: self.left_out,
            },
        })
    }
}
