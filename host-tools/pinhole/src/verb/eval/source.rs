//! The pictures of an evaluation: which are measured, which are learned from, what is known of each.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::cifar10::CLASSNAMES;
use pinhole_data::stamps::distinct_captions;
use pinhole_data::{
    Cifar10, DataSpec, ImageFolder, Split, Stamps, Table, imagefolder, load_picture,
};
use pinhole_evaluate::split;
use serde::Serialize;

use super::Args;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::note;

/// Share of every class that is measured where the data has no splits.
const MEASURED: f64 = 0.5;

/// Where a picture's pixels are.
#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Cifar10(Split, usize),
}

/// One picture.
#[derive(Clone, Debug)]
pub(super) struct Item {
    place: Place,
    /// The index of its class.
    pub(super) label: Option<usize>,
    /// The indices of its captions.
    pub(super) captions: Vec<usize>,
}

impl Item {
    /// What a person calls it: its path, or its place in a batch.
    pub(super) fn name(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Cifar10(Split::Test, index) => format!("cifar10 test {index}"),
            Place::Cifar10(Split::Train, index) => format!("cifar10 train {index}"),
        }
    }
}

/// A file that is meant as a picture and cannot be read as one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Broken {
    pub(super) picture: String,
    pub(super) reason: String,
}

/// All pictures and what is known of them.
#[derive(Debug, Default)]
pub(super) struct Dataset {
    /// The names of the classes.
    pub(super) classnames: Vec<String>,
    /// Distinct captions: candidates of retrieval.
    pub(super) captions: Vec<String>,
    /// What is measured.
    pub(super) test: Vec<Item>,
    /// What is learned from.
    pub(super) train: Vec<Item>,
    /// What is neither, since it cannot be read.
    pub(super) broken: Vec<Broken>,
    /// How the two came about, for the report.
    pub(super) split: String,
    has_splits: bool,
    cifar10_test: Option<Cifar10>,
    cifar10_train: Option<Cifar10>,
}

impl Dataset {
    /// Reads the layout of a data set and no picture of a file. CIFAR-10's training split is read as well.
    pub(super) fn open(spec: &DataSpec) -> Outcome<Self> {
        match spec {
            DataSpec::Cifar10(dir) => Self::cifar10(dir),
            DataSpec::ImageFolder(dir) => Self::folder(dir),
            DataSpec::Stamps(dir) => Self::stamps(dir),
            DataSpec::Csv(file) => Self::table(file),
        }
    }

    fn cifar10(dir: &Path) -> Outcome<Self> {
        let test = Cifar10::open(dir, Split::Test)?;
        let train = Cifar10::train_labelled(dir)?;
        let items = |data: &Cifar10, split: Split| -> Vec<Item> {
            let item = |index| Item {
                place: Place::Cifar10(split, index),
                label: data.label(index),
                captions: Vec::new(),
            };
            (0..data.len()).map(item).collect()
        };
        Ok(Self {
            classnames: CLASSNAMES.iter().map(ToString::to_string).collect(),
            test: items(&test, Split::Test),
            train: items(&train, Split::Train),
            split: "CIFAR-10's own training and test split".into(),
            has_splits: true,
            cifar10_test: Some(test),
            cifar10_train: Some(train),
            ..Self::default()
        })
    }

    fn folder(dir: &Path) -> Outcome<Self> {
        let Some((train_dir, test_dir)) = imagefolder::splits(dir)? else {
            let mut data = Self::default();
            (data.classnames, data.test) = class_folders(dir, &mut data.broken)?;
            return Ok(data);
        };
        let mut broken = Vec::new();
        let (classnames, train) = class_folders(&train_dir, &mut broken)?;
        let (found, test) = class_folders(&test_dir, &mut broken)?;
        if found != classnames {
            return Err(Failure::new(format_args!(
                "{}: found the classes {}, expected {} as in {}",
                test_dir.display(),
                found.join(", "),
                classnames.join(", "),
                train_dir.display()
            ))
            .help("give both splits a folder for each class, of the same names"));
        }
        Ok(Self {
            classnames,
            test,
            train,
            broken,
            split: format!(
                "the folders {} and {}",
                files::name(&train_dir),
                files::name(&test_dir)
            ),
            has_splits: true,
            ..Self::default()
        })
    }

    /// Pictures of one object look for their captions among all.
    fn stamps(dir: &Path) -> Outcome<Self> {
        let stamps = Stamps::open(dir)?;
        let captions = distinct_captions(&stamps.stamps);
        let item = |stamp: &&pinhole_data::stamps::Stamp| Item {
            place: Place::File(stamp.path.clone()),
            label: None,
            captions: captions
                .binary_search(&stamp.caption.as_str())
                .into_iter()
                .collect(),
        };
        let test: Vec<Item> = stamps.single_objects().iter().map(item).collect();
        if test.is_empty() {
            return Err(Failure::new(format_args!(
                "{}: found no caption that is a sentence of one object, expected some",
                dir.display()
            ))
            .help("pinhole data get stamps prints a folder that has them"));
        }
        Ok(Self {
            captions: captions.iter().map(ToString::to_string).collect(),
            test,
            ..Self::default()
        })
    }

