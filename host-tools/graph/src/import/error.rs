//! What can go wrong between a foreign file and a graph.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::pass::GraphFaults;

/// An import failed. The message names the file, and what was found and expected.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file system said no.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not what their format says.
    #[error("{path}: {what}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// The fault, with offset or key, found and expected.
        what: String,
    },
    /// A pickle names something else than a tensor. Nothing was executed.
    #[error(
        "{path}: byte {offset} of the pickle asks for `{global}`, which is not a tensor; nothing of it was executed. \
         Save the plain weights in Python: torch.save(model.state_dict(), FILE)"
    )]
    RefusedGlobal {
        /// Which file.
        path: PathBuf,
        /// `module.name`.
        global: String,
        /// In the pickle.
        offset: usize,
    },
    /// Keys of a checkpoint do not fit the architecture.
    #[error(transparent)]
    Keys(#[from] KeyFaults),
    /// Operators that the graph cannot express.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedNodes),
    /// The graph that came out does not hold together.
    #[error("{path}: {faults}")]
    Graph {
        /// Which file.
        path: PathBuf,
        /// All of them.
        faults: GraphFaults,
    },
}

impl ImportError {
    /// A [`ImportError::Malformed`].
    pub fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// Every key of a checkpoint that is missing, left over or of the wrong shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFaults {
    /// Which file.
    pub path: PathBuf,
    /// For which architecture.
    pub architecture: String,
    /// Wanted, not there.
    pub missing: Vec<String>,
    /// There, not wanted.
    pub unexpected: Vec<String>,
    /// Key, what was found, what was expected.
    pub misshapen: Vec<(String, String, String)>,
}

impl fmt::Display for KeyFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} does not fit {}: {} missing, {} unexpected, {} of another shape",
            self.path.display(),
            self.architecture,
            self.missing.len(),
            self.unexpected.len(),
            self.misshapen.len()
        )?;
        for key in &self.missing {
            write!(f, "\n  missing {key}")?;
        }
        for key in &self.unexpected {
            write!(f, "\n  unexpected {key}")?;
        }
        for (key, found, expected) in &self.misshapen {
            write!(f, "\n  {key} is {found}, expected {expected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for KeyFaults {}

/// One node that cannot be expressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// Its name in the file.
    pub node: String,
    /// Its operator in the file.
    pub op: String,
    /// Why it cannot be expressed.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

/// All nodes of a file that cannot be expressed, never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsupportedNodes(pub Vec<UnsupportedNode>);

impl UnsupportedNodes {
    /// Adds one.
    pub fn push(
        &mut self,
        node: impl Into<String>,
        op: impl Into<String>,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.0.push(UnsupportedNode {
            node: node.into(),
            op: op.into(),
            reason: reason.into(),
            advice: advice.into(),
        });
    }

    /// Itself as an error when there is one.
    ///
    /// # Errors
    /// When a node was pushed.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for UnsupportedNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operators are not supported", self.0.len())?;
        for node in &self.0 {
            write!(
                f,
                "\n  {} ({}): {}; {}",
                node.node, node.op, node.reason, node.advice
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for UnsupportedNodes {}
