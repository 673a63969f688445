//! PyTorch checkpoints: the zip archive of `torch.save` since 1.6 and the five pickles in a row before it
//! (`torch/serialization.py`). Pickles are read by [`super::pickle`], which executes nothing.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::ImportError;
use super::element::{Element, to_tensor};
use super::pickle::{Object, Pickle, PickleError, Ref, TensorRef};
use crate::Tensor;

/// First bytes of a legacy file: a pickle of the integer 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: [u8; 15] = [
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
];
/// Largest `data.pkl`.
const MAX_PICKLE_BYTES: u64 = 256 << 20;
/// Deepest dict in dict.
const MAX_DEPTH: usize = 16;
/// Most entries of all dicts, counted as often as they are reachable.
const MAX_ENTRIES: usize = 1 << 18;
/// Longest joined key.
const MAX_KEY_BYTES: usize = 512;

/// Every tensor of a zip checkpoint by key.
pub(super) fn parse_zip(
    path: &Path,
    bytes: &[u8],
) -> Result<BTreeMap<String, Tensor>, ImportError> {
    let fault = |what: String| ImportError::malformed(path, what);
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| fault(format!("damaged zip archive: {error}")))?;
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| name.ok().map(|name| name.into_owned()))
        .collect();
    let pickle_name = names
        .iter()
        .find(|name| name.as_str() == "data.pkl" || name.ends_with("/data.pkl"))
        .ok_or_else(|| {
            fault("no data.pkl in the zip archive; expected a checkpoint of torch.save".to_owned())
        })?;
    let prefix = pickle_name[..pickle_name.len() - "data.pkl".len()].to_owned();
    let order = format!("{prefix}byteorder");
    if names.contains(&order) {
        let found = entry(path, &mut archive, &order, 16)?;
        if found != b"little" {
            return Err(fault(format!(
                "byteorder is {:?}, expected \"little\"",
                String::from_utf8_lossy(&found)
            )));
        }
    }
    let program = entry(path, &mut archive, pickle_name, MAX_PICKLE_BYTES)?;
    let pickle = Pickle::parse(&program).map_err(|error| from_pickle(path, error))?;
    let tensors = tensors_of(path, &pickle)?;
    let mut storages = BTreeMap::new();
    let mut budget = bytes.len() as u64;
    for tensor in tensors.values() {
        let key = &tensor.storage.key;
        if !storages.contains_key(key) {
            let data = entry(path, &mut archive, &format!("{prefix}data/{key}"), budget)?;
            budget -= data.len() as u64;
            storages.insert(key.clone(), data);
        }
    }
    resolve(path, &tensors, bytes.len(), |key| {
        storages.get(key).map(Vec::as_slice)
    })
}

/// A stored entry, its CRC checked. Compressed ones are refused: PyTorch writes none, and they could be bombs.
fn entry(
    path: &Path,
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    max_bytes: u64,
) -> Result<Vec<u8>, ImportError> {
    let fault = |what: String| ImportError::malformed(path, format!("{name}: {what}"));
    let file = archive
        .by_name(name)
        .map_err(|error| fault(error.to_string()))?;
    if file.compression() != CompressionMethod::Stored {
        return Err(fault(format!(
            "compressed by {}, expected stored",
            file.compression()
        )));
    }
    if file.size() > max_bytes {
        return Err(fault(format!(
            "{} bytes, expected at most {max_bytes}",
            file.size()
        )));
    }
    let mut data = Vec::new();
    file.take(max_bytes)
        .read_to_end(&mut data)
        .map_err(|error| fault(error.to_string()))?;
    Ok(data)
}

/// Every tensor of a legacy checkpoint by key.
pub(super) fn parse_legacy(
    path: &Path,
    bytes: &[u8],
) -> Result<BTreeMap<String, Tensor>, ImportError> {
    let fault = |what: String| ImportError::malformed(path, what);
    if !bytes.starts_with(&LEGACY_MAGIC) {
        return Err(fault(format!(
            "a pickle without PyTorch's magic number; expected it to begin with {LEGACY_MAGIC:02x?}"
        )));
    }
    let mut at = LEGACY_MAGIC.len();
    let mut next = || -> Result<Pickle, ImportError> {
        let pickle = Pickle::parse(&bytes[at..]).map_err(|error| from_pickle(path, error))?;
        at += pickle.len;
        Ok(pickle)
    };
    match next()?.root() {
        Object::Int(1001) => {}
        other => {
            return Err(fault(format!(
                "protocol version is {other:?}, expected 1001"
            )));
        }
    }
    let system = next()?;
    if let Object::Dict(items) = system.root() {
        for pair in items.chunks_exact(2) {
            if system.objects[pair[0]] == Object::Text("little_endian".to_owned())
                && system.objects[pair[1]] != Object::Bool(true)
            {
                return Err(fault("byte order is big, expected little".to_owned()));
            }
        }
    }
    let pickle = next()?;
    let tensors = tensors_of(path, &pickle)?;
    let keys = next()?;
    let storages = legacy_storages(path, &bytes[at..], at, &keys, &tensors)?;
    resolve(path, &tensors, bytes.len(), |key| {
        storages.get(key).copied()
    })
}

