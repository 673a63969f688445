//! `pinhole classify`: names for pictures.

use std::path::PathBuf;

use image::RgbImage;
use pinhole_data::load_picture;
use pinhole_ranks::Ranks;
use pinhole_runtime::bank::ClassBank;
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::score::{Ranked, score};
use pinhole_text::classes::ClassList;
use pinhole_text::templates::Templates;
use serde::Serialize;

use crate::encoder::{ImageEncoder, ImageSession, TextEncoder, kernels};
use crate::failure::{Context, Failure, Outcome};
use crate::output::{json, say};
use crate::{bank, files};

/// Name what is on pictures.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole classify --model models/lite0/image.phm --bank models/lite0/bank.phc \\
    models/demo/cat.jpg
  pinhole classify --model models/lite0/image.phm --classes \"cat,dog\" *.jpg
  pinhole classify --model image.phm --bank bank.phc --json *.jpg | jq -r .label

A picture may have 1 to 20,000 pixels a side and take 2 GiB decoded, which
20,000 x 20,000 in colour does.")]
pub(crate) struct Args {
    /// Packed image encoder (.phm), or a graph (.phg)
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Class bank (.phc).
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "classes",
        conflicts_with = "classes"
    )]
    pub(crate) bank: Option<PathBuf>,
    /// Classes to embed now: "cat,dog,teapot", a file with one a line, or a built-in list (cifar10, everyday, imagenet).
    #[arg(long, value_name = "LIST")]
    pub(crate) classes: Option<String>,
    /// Packed text encoder for --classes; text.phm beside the model when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) text_encoder: Option<PathBuf>,
    /// Templates for --classes: a file or a built-in set; templates.txt beside the text encoder when left out.
    #[arg(long, value_name = "SET")]
    pub(crate) templates: Option<String>,
    /// Kernel set; the fastest when left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) kernels: Option<String>,
    /// How many classes to show for each picture.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = at_least_one)]
    pub(crate) top: usize,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Pictures: png, jpg, webp, bmp, gif, ppm.
    #[arg(required = true, value_name = "PICTURE")]
    pub(crate) pictures: Vec<PathBuf>,
}

/// What a person can do about a picture that cannot be read.
pub(crate) const PICTURES_HELP: &str = "pictures are png, jpg, webp, bmp, gif or ppm files of at most 20,000 pixels a side; convert or shrink others first";

/// A count for an option.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number, at least 1".to_string()),
        Ok(count) => Ok(count),
    }
}

/// One class of a result.
#[derive(Debug, Serialize)]
pub(crate) struct TopClass {
    /// Name.
    pub(crate) label: String,
    /// Cosine of the picture's and the class's embedding, −1 to 1.
    pub(crate) score: f32,
}

/// One picture's result; the order of keys is part of the output.
#[derive(Debug, Serialize)]
pub(crate) struct Classified {
    /// As it was given.
    pub(crate) image: String,
    /// The best class.
    pub(crate) label: String,
    /// Its cosine.
    pub(crate) score: f32,
    /// −T·logsumexp(logits/T): high for pictures that are in no class.
    pub(crate) energy: f32,
    /// Whether the energy is above the bank's threshold.
    pub(crate) rejected: bool,
    /// The best classes.
    pub(crate) top: Vec<TopClass>,
    /// Of the int8 embedding.
    pub(crate) embedding_sha256: String,
    /// What computed it.
    pub(crate) kernels: String,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    let kernels = kernels(args.kernels.as_deref())?;
    let encoder = ImageEncoder::open(&args.model, false, kernels)?;
    let bank = match &args.bank {
        Some(path) => bank::open(path)?,
        None => embed_now(&args, kernels)?,
    };
    check_space(&bank, &encoder)?;
    let mut session = encoder.session();
    let mut failed = Vec::new();
    for path in &args.pictures {
        let name = path.display().to_string();
        match load_picture(path)
            .map_err(Failure::from)
            .and_then(|picture| classify(&name, &picture, &mut session, &bank, args.top, kernels))
        {
            Ok(result) if args.json => json(&result)?,
            Ok(result) => print(&result),
            Err(failure) => failed.push(failure.to_string()),
        }
    }
    match &failed[..] {
        [] => Ok(()),
        _ => Err(Failure::new(format_args!(
            "{} of {} pictures failed:\n  {}",
            failed.len(),
            args.pictures.len(),
            failed.join("\n  ")
        ))
        .help(PICTURES_HELP)),
    }
}

