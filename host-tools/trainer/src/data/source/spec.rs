//! A source as a recipe names it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::error::LoadError;
use super::{CaptionedStamps, Cifar10Rows, Columns, Folder, Source, Table, WebDataset};

/// A table of TOML with the key `kind`; paths are relative to the folder given to [`SourceSpec::open`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceSpec {
    /// [`Folder`].
    Folder {
        /// The folder.
        path: PathBuf,
        /// Whether the folders directly below are classes.
        #[serde(default)]
        classes: bool,
    },
    /// [`Table`].
    Table {
        /// The `.csv` or `.tsv` file.
        path: PathBuf,
        /// Which column is what.
        #[serde(default)]
        columns: Columns,
    },
    /// [`WebDataset`].
    Webdataset {
        /// The shards, with ranges in braces.
        path: String,
    },
    /// [`Cifar10Rows`].
    Cifar10 {
        /// The folder.
        path: PathBuf,
        /// Whether the labels of the training split are read.
        #[serde(default)]
        labelled: bool,
    },
    /// [`CaptionedStamps`].
    Stamps {
        /// The folder.
        path: PathBuf,
        /// Whether only captions that name one object are taken.
        #[serde(default)]
        single_objects: bool,
    },
}

impl SourceSpec {
    /// Opens the source.
    ///
    /// # Errors
    /// As the source's own `open`.
    pub fn open(&self, base: &Path) -> Result<Box<dyn Source>, LoadError> {
        Ok(match self {
            Self::Folder { path, classes } => Box::new(Folder::open(base.join(path), *classes)?),
            Self::Table { path, columns } => Box::new(Table::open(base.join(path), columns)?),
            Self::Webdataset { path } => {
                // Only the pattern has ranges; braces in the base would be read as some.
                let base = base.to_str().filter(|base| !base.contains(['{', '}']));
                let base = base.ok_or_else(|| LoadError::Settings {
                    faults: vec![
                        "the recipe lies in a folder with braces or without UTF-8 in its name"
                            .into(),
                    ],
                })?;
                let pattern = Path::new(base).join(path);
                Box::new(WebDataset::open(&pattern.to_string_lossy())?)
            }
            Self::Cifar10 { path, labelled } => {
                Box::new(Cifar10Rows::open(base.join(path), *labelled)?)
            }
            Self::Stamps {
                path,
                single_objects,
            } => Box::new(CaptionedStamps::open(base.join(path), *single_objects)?),
        })
    }
}
