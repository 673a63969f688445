//! Tensors of a safetensors file (<https://huggingface.co/docs/safetensors>): floats become f32, integers i32.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors};

use super::ImportError;
use super::element::{Element, to_tensor};
use crate::Tensor;

/// Whether the bytes begin as such a file does: the length of a header, and the header's brace.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

/// The length of a header that reaches behind the end of the file, which otherwise begins as such a file does.
fn cut_header(bytes: &[u8]) -> Option<u64> {
    /// Longer ones are no headers.
    const MOST_BYTES: u64 = 100 << 20;
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(*length);
    (rest.first() == Some(&b'{') && length > rest.len() as u64 && length <= MOST_BYTES)
        .then_some(length)
}

/// Every tensor by key.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, ImportError> {
    if let Some(length) = cut_header(bytes) {
        return Err(ImportError::malformed(
            path,
            format!(
                "found {} bytes, expected {} of the safetensors header alone; the file is cut",
                bytes.len(),
                length + 8
            ),
        ));
    }
    if !looks_like(bytes) {
        let start: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
        return Err(ImportError::malformed(
            path,
            format!(
                "no checkpoint: begins with bytes [{}]; expected a safetensors header, a zip archive or a PyTorch pickle",
                start.join(" ")
            ),
        ));
    }
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| ImportError::malformed(path, format!("damaged safetensors: {error}")))?;
    let mut tensors = BTreeMap::new();
    for (key, view) in file.tensors() {
        let element = element_of(view.dtype()).ok_or_else(|| {
            ImportError::malformed(
                path,
                format!(
                    "{key} has elements of type {:?}; expected F32, F16, BF16, F64 or integers",
                    view.dtype()
                ),
            )
        })?;
        let tensor = to_tensor(element, view.shape(), view.data())
            .map_err(|what| ImportError::malformed(path, format!("{key}: {what}")))?;
        tensors.insert(key, tensor);
    }
    Ok(tensors)
}

fn element_of(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        Dtype::I16 => Element::I16,
        Dtype::I8 => Element::I8,
        Dtype::U8 | Dtype::BOOL => Element::U8,
        _ => return None,
    })
}
