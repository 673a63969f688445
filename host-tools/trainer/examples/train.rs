//! Runs a recipe of either version: `cargo run --release -p pinhole-trainer --example train -- RECIPE.toml INPUTS OUTPUT`.

use pinhole_trainer::fit::FIT_VERSION;
use pinhole_trainer::{TrainError, TrainOptions, fit, recipe_version, train};
use std::path::PathBuf;

fn main() -> Result<(), TrainError> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let recipe = arguments
        .next()
        .unwrap_or_else(|| "models/lite0/recipe.toml".into());
    let (inputs, output) = (arguments.next(), arguments.next());
    let options = TrainOptions {
        resume: true,
        inputs,
        output,
        ..TrainOptions::default()
    };
    match recipe_version(&recipe)? == FIT_VERSION {
        true => println!("{:#?}", fit(&recipe, options)?),
        false => println!("{:#?}", train(&recipe, options)?),
    }
    Ok(())
}