/// The bank of `--classes`.
fn embed_now(args: &Args, kernels: &'static dyn Kernels) -> Outcome<ClassBank<'static>> {
    let path = args
        .text_encoder
        .clone()
        .unwrap_or_else(|| args.model.with_file_name("text.phm"));
    if !path.is_file() {
        return Err(Failure::new(format_args!(
            "{}: found no such file, expected a text encoder to embed --classes with",
            path.display()
        ))
        .help("name one with --text-encoder text.phm, or a finished bank with --bank"));
    }
    let classes = ClassList::from_arg(args.classes.as_deref().unwrap_or_default())?;
    let text = TextEncoder::open(&path, kernels)?;
    let templates = templates(args.templates.as_deref(), &path)?;
    let embeddings = bank::class_embeddings(&text, &classes, &templates, &Ranks::alone())?;
    bank::load(
        "the bank of --classes",
        bank::make(&text, &classes, &embeddings, &templates, f32::INFINITY)?,
    )
}

/// The templates that were asked for, those beside the text encoder, or the simplest.
pub(crate) fn templates(asked: Option<&str>, text_encoder: &std::path::Path) -> Outcome<Templates> {
    let beside = text_encoder.with_file_name("templates.txt");
    match asked {
        Some(asked) => Templates::from_arg(asked).map_err(Failure::new),
        None if beside.is_file() => Templates::load(&beside).map_err(Failure::new),
        None => Templates::from_arg("simple").map_err(Failure::new),
    }
}

/// Refuses a bank that was made for another encoder.
pub(crate) fn check_space(bank: &ClassBank<'_>, encoder: &ImageEncoder) -> Outcome {
    let expected = encoder.loaded.model.embedding_space();
    if bank.check_space(&expected).is_ok() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "the bank and the model do not belong together: found embedding space {} in the bank, expected {} as in the model",
        files::hex(bank.embedding_space_id()),
        files::hex(&expected)
    ))
    .help("make a bank with the text encoder of this model: pinhole embed --text-encoder text.phm --classes LIST --out bank.phc"))
}

/// Encodes and scores one picture.
pub(crate) fn classify(
    name: &str,
    picture: &RgbImage,
    session: &mut ImageSession,
    bank: &ClassBank<'_>,
    top: usize,
    kernels: &dyn Kernels,
) -> Outcome<Classified> {
    let embedding = session.encode(picture).context(name)?.to_i8();
    result(name, &embedding, bank, top, kernels)
}

/// The result of an embedding.
pub(crate) fn result(
    name: &str,
    embedding: &[i8],
    bank: &ClassBank<'_>,
    top: usize,
    kernels: &dyn Kernels,
) -> Outcome<Classified> {
    let mut ranked = vec![Ranked::default(); top.clamp(1, bank.class_count().max(1))];
    let verdict = score(kernels, bank, embedding, &mut ranked).context(name)?;
    let label = |ranked: &Ranked| {
        bank.class(ranked.class_index as usize)
            .map_or(String::new(), |class| class.name.to_string())
    };
    let top: Vec<TopClass> = ranked
        .iter()
        .map(|r| TopClass {
            label: label(r),
            score: r.cosine,
        })
        .collect();
    let bytes: Vec<u8> = embedding.iter().map(|&x| x as u8).collect();
    Ok(Classified {
        image: name.to_string(),
        label: top[0].label.clone(),
        score: top[0].score,
        energy: verdict.energy,
        rejected: verdict.rejected,
        top,
        embedding_sha256: files::sha256(&bytes),
        kernels: kernels.name().to_string(),
    })
}

/// For people.
pub(crate) fn print(result: &Classified) {
    let rejected = if result.rejected {
        "  (rejected: in no class)"
    } else {
        ""
    };
    say!(
        "{}  {}  {:.3}{rejected}",
        result.image,
        result.label,
        result.score
    );
    for class in result.top.iter().skip(1) {
        say!("    {:<24} {:.3}", class.label, class.score);
    }
}
