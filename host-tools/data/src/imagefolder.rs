//! `imagefolder:DIR`: a folder of class folders, the layout that torchvision's `ImageFolder` made common.
//!
//! Each folder directly below DIR is a class and its name is the class name; the pictures of a class may lie at any
//! depth below it. Classes are sorted by name, pictures by path, so that the same files give the same order. A file
//! is a picture by its first bytes, not by its name; others are skipped and listed, broken pictures are listed apart.
//! Hidden files and links to folders are passed over.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::picture;

/// Folders nested deeper than this are not walked.
const MAX_DEPTH: usize = 32;

/// One labelled picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// The index of its class in [`ImageFolder::classnames`].
    pub label: usize,
}

/// The classes and pictures of a folder, none of them decoded yet.
#[derive(Debug, Clone, Default)]
pub struct ImageFolder {
    /// The names of the class folders, sorted.
    pub classnames: Vec<String>,
    /// The pictures, by class and then by path.
    pub samples: Vec<Sample>,
    /// Files that are no pictures, and pictures that lie beside the class folders.
    pub skipped: Vec<PathBuf>,
    /// Files that are meant as pictures and cannot be read, with the reason.
    pub broken: Vec<(PathBuf, String)>,
}

impl ImageFolder {
    /// Walks the folder and reads the header of every picture.
    ///
    /// # Errors
    /// [`DataError::Layout`] where `dir` is no folder, has no class folder, or class folders have no readable picture
    /// (all of these are named).
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        let dir = dir.as_ref();
        let expected = || "a folder with one folder of pictures a class".to_string();
        if !dir.is_dir() {
            let found = if dir.exists() {
                "a file"
            } else {
                "no such folder"
            };
            return Err(layout(dir, found.into(), expected()));
        }
        let mut folder = Self::default();
        let mut empty = Vec::new();
        for path in sorted_entries(dir)? {
            if !path.is_dir() {
                folder.skipped.push(path);
                continue;
            }
            let name = match path.file_name().and_then(|name| name.to_str()) {
                Some(name) => name.to_string(),
                None => {
                    return Err(layout(
                        &path,
                        "a name that is not UTF-8".into(),
                        "a class name".into(),
                    ));
                }
            };
            let before = folder.samples.len();
            let label = folder.classnames.len();
            folder.classnames.push(name.clone());
            folder.walk(&path, label, 0)?;
            if folder.samples.len() == before {
                empty.push(name);
            }
        }
        if folder.classnames.is_empty() {
            let found = format!("no class folder ({} files)", folder.skipped.len());
            return Err(layout(dir, found, expected()));
        }
        if !empty.is_empty() {
            let found = format!(
                "class folders without a readable picture: {} ({} files skipped, {} broken)",
                empty.join(", "),
                folder.skipped.len(),
                folder.broken.len()
            );
            return Err(layout(dir, found, "at least one picture a class".into()));
        }
        Ok(folder)
    }

    fn walk(&mut self, dir: &Path, label: usize, depth: usize) -> Result<(), DataError> {
        if depth > MAX_DEPTH {
            let found = format!("folders nested deeper than {MAX_DEPTH}");
            return Err(layout(
                dir,
                found,
                "pictures nearer to their class folder".into(),
            ));
        }
        for path in sorted_entries(dir)? {
            if path.is_dir() {
                // A link to a folder may lead back up and round for ever.
                if !path.is_symlink() {
                    self.walk(&path, label, depth + 1)?;
                }
                continue;
            }
            match picture::check_header(&path) {
                Ok(()) => self.samples.push(Sample { path, label }),
                Err(error)
                    if picture::format_of(&path).is_ok()
                        || picture::is_named_like_a_picture(&path) =>
                {
                    self.broken.push((path, error.to_string()));
                }
                Err(_) => self.skipped.push(path),
            }
        }
        Ok(())
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no picture; never true of a folder that was opened.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

/// The folders of a training and of a test split: `train` and `test` (or `val`) where `dir` has these two folders and
/// no other.
///
/// # Errors
/// [`DataError::Io`] where `dir` cannot be read.
pub fn splits(dir: &Path) -> Result<Option<(PathBuf, PathBuf)>, DataError> {
    let mut folders = sorted_entries(dir)?;
    folders.retain(|path| path.is_dir());
    let [a, b] = &folders[..] else {
        return Ok(None);
    };
    let is = |path: &Path, name: &str| path.file_name().is_some_and(|found| found == name);
    Ok(if is(a, "test") && is(b, "train") {
        Some((b.clone(), a.clone()))
    } else if is(a, "train") && is(b, "val") {
        Some((a.clone(), b.clone()))
    } else {
        None
    })
}

fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let read_error = |e| DataError::io("read", dir, e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn layout(path: &Path, found: String, expected: String) -> DataError {
    DataError::Layout {
        path: path.to_path_buf(),
        found,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use tempfile::TempDir;

    use super::*;

    fn save(dir: &TempDir, path: &str) {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        RgbImage::new(4, 4).save(path).expect("save");
    }

    fn names(dir: &TempDir, paths: &[PathBuf]) -> Vec<String> {
        let below = |p: &PathBuf| {
            p.strip_prefix(dir.path())
                .expect("below")
                .display()
                .to_string()
        };
        paths.iter().map(below).collect()
    }

    #[test]
    fn classes_and_pictures_are_sorted_and_nested_ones_belong_to_their_class() {
        let dir = TempDir::new().expect("temp dir");
        for path in ["dog/b.png", "cat/deep/er/z.png", "cat/a.jpg", "dog/a.bmp"] {
            save(&dir, path);
        }
        let folder = ImageFolder::open(dir.path()).expect("open");
        assert_eq!(folder.classnames, ["cat", "dog"]);
        let paths: Vec<_> = folder.samples.iter().map(|s| s.path.clone()).collect();
        assert_eq!(
            names(&dir, &paths),
            ["cat/a.jpg", "cat/deep/er/z.png", "dog/a.bmp", "dog/b.png"]
        );
        assert_eq!(
            folder.samples.iter().map(|s| s.label).collect::<Vec<_>>(),
            [0, 0, 1, 1]
        );
        assert!(folder.skipped.is_empty() && folder.broken.is_empty());
    }

    #[test]
    fn what_is_no_picture_is_skipped_and_what_is_broken_is_listed() {
        let dir = TempDir::new().expect("temp dir");
        for path in ["cat/a.png", "beside.png"] {
            save(&dir, path);
        }
        let png = fs::read(dir.path().join("cat/a.png")).expect("read");
        fs::write(dir.path().join("cat/cut"), &png[..20]).expect("write");
        fs::write(dir.path().join("cat/empty.jpg"), "").expect("write");
        fs::write(dir.path().join("cat/notes.txt"), "hello").expect("write");
        fs::write(dir.path().join("cat/.hidden"), "x").expect("write");
        let folder = ImageFolder::open(dir.path()).expect("open");
        assert_eq!(folder.len(), 1);
        assert_eq!(
            names(&dir, &folder.skipped),
            ["beside.png", "cat/notes.txt"]
        );
        let broken: Vec<_> = folder.broken.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(names(&dir, &broken), ["cat/cut", "cat/empty.jpg"]);
        assert!(folder.broken[1].1.contains("an empty file"));
    }

    #[test]
    fn all_classes_without_a_picture_are_named_at_once() {
        let dir = TempDir::new().expect("temp dir");
        save(&dir, "cat/a.png");
        for class in ["dog", "emu"] {
            fs::create_dir(dir.path().join(class)).expect("folder");
        }
        let error = ImageFolder::open(dir.path())
            .expect_err("empty classes")
            .to_string();
        assert!(
            error.contains("without a readable picture: dog, emu"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_of_bare_pictures_is_refused() {
        let dir = TempDir::new().expect("temp dir");
        save(&dir, "a.png");
        let error = ImageFolder::open(dir.path())
            .expect_err("no class")
            .to_string();
        assert!(error.contains("found no class folder (1 files)"), "{error}");
        let error = ImageFolder::open(dir.path().join("none"))
            .expect_err("missing")
            .to_string();
        assert!(error.contains("found no such folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_back_up_is_not_followed() {
        let dir = TempDir::new().expect("temp dir");
        save(&dir, "cat/a.png");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("cat/up")).expect("link");
        assert_eq!(ImageFolder::open(dir.path()).expect("open").len(), 1);
    }

    #[test]
    fn train_and_test_alone_are_splits() {
        let dir = TempDir::new().expect("temp dir");
        let folder = |name: &str| fs::create_dir(dir.path().join(name)).expect("a folder");
        folder("train");
        assert_eq!(splits(dir.path()).expect("readable"), None);
        folder("test");
        let expected = (dir.path().join("train"), dir.path().join("test"));
        assert_eq!(splits(dir.path()).expect("readable"), Some(expected));
        folder("cat");
        assert_eq!(splits(dir.path()).expect("readable"), None);
    }
}
