//! `pinhole demo`: the main job on the model inside this program.

use std::time::Instant;

use image::RgbImage;
use pinhole_device::{BoardSpec, Options, available, board};
use pinhole_ranks::Ranks;
use pinhole_runtime::bank::ClassBank;
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::Kernels;
use pinhole_text::classes::ClassList;
use pinhole_text::templates::Templates;

use crate::encoder::{ImageEncoder, LoadedModel, TextEncoder, kernels};
use crate::failure::{Failure, Outcome};
use crate::interrupt::Unfinished;
use crate::output::say;
use crate::verb::{board as on_board, classify};
use crate::{bank, files};

/// The default model, `models/lite0`.
const IMAGE_ENCODER: &[u8] = include_bytes!("../../../../models/lite0/image.phm");
const TEXT_ENCODER: &[u8] = include_bytes!("../../../../models/lite0/text.phm");
const BANK: &[u8] = include_bytes!("../../../../models/lite0/bank.phc");
const TEMPLATES: &str = include_str!("../../../../models/lite0/templates.txt");

macro_rules! photographs {
    ($($name:literal),*) => { [$(($name, include_bytes!(concat!("../../../../models/demo/", $name)).as_slice())),*] };
}

/// Real photographs; `models/demo/README.md` has their sources and licences.
const PHOTOGRAPHS: [(&str, &[u8]); 10] = photographs![
    "cat.jpg",
    "coffee-cup.jpg",
    "rocket.jpg",
    "astronaut.jpg",
    "giant-panda.jpg",
    "moose.jpg",
    "raccoon.jpg",
    "dahlia.jpg",
    "pagoda.jpg",
    "biplane.jpg"
];

/// Photographs that the board computes too.
const BOARD_PICTURES: usize = 3;

/// Name what is on photographs with the default model, on this computer and on an emulated board.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole demo
  pinhole demo --classes \"cat,coffee,rocket,person,panda,deer,flower,temple\"
  pinhole demo --board qemu-an500
  pinhole demo --no-board

Photographs: astronaut and rocket by NASA; giant panda, dahlia and pagoda under
CC BY: models/demo/README.md names all authors.")]
pub(crate) struct Args {
    /// Classes instead of the built-in bank: "cat,dog,teapot", a file or a built-in list.
    #[arg(long, value_name = "LIST")]
    classes: Option<String>,
    /// Kernel set; the fastest when left out.
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// The emulated board, see pinhole board list.
    #[arg(long, default_value = "qemu-an547", value_name = "NAME")]
    board: String,
    /// Leave the emulated board out.
    #[arg(long)]
    no_board: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    let kernels = kernels(args.kernels.as_deref())?;
    let spec = board(&args.board)?;
    let model = LoadedModel::from_bytes(
        "the built-in image encoder",
        AlignedBytes::from_slice(IMAGE_ENCODER),
        kernels,
    )?;
    let encoder = ImageEncoder::new("the built-in image encoder", model)?;
    let bank_bytes = match &args.classes {
        Some(classes) => embed(classes, kernels)?,
        None => AlignedBytes::from_slice(BANK),
    };
    let bank = bank::load("the class bank", bank_bytes.clone())?;
    classify::check_space(&bank, &encoder)?;
    let pictures = photographs()?;
    say!(
        "int8 image encoder of {:.1} MB, {} classes, kernels {}",
        IMAGE_ENCODER.len() as f64 / 1e6,
        bank.class_count(),
        kernels.name()
    );
    let embeddings = on_host(&encoder, &bank, &pictures, kernels)?;
    say!("\nOther names: cargo demo --classes \"cat,coffee,rocket,person\"");
    if args.no_board {
        return Ok(());
    }
    on_emulated_board(spec, &bank_bytes, &pictures, &embeddings)
}

