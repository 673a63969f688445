//! Lines of files as a text encoder takes them.

use pinhole_graph::Graph;
use pinhole_quantize::Input;
use pinhole_text::tokenizer::Tokenizer;

use crate::Failure;

/// At most `count` lines of each source, spread evenly.
pub(crate) fn texts(
    graph: &Graph,
    sources: &[String],
    count: usize,
) -> Result<Vec<Input>, Failure> {
    let words = Words::of(graph)?;
    let mut inputs = Vec::new();
    for source in sources {
        let (path, first, step) = match source.split_once(':') {
            Some(("even", path)) => (path, 0, 2),
            Some(("odd", path)) => (path, 1, 2),
            _ => (source.as_str(), 0, 1),
        };
        let lines = std::fs::read_to_string(path)?;
        let lines = lines.lines().filter(|line| !line.trim().is_empty());
        let half: Vec<&str> = lines.skip(first).step_by(step).collect();
        let spread = half.iter().step_by((half.len() / count).max(1)).take(count);
        inputs.extend(spread.map(|line| Input::Ids(words.ids(line))));
    }
    Ok(inputs)
}

/// How a line becomes the tokens of a run.
struct Words {
    tokenizer: Option<Tokenizer>,
    /// Rows of the table of tokens.
    rows: u32,
    /// Tokens of every run, where it is one number.
    context: Option<usize>,
    /// Most of a text.
    most: usize,
    /// Behind a text, of a run of any number of tokens.
    padding: usize,
}

impl Words {
    fn of(graph: &Graph) -> Result<Self, Failure> {
        let input = &graph.values[graph.inputs[0]];
        let padding = usize::from(graph.meta.padding_tokens);
        let most = input.shape[0] - padding;
        let tokenizer = match &graph.meta.vocabulary {
            Some(text) => Some(Tokenizer::load_bytes(text.as_bytes())?.with_max_tokens(most)?),
            None => None,
        };
        let tables = graph
            .nodes
            .iter()
            .filter(|node| node.op.name() == "Embedding");
        let rows = tables
            .map(|node| graph.values[node.inputs[1]].shape[0])
            .max();
        Ok(Self {
            tokenizer,
            rows: rows.ok_or("no table of tokens")? as u32,
            context: (!input.dynamic).then_some(input.shape[0]),
            most,
            padding,
        })
    }

    fn ids(&self, line: &str) -> Vec<i32> {
        let (mut ids, pad) = match &self.tokenizer {
            Some(tokenizer) => (tokenizer.encode(line), tokenizer.pad_id()),
            None => (self.hashed(line), 0),
        };
        let tokens = self.context.unwrap_or(ids.len() + self.padding);
        ids.resize(tokens, pad);
        ids.into_iter().map(|id| id as i32).collect()
    }

    /// A number for each word by FNV-1a, and the last of the table behind them, which ends a text.
    fn hashed(&self, line: &str) -> Vec<u32> {
        let hash = |word: &str| {
            let bytes = word.bytes();
            bytes.fold(2_166_136_261u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
            })
        };
        let words = line.split_whitespace().take(self.most - 1);
        let words = words.map(|word| 1 + hash(word) % (self.rows - 2));
        words.chain([self.rows - 1]).collect()
    }
}
