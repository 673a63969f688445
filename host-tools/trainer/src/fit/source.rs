//! The training sources of a recipe as one, and what must not be among them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use pinhole_data::Cifar10;
use pinhole_data::cifar10::Split;
use sha2::{Digest, Sha256};

use super::recipe::{Evaluate, Loaded};
use crate::TrainError;
use crate::data::{Cifar10Rows, Listing, LoadError, Sample, Source, SourceSpec};
use crate::recipe::hex;

/// Several sources, one behind the other; a copy refers to the same.
#[derive(Clone)]
pub(super) struct Mixed(Arc<Parts>);

struct Parts {
    sources: Arc<Vec<Box<dyn Source>>>,
    /// The source and the index in it of each sample.
    origin: Vec<(usize, usize)>,
    listing: Listing,
}

impl Mixed {
    /// Opens the sources of `specs`, relative to `base`. Classes of one name are one class.
    ///
    /// # Errors
    /// As [`SourceSpec::open`].
    pub(super) fn open(specs: &[SourceSpec], base: &Path) -> Result<Self, LoadError> {
        let sources: Result<Vec<_>, _> = specs.iter().map(|spec| spec.open(base)).collect();
        Ok(Self::new(sources?))
    }

    pub(super) fn new(sources: Vec<Box<dyn Source>>) -> Self {
        let (mut listing, mut origin) = (Listing::default(), Vec::new());
        for (number, source) in sources.iter().enumerate() {
            let classes: Vec<usize> = source
                .classnames()
                .iter()
                .map(|name| class(&mut listing.classnames, name))
                .collect();
            for (index, sample) in source.samples().iter().enumerate() {
                origin.push((number, index));
                listing.samples.push(Sample {
                    id: match sources.len() {
                        1 => sample.id.clone(),
                        _ => format!("{number}:{}", sample.id),
                    },
                    captions: sample.captions.clone(),
                    label: sample.label.and_then(|label| classes.get(label).copied()),
                });
            }
            let (all, left_out) = (&mut listing.left_out, source.left_out().clone());
            all.broken.extend(left_out.broken);
            all.without_picture.extend(left_out.without_picture);
            all.without_caption.extend(left_out.without_caption);
            all.other += left_out.other;
        }
        Self(Arc::new(Parts {
            sources: Arc::new(sources),
            origin,
            listing,
        }))
    }

    /// The samples that `keep` is true of; what was left out is told of the whole.
    pub(super) fn part(&self, keep: impl Fn(&Sample) -> bool) -> Self {
        let Parts {
            sources,
            origin,
            listing,
        } = &*self.0;
        let kept = listing.samples.iter().zip(origin);
        let (samples, origin) = kept
            .filter(|(sample, _)| keep(sample))
            .map(|(sample, origin)| (sample.clone(), *origin))
            .unzip();
        Self(Arc::new(Parts {
            sources: sources.clone(),
            origin,
            listing: Listing {
                samples,
                ..listing.clone()
            },
        }))
    }

    /// SHA-256 over ids, captions and labels, hexadecimal.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for sample in self.samples() {
            hasher.update(format!(
                "{:?} {:?} {:?}\n",
                sample.id, sample.captions, sample.label
            ));
        }
        hasher.update(format!("{:?}", self.classnames()));
        hex(&hasher.finalize())
    }
}

/// The index of `name`, which is added where it is new.
fn class(names: &mut Vec<String>, name: &str) -> usize {
    let found = names.iter().position(|known| known == name);
    found.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

impl Source for Mixed {
    fn listing(&self) -> &Listing {
        &self.0.listing
    }

    fn place(&self, index: usize) -> String {
        let (source, index) = self.0.origin[index];
        self.0.sources[source].place(index)
    }

    fn picture(&self, index: usize) -> Result<RgbImage, LoadError> {
        let (source, index) = self.0.origin[index];
        self.0.sources[source].picture(index)
    }
}

/// Opens what is measured on.
///
/// # Errors
/// As [`SourceSpec::open`]; a source without labels, or with pictures of `train`.
pub(super) fn held_out(
    loaded: &Loaded,
    evaluate: &Evaluate,
    train: &Mixed,
    base: &Path,
) -> Result<Box<dyn Source>, TrainError> {
    let key = "data.evaluate";
    let source: Box<dyn Source> = match &evaluate.source {
        SourceSpec::Cifar10 { path, .. } => {
            let rows = Cifar10::open(base.join(path), Split::Test).map_err(LoadError::from)?;
            Box::new(Cifar10Rows::new(rows))
        }
        spec => {
            let specs = &loaded.recipe.data.train;
            let file = |spec: &SourceSpec| place(spec, base);
            if specs.iter().any(|other| file(other) == file(spec)) {
                return Err(loaded.fault(
                    key,
                    "names a source that is trained on, expected other pictures",
                ));
            }
            spec.open(base)?
        }
    };
    let is_row = |place: &str| place.starts_with("CIFAR-10, row");
    let real = |place: String| std::fs::canonicalize(&place).unwrap_or(PathBuf::from(place));
    let trained: std::collections::HashSet<PathBuf> = (0..train.samples().len())
        .map(|index| train.place(index))
        .filter(|place| !is_row(place))
        .map(real)
        .collect();
    let shared = (0..source.samples().len()).map(|index| source.place(index));
    if let Some(shared) = shared
        .filter(|place| !is_row(place))
        .find(|place| trained.contains(&real(place.clone())))
    {
        return Err(loaded.fault(
            key,
            format!("has {shared}, which is trained on, expected other pictures"),
        ));
    }
    if source.classnames().is_empty()
        || source.samples().iter().all(|sample| sample.label.is_none())
    {
        return Err(loaded.fault(key, "has no labels, expected a source with classes"));
    }
    Ok(source)
}

fn place(spec: &SourceSpec, base: &Path) -> PathBuf {
    let path = match spec {
        SourceSpec::Webdataset { path } => base.join(path),
        SourceSpec::Folder { path, .. }
        | SourceSpec::Table { path, .. }
        | SourceSpec::Cifar10 { path, .. }
        | SourceSpec::Stamps { path, .. } => base.join(path),
    };
    std::fs::canonicalize(&path).unwrap_or(path)
}
