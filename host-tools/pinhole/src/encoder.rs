//! Encoders as verbs use them: a packed model or a graph, its kernels, pictures or sentences in, embeddings out.

use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_pack::{PackOptions, pack};
use pinhole_ranks::Ranks;
use pinhole_runtime::bank::quantise_embedding;
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter, Observer};
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::{DType, ModelKind};
use pinhole_runtime::preprocess::{
    F32Sink, InputGeometry, PixelFormat, Preprocessor, RowSink, S8Sink,
};
use pinhole_text::tokenizer::Tokenizer;
use rayon::prelude::*;

use crate::failure::{Context, Failure, Outcome, refused_model};
use crate::files::{self, FileKind};
use crate::graph_file;
use crate::progress;

/// A model that stays loaded until the process ends.
#[derive(Clone, Copy)]
pub(crate) struct LoadedModel {
    /// The checked model.
    pub(crate) model: Model<'static>,
    /// What runs it.
    pub(crate) kernels: &'static dyn Kernels,
}

impl LoadedModel {
    /// Checks `bytes`, which live until the process ends: a verb loads two or three models and then exits.
    pub(crate) fn from_bytes(
        name: impl std::fmt::Display,
        bytes: AlignedBytes,
        kernels: &'static dyn Kernels,
    ) -> Outcome<Self> {
        let bytes: &'static AlignedBytes = Box::leak(Box::new(bytes));
        Ok(Self {
            model: Model::load(bytes).map_err(|error| refused_model(name, &error))?,
            kernels,
        })
    }

    /// Opens `model.phm`, or packs a graph (`.phg`) in memory: as it is, or in f32 when `float`.
    pub(crate) fn open(path: &Path, float: bool, kernels: &'static dyn Kernels) -> Outcome<Self> {
        let path = if float {
            float_graph(path)?
        } else {
            path.to_path_buf()
        };
        if !is_graph(&path) {
            let bytes = files::read_aligned(&path)?;
            files::expect(&path, &bytes, FileKind::Model)?;
            return Self::from_bytes(path.display(), bytes, kernels);
        }
        let mut graph = graph_file::open(&path)?;
        if float {
            graph.values.iter_mut().for_each(|value| value.quant = None);
        }
        let packed = pack(&graph, &PackOptions::default()).context(path.display())?;
        Self::from_bytes(
            path.display(),
            AlignedBytes::from_slice(&packed.bytes),
            kernels,
        )
    }
}

/// What a model is for, in words.
pub(crate) fn kind_name(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::ImageEncoder => "an image encoder",
        ModelKind::TextEncoder => "a text encoder",
        _ => "a model of another kind",
    }
}

/// Whether a path names a graph.
pub(crate) fn is_graph(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "phg")
}

/// The graph that a packed model was made from, for `--float`: the file itself, or its neighbour of the same name.
fn float_graph(path: &Path) -> Outcome<PathBuf> {
    let graph = path.with_extension("phg");
    if graph.is_file() {
        return Ok(graph);
    }
    Err(Failure::new(format_args!(
        "{}: found a packed model, which holds no f32 graph, expected {} beside it",
        path.display(),
        graph.display()
    ))
    .help("name the graph that it was packed from: --model GRAPH.phg --float"))
}

/// The kernel set of a name, or the fastest.
pub(crate) fn kernels(name: Option<&str>) -> Outcome<&'static dyn Kernels> {
    let Some(name) = name else {
        return Ok(kernel::detect());
    };
    kernel::named(name).ok_or_else(|| {
        let names: Vec<&str> = kernel::available().map(Kernels::name).collect();
        Failure::new(format_args!(
            "found no kernel set {name} on this CPU, expected one of {}",
            names.join(", ")
        ))
        .help("pinhole bench --list-kernels")
    })
}

/// An embedding as the model gives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Embedding {
    /// From an int8 model.
    I8(Vec<i8>),
    /// From an f32 model.
    F32(Vec<f32>),
}

