//! Prints the token ids of texts, to be compared with another tokenizer's.
//!
//! `cargo run -p pinhole-text --example token_ids -- TOKENIZER < texts.jsonl > ids.jsonl`: standard input holds one
//! JSON string a line, since a text may itself hold line ends; standard output gets one JSON list of ids for each.

use pinhole_text::tokenizer::Tokenizer;
use std::error::Error;
use std::io::{BufRead, Write};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: token_ids TOKENIZER < texts.jsonl")?;
    let tokenizer = Tokenizer::load(path.as_ref())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        writeln!(out, "{}", serde_json::to_string(&tokenizer.encode(&text))?)?;
    }
    Ok(out.flush()?)
}
