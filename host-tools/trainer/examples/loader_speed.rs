//! Pictures a second of the loader: `cargo run --release -p pinhole-trainer --example loader_speed -- KIND PATH SIDE
//! [THREADS…]`.
//!
//! KIND is `cifar10`, `folder`, `stamps`, `table` or `webdataset`. One epoch without augmentations and one with the
//! list of the example `augmentations`, with each number of threads; what the source left out is told first.

use std::error::Error;
use std::time::Instant;

use pinhole_runtime::preprocess::InputGeometry;
use pinhole_trainer::data::{Augmentations, Loader, LoaderOptions, Position, SourceSpec};

const USUAL: &str = include_str!("augmentations.toml");
/// Pictures of one measurement, at least.
const PICTURES: usize = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, path, side, threads @ ..] = arguments.as_slice() else {
        return Err("usage: loader_speed KIND PATH SIDE [THREADS...]".into());
    };
    let side: u16 = side.parse()?;
    let spec: SourceSpec = toml::from_str(&format!("kind = {kind:?}\npath = {path:?}"))?;
    let usual = Augmentations::parse(USUAL, "augmentations.toml".as_ref())?;
    let threads = match threads {
        [] => vec![1, 2],
        given => given.iter().map(|n| n.parse()).collect::<Result<_, _>>()?,
    };
    for threads in threads {
        for (name, augmentations) in [
            ("plain", Augmentations::default()),
            ("augmented", usual.clone()),
        ] {
            let source = spec.open("".as_ref())?;
            let samples = source.samples().len();
            println!("{samples} samples; {}", source.left_out());
            let options = LoaderOptions {
                geometry: InputGeometry {
                    width: side,
                    height: side,
                    resize_shorter: side,
                    ..LoaderOptions::default().geometry
                },
                batch: samples.min(50),
                augmentations,
                threads,
                epochs: Some(PICTURES.div_ceil(samples)),
                ..LoaderOptions::default()
            };
            let start = Instant::now();
            let mut pictures = 0;
            let mut loader = Loader::new(source, options, Position::default())?;
            for batch in loader.by_ref() {
                pictures += batch?.len();
            }
            let seconds = start.elapsed().as_secs_f64();
            let broken = loader.broken().len();
            println!(
                "{threads} threads, {name}: {pictures} pictures, {:.0} a second, {broken} broken",
                pictures as f64 / seconds
            );
        }
    }
    Ok(())
}