impl Embedding {
    /// As int8: quantised to its largest magnitude when it is f32.
    pub(crate) fn to_i8(&self) -> Vec<i8> {
        match self {
            Self::I8(embedding) => embedding.clone(),
            Self::F32(embedding) => {
                let mut quantised = vec![0; embedding.len()];
                // An embedding without a direction stays zero.
                let _ = quantise_embedding(embedding, &mut quantised);
                quantised
            }
        }
    }

    /// As reals of length one.
    pub(crate) fn to_unit_f32(&self) -> Vec<f32> {
        let reals: Vec<f32> = match self {
            Self::I8(embedding) => embedding.iter().map(|&x| f32::from(x)).collect(),
            Self::F32(embedding) => embedding.clone(),
        };
        let length = reals
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt()
            .max(1e-12);
        reals
            .iter()
            .map(|x| (f64::from(*x) / length) as f32)
            .collect()
    }
}

/// Pictures to embeddings.
#[derive(Clone, Copy)]
pub(crate) struct ImageEncoder {
    /// The model.
    pub(crate) loaded: LoadedModel,
    geometry: InputGeometry,
}

impl ImageEncoder {
    /// Wraps a model that takes pictures.
    pub(crate) fn new(name: impl std::fmt::Display, loaded: LoadedModel) -> Outcome<Self> {
        match loaded.model.geometry() {
            Some(geometry) if loaded.model.kind() != ModelKind::TextEncoder => {
                Ok(Self { loaded, geometry })
            }
            _ => Err(Failure::new(format_args!(
                "{name}: found {}, expected an image encoder",
                kind_name(loaded.model.kind())
            ))
            .help("pinhole inspect FILE says what a file is")),
        }
    }

    /// Opens a model or a graph.
    pub(crate) fn open(path: &Path, float: bool, kernels: &'static dyn Kernels) -> Outcome<Self> {
        Self::new(path.display(), LoadedModel::open(path, float, kernels)?)
    }

    /// Working memory for one thread.
    pub(crate) fn session(&self) -> ImageSession {
        ImageSession {
            encoder: *self,
            arena: AlignedBytes::zeroed(self.loaded.model.arena_bytes()),
            scratch: Vec::new(),
        }
    }

    /// The model input of a picture, as reals (H·W·C), for calibration.
    pub(crate) fn input_f32(&self, picture: &RgbImage) -> Outcome<Vec<f32>> {
        let mut input =
            vec![0f32; usize::from(self.geometry.width) * usize::from(self.geometry.height) * 3];
        let mut sink = F32Sink::new(&self.geometry, &mut input).map_err(Failure::new)?;
        let kernels = self.loaded.kernels;
        preprocess(kernels, &self.geometry, picture, &mut Vec::new(), &mut sink)?;
        Ok(input)
    }
}

/// Resizes, crops and hands rows to `sink`.
fn preprocess(
    kernels: &dyn Kernels,
    geometry: &InputGeometry,
    picture: &RgbImage,
    scratch: &mut Vec<u32>,
    sink: &mut dyn RowSink,
) -> Outcome {
    let (width, height) = picture.dimensions();
    let needed = Preprocessor::scratch_len(geometry, width, height).map_err(Failure::new)?;
    scratch.resize(scratch.len().max(needed), 0);
    let mut preprocessor = Preprocessor::new(
        kernels,
        geometry,
        width,
        height,
        PixelFormat::Rgb888,
        scratch,
    )
    .map_err(Failure::new)?;
    for row in picture.as_raw().chunks_exact(width as usize * 3) {
        preprocessor.push_row(row, sink).map_err(Failure::new)?;
    }
    preprocessor.finish(sink).map_err(Failure::new)
}

/// One thread's encoder.
pub(crate) struct ImageSession {
    encoder: ImageEncoder,
    arena: AlignedBytes,
    scratch: Vec<u32>,
}

