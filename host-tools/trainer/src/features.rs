//! The inputs of training: features of frozen encoders, in `safetensors` files.
//!
//! This is the contract between the program that computes features (any encoder will do) and the trainer. All numbers are
//! little-endian; `f32` tensors may also be stored as `F16`. With `C` classes, `D` image features, `E` text features:
//!
//! | File | Tensor | Shape, type | Meaning |
//! |---|---|---|---|
//! | prototypes | `weight` | `[C, D]` f32 | rows of the image encoder's classifier head |
//! | prototypes | `bias` | `[C]` f32 | its biases |
//! | texts | `features` | `[N, E]` f32 | pooled features of N sentences, not normalised |
//! | texts | `group` | `[N]` i32 | the group that sentence n names, in `0..G` |
//! | texts | `group_offsets` | `[G + 1]` i32 | where each group's classes begin in `group_members`; rises from 0 |
//! | texts | `group_members` | `[group_offsets[G]]` i32 | classes, in `0..C` |
//! | texts | `group_related` | `[G]` i32 | 1 where the group contains none of its classes but is near them, else 0 |
//! | pictures | `features` | `[M, D]` f32 | pooled features of M pictures without labels |
//! | neighbourhood | `features` | `[M, K]` f32 | what another image encoder without a head makes of the same pictures |
//! | a teacher | `features` | `[M, T]` f32 | pooled features of the same pictures by another image encoder |
//! | a teacher | `weight`, `bias` | `[C, T]`, `[C]` f32 | that encoder's classifier head, over the same classes |
//! | photos | `features` | `[S·V, D]` f32 | pooled features of V views of photographs, sharp ones first, then the same V at each lower sharpness |
//! | photos | `posteriors` | `[V, C]` f32 | what the heads see in each view when it is sharp: rows that sum to one |
//!
//! Group `c` for `c < C` is the class `c` alone. The groups after those name several classes (`dog`: 118 of them), or stand
//! near classes without containing one (`deer`: the ruminants). `safetensors` names its tensors, so the order in the file is
//! free; further tensors are ignored.

use crate::recipe::{Inputs, hex};
use crate::texts::TextList;
use crate::{TrainError, output};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// A row-major matrix of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The elements, `rows` × `columns`.
    pub data: Vec<f32>,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Matrix {
    /// Row `index`, `[columns]`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.columns..][..self.columns]
    }

    /// The mean of all rows, `[columns]`, summed in f64.
    pub fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0f64; self.columns];
        for row in self.data.chunks_exact(self.columns) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums.iter()
            .map(|sum| (sum / self.rows as f64) as f32)
            .collect()
    }

    /// Subtracts `centre` `[columns]` from every row and divides by `scale`.
    pub fn standardise(&mut self, centre: &[f32], scale: f32) {
        for row in self.data.chunks_exact_mut(self.columns) {
            row.iter_mut()
                .zip(centre)
                .for_each(|(x, c)| *x = (*x - c) / scale);
        }
    }

    /// The root of the mean square of all elements about the column means `centre`, `[columns]`.
    pub fn deviation(&self, centre: &[f32]) -> f32 {
        let squares = self
            .data
            .chunks_exact(self.columns)
            .flat_map(|row| row.iter().zip(centre));
        let sum: f64 = squares.map(|(x, c)| f64::from(x - c).powi(2)).sum();
        ((sum / self.data.len() as f64) as f32)
            .sqrt()
            .max(f32::MIN_POSITIVE)
    }
}

/// Writes the prototypes file: head rows `weight` `[C, D]` and `bias` `[C]`.
///
/// # Errors
/// When the disk refuses, or `bias` has another length than `weight` has rows.
pub fn write_prototypes(path: &Path, weight: &Matrix, bias: &[f32]) -> Result<(), TrainError> {
    write(path, &[("weight", weight)], Some((bias, weight.rows)))
}

/// Writes the pictures file, or the neighbourhood file: `features` `[M, D]`.
///
/// # Errors
/// When the disk refuses.
pub fn write_pictures(path: &Path, features: &Matrix) -> Result<(), TrainError> {
    write(path, &[("features", features)], None)
}

