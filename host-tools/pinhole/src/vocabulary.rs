//! The tokenizer of a text encoder: found beside its checkpoint or named, and checked against its table of tokens.

use std::io::Read;
use std::path::{Path, PathBuf};

use pinhole_graph::{Graph, Op};
use pinhole_text::tokenizer::{MAX_TOKENIZER_BYTES, Tokenizer};

use crate::failure::{Context, Failure, Outcome};
use crate::files;

/// What the tokenizer of a CLIP is published as, in the order in which they are looked for.
const NAMES: [&str; 4] = [
    "tokenizer.json",
    "bpe_simple_vocab_16e6.txt.gz",
    "bpe_simple_vocab_16e6.txt",
    "vocab.txt",
];

/// The tokenizer file beside a checkpoint.
pub(crate) fn beside(checkpoint: &Path) -> Option<PathBuf> {
    inside(checkpoint.parent()?)
}

/// The tokenizer file in a folder.
fn inside(folder: &Path) -> Option<PathBuf> {
    NAMES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

/// The text of a tokenizer file, or of the one in a folder, unpacked, as a model carries it.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    let found = inside(path);
    if path.is_dir() && found.is_none() {
        return Err(Failure::new(format_args!(
            "{}: found a folder without a tokenizer, expected one of {}",
            path.display(),
            NAMES.join(", ")
        ))
        .help("pinhole data get clip-vocabulary fetches that of CLIP"));
    }
    let path = found.as_deref().unwrap_or(path);
    let mut bytes = files::read(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .take(MAX_TOKENIZER_BYTES as u64 + 1)
            .read_to_end(&mut unpacked)
            .context(path.display())?;
        bytes = unpacked;
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(format_args!(
            "{}: found bytes that are no text, expected tokenizer.json, vocab.txt or CLIP's merges",
            path.display()
        ))
        .help(
            "a SentencePiece .model is published as tokenizer.json too: --tokenizer tokenizer.json",
        )
    })
}

/// A tokenizer that no text can be split with, or whose ids the encoder has no rows for, is found at import, not on the
/// board's desk. `source` is where the graph came from.
pub(crate) fn check(graph: &Graph, source: &Path) -> Outcome {
    let Some(vocabulary) = &graph.meta.vocabulary else {
        return Ok(());
    };
    let tokenizer = Tokenizer::load_bytes(vocabulary.as_bytes()).map_err(|error| {
        Failure::new(format_args!(
            "{}: its vocabulary is not one that texts can be split with: {error}",
            source.display()
        ))
        .help("expected is the vocab.txt or tokenizer.json that was published with this checkpoint, beside it")
    })?;
    let tables = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Embedding => graph.values[node.inputs[1]].shape.first().copied(),
        _ => None,
    });
    match tables.min() {
        Some(rows) if tokenizer.vocab_len() > rows => Err(Failure::new(format_args!(
            "{}: found a tokenizer of {} ids, expected at most {rows}, the rows of the encoder's table of tokens",
            source.display(),
            tokenizer.vocab_len()
        ))
        .help("take the tokenizer that was published with this checkpoint: --tokenizer FILE")),
        _ => Ok(()),
    }
}
