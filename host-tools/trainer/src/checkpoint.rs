//! The saved state of a run: parameters, optimiser moments, random state, step and log, in one `safetensors` file.
//!
//! It is written to a temporary file beside the old one and renamed over it, so that a kill at any moment leaves either the
//! old state or the new one. It names the recipe and the inputs by SHA-256 and is continued with those only; a SHA-256 of its
//! own content finds a flipped bit.

use crate::curve::Row;
use crate::model::Projection;
use crate::optim::Moments;
use crate::recipe::hex;
use crate::rng::Rng;
use crate::{TrainError, output};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// The version of this layout; another is refused.
const VERSION: u32 = 1;

/// What any checkpoint holds: numbers, and texts beside them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saved {
    /// Steps done.
    pub(crate) step: usize,
    /// Name, shape and elements of each tensor.
    pub(crate) tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Saved {
    /// Writes everything to `path`, whole or not at all; `identity` names what has to be equal for it to be continued.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(
        &self,
        path: &Path,
        identity: &[(&str, &str)],
        rng: &Rng,
    ) -> Result<(), TrainError> {
        let words: Vec<String> = rng.state().iter().map(|w| format!("{w:016x}")).collect();
        let mut metadata = HashMap::from([
            ("version".to_owned(), VERSION.to_string()),
            ("step".to_owned(), self.step.to_string()),
            ("rng".to_owned(), words.join(" ")),
        ]);
        let names = identity
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        metadata.extend(names);
        let tensors = self.tensors.iter();
        let sha256 = digest(
            &metadata,
            tensors.map(|(n, s, d)| (n.as_str(), &s[..], output::floats(d))),
        );
        metadata.insert("sha256".to_owned(), sha256);
        output::write_tensors(path, &self.tensors, metadata)
    }

    /// Reads `path`, made with `identity`.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or has another identity.
    pub(crate) fn read(path: &Path, identity: &[(&str, &str)]) -> Result<(Self, Rng), TrainError> {
        let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
        Self::parse(path, &bytes, identity)
    }

    /// [`Saved::read`] over the bytes of `path`.
    ///
    /// # Errors
    /// Bytes that are damaged, or have another identity.
    pub(crate) fn parse(
        path: &Path,
        bytes: &[u8],
        identity: &[(&str, &str)],
    ) -> Result<(Self, Rng), TrainError> {
        let fault = |message: String| TrainError::Checkpoint {
            path: path.to_path_buf(),
            message,
        };
        let damaged =
            |error: safetensors::SafeTensorError| fault(format!("not a checkpoint: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let entry = |key: &str| {
            metadata
                .get(key)
                .ok_or_else(|| fault(format!("has no `{key}`")))
        };
        let found = entry("version")?;
        if *found != VERSION.to_string() {
            return Err(fault(format!(
                "is of version {found}, this program reads {VERSION}; update it, or train without `--resume` to start anew"
            )));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let stored = entry("sha256")?;
        let computed = digest(
            &metadata,
            tensors
                .iter()
                .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec())),
        );
        if *stored != computed {
            return Err(fault(format!(
                "is damaged: its content has SHA-256 {computed:.12}…, expected {stored:.12}…; train without `--resume` to start anew"
            )));
        }
        for (key, expected) in identity {
            let found = entry(key)?;
            if found != expected {
                return Err(fault(format!(
                    "was made with {key} {found:.12}…, this run has {expected:.12}…; train without `--resume` to start anew"
                )));
            }
        }
        let step = entry("step")?
            .parse()
            .map_err(|_| fault("`step` is not a number".to_owned()))?;
        let rng =
            parse_rng(entry("rng")?).ok_or_else(|| fault("`rng` is not four words".to_owned()))?;
        let tensors = tensors.iter().map(|(name, view)| match view.dtype() {
            Dtype::F32 => {
                let data = output::to_floats(view.data());
                Ok((name.to_owned(), view.shape().to_vec(), data))
            }
            found => Err(fault(format!("tensor `{name}` is {found:?}, expected F32"))),
        });
        let tensors = tensors.collect::<Result<_, _>>()?;
        Ok((Self { step, tensors }, rng))
    }

    /// Takes out tensor `name` of exactly `shape`, or says what is wrong with it.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let place = self.tensors.iter().position(|(found, ..)| found == name);
        let place = place.ok_or_else(|| format!("has no tensor `{name}`"))?;
        let (_, found, data) = self.tensors.swap_remove(place);
        match found == shape {
            true => Ok(data),
            false => Err(format!("tensor `{name}` is {found:?}, expected {shape:?}")),
        }
    }
}

