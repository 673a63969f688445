//! The file of a graph, `.phg`: a safetensors file (<https://huggingface.co/docs/safetensors>) whose tensors are the
//! constants, named by the index of their value, and whose metadata holds everything else as JSON under one key.
//!
//! Equal graphs make equal bytes. Loading checks everything that [`crate::pass::validate`] checks, so that a file from
//! outside makes an `Err` and nothing else. Not the packed model: that is `pinhole-pack`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::pass::{self, GraphFaults};
use crate::{
    Graph, GraphMeta, IntegerRules, Node, QuantParams, Tensor, TensorData, Value, ValueId,
};

/// Newest version of the JSON: 2 has integer constants and [`crate::IntegerRules`].
pub const FORMAT_VERSION: u32 = 2;
/// What is written of a graph that needs nothing newer, so that older programs read it.
const OLDEST_VERSION: u32 = 1;
/// Key of the JSON in the metadata.
const METADATA_KEY: &str = "pinhole_graph";
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// A graph file cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No graph file, or a damaged one.
    #[error("{path}: {what}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was found, and what was expected.
        what: String,
    },
    /// A newer program wrote it.
    #[error(
        "{path}: graph format version {found}, expected at most {FORMAT_VERSION}; update pinhole or import again"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The graph in it does not hold together.
    #[error("{path}: {faults}")]
    Graph {
        /// Which file.
        path: PathBuf,
        /// All of them.
        faults: GraphFaults,
    },
}

/// The version alone, so that a newer file is told from a damaged one.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    name: String,
    values: Vec<ValueRecord>,
    nodes: Vec<Node>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    meta: GraphMeta,
}

#[derive(Serialize, Deserialize)]
struct ValueRecord {
    name: String,
    shape: Vec<usize>,
    constant: bool,
    dynamic: bool,
    is_ids: bool,
    quant: Option<QuantParams>,
}

impl Graph {
    /// Writes the file: first beside it, then renamed over it, so that no half-written file is left.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = path.as_ref();
        let bytes = self.to_bytes().map_err(|what| FileError::Malformed {
            path: path.to_owned(),
            what,
        })?;
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        let written = fs::File::create(&partial)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&partial, path));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&partial);
        }
        written.map_err(io)
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or newer, or its graph does not hold together.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        let found = fs::metadata(path).map_err(io)?.len();
        if found > MAX_FILE_BYTES {
            let what = format!("{found} bytes, expected at most {MAX_FILE_BYTES}");
            return Err(FileError::Malformed {
                path: path.to_owned(),
                what,
            });
        }
        Self::parse(path, &fs::read(path).map_err(io)?)
    }

    /// The oldest version that can hold this graph.
    fn format_version(&self) -> u32 {
        let constants = self
            .values
            .iter()
            .filter_map(|value| value.constant.as_ref());
        let bytes = constants.filter_map(Tensor::as_i8).next().is_some();
        if bytes || self.meta.integer_rules != IntegerRules::Own {
            FORMAT_VERSION
        } else {
            OLDEST_VERSION
        }
    }

    /// The bytes of the file; the same for equal graphs.
    ///
    /// # Errors
    /// What cannot be written, in words.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let document = Document {
            version: self.format_version(),
            name: self.name.clone(),
            values: self.values.iter().map(ValueRecord::of).collect(),
            nodes: self.nodes.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            meta: self.meta.clone(),
        };
        let json = serde_json::to_string(&document).map_err(|error| error.to_string())?;
        let constants: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = self
            .values
            .iter()
            .enumerate()
            .filter_map(|(id, value)| Some((key_of(id), bytes_of(value.constant.as_ref()?))))
            .collect();
        let views: Vec<(&String, TensorView<'_>)> = constants
            .iter()
            .map(|(key, (dtype, shape, data))| {
                Ok((key, TensorView::new(*dtype, shape.clone(), data)?))
            })
            .collect::<Result<_, ::safetensors::SafeTensorError>>()
            .map_err(|error| error.to_string())?;
        // One key, so that the order of the map does not reach the bytes.
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), json)]);
        ::safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
    }

    /// [`Graph::load`] over bytes; `path` serves messages.
    ///
    /// # Errors
    /// As [`Graph::load`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        let fault = |what: String| FileError::Malformed {
            path: path.to_owned(),
            what,
        };
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| fault(format!("no graph file: {error}")))?;
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|error| fault(format!("no graph file: {error}")))?;
        let json = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(METADATA_KEY))
            .ok_or_else(|| fault(format!("a safetensors file without {METADATA_KEY} in its metadata; expected a graph, made by `pinhole import`")))?;
        let version: Version =
            serde_json::from_str(json).map_err(|error| fault(format!("damaged graph: {error}")))?;
        if version.version > FORMAT_VERSION {
            return Err(FileError::Newer {
                path: path.to_owned(),
                found: version.version,
            });
        }
        let document: Document =
            serde_json::from_str(json).map_err(|error| fault(format!("damaged graph: {error}")))?;
        let graph = document.into_graph(&tensors).map_err(fault)?;
        graph_is_sound(&graph).map_err(|faults| FileError::Graph {
            path: path.to_owned(),
            faults,
        })?;
        Ok(graph)
    }
}

