//! Graph files: opened with a hint where something else was given, written whole or not at all.

use std::path::Path;

use pinhole_graph::{FileError, Graph};

use crate::failure::{Failure, Outcome};
use crate::files::{self, FileKind};

/// Reads a graph.
pub(crate) fn open(path: &Path) -> Outcome<Graph> {
    let bytes = files::read(path)?;
    files::expect(path, &bytes, FileKind::Graph)?;
    Ok(Graph::parse(path, &bytes)?)
}

/// Writes a graph.
pub(crate) fn save(graph: &Graph, path: &Path) -> Outcome {
    files::produce(path, |unfinished| {
        graph.save(unfinished).map_err(|error| match error {
            FileError::Io { source, .. } => files::cannot_write(path, &source),
            other => Failure::new(other),
        })
    })
}