    fn table(file: &Path) -> Outcome<Self> {
        let table = Table::open(file)?;
        let mut data = Self {
            classnames: table.classnames,
            has_splits: table.pictures.iter().any(|picture| picture.split.is_some()),
            ..Self::default()
        };
        let mut places: HashMap<String, usize> = HashMap::new();
        for picture in table.pictures {
            let is_train = picture.split == Some(Split::Train);
            let mut item = Item {
                place: Place::File(picture.path),
                label: picture.label,
                captions: Vec::new(),
            };
            if is_train {
                data.train.push(item);
                continue;
            }
            for caption in picture.captions {
                let next = places.len();
                let place = *places.entry(caption.clone()).or_insert(next);
                if place == next {
                    data.captions.push(caption);
                }
                item.captions.push(place);
            }
            data.test.push(item);
        }
        if data.test.is_empty() {
            return Err(Failure::new(format_args!(
                "{}: found training pictures only, expected some to measure",
                file.display()
            ))
            .help("write test into the column split of some lines"));
        }
        if data.has_splits {
            data.split = "the column split of the table; lines without one are measured".into();
        }
        Ok(data)
    }

    /// SHA-256 over what is known of the pictures, which is the same on every rank.
    pub(super) fn sha256(&self) -> String {
        let splits = (&self.test, &self.train, &self.broken);
        let text = format!("{:?} {:?} {splits:?}", self.classnames, self.captions);
        files::sha256(text.as_bytes())
    }

    /// Whether every picture has a class.
    pub(super) fn is_labelled(&self) -> bool {
        self.test
            .iter()
            .chain(&self.train)
            .all(|item| item.label.is_some())
    }

    /// Whether a measured picture has a caption.
    pub(super) fn is_captioned(&self) -> bool {
        self.test.iter().any(|item| !item.captions.is_empty())
    }

    /// Whether there are training pictures, or classes with two pictures and more to divide.
    pub(super) fn can_train(&self) -> bool {
        if self.has_splits {
            return !self.train.is_empty();
        }
        let labels: Vec<usize> = self.test.iter().filter_map(|item| item.label).collect();
        labels.len() == self.test.len()
            && !split::stratified(&labels, MEASURED, 0).held_out.is_empty()
    }

    /// Divides pictures that have no splits where a task learns, drops training pictures that none uses, and keeps to
    /// the limits.
    pub(super) fn prepare(&mut self, args: &Args, learns: bool, uses_train: bool) {
        if learns && !self.has_splits {
            let labels: Vec<usize> = self.test.iter().filter_map(|item| item.label).collect();
            let parts = split::stratified(&labels, MEASURED, args.seed);
            let part = |indices: &[usize]| indices.iter().map(|&i| self.test[i].clone()).collect();
            (self.train, self.test) = (part(&parts.fit), part(&parts.held_out));
            self.split = format!("half of every class drawn by seed {}", args.seed);
        }
        if !learns && !uses_train {
            self.train.clear();
        }
        if self.split.is_empty() {
            self.split = "none: all pictures are measured, none is learned from".into();
        }
        keep(&mut self.test, args.limit, args.seed);
        keep(&mut self.train, args.train_limit, args.seed);
    }

    /// Takes pictures out of a split that turned out to be broken: their indices, in order, and why.
    pub(super) fn leave_out(&mut self, split: Split, found: Vec<(usize, String)>) {
        let items = match split {
            Split::Test => &mut self.test,
            Split::Train => &mut self.train,
        };
        let is_broken: HashSet<usize> = found.iter().map(|(index, _)| *index).collect();
        for (index, reason) in found {
            leave_out(&mut self.broken, items[index].name(), reason);
        }
        let mut index = 0..;
        items.retain(|_| index.next().is_none_or(|index| !is_broken.contains(&index)));
    }

    /// The bytes that a picture is known by: its file, or its pixels.
    pub(super) fn bytes(&self, item: &Item) -> Outcome<Cow<'_, [u8]>> {
        match &item.place {
            Place::File(path) => Ok(Cow::Owned(files::read(path)?)),
            Place::Cifar10(split, index) => Ok(Cow::Borrowed(self.batches(*split)?.pixels(*index))),
        }
    }

    /// Its pixels.
    pub(super) fn picture(&self, item: &Item) -> Outcome<RgbImage> {
        match &item.place {
            Place::File(path) => Ok(load_picture(path)?),
            Place::Cifar10(split, index) => Ok(self.batches(*split)?.picture(*index)),
        }
    }

    fn batches(&self, split: Split) -> Outcome<&Cifar10> {
        let batches = match split {
            Split::Test => &self.cifar10_test,
            Split::Train => &self.cifar10_train,
        };
        batches
            .as_ref()
            .ok_or_else(|| Failure::new("found no batch of CIFAR-10 for one of its pictures"))
    }
}

/// Labels of items that all have one.
pub(super) fn labels(items: &[Item]) -> Vec<usize> {
    items.iter().filter_map(|item| item.label).collect()
}

/// At most so many items, drawn by a seed, in order.
fn keep(items: &mut Vec<Item>, limit: Option<usize>, seed: u64) {
    if let Some(limit) = limit.filter(|limit| *limit < items.len()) {
        let drawn = split::draw(items.len(), limit, seed);
        *items = drawn
            .into_iter()
            .map(|index| items[index].clone())
            .collect();
    }
}

/// Adds a broken picture and says so.
fn leave_out(broken: &mut Vec<Broken>, picture: String, reason: String) {
    note!("left out {picture}: {reason}");
    broken.push(Broken { picture, reason });
}

/// The classes and pictures of a folder; those that cannot be read are added to `broken`.
fn class_folders(dir: &Path, broken: &mut Vec<Broken>) -> Outcome<(Vec<String>, Vec<Item>)> {
    let folder = ImageFolder::open(dir)?;
    for (path, reason) in folder.broken {
        leave_out(broken, path.display().to_string(), reason);
    }
    let samples = folder.samples.into_iter();
    let items = samples.map(|sample| Item {
        place: Place::File(sample.path),
        label: Some(sample.label),
        captions: Vec::new(),
    });
    Ok((folder.classnames, items.collect()))
}