/// Writes a teacher file: `view` of the pictures of the pictures file, in their order.
///
/// # Errors
/// When the disk refuses, or the bias has another length than there are head rows.
pub fn write_teacher(path: &Path, view: &View) -> Result<(), TrainError> {
    let matrices = [("features", &view.features), ("weight", &view.weight)];
    write(path, &matrices, Some((&view.bias, view.weight.rows)))
}

/// Writes the photos file: `features` `[S·V, D]` and `posteriors` `[V, C]`.
///
/// # Errors
/// When the disk refuses, or the rows of one are no multiple of the other's.
pub fn write_photos(path: &Path, photos: &Photos) -> Result<(), TrainError> {
    let Photos {
        features,
        posteriors,
    } = photos;
    if !whole_sharpnesses(features.rows, posteriors.rows) {
        return Err(TrainError::Features {
            path: path.to_path_buf(),
            faults: vec![fault_of_sharpnesses(features.rows, posteriors.rows)],
        });
    }
    let matrices = [("features", features), ("posteriors", posteriors)];
    write(path, &matrices, None)
}

fn whole_sharpnesses(rows: usize, views: usize) -> bool {
    views > 0 && rows > 0 && rows.is_multiple_of(views)
}

fn fault_of_sharpnesses(rows: usize, views: usize) -> String {
    format!("tensor `features` has {rows} rows, expected a multiple of the {views} of `posteriors`")
}

/// Writes the texts file: `features` `[N, E]` of the sentences of `texts`, in their order.
///
/// # Errors
/// When the disk refuses, or there are not as many rows as sentences.
pub fn write_texts(path: &Path, features: &Matrix, texts: &TextList) -> Result<(), TrainError> {
    expect_len(path, "features", features.rows, texts.sentences.len())?;
    let integers = |numbers: &mut dyn Iterator<Item = usize>| -> Vec<u8> {
        numbers
            .flat_map(|n| {
                i32::try_from(n)
                    .expect("a count of sentences fits 31 bits")
                    .to_le_bytes()
            })
            .collect()
    };
    let mut end = 0;
    let ends = texts.members.iter().map(|members| {
        end += members.len();
        end
    });
    let offsets = integers(&mut std::iter::once(0).chain(ends));
    let group = integers(&mut texts.group.iter().copied());
    let members = integers(&mut texts.members.iter().flatten().copied());
    let related = integers(&mut texts.related.iter().map(|&related| usize::from(related)));
    let list = |bytes: &[u8]| vec![bytes.len() / 4];
    let parts = [
        (
            "features",
            Dtype::F32,
            vec![features.rows, features.columns],
            &output::floats(&features.data)[..],
        ),
        ("group", Dtype::I32, list(&group), &group),
        ("group_offsets", Dtype::I32, list(&offsets), &offsets),
        ("group_members", Dtype::I32, list(&members), &members),
        ("group_related", Dtype::I32, list(&related), &related),
    ];
    output::write_parts(path, &parts, HashMap::new())
}

/// Writes `matrices` by name and, where given, `bias` of the length said.
fn write(
    path: &Path,
    matrices: &[(&str, &Matrix)],
    bias: Option<(&[f32], usize)>,
) -> Result<(), TrainError> {
    let mut tensors: Vec<_> = matrices
        .iter()
        .map(|(name, matrix)| {
            (
                (*name).to_owned(),
                vec![matrix.rows, matrix.columns],
                matrix.data.clone(),
            )
        })
        .collect();
    if let Some((bias, len)) = bias {
        expect_len(path, "bias", bias.len(), len)?;
        tensors.push(("bias".to_owned(), vec![len], bias.to_vec()));
    }
    output::write_tensors(path, &tensors, HashMap::new())
}

fn expect_len(path: &Path, name: &str, found: usize, expected: usize) -> Result<(), TrainError> {
    if found == expected {
        return Ok(());
    }
    let fault = format!("tensor `{name}` would have {found} rows, expected {expected}");
    Err(TrainError::Features {
        path: path.to_path_buf(),
        faults: vec![fault],
    })
}

