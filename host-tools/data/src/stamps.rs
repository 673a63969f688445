//! Tux Paint's stamps: pictures with a caption each, for text retrieval.
//!
//! Layout: anywhere below the folder, `NAME.png` (RGBA, cut out) beside `NAME.txt`, whose first line is the English
//! caption; the lines after it are translations. Pictures are composited on white by [`crate::load_picture`].

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// A caption longer than this is not one.
const MAX_CAPTION_BYTES: u64 = 4096;

/// Folders nested deeper than this are not walked; the package has six.
const MAX_DEPTH: usize = 32;

/// One captioned picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The picture.
    pub path: PathBuf,
    /// Its English caption.
    pub caption: String,
    /// Whether it lies in a folder called `cartoon`: drawn, not photographed.
    pub is_cartoon: bool,
}

/// All captioned pictures below a folder, sorted by path.
#[derive(Debug, Clone, Default)]
pub struct Stamps {
    /// The pictures with their captions.
    pub stamps: Vec<Stamp>,
    /// Pictures without a caption.
    pub skipped: Vec<PathBuf>,
}

impl Stamps {
    /// Reads all captions; no picture is decoded.
    ///
    /// `dir` is the folder that `data get stamps` prints, an unpacked Debian package, or the installed folder.
    ///
    /// # Errors
    /// [`DataError::Layout`] where `dir` is no folder or holds no captioned picture.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        let dir = dir.as_ref();
        if !dir.is_dir() {
            let found = if dir.exists() {
                "a file"
            } else {
                "no such folder"
            };
            return Err(layout(dir, found.into()));
        }
        let mut stamps = Self::default();
        stamps.walk(dir, 0)?;
        if stamps.stamps.is_empty() {
            return Err(layout(
                dir,
                format!("{} pictures without a caption", stamps.skipped.len()),
            ));
        }
        stamps.stamps.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        stamps.skipped.sort_unstable();
        Ok(stamps)
    }

    fn walk(&mut self, dir: &Path, depth: usize) -> Result<(), DataError> {
        let read_error = |e| DataError::io("read", dir, e);
        for entry in fs::read_dir(dir).map_err(read_error)? {
            let path = entry.map_err(read_error)?.path();
            if path.is_dir() {
                if depth < MAX_DEPTH && !path.is_symlink() {
                    self.walk(&path, depth + 1)?;
                }
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "png") {
                continue;
            }
            match read_caption(&path.with_extension("txt"))? {
                Some(caption) => {
                    let is_cartoon = path.components().any(|part| part.as_os_str() == "cartoon");
                    self.stamps.push(Stamp {
                        path,
                        caption,
                        is_cartoon,
                    });
                }
                None => self.skipped.push(path),
            }
        }
        Ok(())
    }

    /// Only the stamps whose caption is a sentence of one object, see [`is_single_object_sentence`].
    pub fn single_objects(&self) -> Vec<&Stamp> {
        self.stamps
            .iter()
            .filter(|stamp| is_single_object_sentence(&stamp.caption))
            .collect()
    }
}

/// The distinct captions of some stamps, sorted.
pub fn distinct_captions<'a>(stamps: impl IntoIterator<Item = &'a Stamp>) -> Vec<&'a str> {
    let captions: BTreeSet<&str> = stamps
        .into_iter()
        .map(|stamp| stamp.caption.as_str())
        .collect();
    captions.into_iter().collect()
}

/// The first line of a caption file; `None` where there is no such file or the line is empty.
fn read_caption(path: &Path) -> Result<Option<String>, DataError> {
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    let mut line = Vec::new();
    let mut reader = BufReader::new(file.take(MAX_CAPTION_BYTES));
    reader
        .read_until(b'\n', &mut line)
        .map_err(|e| DataError::io("read", path, e))?;
    let line = String::from_utf8_lossy(&line);
    let caption = line.trim_start_matches('\u{feff}').trim();
    Ok((!caption.is_empty()).then(|| caption.to_string()))
}