/// Structure and shapes; what may still be unfolded (constants that are computed) is not asked for.
fn graph_is_sound(graph: &Graph) -> Result<(), GraphFaults> {
    pass::structure(graph)?;
    let mut copy = graph.clone();
    pass::infer_shapes(&mut copy)?;
    let mut faults = GraphFaults::default();
    for (found, expected) in graph.values.iter().zip(&copy.values) {
        if found.shape != expected.shape || found.dynamic != expected.dynamic {
            faults.push(
                &found.name,
                format!("shape {:?}, expected {:?}", found.shape, expected.shape),
            );
        }
    }
    faults.into_result()
}

impl ValueRecord {
    fn of(value: &Value) -> Self {
        Self {
            name: value.name.clone(),
            shape: value.shape.clone(),
            constant: value.constant.is_some(),
            dynamic: value.dynamic,
            is_ids: value.is_ids,
            quant: value.quant.clone(),
        }
    }
}

impl Document {
    fn into_graph(self, tensors: &SafeTensors<'_>) -> Result<Graph, String> {
        let expected = self.values.iter().filter(|value| value.constant).count();
        if tensors.len() != expected {
            return Err(format!(
                "{} tensors, expected {expected} for the constants",
                tensors.len()
            ));
        }
        let mut values = Vec::with_capacity(self.values.len());
        for (id, record) in self.values.into_iter().enumerate() {
            let constant = record
                .constant
                .then(|| constant_of(tensors, id))
                .transpose()?;
            values.push(Value {
                name: record.name,
                shape: record.shape,
                constant,
                dynamic: record.dynamic,
                is_ids: record.is_ids,
                quant: record.quant,
            });
        }
        Ok(Graph {
            name: self.name,
            values,
            nodes: self.nodes,
            inputs: self.inputs,
            outputs: self.outputs,
            meta: self.meta,
        })
    }
}

/// Zero-padded, so that the order of names is that of ids.
fn key_of(id: ValueId) -> String {
    format!("{id:08}")
}

fn bytes_of(tensor: &Tensor) -> (Dtype, Vec<usize>, Vec<u8>) {
    let (dtype, bytes) = match &tensor.data {
        TensorData::F32(data) => (
            Dtype::F32,
            data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ),
        TensorData::I32(data) => (
            Dtype::I32,
            data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ),
        TensorData::I8(data) => (Dtype::I8, data.iter().map(|&value| value as u8).collect()),
    };
    (dtype, tensor.shape.clone(), bytes)
}

fn constant_of(tensors: &SafeTensors<'_>, id: ValueId) -> Result<Tensor, String> {
    let key = key_of(id);
    let view = tensors
        .tensor(&key)
        .map_err(|_| format!("tensor {key} is missing"))?;
    let words = view.data().as_chunks::<4>().0;
    match view.dtype() {
        Dtype::F32 => Ok(Tensor::f32(
            view.shape(),
            words.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        )),
        Dtype::I32 => Ok(Tensor::i32(
            view.shape(),
            words.iter().map(|&b| i32::from_le_bytes(b)).collect(),
        )),
        Dtype::I8 => Ok(Tensor::i8(
            view.shape(),
            view.data().iter().map(|&byte| byte as i8).collect(),
        )),
        other => Err(format!(
            "tensor {key} is {other:?}, expected F32, I32 or I8"
        )),
    }
}
