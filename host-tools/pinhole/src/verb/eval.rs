//! `pinhole eval`: what embeddings are good for, measured on labelled and captioned pictures.
//!
//! Without `--tasks` one number of the data ([`plain`]); with them a suite of measures ([`suite`]) whose definitions
//! are in `pinhole-evaluate`, over pictures ([`source`]) that are embedded once and kept ([`cache`]).

mod cache;
mod calibration;
mod duplicates;
mod embeddings;
mod labelled;
mod map;
mod plain;
mod print;
mod report;
mod retrieval;
mod source;
mod suite;
mod task;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use pinhole_data::DataSpec;
use pinhole_ranks::Ranks;
use pinhole_runtime::kernel::Kernels;
use pinhole_text::templates::Templates;

use crate::encoder::{ImageEncoder, TextEncoder, kernels};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::verb::classify::{self, at_least_one};
use task::Asked;

/// Measure embeddings: accuracy, retrieval, calibration, duplicates.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole eval --model models/lite0/image.phm \\
    --text-encoder models/lite0/text.phm \\
    --data cifar10:$(pinhole data get cifar10)
  pinhole eval --model models/lite0/image.phm \\
    --text-encoder models/lite0/text.phm \\
    --data stamps:$(pinhole data get stamps) --json
  pinhole eval --model image.phm --text-encoder text.phm \\
    --data imagefolder:photos --float --limit 500
  pinhole eval --model image.phm --text-encoder text.phm --data photos \\
    --tasks all --out results --html report.html
  pinhole eval --model image.phm --data photos --tasks knn,duplicates

cifar10: the test split, and the training split for tasks that learn.
imagefolder: one folder of pictures a class, named by the class; with --tasks
also train/ and test/ with such folders, or else half of every class, drawn by
--seed, is for training where a task learns. stamps: captioned pictures; each
picture looks for its caption among all distinct captions. csv: the columns
path, and any of caption, label and split (train or test); a picture may have
several lines. The path of a folder is an imagefolder, that of a .csv a table.

Tasks: zero-shot, retrieval, linear-probe, knn, nmi, duplicates, calibration,
confusion, map; all is every one that the data and the encoders allow. Nothing
is fitted to a picture that is measured. Broken pictures are left out, named
and counted. docs/eval.md defines every number.

Where pinhole is built with the feature mpi, several processes share the
pictures; the first one prints and writes what one process does:
  mpirun -n 4 pinhole eval --model image.phm --data photos --tasks all")]
pub(crate) struct Args {
    /// Packed image encoder (.phm) or a graph (.phg).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Packed text encoder (.phm); tasks without text need none.
    #[arg(long, value_name = "FILE", required_unless_present = "tasks")]
    text_encoder: Option<PathBuf>,
    /// cifar10:DIR, imagefolder:DIR, stamps:DIR or csv:FILE.
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// What to measure, separated by commas; all is everything possible.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    tasks: Vec<Asked>,
    /// Names for the classes of the data, in its order: a file, a list or a built-in list; the data's own when left
    /// out.
    #[arg(long, value_name = "LIST")]
    classes: Option<String>,
    /// A file with one template a line, or a built-in set; templates.txt beside the text encoder when left out.
    #[arg(long, value_name = "SET")]
    templates: Option<String>,
    /// Run the f32 graph (the .phg beside a .phm) and f32 scores.
    #[arg(long)]
    float: bool,
    /// Only the first N pictures, with --tasks N drawn by --seed; all of them when left out.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// At most N training pictures, drawn by --seed; all of them when left out.
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "tasks")]
    train_limit: Option<usize>,
    /// Pictures at least this alike, as a cosine, are duplicates.
    #[arg(long, value_name = "C", default_value_t = 0.98, requires = "tasks")]
    duplicate_cosine: f32,
    /// Seed of every draw: splits, limits, clusters, resampling.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tasks")]
    seed: u64,
    /// A folder for the results: results.json, pictures as SVG, duplicates.csv.
    #[arg(long, value_name = "DIR", requires = "tasks")]
    out: Option<PathBuf>,
    /// Write a report for people: one file that needs no other.
    #[arg(long, value_name = "FILE", requires = "tasks")]
    html: Option<PathBuf>,
    /// Where embeddings are kept with --tasks; embeddings/ in the cache of pinhole data when left out.
    #[arg(
        long,
        value_name = "DIR",
        requires = "tasks",
        conflicts_with = "no_cache"
    )]
    cache: Option<PathBuf>,
    /// Keep no embeddings and use none.
    #[arg(long, requires = "tasks")]
    no_cache: bool,
    /// Kernel set; the fastest when left out.
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args, ranks: &Ranks) -> Outcome {
    let spec = DataSpec::parse(&args.data)?;
    if !(-1.0..=1.0).contains(&args.duplicate_cosine) {
        return Err(Failure::new(format_args!(
            "--duplicate-cosine: found {}, expected a number from -1 to 1",
            args.duplicate_cosine
        ))
        .help("--duplicate-cosine 0.98"));
    }
    if let Some(path) = &args.html {
        ranks.first(|| files::check_target(path))?;
    }
    let kernels = kernels(args.kernels.as_deref())?;
    let (encoder, text) = ranks.agree(encoders(&args, kernels))?;
    ranks.same("models and kernel set", &sha256(&encoder, text.as_ref()))?;
    match &text {
        Some(text) if args.tasks.is_empty() => {
            plain::run(&args, &spec, (&encoder, text), kernels, ranks)
        }
        _ => suite::run(&args, &spec, (&encoder, text.as_ref()), kernels, ranks),
    }
}

/// The image encoder, and the text encoder where one is named.
fn encoders(
    args: &Args,
    kernels: &'static dyn Kernels,
) -> Outcome<(ImageEncoder, Option<TextEncoder>)> {
    let text = match &args.text_encoder {
        Some(path) => Some(TextEncoder::open(path, kernels)?),
        None => None,
    };
    let encoder = ImageEncoder::open(&args.model, args.float, kernels)?;
    if let Some(text) = &text {
        check_halves(args, &encoder, text)?;
    }
    Ok((encoder, text))
}

/// SHA-256 over what gives embeddings: ranks that have the same give the same bits.
fn sha256(encoder: &ImageEncoder, text: Option<&TextEncoder>) -> String {
    let models = [Some(&encoder.loaded), text.map(|text| &text.loaded)];
    let models = models.into_iter().flatten();
    let hashes: Vec<String> = models
        .map(|loaded| files::sha256(loaded.model.bytes()))
        .collect();
    let kernels = encoder.loaded.kernels.name();
    files::sha256(format!("{hashes:?} {kernels}").as_bytes())
}

/// Refuses encoders of two spaces.
fn check_halves(args: &Args, encoder: &ImageEncoder, text: &TextEncoder) -> Outcome {
    let (image_space, text_space) = (
        encoder.loaded.model.embedding_space(),
        text.loaded.model.embedding_space(),
    );
    if image_space == text_space {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{}: found embedding space {}, expected {} as in {}: they are not halves of one dual encoder",
        args.text_encoder.as_deref().unwrap_or(&args.model).display(),
        files::hex(&text_space),
        files::hex(&image_space),
        args.model.display()
    ))
    .help("name the text encoder that was trained with this image encoder"))
}

/// The templates that were asked for, or those of the text encoder.
fn templates(args: &Args) -> Outcome<Templates> {
    let text_encoder = args.text_encoder.as_deref().unwrap_or(&args.model);
    classify::templates(args.templates.as_deref(), text_encoder)
}
