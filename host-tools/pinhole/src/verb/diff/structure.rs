//! Two graphs as they are written.

use std::path::Path;

use pinhole_graph::{Difference, Graph, compare as differences};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::files::{self, FileKind};
use crate::output::{json as json_line, say};

/// What was found; the order of keys is part of the output.
#[derive(Serialize)]
struct Report<'a> {
    a: &'a Path,
    b: &'a Path,
    differences: Vec<Difference>,
}

/// Compares and prints.
pub(super) fn compare(a: &Path, b: &Path, json: bool) -> Outcome {
    let differences = differences(&open(a)?, &open(b)?);
    let count = differences.len();
    if json {
        json_line(&Report { a, b, differences })?;
    } else {
        differences
            .iter()
            .for_each(|difference| say!("{difference}"));
    }
    match count {
        0 if json => Ok(()),
        0 => {
            say!("{} and {}: the same graph", a.display(), b.display());
            Ok(())
        }
        count => Err(Failure::check(format_args!(
            "{} and {}: {count} differences",
            a.display(),
            b.display()
        ))
        .help("--data DIR compares what their layers compute on pictures")),
    }
}

fn open(path: &Path) -> Outcome<Graph> {
    let bytes = files::read(path)?;
    if FileKind::of(&bytes) == FileKind::Model {
        return Err(Failure::new(format_args!(
            "{}: found a packed model (.phm), expected a graph (.phg) where there is no --data",
            path.display()
        ))
        .help("--data DIR compares packed models layer by layer, on pictures of a folder"));
    }
    files::expect(path, &bytes, FileKind::Graph)?;
    Ok(Graph::parse(path, &bytes)?)
}