/// After the pickles: for every key in turn a count of elements (u64) and the elements.
fn legacy_storages<'a>(
    path: &Path,
    mut rest: &'a [u8],
    mut at: usize,
    keys: &Pickle,
    tensors: &BTreeMap<String, TensorRef>,
) -> Result<BTreeMap<String, &'a [u8]>, ImportError> {
    let fault = |what: String| ImportError::malformed(path, what);
    let elements: BTreeMap<&str, Element> = tensors
        .values()
        .map(|tensor| (tensor.storage.key.as_str(), tensor.storage.element))
        .collect();
    let Object::List(list) = keys.root() else {
        return Err(fault(format!("no list of storages before byte {at}")));
    };
    let mut storages = BTreeMap::new();
    for &key in list {
        let Object::Text(key) = &keys.objects[key] else {
            return Err(fault(format!("a storage key before byte {at} is no text")));
        };
        let element = *elements.get(key.as_str()).ok_or_else(|| {
            fault(format!(
                "storage {key} belongs to no tensor; expected one that names it"
            ))
        })?;
        let (len, body) = rest.split_first_chunk::<8>().ok_or_else(|| {
            fault(format!(
                "ends at byte {at} where the length of storage {key} is expected"
            ))
        })?;
        let len = u64::from_le_bytes(*len);
        let len_bytes = len
            .checked_mul(element.bytes() as u64)
            .filter(|&len| len <= body.len() as u64)
            .ok_or_else(|| {
                fault(format!(
                    "storage {key} at byte {at} has {len} elements, expected at most {} as the file ends there",
                    body.len() / element.bytes()
                ))
            })? as usize;
        storages.insert(key.clone(), &body[..len_bytes]);
        rest = &body[len_bytes..];
        at += 8 + len_bytes;
    }
    Ok(storages)
}

fn from_pickle(path: &Path, error: PickleError) -> ImportError {
    match error {
        PickleError::Global { global, offset } => ImportError::RefusedGlobal {
            path: path.to_owned(),
            global,
            offset,
        },
        other => ImportError::malformed(path, other.to_string()),
    }
}

/// Walks dicts from the root and joins their keys by dots.
fn tensors_of(path: &Path, pickle: &Pickle) -> Result<BTreeMap<String, TensorRef>, ImportError> {
    let fault = |what: String| ImportError::malformed(path, what);
    let mut tensors = BTreeMap::new();
    let mut entries = 0;
    let mut open: Vec<(String, usize, Ref)> = vec![(String::new(), 0, pickle.root)];
    while let Some((prefix, depth, object)) = open.pop() {
        match &pickle.objects[object] {
            Object::Tensor(tensor) => {
                tensors.insert(prefix, TensorRef::clone(tensor));
            }
            Object::Dict(items) => {
                entries += items.len() / 2;
                if depth == MAX_DEPTH || entries > MAX_ENTRIES {
                    return Err(fault(format!(
                        "dicts are nested deeper than {MAX_DEPTH} or hold more than {MAX_ENTRIES} entries"
                    )));
                }
                for pair in items.chunks_exact(2) {
                    if let Object::Text(key) = &pickle.objects[pair[0]] {
                        if prefix.len() + key.len() > MAX_KEY_BYTES {
                            return Err(fault(format!(
                                "a key is longer than {MAX_KEY_BYTES} bytes"
                            )));
                        }
                        let dot = if prefix.is_empty() { "" } else { "." };
                        open.push((format!("{prefix}{dot}{key}"), depth + 1, pair[1]));
                    }
                }
            }
            _ => {}
        }
    }
    if tensors.is_empty() {
        return Err(fault("holds no tensor; expected a state dict".to_owned()));
    }
    Ok(tensors)
}

/// Copies every tensor out of its storage.
fn resolve<'a>(
    path: &Path,
    tensors: &BTreeMap<String, TensorRef>,
    file_bytes: usize,
    storage_of: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<BTreeMap<String, Tensor>, ImportError> {
    // Tied weights are written once and read often; four times the file is more than any checkpoint shares.
    let mut budget = file_bytes.saturating_mul(4);
    let mut resolved = BTreeMap::new();
    for (key, tensor) in tensors {
        let fault = |what: String| ImportError::malformed(path, format!("{key}: {what}"));
        let storage = storage_of(&tensor.storage.key)
            .ok_or_else(|| fault(format!("storage {} is not in the file", tensor.storage.key)))?;
        let bytes = gather(tensor, storage, &mut budget).map_err(fault)?;
        let tensor = to_tensor(tensor.storage.element, &tensor.shape, &bytes).map_err(fault)?;
        resolved.insert(key.clone(), tensor);
    }
    Ok(resolved)
}

/// The elements of a strided view in row-major order.
fn gather(tensor: &TensorRef, storage: &[u8], budget: &mut usize) -> Result<Vec<u8>, String> {
    let width = tensor.storage.element.bytes();
    let count = tensor
        .shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
        .ok_or_else(|| format!("shape {:?} overflows", tensor.shape))?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let offset = tensor.offset.saturating_add(tensor.storage.offset);
    let last = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(offset as usize, |last, (&size, &stride)| {
            last.checked_add((size - 1).checked_mul(stride)?)
        });
    let held = storage.len() / width;
    if last.is_none_or(|last| last >= held) {
        return Err(format!(
            "shape {:?} with strides {:?} from element {offset} leaves its storage of {held} elements",
            tensor.shape, tensor.strides
        ));
    }
    *budget = budget
        .checked_sub(count.saturating_mul(width))
        .ok_or_else(|| {
            format!(
                "shape {:?} repeats elements beyond the size of the file",
                tensor.shape
            )
        })?;
    let mut bytes = Vec::with_capacity(count * width);
    let mut index = vec![0_usize; tensor.shape.len()];
    let mut at = offset as usize;
    for _ in 0..count {
        bytes.extend_from_slice(&storage[at * width..(at + 1) * width]);
        for dimension in (0..index.len()).rev() {
            index[dimension] += 1;
            at += tensor.strides[dimension];
            if index[dimension] < tensor.shape[dimension] {
                break;
            }
            at -= tensor.strides[dimension] * tensor.shape[dimension];
            index[dimension] = 0;
        }
    }
    Ok(bytes)
}
