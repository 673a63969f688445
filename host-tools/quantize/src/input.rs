//! What a model runs on.

use pinhole_graph::{Graph, ModelKind};

/// One input of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A picture as the model takes it: (H·W·C).
    Reals(Vec<f32>),
    /// Token ids of a run, those that end a text and its padding among them.
    Ids(Vec<i32>),
}

impl Input {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Reals(reals) => reals.len(),
            Self::Ids(ids) => ids.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds, in words.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Reals(_) => "numbers",
            Self::Ids(_) => "token ids",
        }
    }
}

impl From<Vec<f32>> for Input {
    fn from(reals: Vec<f32>) -> Self {
        Self::Reals(reals)
    }
}

impl From<Vec<i32>> for Input {
    fn from(ids: Vec<i32>) -> Self {
        Self::Ids(ids)
    }
}

/// One of so many inputs is set apart for choices, and takes no part in what is chosen.
pub const CHECK_EVERY: usize = 4;

/// What is fitted to, and every [`CHECK_EVERY`]th for choices; each in its order.
pub fn apart<T: Clone>(inputs: &[T]) -> (Vec<T>, Vec<T>) {
    let mut parts = (Vec::new(), Vec::new());
    for (index, input) in inputs.iter().enumerate() {
        let checks = index % CHECK_EVERY == CHECK_EVERY - 1;
        let part = if checks { &mut parts.1 } else { &mut parts.0 };
        part.push(input.clone());
    }
    parts
}

/// What the inputs of a graph are, in the plural.
pub fn inputs_of(graph: &Graph) -> &'static str {
    match graph.meta.kind {
        ModelKind::TextEncoder => "texts",
        _ => "pictures",
    }
}
