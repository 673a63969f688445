//! Post-training quantisation of a [`pinhole_graph::Graph`] to int8: observe activations on calibration pictures, choose
//! scales, and measure what each layer lost.
//!
//! [`observe`] runs the f32 graph through the runtime, the one executor, and keeps ranges and histograms; [`scheme`]
//! turns them into [`pinhole_graph::QuantParams`] (symmetric per-channel weights, per-tensor activations with a zero
//! point, the TFLite quantisation specification); [`report`] runs both graphs side by side. Not here: packing
//! (`pinhole-pack` rounds the weights) and training. Nothing in this crate sees labels.

mod balance;
mod correct;
pub mod diff;
mod equalize;
pub mod observe;
pub mod report;
mod run;
pub mod scheme;
mod smooth;
mod split;
mod widths;

pub use observe::Observer;
pub use report::{LayerReport, Report};
pub use run::Runner;
pub use scheme::Options;

use pinhole_graph::Graph;

/// Why quantisation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// No pictures.
    #[error(
        "there are no calibration pictures; give a folder of pictures like those that the camera will see"
    )]
    NoPictures,
    /// An input of the wrong size.
    #[error("calibration input {index} has {found} elements, the model takes {expected}")]
    InputLength {
        /// Which.
        index: usize,
        /// Its elements.
        found: usize,
        /// Elements of the model's input.
        expected: usize,
    },
    /// The graph cannot be packed, in f32 or in int8.
    #[error(transparent)]
    Pack(#[from] pinhole_pack::PackError),
    /// A value became infinite or NaN.
    #[error("value {value} of the f32 graph is not finite on calibration input {input}")]
    NotFinite {
        /// Name.
        value: String,
        /// Which.
        input: usize,
    },
    /// Anything that a run of the graph says.
    #[error("the graph does not run: {0}")]
    Run(String),
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Channel ranges; pictures done, pictures in all.
    Channels(usize, usize),
    /// Ranges.
    Ranges(usize, usize),
    /// Histograms.
    Histograms(usize, usize),
    /// Layers whose bias was corrected, layers in all.
    Biases(usize, usize),
    /// Comparison of int8 with f32.
    Report(usize, usize),
}

/// Quantises a copy of `graph` on `inputs`, each one f32 model input (H·W·C), in that order.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize(
    graph: &Graph,
    inputs: &[Vec<f32>],
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Quantized, QuantizeError> {
    let graph = &split::split(graph);
    let graph = &if options.equalize {
        equalized(graph, inputs, progress)?
    } else {
        graph.clone()
    };
    let runner = Runner::new(graph)?;
    let statistics = observe::observe(&runner, graph, inputs, options.observer, progress)?;
    let mut quantized = scheme::apply(graph, &statistics, options);
    if options.correct_biases {
        correct::correct_biases(
            graph,
            &mut quantized,
            &spread(inputs, BIAS_INPUTS),
            progress,
        )?;
    }
    Ok(Quantized {
        prepared: graph.clone(),
        quantized,
    })
}

/// The two ends of the work, value for value comparable.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The f32 graph after equalisation.
    pub prepared: Graph,
    /// The same with parameters, and with corrected biases.
    pub quantized: Graph,
}

/// At most `count` inputs, spread evenly.
fn spread(inputs: &[Vec<f32>], count: usize) -> Vec<&Vec<f32>> {
    let count = count.min(inputs.len());
    let place = |index: usize| &inputs[index * inputs.len() / count.max(1)];
    (0..count).map(place).collect()
}

/// Calibration inputs that bias correction runs, once for each layer.
const BIAS_INPUTS: usize = 128;

/// The graph with equal channel ranges.
fn equalized(
    graph: &Graph,
    inputs: &[Vec<f32>],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Graph, QuantizeError> {
    let channels = observe::channels(&Runner::new(graph)?, graph, inputs, progress)?;
    Ok(smooth::smooth(
        &equalize::equalize(graph, &channels),
        &channels,
    ))
}
