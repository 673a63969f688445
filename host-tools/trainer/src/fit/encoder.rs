//! Frozen encoders: teachers and text encoders, run by the runtime on all cores.

use std::path::{Path, PathBuf};

use pinhole_graph::Graph;
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::{DType, ModelKind};
use pinhole_runtime::preprocess::InputGeometry;
use pinhole_text::tokenizer::Tokenizer;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::TrainError;
use crate::recipe::hex;

/// A packed model that only runs.
#[derive(Debug)]
pub(super) struct Encoder {
    path: PathBuf,
    bytes: AlignedBytes,
    /// Of the packed model, hexadecimal.
    pub(super) sha256: String,
    /// Numbers of an embedding.
    pub(super) width: usize,
    /// Above 0 where the model says one.
    pub(super) logit_scale: f32,
}

impl Encoder {
    /// Opens a packed model, or packs a graph (`.phg`).
    ///
    /// # Errors
    /// A file that cannot be read, or is no such model.
    pub(super) fn open(path: &Path) -> Result<Self, TrainError> {
        if path.extension().is_some_and(|extension| extension == "phg") {
            let graph = Graph::load(path).map_err(|error| fault(path, error.to_string()))?;
            return Self::of_graph(path, &graph);
        }
        let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
        Self::new(path, &bytes)
    }

    /// Packs `graph` as it is; `path` is for error messages.
    ///
    /// # Errors
    /// A graph that cannot be packed.
    pub(super) fn of_graph(path: &Path, graph: &Graph) -> Result<Self, TrainError> {
        let packed = pack(graph, &PackOptions::default());
        let packed = packed.map_err(|error| fault(path, error.to_string()))?;
        Self::new(path, &packed.bytes)
    }

    fn new(path: &Path, bytes: &[u8]) -> Result<Self, TrainError> {
        let sha256 = hex(&Sha256::digest(bytes));
        let bytes = AlignedBytes::from_slice(bytes);
        let (width, logit_scale) = {
            let model = Model::load(&bytes).map_err(|error| {
                let message = format!("{error}; expected a graph (.phg) or a packed model (.phm)");
                fault(path, message)
            })?;
            let output = model.outputs().next();
            let output = output.ok_or_else(|| fault(path, "found no output, expected one"))?;
            let output = model.value(output);
            (output.elements(), model.header().logit_scale.get())
        };
        Ok(Self {
            path: path.to_path_buf(),
            bytes,
            sha256,
            width,
            logit_scale,
        })
    }

    fn model(&self) -> Model<'_> {
        Model::load(&self.bytes).expect("it was loaded before")
    }

    /// The space of its embeddings.
    pub(super) fn embedding_space(&self) -> [u8; 16] {
        self.model().embedding_space()
    }

    /// How a picture becomes the input.
    ///
    /// # Errors
    /// A model that takes no pictures.
    pub(super) fn geometry(&self) -> Result<InputGeometry, TrainError> {
        let model = self.model();
        let geometry = model
            .geometry()
            .filter(|_| model.kind() != ModelKind::TextEncoder);
        geometry.ok_or_else(|| {
            self.fault("found a model that takes no pictures, expected an image encoder")
        })
    }

    /// Embeddings as the model gives them, one for each normalised picture (height·width·3).
    ///
    /// # Errors
    /// A picture of another size.
    pub(super) fn pictures(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>, TrainError> {
        let model = self.model();
        let record = model.inputs().next().map(|input| model.value(input));
        let record = record.ok_or_else(|| self.fault("found no input, expected one"))?;
        self.run(&model, inputs, |interpreter, input| {
            if record.elements() != input.len() {
                let (found, expected) = (input.len(), record.elements());
                return Err(self.fault(format!(
                    "found {found} numbers of a picture, expected {expected}"
                )));
            }
            if record.dtype == DType::F32 {
                let to = interpreter
                    .input_f32_mut(0)
                    .map_err(|error| self.fault(error))?;
                to.copy_from_slice(input);
            } else {
                let to = interpreter
                    .input_s8_mut(0)
                    .map_err(|error| self.fault(error))?;
                kernel::detect().quantize_f32(input, record.scale, record.zero_point, to);
            }
            Ok(())
        })
    }

    fn run<I: Sync>(
        &self,
        model: &Model<'_>,
        inputs: &[I],
        write: impl Fn(&mut Interpreter<'_, '_>, &I) -> Result<(), TrainError> + Sync,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let output = model.outputs().next().map(|output| model.value(output));
        let scale = output.map_or(1.0, |output| output.scale);
        let arena = || AlignedBytes::zeroed(model.arena_bytes());
        let embed = |arena: &mut AlignedBytes, input: &I| {
            let interpreter = Interpreter::new(model, arena, kernel::detect());
            let mut interpreter = interpreter.map_err(|error| self.fault(error))?;
            write(&mut interpreter, input)?;
            interpreter.run();
            if let Ok(embedding) = interpreter.output_s8(0) {
                return Ok(embedding.iter().map(|&x| scale * f32::from(x)).collect());
            }
            if let Ok(embedding) = interpreter.output_i16(0) {
                return Ok(embedding.iter().map(|&x| scale * f32::from(x)).collect());
            }
            let embedding = interpreter
                .output_f32(0)
                .map_err(|error| self.fault(error))?;
            Ok(embedding.to_vec())
        };
        inputs.par_iter().map_init(arena, embed).collect()
    }

    fn fault(&self, message: impl ToString) -> TrainError {
        fault(&self.path, message)
    }
}

