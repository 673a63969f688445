//! Embeddings of teachers, computed once a view and kept on disk: dataset reinforcement (Faghri et al., 2023, arXiv
//! 2303.08983).
//!
//! A file holds what one teacher says of one view of all samples in one epoch of augmentation, in slots of one size by
//! the number of the sample: the unit row, and a checksum over it, the slot and the file's key. The key is over the
//! teacher, the samples' ids, the augmentations, the seed, the epoch and the view, so that a cache of something else
//! is another file. A slot that was never written, was torn by a kill or has a flipped bit fails its checksum and is
//! computed again; slots are written one by one in any order, and there is nothing else to damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pinhole_data::DataError;
use pinhole_runtime::preprocess::InputGeometry;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::encoder::{Encoder, unit};
use super::source::Mixed;
use crate::TrainError;
use crate::data::{Augmentations, Draw, LoadError, Source};
use crate::output::to_floats;
use crate::recipe::hex;

/// Bytes of a checksum.
const CHECK_BYTES: usize = 8;
/// Pictures that are embedded between two writes.
pub(super) const CHUNK: usize = 32;

/// What views are made of.
#[derive(Clone)]
pub(super) struct Views {
    pub(super) source: Mixed,
    pub(super) augmentations: Augmentations,
    pub(super) seed: u64,
    /// Epochs until views come again.
    pub(super) epochs: usize,
    /// Whether all views of all epochs are the picture as it is.
    pub(super) plain: bool,
}

impl Views {
    /// The pictures as they are.
    pub(super) fn plain(self) -> Self {
        Self {
            augmentations: Augmentations::default(),
            // Nothing is drawn: another seed finds what is there.
            seed: 0,
            plain: true,
            ..self
        }
    }

    /// The epoch and view that stand for `view` of `epoch`.
    fn place(&self, epoch: usize, view: usize) -> (usize, usize) {
        match self.plain {
            true => (0, 0),
            false => (epoch % self.epochs, view),
        }
    }
}

/// One teacher's cache.
pub(super) struct TeacherCache {
    pub(super) encoder: Encoder,
    geometry: InputGeometry,
    views: Views,
    folder: PathBuf,
    /// Of everything but epoch and view.
    pub(super) key: String,
    /// By epoch and view.
    files: BTreeMap<(usize, usize), Slots>,
}

impl TeacherCache {
    /// A cache of `encoder` in `folder`, which is made when something is asked for.
    ///
    /// # Errors
    /// A model that takes no pictures.
    pub(super) fn new(encoder: Encoder, views: Views, folder: &Path) -> Result<Self, TrainError> {
        let geometry = encoder.geometry()?;
        let parts = format!(
            "1 {} {} {:?} {}",
            encoder.sha256,
            views.source.fingerprint(),
            views.augmentations,
            views.seed
        );
        Ok(Self {
            encoder,
            geometry,
            views,
            folder: folder.to_path_buf(),
            key: hex(&Sha256::digest(parts)),
            files: BTreeMap::new(),
        })
    }

    /// Unit rows of the samples `indices` in `view` of `epoch`, one behind the other; what is missing is computed.
    ///
    /// # Errors
    /// A source or a disk that cannot be read.
    pub(super) fn rows(
        &mut self,
        epoch: usize,
        view: usize,
        indices: &[usize],
    ) -> Result<Vec<f32>, TrainError> {
        self.fill(epoch, view, indices)?;
        let slots = self.slots(epoch, view)?;
        let mut rows = Vec::with_capacity(indices.len() * slots.width);
        for &index in indices {
            let row = slots.read(index)?;
            rows.extend(row.ok_or_else(|| slots.unreadable(index))?);
        }
        Ok(rows)
    }

