//! A text tower from nothing: the vocabulary that training captions need, and a small causal transformer as CLIP's
//! (Radford et al., 2021, arXiv 2103.00020, section 2.4), whose last token, the one that ends a text, stands for it.

use std::collections::BTreeSet;
use std::path::Path;

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{Graph, ModelKind, Op, Tensor, ValueId};
use pinhole_text::tokenizer::Tokenizer;

use super::head;
use super::recipe::NewText;
use crate::TrainError;
use crate::rng::Rng;

/// Tokens that every vocabulary has, in the order of their ids: padding, unknown, begin and end.
pub(super) const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// The tokens of a WordPiece vocabulary (`vocab.txt`) that `captions` use, one a line, the special ones first.
///
/// # Errors
/// A file that cannot be read, or is no such vocabulary.
pub(super) fn seen_tokens<'a>(
    path: &Path,
    captions: impl Iterator<Item = &'a str>,
) -> Result<String, TrainError> {
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    let fault = |message: String| TrainError::Model {
        path: path.to_path_buf(),
        message,
    };
    let tokenizer =
        Tokenizer::load_bytes(text.as_bytes()).map_err(|error| fault(error.to_string()))?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if SPECIAL.iter().any(|token| !lines.contains(token)) {
        let expected =
            "expected a WordPiece vocabulary, one token a line, with [PAD], [UNK], [CLS] and [SEP]";
        return Err(fault(format!(
            "found no {}, {expected}",
            SPECIAL.join(", ")
        )));
    }
    let used: BTreeSet<u32> = captions
        .flat_map(|caption| tokenizer.encode(caption))
        .collect();
    let used = used
        .iter()
        .filter_map(|&id| lines.get(id as usize).copied());
    Ok(listed(used.filter(|token| !SPECIAL.contains(token))))
}

/// The words and marks of `captions` as a WordPiece vocabulary, one a line, the special tokens first.
pub(super) fn words<'a>(captions: impl Iterator<Item = &'a str>) -> String {
    let mut words = BTreeSet::new();
    for caption in captions {
        let caption = caption.to_lowercase();
        let mut rest = caption.as_str();
        while let Some(first) = rest.chars().next() {
            let end = rest.find(|c: char| !c.is_alphanumeric());
            let len = end.filter(|&end| end > 0).unwrap_or(match end {
                Some(_) => first.len_utf8(),
                None => rest.len(),
            });
            let (word, behind) = rest.split_at(len);
            if !word.trim().is_empty() {
                words.insert(word.to_owned());
            }
            rest = behind;
        }
    }
    listed(words.iter().map(String::as_str))
}

fn listed<'a>(tokens: impl Iterator<Item = &'a str>) -> String {
    let all = SPECIAL.into_iter().chain(tokens);
    all.map(|token| format!("{token}\n")).collect()
}

/// The tower with random weights and the standard deviations of CLIP; its embeddings have `embedding` numbers.
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn tower(
    new: &NewText,
    vocabulary: String,
    embedding: usize,
    seed: u64,
) -> Result<Graph, TrainError> {
    let mut builder = Builder {
        graph: Graph::empty("text"),
        rng: Rng::new(seed ^ 0x7e_0000),
        width: new.width,
        tokens: new.max_tokens,
    };
    builder.graph.meta.kind = ModelKind::TextEncoder;
    builder.graph.meta.max_tokens = Some(new.max_tokens);
    let rows = vocabulary.lines().count();
    builder.graph.meta.vocabulary = Some(vocabulary);
    builder.build(new, rows);
    let affine = head::random(new.width, embedding, seed ^ 0x7f_0000);
    head::with_head(&builder.graph, embedding, affine)
}

struct Builder {
    graph: Graph,
    rng: Rng,
    width: usize,
    tokens: usize,
}

impl Builder {
    fn build(&mut self, new: &NewText, rows: usize) {
        let (tokens, width) = (self.tokens, self.width);
        let ids = self.graph.add_value("ids", &[tokens]);
        self.graph.values[ids].is_ids = true;
        self.graph.values[ids].dynamic = true;
        self.graph.inputs.push(ids);
        let table = self.random("token_embedding.weight", &[rows, width], 0.02);
        let places = self.random("positional_embedding", &[tokens, width], 0.01);
        let x = self.node("tokens", Op::Embedding, &[ids, table], width);
        let mut x = self.add("embedded", x, places);
        for layer in 0..new.layers {
            x = self.block(&format!("transformer.resblocks.{layer}"), x, new);
        }
        let last = Op::Slice {
            starts: vec![tokens - 1, 0],
            steps: vec![1, 1],
        };
        let row = self.graph.add_node("last_token", last, &[x], &[1, width]);
        let row = self.norm("ln_final", row, 1);
        self.graph.outputs.push(row);
    }

