//! `pinhole diff`: where two graphs, two models, two kernel sets or this computer and a board part.

mod board;
mod layers;
mod structure;

use std::path::PathBuf;

use pinhole_quantize::diff::Tolerance;

use crate::failure::{Failure, Outcome};
use crate::verb::classify::at_least_one;

/// Compare two graphs or models: their structure, or what each layer computes on
/// pictures or texts.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole diff before.phg after.phg
  pinhole diff image.phg image-int8.phg --data photos/ --channel-factors
  pinhole diff text.phg text-int8.phg --data texts:sentences.txt
  pinhole diff image-int8.phg image.phm --data photos/ --tolerance bits
  pinhole diff models/lite0/image.phm --data models/demo \\
    --kernels-a scalar --json
  pinhole diff models/lite0/image.phm --data models/demo --count 1 \\
    --board qemu-an547

Without --data two graphs are compared as they are written: nodes, attributes,
shapes, constants, scales, metadata. With --data both run on the pictures, or on
texts that the tokenizer of A splits, and the first layer that differs is named.
Layers are matched by name, or by order and shape in a file without names
(pinhole pack --strip-names). Without B, A is compared with itself: by other
kernels, or on an emulated board of pinhole bench
--target, whose layers must have the host's bits.

Tolerances, by --tolerance:
  bits         every number is the same
  numerics     what kernel sets may differ by: integers the same, floats above
               80 dB, or 40 dB in a model with f16
  cosine:0.98  the cosine of a layer's outputs, on every picture
  sqnr:30      signal over difference in dB, over all pictures
  abs:0.01     the largest difference of two numbers
Left out, it is bits where all layers have the same types and scales, numerics
where such layers in floats run on two kernel sets, else cosine:0.98.

Exit codes: 0 the same, 1 they differ, 2 could not compare.")]
pub(crate) struct Args {
    /// Graph (.phg) or packed model (.phm).
    #[arg(value_name = "A")]
    a: PathBuf,
    /// What it is compared with; A itself when left out.
    #[arg(value_name = "B")]
    b: Option<PathBuf>,
    /// A folder of pictures, or texts:FILE with one text a line: compare what the
    /// layers compute.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Pictures or texts taken, spread evenly.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = at_least_one)]
    count: usize,
    /// When a layer differs, see below.
    #[arg(long, value_name = "RULE", value_parser = tolerance, requires = "data")]
    tolerance: Option<Tolerance>,
    /// Compare up to a factor of each channel: pinhole quantize equalises
    /// channels, so that layers of the int8 graph have other scales.
    #[arg(long, requires = "data", conflicts_with = "board")]
    channel_factors: bool,
    /// Kernel set that runs A; the fastest when left out.
    #[arg(long, value_name = "NAME", requires = "data")]
    kernels_a: Option<String>,
    /// Kernel set that runs B; the fastest of this CPU or of the board when left
    /// out.
    #[arg(long, value_name = "NAME", requires = "data")]
    kernels_b: Option<String>,
    /// Run B on this emulated CPU, see pinhole bench --help.
    #[arg(
        long,
        value_name = "NAME",
        requires = "data",
        conflicts_with = "tolerance"
    )]
    board: Option<String>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    match (&args.data, &args.b) {
        (Some(data), _) => match &args.board {
            Some(board) => board::compare(&args, data, board),
            None => layers::compare(&args, data),
        },
        (None, Some(b)) => structure::compare(&args.a, b, args.json),
        (None, None) => Err(Failure::new(format_args!(
            "{}: found nothing to compare it with, expected a second file or --data",
            args.a.display()
        ))
        .help("pinhole diff A B, or pinhole diff A --data DIR --kernels-a scalar")),
    }
}

fn tolerance(text: &str) -> Result<Tolerance, String> {
    let number = |text: &str, make: fn(f64) -> Tolerance| {
        let number: Option<f64> = text.parse().ok();
        number
            .filter(|number| number.is_finite())
            .map(make)
            .ok_or_else(|| format!("found {text}, expected a number"))
    };
    match text.split_once(':') {
        None if text == "bits" => Ok(Tolerance::Bits),
        None if text == "numerics" => Ok(Tolerance::Numerics),
        Some(("cosine", least)) => number(least, Tolerance::Cosine),
        Some(("sqnr", least)) => number(least, Tolerance::Sqnr),
        Some(("abs", most)) => number(most, Tolerance::MaxAbs),
        _ => Err("expected bits, numerics, cosine:C, sqnr:DB or abs:X".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_are_read() {
        assert_eq!(tolerance("bits"), Ok(Tolerance::Bits));
        assert_eq!(tolerance("cosine:0.5"), Ok(Tolerance::Cosine(0.5)));
        assert_eq!(tolerance("abs:1e-3"), Ok(Tolerance::MaxAbs(1e-3)));
        for wrong in ["", "cosine", "sqnr:", "abs:NaN", "bits:1"] {
            assert!(tolerance(wrong).is_err(), "{wrong}");
        }
    }
}
