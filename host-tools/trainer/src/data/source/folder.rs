//! A folder of pictures, at any depth.
//!
//! Sorted by path; a file is a picture by its first bytes. Hidden files are passed over. A link is not followed, so
//! that nothing outside the folder is read. With classes, the first folder below is the class of what lies in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::{DataError, load_picture, picture};

use super::super::error::LoadError;
use super::{LeftOut, Listing, Sample, Source};

/// Folders nested deeper than this are not walked.
const MAX_DEPTH: usize = 32;

/// The pictures below a folder.
#[derive(Debug)]
pub struct Folder {
    paths: Vec<PathBuf>,
    listing: Listing,
}

impl Folder {
    /// Walks `dir` and reads the header of every picture; `classes` makes labels of the folders directly below it.
    ///
    /// # Errors
    /// [`LoadError::Data`] where `dir` is no folder, [`LoadError::Io`] where a folder cannot be read,
    /// [`LoadError::NothingGood`] without a picture.
    pub fn open(dir: impl AsRef<Path>, classes: bool) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        check_folder(dir)?;
        let mut walk = Walk {
            root: dir,
            found: Vec::new(),
            left_out: LeftOut::default(),
        };
        walk.folder(dir, 0)?;
        let Walk {
            mut found,
            mut left_out,
            ..
        } = walk;
        if classes {
            found.retain(|(path, id)| {
                let in_class = id.contains('/');
                if !in_class {
                    left_out.broken(path.display(), "lies beside the folders of the classes");
                }
                in_class
            });
        }
        let class_of = |id: &str| id.split('/').next().unwrap_or_default().to_owned();
        let classnames: Vec<String> = match classes {
            true => {
                let names: BTreeSet<_> = found.iter().map(|(_, id)| class_of(id)).collect();
                names.into_iter().collect()
            }
            false => Vec::new(),
        };
        let (paths, samples): (Vec<_>, Vec<_>) = found
            .into_iter()
            .map(|(path, id)| {
                let label = classnames.binary_search(&class_of(&id)).ok();
                let sample = Sample {
                    id,
                    captions: Vec::new(),
                    label,
                };
                (path, sample)
            })
            .unzip();
        left_out.check(dir.display(), samples.len())?;
        Ok(Self {
            paths,
            listing: Listing {
                samples,
                classnames,
                left_out,
            },
        })
    }
}

impl Source for Folder {
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

/// Fails where `dir` is no folder.
fn check_folder(dir: &Path) -> Result<(), LoadError> {
    if dir.is_dir() {
        return Ok(());
    }
    let found = if dir.exists() {
        "a file"
    } else {
        "no such folder"
    };
    Err(LoadError::Data(DataError::Layout {
        path: dir.to_path_buf(),
        found: found.into(),
        expected: "a folder of pictures".into(),
    }))
}

/// The id of a file: its path below `root` with `/` between its parts; `None` where that is not UTF-8.
pub(super) fn id_below(root: &Path, path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path
        .strip_prefix(root)
        .unwrap_or(path)
        .components()
        .map(|part| part.as_os_str().to_str())
        .collect();
    parts.map(|parts| parts.join("/"))
}

struct Walk<'a> {
    root: &'a Path,
    found: Vec<(PathBuf, String)>,
    left_out: LeftOut,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Path, depth: usize) -> Result<(), LoadError> {
        if depth > MAX_DEPTH {
            let reason = format!("folders nested deeper than {MAX_DEPTH}");
            self.left_out.broken(dir.display(), reason);
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(LoadError::io("read", dir))? {
            let entry = entry.map_err(LoadError::io("read", dir))?;
            let kind = entry
                .file_type()
                .map_err(LoadError::io("read", &entry.path()))?;
            entries.push((entry.path(), kind));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (path, kind) in entries {
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_symlink() {
                let reason = "a link, which is not followed: copy what it leads to";
                self.left_out.broken(path.display(), reason);
            } else if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else {
                self.file(path);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) {
        match picture::check_header(&path) {
            Ok(()) => match id_below(self.root, &path) {
                Some(id) => self.found.push((path, id)),
                None => self
                    .left_out
                    .broken(path.display(), "a name that is not UTF-8"),
            },
            Err(error)
                if picture::format_of(&path).is_ok() || picture::is_named_like_a_picture(&path) =>
            {
                self.left_out.broken(path.display(), error);
            }
            Err(_) => self.left_out.other += 1,
        }
    }
}
