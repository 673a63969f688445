//! A picture of all augmentations: `cargo run -p pinhole-trainer --example augmentations -- PICTURE OUT.png
//! [LIST.toml]`.
//!
//! Each row is one augmentation with its default parameters, always applied: the picture as an encoder sees it, then
//! three draws. The last row is the list of the TOML file, or all of them with the probabilities of a usual recipe.
//! The rows' names are printed.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{RgbImage, imageops};
use pinhole_runtime::preprocess::InputGeometry;
use pinhole_trainer::data::{Augmentation, Augmentations, Draw, Pixels};

const SIDE: u16 = 56;
const GAP: u32 = 4;
const DRAWS: usize = 3;

/// The list of the last row where none is named.
const USUAL: &str = include_str!("augmentations.toml");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(picture), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: augmentations PICTURE OUT.png [LIST.toml]".into());
    };
    let list = match arguments.next() {
        Some(path) => Augmentations::parse(&std::fs::read_to_string(&path)?, &path)?,
        None => Augmentations::parse(USUAL, "augmentations.toml".as_ref())?,
    };
    let mut rows = Vec::new();
    for augmentation in Augmentation::all() {
        let name = augmentation.kind();
        rows.push((name, Augmentations::new(vec![augmentation])?));
    }
    rows.push(("the whole list", list));
    let picture = pinhole_data::load_picture(picture)?;
    let file = BufWriter::new(File::create(&out)?);
    let encoder = PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive);
    sheet(&picture, &rows)?.write_with_encoder(encoder)?;
    for (number, (name, _)) in rows.iter().enumerate() {
        println!("row {}: {name}", number + 1);
    }
    println!("{}", out.display());
    Ok(())
}

/// One row for each list: the picture, then the draws.
fn sheet(picture: &RgbImage, rows: &[(&str, Augmentations)]) -> Result<RgbImage, Box<dyn Error>> {
    let geometry = InputGeometry {
        width: SIDE,
        height: SIDE,
        resize_shorter: SIDE,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let step = u32::from(SIDE) + GAP;
    let (width, height) = ((DRAWS as u32 + 1) * step, rows.len() as u32 * step);
    let mut sheet = RgbImage::from_pixel(width - GAP, height - GAP, image::Rgb([255; 3]));
    for (row, (_, list)) in rows.iter().enumerate() {
        let mut tiles = vec![Pixels::fitted(picture, &geometry)?];
        for view in 0..DRAWS {
            let draw = Draw {
                seed: 1,
                epoch: 0,
                id: "example",
                view,
            };
            tiles.push(list.view(picture, &geometry, draw)?);
        }
        for (column, tile) in tiles.iter().enumerate() {
            let (x, y) = (column as u32 * step, row as u32 * step);
            imageops::replace(&mut sheet, &tile.to_rgb8(), x.into(), y.into());
        }
    }
    Ok(sheet)
}
