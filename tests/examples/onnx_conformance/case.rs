//! A case as it lies in its folder: a model, and tensors for its inputs and outputs.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, TensorProto, ValueInfoProto, type_proto};

/// A model with its inputs and outputs, `None` for those that are no tensors.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) model: ModelProto,
    pub(crate) inputs: Vec<Option<TensorProto>>,
    pub(crate) outputs: Vec<Option<TensorProto>>,
}

/// Every case of a folder, by name.
///
/// # Errors
/// When the folder or a file of a case cannot be read or decoded.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut folders = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    folders.sort();
    folders.retain(|path| path.join("model.onnx").is_file());
    folders.iter().map(|path| read(path)).collect()
}

fn read(folder: &Path) -> Result<Case, Box<dyn Error>> {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let model = ModelProto::decode(fs::read(folder.join("model.onnx"))?.as_slice())?;
    let graph = model.graph.clone().unwrap_or_default();
    let data = folder.join("test_data_set_0");
    Ok(Case {
        name: name.unwrap_or_default(),
        inputs: tensors(&data, "input", &graph.input)?,
        outputs: tensors(&data, "output", &graph.output)?,
        model,
    })
}

fn tensors(
    folder: &Path,
    kind: &str,
    declared: &[ValueInfoProto],
) -> Result<Vec<Option<TensorProto>>, Box<dyn Error>> {
    let one = |(index, info): (usize, &ValueInfoProto)| -> Result<_, Box<dyn Error>> {
        let held = info.r#type.as_ref().and_then(|held| held.value.as_ref());
        let Some(type_proto::Value::TensorType(_)) = held else {
            return Ok(None);
        };
        let bytes = fs::read(folder.join(format!("{kind}_{index}.pb")))?;
        // What the schema of tensors does not describe is a sequence or an optional.
        Ok(TensorProto::decode(bytes.as_slice()).ok())
    };
    declared.iter().enumerate().map(one).collect()
}

impl Case {
    /// The operators of its nodes; those of foreign domains with their domain.
    pub(crate) fn operators(&self) -> BTreeSet<&str> {
        let nodes = self.model.graph.iter().flat_map(|graph| &graph.node);
        nodes
            .map(|node| match node.domain.as_str() {
                "" | "ai.onnx" => node.op_type.as_str(),
                domain => domain,
            })
            .collect()
    }

    /// The version of the default operator set, 1 where the model names none.
    pub(crate) fn opset(&self) -> i64 {
        let mut sets = self.model.opset_import.iter();
        let own = sets.find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
        own.map_or(1, |set| set.version)
    }

    /// Which inputs are computed, in every way that the case is read; the others are constants.
    pub(crate) fn ways(&self) -> Vec<Vec<usize>> {
        let kind = |index: usize| self.inputs[index].as_ref().map(|tensor| tensor.data_type);
        let alone = |&index: &usize| {
            kind(index).is_some_and(|kind| is_float(kind) || kind == DataType::Int64 as i32)
        };
        let mut ways: Vec<Vec<usize>> = (0..self.inputs.len())
            .filter(alone)
            .map(|index| vec![index])
            .collect();
        let floats: Vec<usize> = (0..self.inputs.len())
            .filter(|&index| kind(index).is_some_and(is_float))
            .collect();
        if floats.len() > 1 {
            ways.push(floats);
        }
        ways.push(Vec::new());
        ways
    }
}

/// Whether a type of the file holds floats that the importer reads.
pub(crate) fn is_float(data_type: i32) -> bool {
    [
        DataType::Float,
        DataType::Float16,
        DataType::Bfloat16,
        DataType::Double,
    ]
    .iter()
    .any(|&kind| kind as i32 == data_type)
}

/// The elements of a tensor as floats.
///
/// # Errors
/// With the type, when it is none of numbers of 8 bits and more.
pub(crate) fn elements(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    let kind = DataType::try_from(tensor.data_type).map_err(|_| other_type(tensor.data_type))?;
    let bytes = &tensor.raw_data;
    let found = match kind {
        DataType::Float => read_each(bytes, f32::from_le_bytes),
        DataType::Double => read_each(bytes, |b| f64::from_le_bytes(b) as f32),
        DataType::Float16 => read_each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        DataType::Bfloat16 => read_each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        DataType::Int64 => read_each(bytes, |b| i64::from_le_bytes(b) as f32),
        DataType::Uint64 => read_each(bytes, |b| u64::from_le_bytes(b) as f32),
        DataType::Int32 => read_each(bytes, |b| i32::from_le_bytes(b) as f32),
        DataType::Uint32 => read_each(bytes, |b| u32::from_le_bytes(b) as f32),
        DataType::Int16 => read_each(bytes, |b| i16::from_le_bytes(b).into()),
        DataType::Uint16 => read_each(bytes, |b| u16::from_le_bytes(b).into()),
        DataType::Int8 => read_each(bytes, |b| i8::from_le_bytes(b).into()),
        DataType::Uint8 | DataType::Bool => read_each(bytes, |[b]: [u8; 1]| b.into()),
        _ => return Err(other_type(tensor.data_type)),
    };
    let expected = len(tensor);
    if found.len() != expected {
        return Err(format!("{} elements, expected {expected}", found.len()));
    }
    Ok(found)
}

/// Elements of its shape.
pub(crate) fn len(tensor: &TensorProto) -> usize {
    tensor
        .dims
        .iter()
        .map(|&size| usize::try_from(size).unwrap_or(0))
        .product()
}

fn other_type(found: i32) -> String {
    let name =
        DataType::try_from(found).map_or("newer than the decoder", |kind| kind.as_str_name());
    format!(
        "a tensor of type {found} ({name}), expected floats of 16 bits and more, integers of 8 and more, or booleans"
    )
}

fn read_each<const N: usize>(bytes: &[u8], read: fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|&chunk| read(chunk))
        .collect()
}