fn fault(path: &Path, message: impl ToString) -> TrainError {
    TrainError::Model {
        path: path.to_path_buf(),
        message: message.to_string(),
    }
}

/// A text encoder with its tokenizer.
#[derive(Debug)]
pub(super) struct TextEncoder {
    pub(super) encoder: Encoder,
    pub(super) tokenizer: Tokenizer,
    /// Tokens of every run, for an encoder that sees all padding.
    context: Option<usize>,
}

impl TextEncoder {
    /// Opens a packed text encoder, or packs a graph.
    ///
    /// # Errors
    /// A file that is none, or has no vocabulary.
    pub(super) fn open(path: &Path) -> Result<Self, TrainError> {
        Self::new(Encoder::open(path)?)
    }

    /// That of an encoder.
    ///
    /// # Errors
    /// One that is no text encoder, or has no vocabulary.
    pub(super) fn new(encoder: Encoder) -> Result<Self, TrainError> {
        let (tokenizer, context) = {
            let model = encoder.model();
            let input = model.inputs().next().map(|input| model.value(input));
            let context = input
                .filter(|input| !input.dynamic)
                .map(|input| input.shape[0]);
            let most = context.unwrap_or(model.max_tokens());
            if model.kind() != ModelKind::TextEncoder || model.vocabulary().is_empty() || most == 0
            {
                let message = "found no vocabulary, expected a text encoder that carries its own";
                return Err(encoder.fault(message));
            }
            let tokenizer = Tokenizer::load_bytes(model.vocabulary())
                .and_then(|tokenizer| tokenizer.with_max_tokens(most - model.padding_tokens()));
            (tokenizer.map_err(|error| encoder.fault(error))?, context)
        };
        Ok(Self {
            encoder,
            tokenizer,
            context,
        })
    }

    /// Embeddings of token sequences, as the model gives them.
    ///
    /// # Errors
    /// Ids that the model does not take.
    pub(super) fn ids(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, TrainError> {
        let model = self.encoder.model();
        self.encoder.run(&model, texts, |interpreter, ids| {
            let tokens = self.context.unwrap_or(ids.len() + model.padding_tokens());
            let padding = std::iter::repeat(self.tokenizer.pad_id());
            let ids = ids.iter().copied().chain(padding).take(tokens);
            let ids: Result<Vec<i32>, _> = ids.map(i32::try_from).collect();
            let ids = ids.map_err(|error| self.encoder.fault(error))?;
            if self.context.is_none() {
                let set = interpreter.set_tokens(ids.len());
                set.map_err(|error| self.encoder.fault(error))?;
            }
            let to = interpreter.input_i32_mut(0);
            to.map_err(|error| self.encoder.fault(error))?
                .copy_from_slice(&ids);
            Ok(())
        })
    }
}

/// `row` with length 1; one without a direction stays as it is.
pub(super) fn unit(mut row: Vec<f32>) -> Vec<f32> {
    let length = row
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    if length > 0.0 {
        row.iter_mut()
            .for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    row
}