/// What another image encoder with a classifier head makes of the pictures.
#[derive(Clone, Debug)]
pub struct View {
    /// Its features of the same pictures, `[pictures, its features]`.
    pub features: Matrix,
    /// Its head rows, `[classes, its features]`.
    pub weight: Matrix,
    /// Its head biases, `[classes]`.
    pub bias: Vec<f32>,
}

/// Views of photographs at several sharpnesses, and what the heads see in the sharp ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Photos {
    /// The image encoder's features, `[sharpnesses · views, image features]`: all views sharp, then all less sharp, and so on.
    pub features: Matrix,
    /// The heads' opinion of each view when it is sharp, `[views, classes]`; rows sum to one.
    pub posteriors: Matrix,
}

/// All inputs of a run, checked.
#[derive(Clone, Debug)]
pub struct Features {
    /// Head rows, `[classes, image features]`.
    pub prototypes: Matrix,
    /// Head biases, `[classes]`.
    pub prototype_bias: Vec<f32>,
    /// Sentence features, `[sentences, text features]`.
    pub texts: Matrix,
    /// The sentences of each group: indices into `texts`. Never empty for a class.
    pub sentences: Vec<Vec<usize>>,
    /// The classes of each group, sorted.
    pub members: Vec<Vec<usize>>,
    /// Whether each group only stands near its classes (`deer`: the ruminants) and contains none of them.
    pub related: Vec<bool>,
    /// Picture features, `[pictures, image features]`.
    pub pictures: Matrix,
    /// Other image encoders' views of the same pictures.
    pub teachers: Vec<View>,
    /// Features of the same pictures that say which are alike, `[pictures, its features]`.
    pub neighbourhood: Option<Matrix>,
    /// Views of photographs.
    pub photos: Option<Photos>,
    /// SHA-256 over all files, in hexadecimal: a checkpoint is continued with these inputs only.
    pub sha256: String,
}

impl Features {
    /// Reads and checks the files of `inputs`, relative to `folder`.
    ///
    /// # Errors
    /// When a file cannot be read, is not `safetensors`, or breaks the contract above; all faults of a file are named.
    pub fn load(inputs: &Inputs, folder: &Path) -> Result<Self, TrainError> {
        let mut digest = Sha256::new();
        let mut read = |name: &Path| {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(TrainError::io("read", &path))?;
            digest.update(Sha256::digest(&bytes));
            Ok::<_, TrainError>((path, bytes))
        };
        let (path, bytes) = read(&inputs.prototypes)?;
        let mut file = Checked::open(&path, &bytes)?;
        let prototypes = file.matrix("weight", None);
        let prototype_bias = file.vector("bias", prototypes.rows);
        file.finish()?;

        let (path, bytes) = read(&inputs.texts)?;
        let mut file = Checked::open(&path, &bytes)?;
        let texts = file.matrix("features", None);
        let (sentences, members) = file.groups(texts.rows, prototypes.rows);
        let related = file.flags("group_related", members.len());
        file.finish()?;

        let (path, bytes) = read(&inputs.pictures)?;
        let mut file = Checked::open(&path, &bytes)?;
        let pictures = file.matrix("features", Some(prototypes.columns));
        file.finish()?;
        let mut teachers = Vec::new();
        for name in &inputs.teachers {
            let (path, bytes) = read(name)?;
            let mut file = Checked::open(&path, &bytes)?;
            let features = file.matrix("features", None);
            let weight = file.matrix("weight", Some(features.columns));
            let bias = file.vector("bias", prototypes.rows);
            file.expect_rows("features", features.rows, pictures.rows);
            file.expect_rows("weight", weight.rows, prototypes.rows);
            file.finish()?;
            teachers.push(View {
                features,
                weight,
                bias,
            });
        }
        let neighbourhood = match &inputs.neighbourhood {
            Some(name) => {
                let (path, bytes) = read(name)?;
                let mut file = Checked::open(&path, &bytes)?;
                let features = file.matrix("features", None);
                file.expect_rows("features", features.rows, pictures.rows);
                file.finish()?;
                Some(features)
            }
            None => None,
        };
        let photos = match &inputs.photos {
            Some(name) => {
                let (path, bytes) = read(name)?;
                let mut file = Checked::open(&path, &bytes)?;
                let photos = Photos {
                    features: file.matrix("features", Some(prototypes.columns)),
                    posteriors: file.matrix("posteriors", Some(prototypes.rows)),
                };
                file.expect_sharpnesses(&photos);
                file.finish()?;
                Some(photos)
            }
            None => None,
        };
        let sha256 = hex(&digest.finalize());
        Ok(Self {
            prototypes,
            prototype_bias,
            texts,
            sentences,
            members,
            related,
            pictures,
            teachers,
            neighbourhood,
            photos,
            sha256,
        })
    }

