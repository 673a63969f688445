//! The saved state of a run: parameters, optimiser moments, random state, step and log, in one `safetensors` file.
//!
//! It is written to a temporary file beside the old one and renamed over it, so that a kill at any moment leaves either the
//! old state or the new one. It names the recipe and the inputs by SHA-256 and is continued with those only; a SHA-256 of its
//! own content finds a flipped bit.

use crate::curve::Row;
use crate::features::Matrix;
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

/// What has to be equal for a checkpoint to be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// SHA-256 of the recipe's bytes.
    pub recipe_sha256: String,
    /// SHA-256 of the inputs, [`crate::Features::sha256`].
    pub inputs_sha256: String,
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
        let words: Vec<String> = self
            .rng
            .state()
            .iter()
            .map(|word| format!("{word:016x}"))
            .collect();
        let mut metadata = HashMap::from([
            ("version".to_owned(), VERSION.to_string()),
            ("recipe_sha256".to_owned(), identity.recipe_sha256.clone()),
            ("inputs_sha256".to_owned(), identity.inputs_sha256.clone()),
            ("step".to_owned(), self.step.to_string()),
            ("rng".to_owned(), words.join(" ")),
        ]);
        let sha256 = digest(
            &metadata,
            tensors
                .iter()
                .map(|(n, s, d)| (n.as_str(), &s[..], output::floats(d))),
        );
        metadata.insert("sha256".to_owned(), sha256);
        output::write_tensors(path, &tensors, metadata)
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
        let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
        let damaged =
            |error: safetensors::SafeTensorError| fault(format!("not a checkpoint: {error}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
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
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
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
        let expectations = [
            ("recipe_sha256", &identity.recipe_sha256),
            ("inputs_sha256", &identity.inputs_sha256),
        ];
        for (key, expected) in expectations {
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

        let read = |name: &str, shape: &[usize]| read_tensor(&tensors, name, shape).map_err(fault);
        let State {
            mut projection,
            mut moments,
            ..
        } = fresh;
        for (index, moments) in moments.iter_mut().enumerate() {
            let name = projection.parameters[index].name;
            let shape = projection.parameters[index].value.dims();
            projection.set(index, read(name, &shape)?.data);
            moments.first = read(&format!("{name}/first"), &shape)?.data;
            moments.second = read(&format!("{name}/second"), &shape)?.data;
        }
        let logged = tensors
            .tensor("log")
            .map_or(0, |view| view.shape().first().copied().unwrap_or(0));
        let log = read("log", &[logged, Row::COLUMNS])?;
        let rows = log
            .data
            .chunks_exact(Row::COLUMNS)
            .map(Row::from_numbers)
            .collect();
        Ok(State {
            step,
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

/// Tensor `name` of f32 with exactly `shape`, or what is wrong with it.
fn read_tensor(tensors: &SafeTensors, name: &str, shape: &[usize]) -> Result<Matrix, String> {
    let view = tensors
        .tensor(name)
        .map_err(|_| format!("has no tensor `{name}`"))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        return Err(format!(
            "tensor `{name}` is {:?} {:?}, expected F32 {shape:?}",
            view.dtype(),
            view.shape()
        ));
    }
    let data = view
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    Ok(Matrix {
        data,
        rows: shape[0],
        columns: shape[1],
    })
}

fn parse_rng(text: &str) -> Option<Rng> {
    let words: Option<Vec<u64>> = text
        .split(' ')
        .map(|word| u64::from_str_radix(word, 16).ok())
        .collect();
    Rng::from_state(words?.try_into().ok()?)
}