    /// Samples of `indices` without an embedding.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub(super) fn missing(
        &mut self,
        epoch: usize,
        view: usize,
        indices: &BTreeSet<usize>,
    ) -> Result<Vec<usize>, TrainError> {
        let slots = self.slots(epoch, view)?;
        let mut missing = Vec::new();
        for &index in indices {
            if slots.read(index)?.is_none() {
                missing.push(index);
            }
        }
        Ok(missing)
    }

    /// Computes what is missing of `indices`, but for pictures that are broken.
    pub(super) fn fill(
        &mut self,
        epoch: usize,
        view: usize,
        indices: &[usize],
    ) -> Result<(), TrainError> {
        let missing = self.missing(epoch, view, &indices.iter().copied().collect())?;
        for chunk in missing.chunks(CHUNK) {
            let made = self.embed(epoch, view, chunk)?;
            self.keep(epoch, view, &made)?;
        }
        Ok(())
    }

    /// Unit rows of the samples `indices`, each with its sample, but for pictures that are broken.
    ///
    /// # Errors
    /// A source that cannot be read.
    pub(super) fn embed(
        &self,
        epoch: usize,
        view: usize,
        indices: &[usize],
    ) -> Result<Vec<(usize, Vec<f32>)>, TrainError> {
        let made: Result<Vec<_>, LoadError> = indices
            .par_iter()
            .map(|&index| self.view(epoch, view, index))
            .collect();
        let made: Vec<(usize, Vec<f32>)> = made?.into_iter().flatten().collect();
        let inputs: Vec<&[f32]> = made.iter().map(|(_, input)| input.as_slice()).collect();
        let embeddings = self.encoder.pictures(&inputs)?.into_iter().map(unit);
        let indices = made.iter().map(|(index, _)| *index);
        Ok(indices.zip(embeddings).collect())
    }

    /// Puts rows that [`TeacherCache::embed`] made on the disk.
    ///
    /// # Errors
    /// A disk that refuses.
    pub(super) fn keep(
        &mut self,
        epoch: usize,
        view: usize,
        rows: &[(usize, Vec<f32>)],
    ) -> Result<(), TrainError> {
        let slots = self.slots(epoch, view)?;
        rows.iter()
            .try_for_each(|(index, row)| slots.write(*index, row))
    }

    /// The teacher's input, `None` for a broken picture.
    fn view(
        &self,
        epoch: usize,
        view: usize,
        index: usize,
    ) -> Result<Option<(usize, Vec<f32>)>, LoadError> {
        let views = &self.views;
        let picture = match views.source.picture(index) {
            Ok(picture) => picture,
            Err(LoadError::Data(DataError::Picture { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (epoch, view) = views.place(epoch, view);
        let draw = Draw {
            seed: views.seed,
            epoch,
            id: &views.source.samples()[index].id,
            view,
        };
        let pixels = views.augmentations.view(&picture, &self.geometry, draw)?;
        Ok(Some((index, pixels.normalised(&self.geometry))))
    }

    fn slots(&mut self, epoch: usize, view: usize) -> Result<&mut Slots, TrainError> {
        let place = self.views.place(epoch, view);
        if !self.files.contains_key(&place) {
            let made = std::fs::create_dir_all(&self.folder);
            made.map_err(TrainError::io("create", &self.folder))?;
            let key = hex(&Sha256::digest(format!(
                "{} {} {}",
                self.key, place.0, place.1
            )));
            let path = self.folder.join(format!("{}.embeddings", &key[..32]));
            let slots = Slots::open(path, key, self.encoder.width)?;
            self.files.insert(place, slots);
        }
        Ok(self.files.get_mut(&place).expect("it was inserted"))
    }
}

/// One file.
struct Slots {
    file: File,
    path: PathBuf,
    key: String,
    /// Numbers of a row.
    width: usize,
}

impl Slots {
    fn open(path: PathBuf, key: String, width: usize) -> Result<Self, TrainError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        Ok(Self {
            file: file.map_err(TrainError::io("open", &path))?,
            path,
            key,
            width,
        })
    }

    fn bytes(&self) -> usize {
        4 * self.width + CHECK_BYTES
    }

    /// The row in slot `index`, `None` where there is no good one.
    fn read(&mut self, index: usize) -> Result<Option<Vec<f32>>, TrainError> {
        let mut slot = vec![0; self.bytes()];
        let start = SeekFrom::Start((index * slot.len()) as u64);
        let read = self
            .file
            .seek(start)
            .and_then(|_| self.file.read_exact(&mut slot));
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(TrainError::io("read", &self.path)(error)),
        }
        let (row, check) = slot.split_at(4 * self.width);
        if self.check(index, row) != check {
            return Ok(None);
        }
        Ok(Some(to_floats(row)))
    }

    fn write(&mut self, index: usize, row: &[f32]) -> Result<(), TrainError> {
        let mut slot = crate::output::floats(row);
        slot.extend(self.check(index, &slot));
        let start = SeekFrom::Start((index * slot.len()) as u64);
        let written = self
            .file
            .seek(start)
            .and_then(|_| self.file.write_all(&slot));
        written.map_err(TrainError::io("write", &self.path))
    }

    fn check(&self, index: usize, row: &[u8]) -> [u8; CHECK_BYTES] {
        let mut hasher = Sha256::new();
        hasher.update(format!("{} {index} ", self.key));
        hasher.update(row);
        std::array::from_fn({
            let digest = hasher.finalize();
            move |i| digest[i]
        })
    }

    fn unreadable(&self, index: usize) -> TrainError {
        let message = format!(
            "{}: slot {index} was written and does not come back",
            self.path.display()
        );
        TrainError::Setup(message)
    }
}