/// Whether a caption is one short sentence that names one object.
///
/// The rule, chosen before any evaluation and from the captions alone:
/// 1. it begins with `A ` or `An ` and ends with a full stop, which is its only mark of the kind `. ! ? : ; , ( )`;
/// 2. it has at most eight words and no digit;
/// 3. it has none of the words in `MORE_THAN_A_NAME`: those join a second object, count several, or begin a clause
///    that explains instead of naming.
///
/// `A red umbrella.` and `A pair of pants.` pass; `Eat your bread!`, `A top and skirt.`, `A couple of wings.` and
/// `A shamrock is a symbol of St Patrick's Day.` do not.
pub fn is_single_object_sentence(caption: &str) -> bool {
    const MORE_THAN_A_NAME: [&str; 19] = [
        "and", "or", "with", "couple", "group", "several", "many", "is", "are", "was", "has",
        "have", "can", "used", "that", "which", "who", "letter", "number",
    ];
    let Some(body) = caption.strip_suffix('.') else {
        return false;
    };
    let Some(rest) = body.strip_prefix("A ").or_else(|| body.strip_prefix("An ")) else {
        return false;
    };
    let marks = ['.', '!', '?', ':', ';', ',', '(', ')', '–', '—', '…'];
    if rest.contains(|c: char| c.is_numeric() || marks.contains(&c)) {
        return false;
    }
    let words: Vec<String> = rest.split_whitespace().map(str::to_lowercase).collect();
    (1..=7).contains(&words.len()) && !words.iter().any(|w| MORE_THAN_A_NAME.contains(&w.as_str()))
}

fn layout(path: &Path, found: String) -> DataError {
    DataError::Layout {
        path: path.to_path_buf(),
        found,
        expected: "the files of `pinhole data get stamps`: NAME.png with its caption in NAME.txt"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};
    use tempfile::TempDir;

    use super::*;
    use crate::picture::load_picture;

    fn stamp(dir: &TempDir, path: &str, text: Option<&str>) {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        RgbaImage::from_pixel(3, 3, Rgba([0, 0, 0, 0]))
            .save(&path)
            .expect("save");
        if let Some(text) = text {
            fs::write(path.with_extension("txt"), text).expect("write");
        }
    }

    #[test]
    fn the_first_line_is_the_caption_and_the_picture_is_on_white() {
        let dir = TempDir::new().expect("temp dir");
        stamp(
            &dir,
            "vehicles/cartoon/bus.png",
            Some("A red bus.\r\nde.utf8=Ein roter Bus.\n"),
        );
        stamp(&dir, "animals/emu.png", Some("\u{feff}An emu.\n"));
        stamp(&dir, "animals/emu2.png", Some("An emu."));
        stamp(&dir, "animals/nameless.png", None);
        stamp(&dir, "animals/silent.png", Some("\nde.utf8=Nichts.\n"));
        let stamps = Stamps::open(dir.path()).expect("open");
        let captions: Vec<_> = stamps.stamps.iter().map(|s| s.caption.as_str()).collect();
        assert_eq!(captions, ["An emu.", "An emu.", "A red bus."]);
        assert_eq!(distinct_captions(&stamps.stamps), ["A red bus.", "An emu."]);
        assert_eq!(stamps.skipped.len(), 2);
        assert!(stamps.stamps[2].is_cartoon && !stamps.stamps[0].is_cartoon);
        let picture = load_picture(&stamps.stamps[0].path).expect("load");
        assert_eq!(picture.get_pixel(1, 1).0, [255; 3]);
    }

    #[test]
    fn a_folder_without_captioned_pictures_is_refused() {
        let dir = TempDir::new().expect("temp dir");
        stamp(&dir, "a.png", None);
        let error = Stamps::open(dir.path())
            .expect_err("no caption")
            .to_string();
        assert!(
            error.contains("found 1 pictures without a caption"),
            "{error}"
        );
        assert!(Stamps::open(dir.path().join("a.png")).is_err());
    }

    #[test]
    fn sentences_of_one_object_are_told_from_the_others() {
        let one = [
            "A frog.",
            "An owl.",
            "A pair of pants.",
            "A “Fuji” apple.",
            "A knight’s helmet.",
        ];
        for caption in one {
            assert!(is_single_object_sentence(caption), "{caption}");
        }
        let others = [
            "",
            "A .",
            "A frog",
            "Eat your bread!",
            "Two wild boars.",
            "A top and skirt.",
            "A couple of wings.",
            "The letter p.",
            "A computer mouse. Squeak!",
            "A baby sheep (a lamb).",
            "A US 25 cent piece called a quarter.",
            "A shamrock is a symbol of St Patrick's Day.",
        ];
        for caption in others {
            assert!(!is_single_object_sentence(caption), "{caption}");
        }
    }
}
