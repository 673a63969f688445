//! Fetches data sets by name, or lists them: `cargo run --release -p pinhole-data --example get -- [NAME…]`.

use std::process::ExitCode;
use std::time::Instant;

use pinhole_data::{GetOptions, cards, get};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        for card in cards() {
            println!(
                "{:20} {}\n{:20} {} ({})",
                card.name, card.what, "", card.licence, card.source
            );
        }
    }
    for name in names {
        let start = Instant::now();
        match get(&name, &GetOptions::default()) {
            Ok(f) => println!(
                "{} files={} bytes={} cached={} seconds={:.1}",
                f.path.display(),
                f.files,
                f.bytes,
                f.cached,
                start.elapsed().as_secs_f32()
            ),
            Err(error) => {
                eprintln!("error: {error}");
                if let Some(help) = error.help() {
                    eprintln!("help: {help}");
                }
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}