impl ImageSession {
    /// The embedding of a picture.
    pub(crate) fn encode(&mut self, picture: &RgbImage) -> Outcome<Embedding> {
        let mut interpreter = self.prepare(picture)?;
        interpreter.run();
        if let Ok(embedding) = interpreter.output_s8(0) {
            return Ok(Embedding::I8(embedding.to_vec()));
        }
        Ok(Embedding::F32(
            interpreter.output_f32(0).map_err(Failure::new)?.to_vec(),
        ))
    }

    /// The bytes of the model's input for a picture.
    pub(crate) fn input_bytes(&mut self, picture: &RgbImage) -> Outcome<Vec<u8>> {
        let mut interpreter = self.prepare(picture)?;
        let input = interpreter.input_bytes_mut(0).map_err(Failure::new)?;
        Ok(input.to_vec())
    }

    /// Shows `observer` every operator of a run on a picture.
    pub(crate) fn observe(&mut self, picture: &RgbImage, observer: &mut dyn Observer) -> Outcome {
        self.prepare(picture)?.run_observed(observer);
        Ok(())
    }

    /// Writes a picture into the model's input.
    fn prepare(&mut self, picture: &RgbImage) -> Outcome<Interpreter<'static, '_>> {
        let LoadedModel { model, kernels } = self.encoder.loaded;
        let geometry = &self.encoder.geometry;
        let mut interpreter =
            Interpreter::new(&model, &mut self.arena, kernels).map_err(Failure::new)?;
        let input = model.inputs().next().map(|input| model.value(input));
        match input.as_ref().map(|input| input.dtype) {
            Some(DType::F32) => {
                let dst = interpreter.input_f32_mut(0).map_err(Failure::new)?;
                let mut sink = F32Sink::new(geometry, dst).map_err(Failure::new)?;
                preprocess(kernels, geometry, picture, &mut self.scratch, &mut sink)?;
            }
            _ => {
                let (scale, zero_point) =
                    input.map_or((1.0, 0), |input| (input.scale, input.zero_point));
                let dst = interpreter.input_s8_mut(0).map_err(Failure::new)?;
                let mut sink =
                    S8Sink::new(kernels, geometry, scale, zero_point, dst).map_err(Failure::new)?;
                preprocess(kernels, geometry, picture, &mut self.scratch, &mut sink)?;
            }
        }
        Ok(interpreter)
    }
}

/// Tokens of a text encoder whose runs all have as many.
fn fixed_context(model: &Model<'_>) -> Option<usize> {
    let input = model.value(model.inputs().next()?);
    (!input.dynamic).then_some(input.shape[0])
}

/// Sentences to embeddings.
pub(crate) struct TextEncoder {
    /// The model.
    pub(crate) loaded: LoadedModel,
    /// Its vocabulary.
    pub(crate) tokenizer: Tokenizer,
    /// Tokens of every run, for an encoder that sees all padding (SigLIP's); otherwise a run has those of its text, and as many of
    /// padding as the model says.
    context: Option<usize>,
}

impl TextEncoder {
    /// Wraps a model that takes token ids and carries its vocabulary.
    pub(crate) fn new(name: impl std::fmt::Display, loaded: LoadedModel) -> Outcome<Self> {
        let context = fixed_context(&loaded.model);
        let max_tokens = context.unwrap_or(loaded.model.header().max_tokens.get() as usize);
        if loaded.model.kind() != ModelKind::TextEncoder
            || loaded.model.vocabulary().is_empty()
            || max_tokens == 0
        {
            let without = if loaded.model.kind() == ModelKind::TextEncoder {
                " without a vocabulary"
            } else {
                ""
            };
            return Err(Failure::new(format_args!(
                "{name}: found {}{without}, expected a text encoder with its vocabulary",
                kind_name(loaded.model.kind())
            ))
            .help("pinhole inspect FILE says what a file is"));
        }
        let tokenizer = Tokenizer::load_bytes(loaded.model.vocabulary())
            .and_then(|tokenizer| {
                tokenizer.with_max_tokens(max_tokens - loaded.model.padding_tokens())
            })
            .context(name)?;
        Ok(Self {
            loaded,
            tokenizer,
            context,
        })
    }

