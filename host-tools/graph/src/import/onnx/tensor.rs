//! Tensors of the file, in it or beside it, as constants.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

use super::constant::{Constant, MAX_ELEMENTS};

/// Reads a tensor; `path` is that of the ONNX file.
///
/// # Errors
/// With what is wrong, found and expected.
pub(super) fn constant(path: &Path, tensor: &TensorProto) -> Result<Constant, String> {
    let shape: Option<Vec<usize>> = tensor
        .dims
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect();
    let shape = shape.ok_or_else(|| format!("a shape of {:?}", tensor.dims))?;
    let len = shape
        .iter()
        .try_fold(1_usize, |len, &size| len.checked_mul(size))
        .filter(|&len| len <= MAX_ELEMENTS)
        .ok_or_else(|| format!("shape {shape:?}, expected at most {MAX_ELEMENTS} elements"))?;
    let data_type = DataType::try_from(tensor.data_type)
        .map_err(|_| format!("data type {}, which is not defined", tensor.data_type))?;
    let external = tensor.data_location == Some(DataLocation::External as i32);
    if external {
        let width = width(data_type)?;
        let bytes = external_bytes(path, tensor, len * width)?;
        return raw(&shape, len, data_type, &bytes);
    }
    if tensor.raw_data.is_empty() && len > 0 {
        return typed(&shape, len, data_type, tensor);
    }
    raw(&shape, len, data_type, &tensor.raw_data)
}

/// Bytes of one element.
fn width(data_type: DataType) -> Result<usize, String> {
    Ok(match data_type {
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Int8 | DataType::Uint8 | DataType::Bool => 1,
        other => {
            return Err(format!(
                "data type {}, expected floats, integers or booleans",
                other.as_str_name()
            ));
        }
    })
}

fn raw(shape: &[usize], len: usize, data_type: DataType, bytes: &[u8]) -> Result<Constant, String> {
    let width = width(data_type)?;
    if bytes.len() != len * width {
        return Err(format!(
            "shape {shape:?} of {} in {} bytes, expected {}",
            data_type.as_str_name(),
            bytes.len(),
            len * width
        ));
    }
    Ok(match data_type {
        DataType::Float => floats(shape, bytes, f32::from_le_bytes),
        DataType::Double => floats(shape, bytes, |b| f64::from_le_bytes(b) as f32),
        DataType::Float16 => floats(shape, bytes, |b| f16::from_le_bytes(b).to_f32()),
        DataType::Bfloat16 => floats(shape, bytes, |b| bf16::from_le_bytes(b).to_f32()),
        DataType::Int64 => ints(shape, bytes, i64::from_le_bytes),
        DataType::Uint64 => ints(shape, bytes, |b| u64::from_le_bytes(b) as i64),
        DataType::Int32 => ints(shape, bytes, |b| i32::from_le_bytes(b).into()),
        DataType::Uint32 => ints(shape, bytes, |b| u32::from_le_bytes(b).into()),
        DataType::Int16 => ints(shape, bytes, |b| i16::from_le_bytes(b).into()),
        DataType::Uint16 => ints(shape, bytes, |b| u16::from_le_bytes(b).into()),
        DataType::Int8 => ints(shape, bytes, |b| i8::from_le_bytes(b).into()),
        _ => ints(shape, bytes, |[b]: [u8; 1]| b.into()),
    })
}

fn floats<const N: usize>(shape: &[usize], bytes: &[u8], read: fn([u8; N]) -> f32) -> Constant {
    let (chunks, _) = bytes.as_chunks::<N>();
    Constant::float(shape, chunks.iter().map(|&chunk| read(chunk)).collect())
}

fn ints<const N: usize>(shape: &[usize], bytes: &[u8], read: fn([u8; N]) -> i64) -> Constant {
    let (chunks, _) = bytes.as_chunks::<N>();
    Constant::int(shape, chunks.iter().map(|&chunk| read(chunk)).collect())
}

/// Elements in the field of their type; the small types share that of i32.
fn typed(
    shape: &[usize],
    len: usize,
    data_type: DataType,
    tensor: &TensorProto,
) -> Result<Constant, String> {
    let half = |convert: fn(u16) -> f32| -> Constantish {
        Constantish::Float(
            tensor
                .int32_data
                .iter()
                .map(|&bits| convert(bits as u16))
                .collect(),
        )
    };
    let held = match data_type {
        DataType::Float => Constantish::Float(tensor.float_data.clone()),
        DataType::Double => Constantish::Float(
            tensor
                .double_data
                .iter()
                .map(|&value| value as f32)
                .collect(),
        ),
        DataType::Float16 => half(|bits| f16::from_bits(bits).to_f32()),
        DataType::Bfloat16 => half(|bits| bf16::from_bits(bits).to_f32()),
        DataType::Int64 => Constantish::Int(tensor.int64_data.clone()),
        DataType::Uint32 | DataType::Uint64 => Constantish::Int(
            tensor
                .uint64_data
                .iter()
                .map(|&value| value as i64)
                .collect(),
        ),
        other => {
            width(other)?;
            Constantish::Int(
                tensor
                    .int32_data
                    .iter()
                    .map(|&value| value.into())
                    .collect(),
            )
        }
    };
    let found = match &held {
        Constantish::Float(data) => data.len(),
        Constantish::Int(data) => data.len(),
    };
    if found != len {
        return Err(format!(
            "shape {shape:?} with {found} elements, expected {len}"
        ));
    }
    Ok(match held {
        Constantish::Float(data) => Constant::float(shape, data),
        Constantish::Int(data) => Constant::int(shape, data),
    })
}

enum Constantish {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

/// The bytes of a tensor in a file beside the ONNX file, never outside its folder.
fn external_bytes(path: &Path, tensor: &TensorProto, expected: usize) -> Result<Vec<u8>, String> {
    let entry = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value.as_str())
    };
    let location = entry("location").ok_or("external data without a location")?;
    let number = |key: &str| -> Result<Option<u64>, String> {
        entry(key)
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("external data with {key} {text:?}"))
            })
            .transpose()
    };
    let (offset, len) = (number("offset")?.unwrap_or(0), number("length")?);
    if len.is_some_and(|len| len != expected as u64) {
        return Err(format!(
            "{} bytes in {location:?}, expected {expected}",
            len.unwrap_or(0)
        ));
    }
    let file = inside(path, location)?;
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let mut open = File::open(&file).map_err(failed)?;
    let held = open.metadata().map_err(failed)?.len();
    // Checked before anything is allocated.
    if offset
        .checked_add(expected as u64)
        .is_none_or(|end| end > held)
    {
        return Err(format!(
            "{expected} bytes from {offset} of {}, which has {held}",
            file.display()
        ));
    }
    open.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut bytes = vec![0; expected];
    open.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The path of a file in the folder of the ONNX file, links resolved.
fn inside(path: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let refused =
        || format!("external data at {location:?}, expected a file in the folder of the model");
    if !plain || location.is_empty() {
        return Err(refused());
    }
    let folder = folder
        .canonicalize()
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let found = folder.join(relative);
    let found = found.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "found no {location} beside the model, expected the file of its weights; copy both into one folder"
        ),
        _ => format!("cannot read {location}, which holds weights of the model: {error}"),
    })?;
    if !found.starts_with(&folder) || !found.is_file() {
        return Err(refused());
    }
    Ok(found)
}
