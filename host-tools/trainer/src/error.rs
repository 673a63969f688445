//! What can go wrong in training, said so that the next step is clear.
//!
//! One enum for the crate: reading the recipe, reading features, loading training data, the
//! checkpoint and the outputs. Every variant names the
//! file; where a number is wrong it says which was found and which was expected.

use std::path::{Path, PathBuf};

/// Why training could not start, continue or finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file could not be read, written or renamed.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: `read`, `write`, `rename`, `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The recipe is not what the format asks for.
    #[error("{path}{place}: {message}", path = path.display(), place = place(*line))]
    Recipe {
        /// The recipe.
        path: PathBuf,
        /// The first line of the fault, counted from 1; 0 when the fault is in no one place.
        line: usize,
        /// The fault, with the nearest known key where a key was misspelled.
        message: String,
    },
    /// A feature file lacks a tensor, or one has another shape or type than asked for.
    #[error("{path}: {faults}", path = path.display(), faults = faults.join("; "))]
    Features {
        /// The feature file.
        path: PathBuf,
        /// All faults found, not only the first.
        faults: Vec<String>,
    },
    /// The checkpoint cannot be continued.
    #[error("checkpoint {path}: {message}", path = path.display())]
    Checkpoint {
        /// The checkpoint file.
        path: PathBuf,
        /// Why, with found and expected.
        message: String,
    },
    /// The loss stopped being a number.
    #[error(
        "the loss is {loss} at step {step}: lower `optimiser.learning_rate` (now {learning_rate})"
    )]
    Diverged {
        /// The step.
        step: usize,
        /// The loss.
        loss: f32,
        /// The learning rate of the recipe.
        learning_rate: f32,
    },
    /// The loss grew beyond what training comes back from.
    #[error(
        "the loss is {loss} at step {step}, it began to grow at step {began}; {}lower `optimiser.learning_rate` \
         (now {learning_rate})",
        good(checkpoint.as_deref())
    )]
    Exploded {
        /// The step that was stopped at.
        step: usize,
        /// The step at which it began.
        began: usize,
        /// The loss.
        loss: f32,
        /// The learning rate of the recipe.
        learning_rate: f32,
        /// The last good state, where there is one.
        checkpoint: Option<PathBuf>,
    },
    /// A model that a recipe names is not what it has to be.
    #[error("{path}: {message}", path = path.display())]
    Model {
        /// The graph or the packed model.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// The device that a run is asked to compute on cannot be had.
    #[error("device {device}: {message}")]
    Device {
        /// The device.
        device: crate::DeviceName,
        /// What was found.
        message: String,
        /// What to do.
        advice: String,
    },
    /// What a recipe names does not fit together.
    #[error("{0}")]
    Setup(String),
    /// The processes that train together differ, or one of them stopped.
    #[error(transparent)]
    Ranks(#[from] pinhole_ranks::RanksError),
    /// The loss curve could not be drawn.
    #[error("draw {path}: {message}", path = path.display())]
    Curve {
        /// The picture.
        path: PathBuf,
        /// What the plotter said.
        message: String,
    },
    /// A node of a graph whose derivative is not known here.
    #[error("node {node}: {op} cannot be trained through")]
    Operator {
        /// Name of the node.
        node: String,
        /// What it computes.
        op: &'static str,
    },
    /// The inputs of a loss.
    #[error(transparent)]
    Loss(#[from] crate::loss::LossError),
    /// Training data cannot be opened or loaded.
    #[error(transparent)]
    Data(#[from] crate::data::LoadError),
    /// The graph does not run.
    #[error(transparent)]
    Graph(#[from] pinhole_quantize::QuantizeError),
    /// A repair was stopped: the state was saved first where it has a place.
    #[error("stopped at step {step}{}", kept(checkpoint.as_deref()))]
    Stopped {
        /// Steps done.
        step: usize,
        /// Where the state was saved.
        checkpoint: Option<PathBuf>,
    },
    /// Ctrl-C: the state was saved first.
    #[error("interrupted at step {step}; the state is in {checkpoint}, continue with `--resume`", checkpoint = checkpoint.display())]
    Interrupted {
        /// Steps done.
        step: usize,
        /// Where the state was saved.
        checkpoint: PathBuf,
    },
}

/// `, line 7`, and nothing where no line is at fault.
fn place(line: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(", line {line}"),
    }
}

/// `the last good state is in X; `, and nothing where there is none.
fn good(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(path) => format!("the last good state is in {}; ", path.display()),
        None => String::new(),
    }
}

/// `; the same command goes on from X`, and nothing where nothing was kept.
fn kept(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(path) => format!("; the same command goes on from {}", path.display()),
        None => String::new(),
    }
}

impl TrainError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