    /// Opens a packed text encoder, or packs a graph in memory.
    pub(crate) fn open(path: &Path, kernels: &'static dyn Kernels) -> Outcome<Self> {
        Self::new(path.display(), LoadedModel::open(path, false, kernels)?)
    }

    /// The tokens of a run on a text: its own, and those of padding that the model reads behind them.
    pub(crate) fn ids(&self, text: &[u32]) -> Outcome<Vec<i32>> {
        let tokens = self
            .context
            .unwrap_or(text.len() + self.loaded.model.padding_tokens());
        let padding = std::iter::repeat(self.tokenizer.pad_id());
        let ids = text.iter().copied().chain(padding).take(tokens);
        ids.map(|id| i32::try_from(id).map_err(Failure::new))
            .collect()
    }

    /// Embeddings of token sequences, on all cores, in order.
    pub(crate) fn encode(
        &self,
        prompts: &[Vec<u32>],
        done: &(dyn Fn() + Sync),
    ) -> Outcome<Vec<Vec<f32>>> {
        let LoadedModel { model, kernels } = self.loaded;
        prompts
            .par_iter()
            .map_init(
                || AlignedBytes::zeroed(model.arena_bytes()),
                |arena, ids| {
                    let mut interpreter =
                        Interpreter::new(&model, arena, kernels).map_err(Failure::new)?;
                    let ids = self.ids(ids)?;
                    if self.context.is_none() {
                        interpreter.set_tokens(ids.len()).map_err(Failure::new)?;
                    }
                    let input = interpreter.input_i32_mut(0).map_err(Failure::new)?;
                    input.copy_from_slice(&ids);
                    interpreter.run();
                    done();
                    Ok(interpreter.output_f32(0).map_err(Failure::new)?.to_vec())
                },
            )
            .collect()
    }
}

impl TextEncoder {
    /// Embeddings of token sequences, in order, on all cores of all `ranks`, each of which encodes a part; a progress bar
    /// says `what`.
    pub(crate) fn encode_on(
        &self,
        ranks: &Ranks,
        what: &str,
        prompts: &[Vec<u32>],
    ) -> Outcome<Vec<Vec<f32>>> {
        ranks.rows(prompts.len(), |part| {
            let bar = progress::bar(what, part.len());
            let rows = self.encode(&prompts[part], &|| bar.inc(1));
            bar.finish_and_clear();
            rows
        })
    }
}

/// A text encoder that shows what it computes.
pub(crate) struct TextSession {
    loaded: LoadedModel,
    arena: AlignedBytes,
}

impl TextSession {
    /// Wraps a model that takes token ids; it needs no vocabulary.
    pub(crate) fn new(name: impl std::fmt::Display, loaded: LoadedModel) -> Outcome<Self> {
        if loaded.model.kind() != ModelKind::TextEncoder {
            return Err(Failure::new(format_args!(
                "{name}: found {}, expected a text encoder",
                kind_name(loaded.model.kind())
            ))
            .help("pinhole inspect FILE says what a file is"));
        }
        Ok(Self {
            loaded,
            arena: AlignedBytes::zeroed(loaded.model.arena_bytes()),
        })
    }

    /// Shows `observer` every operator of a run on the ids of a text and its padding.
    pub(crate) fn observe(&mut self, ids: &[i32], observer: &mut dyn Observer) -> Outcome {
        let LoadedModel { model, kernels } = self.loaded;
        let mut interpreter =
            Interpreter::new(&model, &mut self.arena, kernels).map_err(Failure::new)?;
        if fixed_context(&model).is_none() {
            interpreter.set_tokens(ids.len()).map_err(Failure::new)?;
        }
        let input = interpreter.input_i32_mut(0).map_err(Failure::new)?;
        if input.len() != ids.len() {
            return Err(Failure::new(format_args!(
                "found {} tokens for an encoder of {}, expected two versions of one network",
                ids.len(),
                input.len()
            )));
        }
        input.copy_from_slice(ids);
        interpreter.run_observed(observer);
        Ok(())
    }
}
