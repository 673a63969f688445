//! Post-training quantisation of a [`pinhole_graph::Graph`] to int8: observe activations on calibration pictures or texts, choose
//! scales, and measure what each layer lost.
//!
//! [`observe`] runs the f32 graph through the runtime, the one executor, and keeps ranges and histograms; [`scheme`]
//! turns them into [`pinhole_graph::QuantParams`] (symmetric per-channel weights, per-tensor activations with a zero
//! point, the TFLite quantisation specification); [`report`] runs both graphs side by side. Not here: packing
//! (`pinhole-pack` rounds the weights) and training. Nothing that is
//! calibrated sees labels; [`ClassMeans`] measures with them.

mod accuracy;
mod balance;
mod chart;
mod correct;
mod descent;
pub mod diff;
mod equalize;
mod fine;
mod gptq;
mod input;
mod least_squares;
mod mixed;
pub mod observe;
pub mod report;
mod rounding;
mod run;
pub mod scheme;
mod smooth;
pub mod sources;
mod split;
mod stem;
mod widths;

pub use accuracy::{ClassMeans, Labelled};
pub use chart::svg;
pub use input::{CHECK_EVERY, Input, apart, inputs_of};
pub use mixed::{Accuracy, Choice, Goal, Memory, Mixed, Sensitivity, quantize_mixed};
pub use observe::Observer;
pub use report::{LayerReport, Report};
pub use rounding::Rounding;
pub use run::Runner;
pub use scheme::Options;

use std::collections::BTreeSet;

use observe::Statistics;
use pinhole_graph::{Graph, ValueId};

/// Why quantisation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// No inputs.
    #[error(
        "there are no calibration inputs; give pictures or texts like those that the model will see"
    )]
    NoInputs,
    /// An input of the wrong size.
    #[error("calibration input {index} has {found} {what}, the model takes {expected}")]
    InputLength {
        /// Which.
        index: usize,
        /// Its elements.
        found: usize,
        /// What they are.
        what: &'static str,
        /// How many elements, and of what, the model takes.
        expected: String,
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
    /// Observers that were tried.
    Observers(usize, usize),
    /// Places that were tried with 16 bits.
    Widths(usize, usize),
    /// Layers that were tried alone, for the choice of those that stay in floats.
    Sensitivity(usize, usize),
    /// Layers whose weights were rounded, layers in all.
    Weights(usize, usize),
    /// Layers whose bias was corrected, layers in all.
    Biases(usize, usize),
    /// Comparison of int8 with f32.
    Report(usize, usize),
}

/// Quantises a copy of `graph` on `inputs`, in that order.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize(
    graph: &Graph,
    inputs: &[Input],
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Quantized, QuantizeError> {
    let calibration = Calibration::new(graph, inputs, options, progress)?;
    calibration.quantize(&options.float_nodes, inputs, options, progress)
}

/// What calibration found; the same ranges serve every choice of layers that stay in floats.
#[derive(Clone, Debug)]
pub(crate) struct Calibration {
    /// The f32 graph after equalisation.
    prepared: Graph,
    statistics: Vec<Option<Statistics>>,
    observer: Observer,
    /// Values that get 16 bits where operators allow, beside those that every graph of their kind gives them.
    wide: BTreeSet<ValueId>,
}

impl Calibration {
    fn new(
        graph: &Graph,
        inputs: &[Input],
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self, QuantizeError> {
        let mut prepared = split::split(graph);
        let wide = match options.wide {
            true => fine::take_products_apart(&mut prepared, inputs, options, progress)?,
            false => BTreeSet::new(),
        };
        if options.equalize {
            prepared = equalized(&prepared, &wide, inputs, progress)?;
        }
        let runner = Runner::new(&prepared)?;
        let histograms = options.observer != Some(Observer::MinMax);
        let statistics = observe::observe(&runner, &prepared, inputs, histograms, progress)?;
        let mut calibration = Self {
            prepared,
            statistics,
            observer: options.observer.unwrap_or(Observer::MinMax),
            wide,
        };
        if options.observer.is_none() {
            calibration.choose_observer(inputs, options, progress)?;
        }
        let found = options.wide && calibration.widen(inputs, options, progress)?;
        if options.observer.is_none() && found {
            calibration.choose_observer(inputs, options, progress)?;
        }
        Ok(calibration)
    }

    /// Takes the observer with which the model's outputs agree best with f32, as it is or with corrected biases where they are
    /// going to be corrected: one that clips much may look best until the others have their means back.
    fn choose_observer(
        &mut self,
        inputs: &[Input],
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), QuantizeError> {
        let few = spread(inputs, OBSERVER_INPUTS);
        let expected = report::outputs(&self.prepared, &few)?;
        let cosine = |graph: &Graph| -> Result<f64, QuantizeError> {
            let found = report::outputs(graph, &few)?;
            Ok(report::mean_cosine(&expected, &found))
        };
        let (mut best, mut chosen) = (f64::NEG_INFINITY, self.observer);
        for (done, observer) in Observer::ALL.into_iter().enumerate() {
            let mut quantized = self.apply_with(observer, &options.float_nodes);
            let mut found = cosine(&quantized)?;
            if options.correct_biases {
                correct::correct_biases(&self.prepared, &mut quantized, &few, &|_| ())?;
                found = found.max(cosine(&quantized)?);
            }
            if found > best {
                (best, chosen) = (found, observer);
            }
            progress(Progress::Observers(done + 1, Observer::ALL.len()));
        }
        self.observer = chosen;
        Ok(())
    }

    /// The graph with parameters, biases as they are.
    fn apply(&self, float_nodes: &BTreeSet<String>) -> Graph {
        self.apply_with(self.observer, float_nodes)
    }

    fn apply_with(&self, observer: Observer, float_nodes: &BTreeSet<String>) -> Graph {
        let (graph, statistics) = (&self.prepared, &self.statistics);
        scheme::apply(graph, statistics, observer, float_nodes, &self.wide)
    }

    fn quantize(
        &self,
        float_nodes: &BTreeSet<String>,
        inputs: &[Input],
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Quantized, QuantizeError> {
        let (quantized, weights) = rounding::finish(self, float_nodes, inputs, options, progress)?;
        Ok(Quantized {
            prepared: self.prepared.clone(),
            quantized,
            observer: self.observer,
            weights,
        })
    }
}

/// The two ends of the work, value for value comparable.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The f32 graph after equalisation.
    pub prepared: Graph,
    /// The same with parameters, and with rounded weights and corrected biases.
    pub quantized: Graph,
    /// How ranges were chosen.
    pub observer: Observer,
    /// How weights were rounded.
    pub weights: Rounding,
}

/// At most `count` inputs, spread evenly.
fn spread<T>(inputs: &[T], count: usize) -> Vec<&T> {
    let count = count.min(inputs.len());
    let place = |index: usize| &inputs[index * inputs.len() / count.max(1)];
    (0..count).map(place).collect()
}

/// Calibration inputs that observers are compared on.
const OBSERVER_INPUTS: usize = 32;

/// The graph with equal channel ranges but of `wide` values, which have bits enough.
fn equalized(
    graph: &Graph,
    wide: &BTreeSet<ValueId>,
    inputs: &[Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Graph, QuantizeError> {
    let channels = observe::channels(&Runner::new(graph)?, graph, inputs, progress)?;
    Ok(smooth::smooth(
        &equalize::equalize(graph, &channels, wide),
        &channels,
    ))
}
