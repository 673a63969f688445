//! Runs a recipe: `cargo run --release -p pinhole-trainer --example train -- RECIPE.toml INPUTS OUTPUT`.

use pinhole_trainer::{TrainError, TrainOptions, train};
use std::path::PathBuf;

fn main() -> Result<(), TrainError> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let recipe = arguments
        .next()
        .unwrap_or_else(|| "models/lite0/recipe.toml".into());
    let (inputs, output) = (arguments.next(), arguments.next());
    let report = train(
        &recipe,
        TrainOptions {
            resume: true,
            inputs,
            output,
            ..TrainOptions::default()
        },
    )?;
    println!("{report:#?}");
    Ok(())
}
