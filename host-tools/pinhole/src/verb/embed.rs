//! `pinhole embed`: class names to a class bank.

use std::path::{Path, PathBuf};

use pinhole_data::load_picture;
use pinhole_ranks::Ranks;
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::score::{Ranked, score};
use pinhole_text::classes::ClassList;

use crate::encoder::{ImageEncoder, TextEncoder, kernels};
use crate::failure::{Failure, Outcome};
use crate::output::{json, say};
use crate::verb::classify;
use crate::{bank, files, pictures, progress};

/// Embed class names into a bank that a device caches.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole embed --text-encoder models/lite0/text.phm \\
    --classes \"cat,dog,teapot\" --out bank.phc
  pinhole embed --text-encoder text.phm --classes classes.txt \\
    --templates imagenet --out bank.phc
  pinhole embed --text-encoder text.phm --classes classes.txt \\
    --model image.phm --calibrate photos/ --out bank.phc

A line of a class file is a name, or a name and sentences that describe it:
cat | a small furry animal | a kitten. With --calibrate, pictures that are in
one of the classes set the threshold above which a picture is rejected; without
it nothing is rejected.")]
pub(crate) struct Args {
    /// Packed text encoder (.phm).
    #[arg(long, value_name = "FILE")]
    text_encoder: PathBuf,
    /// "cat,dog,teapot", a file with one class a line, or a built-in list (cifar10, everyday, imagenet).
    #[arg(long, value_name = "LIST")]
    classes: String,
    /// A file with one template a line, or a built-in set; templates.txt beside the text encoder when left out.
    #[arg(long, value_name = "SET")]
    templates: Option<String>,
    /// Image encoder for --calibrate.
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    model: Option<PathBuf>,
    /// Pictures of the classes, to set the reject threshold.
    #[arg(long, value_name = "DIR", requires = "model")]
    calibrate: Option<PathBuf>,
    /// Share of those pictures that the threshold may reject.
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    reject_rate: f64,
    /// Where the bank goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    let kernels = kernels(None)?;
    let classes = ClassList::from_arg(&args.classes)?;
    let text = TextEncoder::open(&args.text_encoder, kernels)?;
    let templates = classify::templates(args.templates.as_deref(), &args.text_encoder)?;
    let embeddings = bank::class_embeddings(&text, &classes, &templates, &Ranks::alone())?;
    let mut bytes = bank::make(&text, &classes, &embeddings, &templates, f32::INFINITY)?;
    let mut threshold = None;
    if let (Some(model), Some(folder)) = (&args.model, &args.calibrate) {
        let found = reject_threshold(
            &args,
            bytes.to_vec(),
            ImageEncoder::open(model, false, kernels)?,
            folder,
        )?;
        bytes = bank::make(&text, &classes, &embeddings, &templates, found)?;
        threshold = Some(found);
    }
    files::write(&args.out, &bytes)?;
    report(&args, &classes, &bytes, threshold, kernels)
}

/// What was made; the order of keys is part of the output.
#[derive(serde::Serialize)]
struct Embedded<'a> {
    bank: &'a Path,
    classes: usize,
    bytes: usize,
    sha256: String,
    reject_threshold: Option<f32>,
    kernels: &'a str,
}

/// The energy that all but `reject_rate` of the pictures stay below.
fn reject_threshold(
    args: &Args,
    bank_bytes: Vec<u8>,
    encoder: ImageEncoder,
    folder: &Path,
) -> Outcome<f32> {
    if !(0.0..1.0).contains(&args.reject_rate) {
        return Err(Failure::new(format_args!(
            "--reject-rate is {}, expected 0 or more and less than 1",
            args.reject_rate
        )));
    }
    let bank = bank::load(
        "the new bank",
        pinhole_runtime::interpreter::AlignedBytes::from_slice(&bank_bytes),
    )?;
    classify::check_space(&bank, &encoder)?;
    let kernels = encoder.loaded.kernels;
    let paths = pictures::below(folder)?;
    let bar = progress::bar("calibrating", paths.len());
    let mut session = encoder.session();
    let mut energies = Vec::new();
    for path in &paths {
        let embedding = session.encode(&load_picture(path)?)?.to_i8();
        energies.push(
            score(kernels, &bank, &embedding, &mut [Ranked::default()])
                .map_err(Failure::new)?
                .energy,
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    energies.sort_by(f32::total_cmp);
    let kept = ((energies.len() as f64) * (1.0 - args.reject_rate)).ceil() as usize;
    Ok(energies[kept.clamp(1, energies.len()) - 1])
}

fn report(
    args: &Args,
    classes: &ClassList,
    bytes: &[u8],
    threshold: Option<f32>,
    kernels: &dyn Kernels,
) -> Outcome {
    let count = classes.as_slice().len();
    if args.json {
        return json(&Embedded {
            bank: &args.out,
            classes: count,
            bytes: bytes.len(),
            sha256: files::sha256(bytes),
            reject_threshold: threshold,
            kernels: kernels.name(),
        });
    }
    say!(
        "{}: {count} classes, {} bytes",
        args.out.display(),
        bytes.len()
    );
    match threshold {
        Some(threshold) => say!("pictures with an energy above {threshold:.3} are rejected"),
        None => say!("nothing is rejected; --model M --calibrate DIR sets a threshold"),
    }
    Ok(())
}
