//! Prints where the bytes of the firmware's code come from, by crate and module:
//! `cargo run --release -p pinhole-tests --example code_size -- [PROGRAM] [DEPTH] [--json]`.
//!
//! Without a program, the firmware of `qemu-an547` is built and taken. The depth is 3 when left out; 1 sums crates.

use std::path::PathBuf;

use pinhole_device::{board, build_firmware};
use pinhole_tests::code_size::{by_module, sections};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, plain): (Vec<&String>, Vec<&String>) = arguments
        .iter()
        .partition(|argument| argument.starts_with("--"));
    let program = match plain.first() {
        Some(path) => PathBuf::from(path),
        None => build_firmware(board("qemu-an547")?)?,
    };
    let depth = plain.get(1).map_or(Ok(3), |depth| depth.parse())?;
    let modules = by_module(&program, depth)?;
    let sections = sections(&program)?;
    if options.iter().any(|option| *option == "--json") {
        let modules: serde_json::Map<String, serde_json::Value> = modules
            .into_iter()
            .map(|(name, bytes)| {
                let row = serde_json::json!({ "code": bytes.code, "constants": bytes.constants });
                (name, row)
            })
            .collect();
        let sections: serde_json::Map<String, serde_json::Value> = sections
            .into_iter()
            .map(|(name, bytes)| (name, bytes.into()))
            .collect();
        println!(
            "{}",
            serde_json::json!({ "sections": sections, "modules": modules })
        );
        return Ok(());
    }
    println!(
        "{:<60}{:>9}{:>11}",
        program.display(),
        "code B",
        "constants B"
    );
    let mut rows: Vec<_> = modules.into_iter().collect();
    rows.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.total()));
    for (name, bytes) in &rows {
        println!("{name:<60}{:>9}{:>11}", bytes.code, bytes.constants);
    }
    for (name, bytes) in sections {
        println!("section {name:<52}{bytes:>9}");
    }
    Ok(())
}
