//! Embeds texts with the graph of a text encoder, packed as it is and run by the runtime, to be compared with the
//! library that its checkpoint comes from.
//!
//! `cargo run -p pinhole-tests --example text_run -- GRAPH.phg < texts.jsonl > embeddings.jsonl`: standard input holds
//! one JSON string a line, since a text may itself hold line ends; standard output gets one JSON list of numbers for
//! each. `tests/import/model2vec_parity.py` compares them.

use std::error::Error;
use std::io::{BufRead, Write};

use pinhole_graph::Graph;
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_text::tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: text_run GRAPH.phg < texts.jsonl")?;
    let packed = pack(&Graph::load(&path)?, &PackOptions::default())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes)?;
    let tokenizer =
        Tokenizer::load_bytes(model.vocabulary())?.with_max_tokens(model.max_tokens())?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, kernel::detect())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let ids = tokenizer.encode(&text);
        interpreter.set_tokens(ids.len())?;
        for (input, id) in interpreter.input_i32_mut(0)?.iter_mut().zip(ids) {
            *input = i32::try_from(id)?;
        }
        interpreter.run();
        let embedding = interpreter.output_f32(0)?;
        writeln!(out, "{}", serde_json::to_string(embedding)?)?;
    }
    Ok(out.flush()?)
}