/// What has to be equal for a checkpoint to be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// SHA-256 of the recipe's bytes.
    pub recipe_sha256: String,
    /// SHA-256 of the inputs, [`crate::Features::sha256`].
    pub inputs_sha256: String,
}

impl Identity {
    fn entries(&self) -> [(&str, &str); 2] {
        [
            ("recipe_sha256", &self.recipe_sha256),
            ("inputs_sha256", &self.inputs_sha256),
        ]
    }
}

/// The state between two steps.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Steps done.
    pub(crate) step: usize,
    /// The parameters.
    pub(crate) projection: Projection,
    /// The moments of each parameter, in its order.
    pub(crate) moments: Vec<Moments>,
    /// The random numbers to come.
    pub(crate) rng: Rng,
    /// The log so far.
    pub(crate) rows: Vec<Row>,
}

impl State {
    /// Writes the state to `path`, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn save(&self, path: &Path, identity: &Identity) -> Result<(), TrainError> {
        let mut tensors = Vec::new();
        for (index, (parameter, moments)) in self
            .projection
            .parameters
            .iter()
            .zip(&self.moments)
            .enumerate()
        {
            let [rows, columns] = parameter.value.dims();
            let shape = vec![rows, columns];
            let name = parameter.name;
            tensors.push((name.to_owned(), shape.clone(), self.projection.data(index)));
            tensors.push((
                format!("{name}/first"),
                shape.clone(),
                moments.first.clone(),
            ));
            tensors.push((format!("{name}/second"), shape, moments.second.clone()));
        }
        let log = self.rows.iter().flat_map(Row::numbers).collect();
        tensors.push(("log".to_owned(), vec![self.rows.len(), Row::COLUMNS], log));
        let saved = Saved {
            step: self.step,
            tensors,
        };
        saved.write(path, &identity.entries(), &self.rng)
    }

    /// Reads the state at `path` into a run that starts as `fresh`, whose parameters say names and shapes.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is of another recipe, other inputs or another model.
    pub(crate) fn load(path: &Path, identity: &Identity, fresh: Self) -> Result<Self, TrainError> {
        let fault = |message: String| TrainError::Checkpoint {
            path: path.to_path_buf(),
            message,
        };
        let (mut saved, rng) = Saved::read(path, &identity.entries())?;
        let State {
            mut projection,
            mut moments,
            ..
        } = fresh;
        for (index, moments) in moments.iter_mut().enumerate() {
            let name = projection.parameters[index].name;
            let shape = projection.parameters[index].value.dims();
            let mut read = |name: &str| saved.take(name, &shape).map_err(fault);
            projection.set(index, read(name)?);
            moments.first = read(&format!("{name}/first"))?;
            moments.second = read(&format!("{name}/second"))?;
        }
        let logged = saved.tensors.iter().find(|(name, ..)| name == "log");
        let logged = logged.map_or(0, |(_, shape, _)| shape.first().copied().unwrap_or(0));
        let log = saved.take("log", &[logged, Row::COLUMNS]).map_err(fault)?;
        let rows = log
            .chunks_exact(Row::COLUMNS)
            .map(Row::from_numbers)
            .collect();
        Ok(State {
            step: saved.step,
            projection,
            moments,
            rng,
            rows,
        })
    }
}

/// SHA-256 over the metadata but its own entry and over names, shapes and bytes of the tensors, each sorted by name.
fn digest<'a, S: AsRef<[usize]>>(
    metadata: &HashMap<String, String>,
    tensors: impl Iterator<Item = (&'a str, S, Vec<u8>)>,
) -> String {
    let mut entries: Vec<_> = metadata
        .iter()
        .filter(|(key, _)| *key != "sha256")
        .collect();
    entries.sort();
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by_key(|(name, ..)| *name);
    let mut hasher = Sha256::new();
    hasher.update(format!("{entries:?}"));
    for (name, shape, bytes) in tensors {
        hasher.update(format!("{name:?} {:?} ", shape.as_ref()));
        hasher.update(bytes);
    }
    hex(&hasher.finalize())
}

fn parse_rng(text: &str) -> Option<Rng> {
    let words: Option<Vec<u64>> = text
        .split(' ')
        .map(|word| u64::from_str_radix(word, 16).ok())
        .collect();
    Rng::from_state(words?.try_into().ok()?)
}
