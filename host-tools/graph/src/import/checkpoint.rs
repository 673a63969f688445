//! Weights by key, whatever file they came from, and the bookkeeping that finds every key that does not fit at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ImportError, KeyFaults, pytorch, safetensors};
use crate::Tensor;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// Named tensors of one file; every float type became f32, every integer type i32.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// By key, wrappers such as `state_dict` and `module.` removed.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file.
    pub path: PathBuf,
    /// Of the file, hexadecimal.
    pub sha256: String,
}

impl Checkpoint {
    /// Reads a `.safetensors`, `.pth`, `.pt` or `.bin` file; the kind is told from the bytes.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, of no known kind, or asks for anything but tensors.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ImportError> {
        let path = path.as_ref();
        let bytes = read_file(path, MAX_FILE_BYTES)?;
        Self::parse(path, &bytes)
    }

    /// [`Checkpoint::load`] over bytes; `path` serves messages.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ImportError> {
        let tensors = if bytes.starts_with(b"PK\x03\x04") {
            pytorch::parse_zip(path, bytes)?
        } else if bytes.first() == Some(&0x80)
            && bytes.get(1).is_some_and(|&v| (2..=5).contains(&v))
            && !safetensors::looks_like(bytes)
        {
            pytorch::parse_legacy(path, bytes)?
        } else {
            safetensors::parse(path, bytes)?
        };
        Ok(Self {
            tensors: unwrapped(tensors),
            path: path.to_owned(),
            sha256: hex(&Sha256::digest(bytes)),
        })
    }

    /// The shape of a key.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|tensor| tensor.shape.as_slice())
    }

    /// Starts taking tensors for an architecture.
    pub fn weights(&self, architecture: impl Into<String>) -> Weights<'_> {
        Weights {
            checkpoint: self,
            taken: BTreeSet::new(),
            unknown: Vec::new(),
            faults: KeyFaults {
                path: self.path.clone(),
                architecture: architecture.into(),
                missing: Vec::new(),
                unexpected: Vec::new(),
                misshapen: Vec::new(),
            },
        }
    }
}

/// Takes tensors out of a checkpoint and remembers what did not fit.
///
/// A tensor that does not fit is replaced by an empty one of shape (0), so that the caller goes on and
/// [`Weights::finish`] reports everything; what was built must then be thrown away.
#[derive(Debug)]
pub struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    taken: BTreeSet<String>,
    /// Of another shape, as far as is known: a dimension was to come from a key that is not there.
    unknown: Vec<(String, String, String)>,
    faults: KeyFaults,
}

impl Weights<'_> {
    /// The float tensor of a key and shape.
    pub fn take(&mut self, key: &str, shape: &[usize]) -> Tensor {
        self.taken.insert(key.to_owned());
        match self.checkpoint.tensors.get(key) {
            None => self.faults.missing.push(key.to_owned()),
            Some(tensor) if tensor.shape != shape => {
                let fault = (
                    key.to_owned(),
                    format!("{:?}", tensor.shape),
                    format!("{shape:?}"),
                );
                match shape.contains(&0) {
                    true => self.unknown.push(fault),
                    false => self.faults.misshapen.push(fault),
                }
            }
            Some(tensor) if tensor.as_f32().is_none() => self.faults.misshapen.push((
                key.to_owned(),
                "integers".to_owned(),
                "floats".to_owned(),
            )),
            Some(tensor) => return tensor.clone(),
        }
        Tensor::f32(&[0], Vec::new())
    }

    /// Whether the checkpoint has a key.
    pub fn has(&self, key: &str) -> bool {
        self.checkpoint.tensors.contains_key(key)
    }

    /// A dimension of a tensor; 0 where there is none, which taking it then reports.
    pub fn size(&self, key: &str, dimension: usize) -> usize {
        let shape = self.checkpoint.shape(key).unwrap_or_default();
        shape.get(dimension).copied().unwrap_or(0)
    }

    /// Ends it: keys that were not taken are unexpected unless `ignored` says that they do not matter.
    ///
    /// # Errors
    /// With every missing, unexpected and misshapen key.
    pub fn finish(mut self, ignored: impl Fn(&str) -> bool) -> Result<(), KeyFaults> {
        self.faults.unexpected = self
            .checkpoint
            .tensors
            .keys()
            .filter(|key| !self.taken.contains(*key) && !ignored(key))
            .cloned()
            .collect();
        let mut faults = self.faults;
        // What is expected beside a missing key is told by the missing one.
        if faults.missing.is_empty() {
            faults.misshapen.append(&mut self.unknown);
        }
        if faults.missing.is_empty() && faults.unexpected.is_empty() && faults.misshapen.is_empty()
        {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// Reads a file of at most `max_bytes`.
pub(super) fn read_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ImportError> {
    let io = |source| ImportError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > max_bytes {
        return Err(ImportError::malformed(
            path,
            format!("larger than {max_bytes} bytes, the most that is read"),
        ));
    }
    Ok(bytes)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes what training scripts wrap around weights: a `state_dict` level when everything else is bookkeeping, and the
/// `module.` of data parallel training when every key has it.
fn unwrapped(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    const WRAPPERS: [&str; 5] = [
        "state_dict.",
        "model_state_dict.",
        "model.",
        "net.",
        "params.",
    ];
    for wrapper in WRAPPERS {
        let wrapped = tensors
            .keys()
            .filter(|key| key.starts_with(wrapper))
            .count();
        let only_optimizer_besides = tensors
            .keys()
            .all(|key| key.starts_with(wrapper) || key.starts_with("optimizer"));
        if wrapped > 0 && only_optimizer_besides {
            tensors = tensors
                .into_iter()
                .filter_map(|(key, tensor)| Some((key.strip_prefix(wrapper)?.to_owned(), tensor)))
                .collect();
        }
    }
    if !tensors.is_empty() && tensors.keys().all(|key| key.starts_with("module.")) {
        tensors = tensors
            .into_iter()
            .map(|(key, tensor)| (key["module.".len()..].to_owned(), tensor))
            .collect();
    }
    tensors
}