    /// Classes: the rows of the prototypes.
    pub fn classes(&self) -> usize {
        self.prototypes.rows
    }
}

/// A feature file being read, which collects faults instead of stopping at the first.
struct Checked<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    faults: Vec<String>,
}

impl<'a> Checked<'a> {
    fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, TrainError> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| TrainError::Features {
            path: path.to_path_buf(),
            faults: vec![format!("not a safetensors file: {error}")],
        })?;
        Ok(Self {
            path,
            tensors,
            faults: Vec::new(),
        })
    }

    fn finish(self) -> Result<(), TrainError> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(TrainError::Features {
            path: self.path.to_path_buf(),
            faults: self.faults,
        })
    }

    /// The finite numbers of tensor `name` and its shape; a fault and nothing where that cannot be.
    fn numbers(&mut self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let view = match self.tensors.tensor(name) {
            Ok(view) => view,
            Err(_) => {
                let found = self.tensors.names().join("`, `");
                self.faults
                    .push(format!("no tensor `{name}`, found `{found}`"));
                return (Vec::new(), Vec::new());
            }
        };
        let bytes = view.data();
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
            Dtype::F16 => bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&b| half::f16::from_le_bytes(b).to_f32())
                .collect(),
            other => {
                self.faults.push(format!(
                    "tensor `{name}` has type {other:?}, expected F32 or F16"
                ));
                return (Vec::new(), Vec::new());
            }
        };
        if let Some(at) = data.iter().position(|x| !x.is_finite()) {
            self.faults.push(format!(
                "tensor `{name}` has {} at element {at}, expected finite numbers",
                data[at]
            ));
        }
        (data, view.shape().to_vec())
    }

    /// Tensor `name` as a matrix with at least one row and column, and `columns` columns where given.
    fn matrix(&mut self, name: &str, columns: Option<usize>) -> Matrix {
        let faults = self.faults.len();
        let (data, shape) = self.numbers(name);
        let empty = Matrix {
            data: Vec::new(),
            rows: 0,
            columns: 0,
        };
        if self.faults.len() > faults {
            return empty;
        }
        let expected = columns.map_or("[rows, columns]".to_owned(), |columns| {
            format!("[rows, {columns}]")
        });
        match shape[..] {
            [rows, found]
                if rows > 0 && found > 0 && columns.is_none_or(|columns| columns == found) =>
            {
                Matrix {
                    data,
                    rows,
                    columns: found,
                }
            }
            _ => {
                self.faults.push(format!(
                    "tensor `{name}` has shape {shape:?}, expected {expected}, neither 0"
                ));
                empty
            }
        }
    }

    /// A fault where tensor `name`, which was read, has `found` rows and not `expected`.
    fn expect_rows(&mut self, name: &str, found: usize, expected: usize) {
        if found != expected && self.faults.is_empty() {
            self.faults.push(format!(
                "tensor `{name}` has {found} rows, expected {expected}"
            ));
        }
    }

    /// A fault where photos, which were read, are not whole sharpnesses of all views, or an opinion is no distribution.
    fn expect_sharpnesses(&mut self, photos: &Photos) {
        let (rows, views) = (photos.features.rows, photos.posteriors.rows);
        if !self.faults.is_empty() {
            return;
        }
        if !whole_sharpnesses(rows, views) {
            self.faults.push(fault_of_sharpnesses(rows, views));
        }
        let sum = |view: &usize| photos.posteriors.row(*view).iter().sum::<f32>();
        if let Some(view) = (0..views).find(|view| (sum(view) - 1.0).abs() > 1e-3) {
            self.faults.push(format!(
                "row {view} of tensor `posteriors` sums to {}, expected 1",
                sum(&view)
            ));
        }
    }

    fn vector(&mut self, name: &str, len: usize) -> Vec<f32> {
        let faults = self.faults.len();
        let (data, shape) = self.numbers(name);
        if self.faults.len() == faults && shape != [len] {
            self.faults.push(format!(
                "tensor `{name}` has shape {shape:?}, expected [{len}]"
            ));
        }
        data
    }

    /// Tensor `name` as a list of indices below `limit`.
    fn indices(&mut self, name: &str, limit: usize) -> Vec<usize> {
        let Ok(view) = self.tensors.tensor(name) else {
            self.faults.push(format!("no tensor `{name}`"));
            return Vec::new();
        };
        if view.dtype() != Dtype::I32 || view.shape().len() != 1 {
            let (dtype, shape) = (view.dtype(), view.shape());
            self.faults.push(format!(
                "tensor `{name}` is {dtype:?} of shape {shape:?}, expected I32 of one dimension"
            ));
            return Vec::new();
        }
        let numbers = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b));
        let mut indices = Vec::with_capacity(view.shape()[0]);
        for (at, number) in numbers.enumerate() {
            match usize::try_from(number) {
                Ok(index) if index < limit => indices.push(index),
                _ => {
                    self.faults.push(format!(
                        "tensor `{name}` has {number} at element {at}, expected 0 to below {limit}"
                    ));
                    return Vec::new();
                }
            }
        }
        indices
    }

    /// Tensor `name` as `len` yes-or-no answers.
    fn flags(&mut self, name: &str, len: usize) -> Vec<bool> {
        let flags = self.indices(name, 2);
        if flags.len() != len && self.faults.is_empty() {
            self.faults.push(format!(
                "tensor `{name}` has {} elements, expected {len}",
                flags.len()
            ));
        }
        flags.iter().map(|&flag| flag == 1).collect()
    }

    /// The sentences and the classes of each group.
    fn groups(&mut self, sentences: usize, classes: usize) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
        let flat = self.indices("group_members", classes);
        let offsets = self.indices("group_offsets", flat.len() + 1);
        let groups = offsets.len().saturating_sub(1);
        let of_sentence = self.indices("group", groups);
        if !self.faults.is_empty() {
            return (Vec::new(), Vec::new());
        }
        if offsets.first() != Some(&0)
            || offsets.last() != Some(&flat.len())
            || !offsets.is_sorted()
        {
            self.faults.push(format!(
                "tensor `group_offsets` does not rise from 0 to {}",
                flat.len()
            ));
            return (Vec::new(), Vec::new());
        }
        if of_sentence.len() != sentences {
            self.faults.push(format!(
                "tensor `group` has {} elements, expected {sentences}",
                of_sentence.len()
            ));
        }
        let mut members: Vec<Vec<usize>> = offsets
            .windows(2)
            .map(|pair| flat[pair[0]..pair[1]].to_vec())
            .collect();
        members
            .iter_mut()
            .for_each(|classes| classes.sort_unstable());
        let mut by_group = vec![Vec::new(); groups];
        of_sentence
            .iter()
            .enumerate()
            .for_each(|(sentence, &group)| by_group[group].push(sentence));
        let is_alone = |&class: &usize| members.get(class).map(Vec::as_slice) == Some(&[class][..]);
        match (0..classes).find(|class| !is_alone(class)) {
            Some(class) => self
                .faults
                .push(format!("group {class} is not the class {class} alone")),
            None => {
                if let Some(class) = by_group.iter().take(classes).position(Vec::is_empty) {
                    self.faults.push(format!("class {class} has no sentence"));
                }
            }
        }
        if let Some(group) = members.iter().position(Vec::is_empty) {
            self.faults.push(format!("group {group} has no class"));
        }
        (by_group, members)
    }
}

#[cfg(test)]
mod tests;