    fn block(&mut self, name: &str, x: ValueId, new: &NewText) -> ValueId {
        let width = self.width;
        let name = |part: &str| format!("{name}.{part}");
        let spread = (width as f32).sqrt().recip();
        let back = spread * ((2 * new.layers) as f32).sqrt().recip();
        let n = self.norm(&name("ln_1"), x, self.tokens);
        let [q, k, v] = ["q", "k", "v"]
            .map(|part| self.linear(&name(&format!("attn.{part}")), n, [width, width], spread));
        let attention = Op::Attention {
            num_heads: new.heads,
            scale: ((width / new.heads) as f32).sqrt().recip(),
            windows: 1,
            causal: true,
        };
        let a = self.node(&name("attn"), attention, &[q, k, v], width);
        let a = self.linear(&name("attn.out_proj"), a, [width, width], back);
        let x = self.add(&name("attn.add"), x, a);
        let h = self.norm(&name("ln_2"), x, self.tokens);
        let of_wide = ((2 * width) as f32).sqrt().recip();
        let h = self.linear(&name("mlp.c_fc"), h, [4 * width, width], of_wide);
        let gelu = Op::Unary {
            function: Unary::Gelu,
        };
        let h = self.node(&name("mlp.gelu"), gelu, &[h], 4 * width);
        let h = self.linear(&name("mlp.c_proj"), h, [width, 4 * width], back);
        self.add(&name("mlp.add"), x, h)
    }

    /// A node over tokens, (tokens, width).
    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId], width: usize) -> ValueId {
        let output = self.graph.add_node(name, op, inputs, &[self.tokens, width]);
        self.graph.values[output].dynamic = true;
        output
    }

    fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        let op = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        self.node(name, op, &[a, b], self.width)
    }

    fn norm(&mut self, name: &str, x: ValueId, rows: usize) -> ValueId {
        let width = self.width;
        let [gamma, beta] = [("weight", 1.0), ("bias", 0.0)].map(|(part, value)| {
            let row = Tensor::f32(&[width], vec![value; width]);
            self.graph.add_constant(format!("{name}.{part}"), row)
        });
        let op = Op::LayerNorm { epsilon: 1e-5 };
        let output = self
            .graph
            .add_node(name, op, &[x, gamma, beta], &[rows, width]);
        self.graph.values[output].dynamic = rows > 1;
        output
    }

    fn linear(&mut self, name: &str, x: ValueId, shape: [usize; 2], deviation: f32) -> ValueId {
        let weight = self.random(&format!("{name}.weight"), &shape, deviation);
        let bias = Tensor::f32(&shape[..1], vec![0.0; shape[0]]);
        let bias = self.graph.add_constant(format!("{name}.bias"), bias);
        let op = Op::Linear {
            activation: Activation::None,
        };
        self.node(name, op, &[x, weight, bias], shape[0])
    }

    fn random(&mut self, name: &str, shape: &[usize], deviation: f32) -> ValueId {
        let data = self.rng.spread(shape.iter().product(), deviation);
        self.graph.add_constant(name, Tensor::f32(shape, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_has_the_special_tokens_and_the_words_and_marks_of_captions() {
        let found = words(["A red, RED apple.", "It's a pear"].into_iter());
        let expected = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n'\n,\n.\na\napple\nit\npear\nred\ns\n";
        assert_eq!(found, expected);
        let tokenizer = Tokenizer::load_bytes(found.as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("It's RED."), [2, 9, 4, 12, 11, 6, 3]);
    }

    #[test]
    fn of_a_vocabulary_the_tokens_that_captions_use_stay_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocab.txt");
        let all = "[PAD]\nunused\n[UNK]\n[CLS]\n[SEP]\n##s\nbird\ncat\na\n";
        std::fs::write(&path, all).unwrap();
        let found = seen_tokens(&path, ["a cats", "a"].into_iter()).unwrap();
        assert_eq!(found, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n##s\ncat\na\n");
        std::fs::write(&path, "a\nb\n").unwrap();
        let message = seen_tokens(&path, [].into_iter()).unwrap_err().to_string();
        assert!(message.contains("[PAD]"), "{message}");
    }
}
