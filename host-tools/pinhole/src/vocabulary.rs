//! The tokenizer of a text encoder: found beside its checkpoint or named, and checked against its table of tokens.
//!
//! That of a table of static embeddings has rules of its own, which the text of `tokenizer.json` is marked with.

use std::io::Read;
use std::path::{Path, PathBuf};

use pinhole_graph::import::static_embeddings;
use pinhole_graph::{Graph, Op};
use pinhole_text::tokenizer::{MAX_TOKENIZER_BYTES, Tokenizer, marked_for_static_embeddings};

use crate::failure::{Context, Failure, Outcome};
use crate::files;
use crate::output::note;

/// What tokenizers are published as, in the order in which they are looked for.
const NAMES: [&str; 4] = [
    "vocab.txt",
    "tokenizer.json",
    "bpe_simple_vocab_16e6.txt.gz",
    "bpe_simple_vocab_16e6.txt",
];

/// Gives a text encoder the tokenizer of a file or folder, else keeps its own, else takes the one beside where it came from. One
/// that no text can be split with, or whose ids the encoder has no rows for, is found here, not on the board's desk.
pub(crate) fn attach(graph: &mut Graph, source: &Path, named: Option<&Path>) -> Outcome {
    let names = names_for(graph);
    let beside = || source.parent().and_then(|folder| inside(folder, names));
    let path = match (named, &graph.meta.vocabulary) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Some(_)) => None,
        (None, None) => beside(),
    };
    if let Some(path) = &path {
        let text = read(path, names)?;
        graph.meta.vocabulary = Some(match static_embeddings::is(graph) {
            true => marked(path, &text)?,
            false => text,
        });
    }
    match &graph.meta.vocabulary {
        Some(text) => {
            let tokenizer = check(graph, text, path.as_deref().unwrap_or(source))?;
            if let (true, Some(unknown)) = (static_embeddings::is(graph), tokenizer.unk_id()) {
                static_embeddings::forget(graph, unknown as usize);
            }
            Ok(())
        }
        None => {
            note!(
                "found no tokenizer beside {}; the encoder takes token ids alone: --tokenizer FILE adds one",
                source.display()
            );
            Ok(())
        }
    }
}

/// What the tokenizer of an encoder may be called.
fn names_for(graph: &Graph) -> &'static [&'static str] {
    match static_embeddings::is(graph) {
        true => &["tokenizer.json"],
        false => &NAMES,
    }
}

/// The text of a `tokenizer.json` with the rules of static embeddings.
fn marked(path: &Path, text: &str) -> Outcome<String> {
    marked_for_static_embeddings(text).ok_or_else(|| {
        Failure::new(format_args!(
            "{}: found no JSON, expected the tokenizer.json of a table of static embeddings",
            path.display()
        ))
        .help("take the tokenizer.json that was published with the table: --tokenizer FILE")
    })
}

/// The tokenizer file in a folder.
fn inside(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

/// The text of a tokenizer file, or of the one in a folder, unpacked, as a model carries it.
fn read(path: &Path, names: &[&str]) -> Outcome<String> {
    let found = inside(path, names);
    if path.is_dir() && found.is_none() {
        return Err(Failure::new(format_args!(
            "{}: found a folder without a tokenizer, expected one of {}",
            path.display(),
            names.join(", ")
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

/// `text` is that of the tokenizer in `path`.
fn check(graph: &Graph, text: &str, path: &Path) -> Outcome<Tokenizer> {
    const HELP: &str = "take the tokenizer that was published with this encoder: --tokenizer FILE";
    let tokenizer = Tokenizer::load_bytes(text.as_bytes()).map_err(|error| {
        Failure::new(format_args!(
            "{}: its vocabulary is not one that texts can be split with: {error}",
            path.display()
        ))
        .help(HELP)
    })?;
    let tables = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Embedding => graph.values[node.inputs[1]].shape.first().copied(),
        _ => None,
    });
    let (found, rows) = (tokenizer.vocab_len(), tables.min().unwrap_or(usize::MAX));
    let expected = match static_embeddings::is(graph) {
        // Each row belongs to a token.
        true if found != rows => format!("{rows}"),
        _ if found > rows => format!("at most {rows}"),
        _ => return Ok(tokenizer),
    };
    Err(Failure::new(format_args!(
        "{}: found a tokenizer of {found} ids, expected {expected}, the rows of the encoder's table of tokens",
        path.display()
    ))
    .help(HELP))
}