/// A bank of other names, by the text encoder.
fn embed(classes: &str, kernels: &'static dyn Kernels) -> Outcome<AlignedBytes> {
    let classes = ClassList::from_arg(classes)?;
    let model = LoadedModel::from_bytes(
        "the built-in text encoder",
        AlignedBytes::from_slice(TEXT_ENCODER),
        kernels,
    )?;
    let text = TextEncoder::new("the built-in text encoder", model)?;
    let templates = Templates::parse("lite0", TEMPLATES).map_err(Failure::new)?;
    let embeddings = bank::class_embeddings(&text, &classes, &templates, &Ranks::alone())?;
    bank::make(&text, &classes, &embeddings, &templates, f32::INFINITY)
}

fn photographs() -> Outcome<Vec<(&'static str, RgbImage)>> {
    let decode = |(name, bytes): (&'static str, &[u8])| {
        let picture = image::load_from_memory(bytes)
            .map_err(|error| Failure::new(format_args!("{name}: {error}")))?;
        Ok((name, picture.to_rgb8()))
    };
    PHOTOGRAPHS.into_iter().map(decode).collect()
}

/// Classifies and prints; returns the embeddings.
fn on_host(
    encoder: &ImageEncoder,
    bank: &ClassBank<'_>,
    pictures: &[(&str, RgbImage)],
    kernels: &dyn Kernels,
) -> Outcome<Vec<Vec<i8>>> {
    let mut session = encoder.session();
    let mut embeddings = Vec::new();
    say!(
        "\n{:<18} {:<22} {:>6}   then",
        "photograph",
        "label",
        "score"
    );
    let start = Instant::now();
    for (name, picture) in pictures {
        let embedding = session.encode(picture)?.to_i8();
        let result = classify::result(name, &embedding, bank, 3, kernels)?;
        let others: Vec<String> = result
            .top
            .iter()
            .skip(1)
            .map(|class| format!("{} {:.3}", class.label, class.score))
            .collect();
        let rejected = if result.rejected { " (rejected)" } else { "" };
        say!(
            "{name:<18} {:<22} {:>6.3}   {}",
            format!("{}{rejected}", result.label),
            result.score,
            others.join(", ")
        );
        embeddings.push(embedding);
    }
    say!(
        "{:.1} ms a photograph, resizing included",
        start.elapsed().as_secs_f64() * 1e3 / pictures.len() as f64
    );
    Ok(embeddings)
}

/// The same pictures on the board: every byte of every embedding must be equal.
fn on_emulated_board(
    spec: &BoardSpec,
    bank: &[u8],
    pictures: &[(&str, RgbImage)],
    expected: &[Vec<i8>],
) -> Outcome {
    say!("\nThe same on {}, an emulated {}:", spec.name, spec.cpu);
    if let Err(missing) = available(spec) {
        say!(
            "left out: {} is missing; get it: {}",
            missing.what,
            missing.get
        );
        return Ok(());
    }
    let name = format!("pinhole-demo-{}.tmp", std::process::id());
    let folder = Unfinished::folder(std::env::temp_dir().join(name)).map_err(Failure::new)?;
    let (model_path, bank_path) = (
        folder.path().join("image.phm"),
        folder.path().join("bank.phc"),
    );
    files::write(&model_path, IMAGE_ENCODER)?;
    files::write(&bank_path, bank)?;
    let options = Options::default();
    let mut board = on_board::start(spec.name, Some(&model_path), Some(&bank_path), &options)?;
    let mut differing = 0;
    for ((name, picture), expected) in pictures.iter().zip(expected).take(BOARD_PICTURES) {
        let result = on_board::classify_on(&mut board, picture, 1)?;
        let label = result.top.first().map_or("", |class| class.name.as_str());
        let verdict = if result.embedding == *expected {
            "equal to the host's"
        } else {
            "DIFFERENT from the host's"
        };
        differing += usize::from(result.embedding != *expected);
        let bytes: Vec<u8> = result.embedding.iter().map(|&x| x as u8).collect();
        say!(
            "{name:<18} {label:<22} embedding {}… {verdict}",
            &files::sha256(&bytes)[..16]
        );
    }
    match differing {
        0 => Ok(()),
        count => Err(Failure::check(format_args!(
            "{count} embeddings of the board differ from the host's"
        ))),
    }
}
