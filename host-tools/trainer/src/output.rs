//! What a run leaves behind: `projection.safetensors`, and how any file here is written.
//!
//! | Tensor | Shape | Meaning |
//! |---|---|---|
//! | `image.weight` | `[embedding, D]` | applied to the image encoder's pooled features as they are |
//! | `image.bias` | `[embedding]` | the centre of the features is folded in |
//! | `text.weight` | `[embedding, E]` | applied to the text encoder's mean-pooled features as they are, not normalised |
//! | `text.bias` | `[embedding]` | as on the image side |
//! | `logit_scale` | `[1]` | the factor itself, not its logarithm |
//!
//! With a hidden layer the text side is `text.0.weight`, `text.0.bias`, GELU, `text.1.weight`, `text.1.bias`. Embeddings are
//! made unit length before they are compared. The metadata names the recipe, its SHA-256, that of the inputs, and the steps.

use crate::TrainError;
use crate::checkpoint::{Identity, State};
use crate::recipe::Recipe;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

pub(crate) use pinhole_ranks::{floats, to_floats};

/// How features were standardised before the projections saw them: `(x − centre) / scale`.
#[derive(Clone, Debug)]
pub(crate) struct Standard {
    /// `[columns]`.
    pub(crate) centre: Vec<f32>,
    /// One number for all columns.
    pub(crate) scale: f32,
}

/// Writes the trained projections to `path`, with the standardisation of both sides folded into their first layers.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write_projection(
    path: &Path,
    state: &State,
    image: &Standard,
    text: &Standard,
    recipe: &Recipe,
    identity: &Identity,
) -> Result<(), TrainError> {
    let mut tensors = Vec::new();
    let parameters = &state.projection.parameters;
    for index in (0..parameters.len() - 1).step_by(2) {
        let [rows, columns] = parameters[index].value.dims();
        let (mut weight, mut bias) = (
            state.projection.data(index),
            state.projection.data(index + 1),
        );
        match parameters[index].name {
            "image.weight" => fold(&mut weight, &mut bias, image),
            "text.weight" | "text.0.weight" => fold(&mut weight, &mut bias, text),
            _ => {}
        }
        tensors.push((
            parameters[index].name.to_owned(),
            vec![rows, columns],
            weight,
        ));
        tensors.push((parameters[index + 1].name.to_owned(), vec![rows], bias));
    }
    let scale = crate::model::elements(state.projection.logit_scale());
    tensors.push(("logit_scale".to_owned(), vec![1], scale));
    let metadata = HashMap::from([
        ("recipe".to_owned(), recipe.name.clone()),
        ("recipe_sha256".to_owned(), identity.recipe_sha256.clone()),
        ("inputs_sha256".to_owned(), identity.inputs_sha256.clone()),
        ("steps".to_owned(), state.step.to_string()),
    ]);
    write_tensors(path, &tensors, metadata)
}

/// Rewrites `weight·((x − centre)/scale) + bias` as `weight'·x + bias'`, with sums in f64.
fn fold(weight: &mut [f32], bias: &mut [f32], standard: &Standard) {
    for (row, bias) in weight.chunks_exact_mut(standard.centre.len()).zip(bias) {
        row.iter_mut().for_each(|w| *w /= standard.scale);
        let shift: f64 = row
            .iter()
            .zip(&standard.centre)
            .map(|(&w, &c)| f64::from(w) * f64::from(c))
            .sum();
        *bias = (f64::from(*bias) - shift) as f32;
    }
}

/// Writes named f32 tensors with `metadata` to `path`, whole or not at all, the same bytes for the same values.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    metadata: HashMap<String, String>,
) -> Result<(), TrainError> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, data)| floats(data)).collect();
    let parts = tensors.iter().zip(&bytes);
    let parts: Vec<_> = parts
        .map(|((name, shape, _), bytes)| (name.as_str(), Dtype::F32, shape.clone(), &bytes[..]))
        .collect();
    write_parts(path, &parts, metadata)
}

/// Writes tensors given as name, type, shape and little-endian bytes.
pub(crate) fn write_parts(
    path: &Path,
    parts: &[(&str, Dtype, Vec<usize>, &[u8])],
    metadata: HashMap<String, String>,
) -> Result<(), TrainError> {
    let views = parts.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes)
            .expect("shapes and data are made together");
        (*name, view)
    });
    let file = serialize(views, None).expect("tensor names are distinct");
    write_atomically(path, &with_metadata(&file, metadata))
}

/// Puts `metadata` into the header of a `safetensors` file, sorted by key: the writer of the crate keeps it in a hash map,
/// whose order, and with it the bytes of the file, would change from run to run.
fn with_metadata(file: &[u8], metadata: HashMap<String, String>) -> Vec<u8> {
    let header_bytes =
        u64::from_le_bytes(file[..8].try_into().expect("a length of eight bytes")) as usize;
    let (header, data) = file[8..].split_at(header_bytes);
    let sorted: std::collections::BTreeMap<_, _> = metadata.into_iter().collect();
    let entry = serde_json::to_string(&sorted).expect("strings are JSON");
    let rest = std::str::from_utf8(header)
        .expect("a JSON header")
        .trim_end()
        .trim_start_matches('{');
    let mut header = format!("{{\"__metadata__\":{entry},{rest}");
    header.extend(std::iter::repeat_n(
        ' ',
        header.len().next_multiple_of(8) - header.len(),
    ));
    let mut whole = (header.len() as u64).to_le_bytes().to_vec();
    whole.extend_from_slice(header.as_bytes());
    whole.extend_from_slice(data);
    whole
}

/// Writes `bytes` to a temporary file in the folder of `path`, flushes it to the disk and renames it to `path`.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .map_err(TrainError::io("create a file in", folder))?;
    file.write_all(bytes)
        .map_err(TrainError::io("write", path))?;
    file.as_file()
        .sync_all()
        .map_err(TrainError::io("write", path))?;
    file.persist(path)
        .map_err(|error| TrainError::io("rename", path)(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Standard, fold, write_tensors};
    use std::collections::HashMap;

    #[test]
    fn folding_gives_the_same_result_on_raw_features() {
        let (mut weight, mut bias) = (vec![1.0f32, -2.0, 0.5, 3.0], vec![0.1f32, 0.2]);
        let standard = Standard {
            centre: vec![4.0, -1.0],
            scale: 2.0,
        };
        let raw = [3.0f32, 5.0];
        let apply = |weight: &[f32], bias: &[f32], x: &[f32]| -> Vec<f32> {
            weight
                .chunks(2)
                .zip(bias)
                .map(|(row, b)| row[0] * x[0] + row[1] * x[1] + b)
                .collect()
        };
        let expected = apply(
            &weight,
            &bias,
            &[(raw[0] - 4.0) / 2.0, (raw[1] + 1.0) / 2.0],
        );
        fold(&mut weight, &mut bias, &standard);
        for (found, expected) in apply(&weight, &bias, &raw).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn a_written_file_is_read_by_the_crate_with_its_metadata_and_is_the_same_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let tensors = [
            ("b".to_owned(), vec![1, 2], vec![1.0f32, 2.0]),
            ("a".to_owned(), vec![1], vec![3.0]),
        ];
        let metadata: HashMap<String, String> = (0..9)
            .map(|i| (format!("key{i}"), format!("\"{i}\"")))
            .collect();
        write_tensors(&path, &tensors, metadata.clone()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(
            read.tensor("b").unwrap().data(),
            [1.0f32.to_le_bytes(), 2.0f32.to_le_bytes()].concat()
        );
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref(), Some(&metadata));
        write_tensors(&path, &tensors, metadata).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
