//! Class embeddings of a text encoder as it is, by prompt ensembling, to be compared with open_clip's zero-shot classifier.
//!
//! `cargo run -p pinhole-tests --example zero_shot -- GRAPH.phg CLASSES TEMPLATES > embeddings.jsonl`, where the last two are
//! files with one name or template a line: one JSON list of numbers for each class, of length 1.
//! `tests/import/zero_shot_parity.py` compares them.

use std::error::Error;

use pinhole_graph::Graph;
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;
use pinhole_text::classes::ClassList;
use pinhole_text::ensemble::class_embeddings;
use pinhole_text::templates::Templates;
use pinhole_text::tokenizer::Tokenizer;

/// Prompts that are handed to the encoder at once.
const BATCH: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [graph, classes, templates] = &arguments[..] else {
        return Err("usage: zero_shot GRAPH.phg CLASSES TEMPLATES".into());
    };
    let packed = pack(&Graph::load(graph)?, &PackOptions::default())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes)?;
    let tokenizer =
        Tokenizer::load_bytes(model.vocabulary())?.with_max_tokens(model.max_tokens())?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, kernel::detect())?;
    let mut encode = |prompts: &[Vec<u32>]| -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
        let mut embedding = |ids: &Vec<u32>| -> Result<Vec<f32>, Box<dyn Error>> {
            interpreter.set_tokens(ids.len())?;
            for (input, &id) in interpreter.input_i32_mut(0)?.iter_mut().zip(ids) {
                *input = i32::try_from(id)?;
            }
            interpreter.run();
            Ok(interpreter.output_f32(0)?.to_vec())
        };
        prompts.iter().map(&mut embedding).collect()
    };
    let embeddings = class_embeddings(
        &ClassList::parse(classes, &std::fs::read_to_string(classes)?)?,
        &Templates::parse(templates, &std::fs::read_to_string(templates)?)?,
        &tokenizer,
        BATCH,
        &mut encode,
        &mut |_| (),
    )?;
    for embedding in embeddings {
        println!("{}", serde_json::to_string(&embedding)?);
    }
    Ok(())
}
