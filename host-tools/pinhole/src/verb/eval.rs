//! `pinhole eval`: zero-shot accuracy on labelled pictures, recall on captioned ones.

use std::path::PathBuf;

use image::RgbImage;
use pinhole_data::cifar10::CLASSNAMES;
use pinhole_data::stamps::{Stamp, distinct_captions};
use pinhole_data::{Cifar10, DataSpec, ImageFolder, Split, Stamps, load_picture};
use pinhole_text::classes::ClassList;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::encoder::{Embedding, ImageEncoder, TextEncoder, kernels};
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::verb::classify;
use crate::{bank, files, progress};

/// Measure zero-shot accuracy.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole eval --model models/lite0/image.phm --text-encoder models/lite0/text.phm --data cifar10:$(pinhole data get cifar10)
  pinhole eval --model models/lite0/image.phm --text-encoder models/lite0/text.phm --data stamps:$(pinhole data get stamps) --json
  pinhole eval --model image.phm --text-encoder text.phm --data imagefolder:photos --float --limit 500

cifar10: the test split. imagefolder: one folder of pictures a class, named by the class. stamps: captioned pictures; each
picture looks for its caption among all distinct captions.")]
pub(crate) struct Args {
    /// Packed image encoder (.phm) or a graph (.phg).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Packed text encoder (.phm).
    #[arg(long, value_name = "FILE")]
    text_encoder: PathBuf,
    /// cifar10:DIR, imagefolder:DIR or stamps:DIR.
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// Names for the classes of the data, in its order: a file, a list or a built-in list.
    #[arg(long, value_name = "LIST")]
    classes: Option<String>,
    /// A file with one template a line, or a built-in set; templates.txt beside the text encoder when left out.
    #[arg(long, value_name = "SET")]
    templates: Option<String>,
    /// Run the f32 graph (the .phg beside a .phm) and f32 scores.
    #[arg(long)]
    float: bool,
    /// Only the first N pictures.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Kernel set; the fastest when left out.
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    if args.limit == Some(0) {
        return Err(Failure::new("--limit is 0, expected at least 1"));
    }
    let spec = DataSpec::parse(&args.data)?;
    let kernels = kernels(args.kernels.as_deref())?;
    let text = TextEncoder::open(&args.text_encoder, kernels)?;
    let encoder = ImageEncoder::open(&args.model, args.float, kernels)?;
    let (image_space, text_space) = (
        encoder.loaded.model.embedding_space(),
        text.loaded.model.embedding_space(),
    );
    if image_space != text_space {
        return Err(Failure::new(format_args!(
            "{} and {} are not halves of one dual encoder: embedding spaces {} and {}",
            args.model.display(),
            args.text_encoder.display(),
            files::hex(&image_space),
            files::hex(&text_space)
        )));
    }
    let mut result = match &spec {
        DataSpec::Cifar10(dir) => {
            let data = Cifar10::open(dir, Split::Test)?;
            let names: Vec<String> = CLASSNAMES.iter().map(ToString::to_string).collect();
            let count = data.len().min(args.limit.unwrap_or(usize::MAX));
            accuracy(&args, &encoder, &text, &names, count, &|i| {
                let label = data
                    .label(i)
                    .ok_or_else(|| Failure::new("the test split has no labels"))?;
                Ok((data.picture(i), label))
            })?
        }
        DataSpec::ImageFolder(dir) => {
            let data = ImageFolder::open(dir)?;
            for (path, reason) in &data.broken {
                eprintln!("left out {}: {reason}", path.display());
            }
            let count = data.len().min(args.limit.unwrap_or(usize::MAX));
            accuracy(&args, &encoder, &text, &data.classnames, count, &|i| {
                Ok((load_picture(&data.samples[i].path)?, data.samples[i].label))
            })?
        }
        DataSpec::Stamps(dir) => retrieval(&args, &encoder, &text, &Stamps::open(dir)?)?,
    };
    result["model"] = json!(args.model);
    result["model_sha256"] = json!(files::sha256(&files::read(&args.model)?));
    result["float"] = json!(args.float);
    result["kernels"] = json!(kernels.name());
    result["data"] = json!(args.data);
    print(&args, &result);
    Ok(())
}

/// Embeds pictures 0..count on all cores, in order.
fn embed(
    encoder: &ImageEncoder,
    float: bool,
    count: usize,
    picture: &(dyn Fn(usize) -> Outcome<RgbImage> + Sync),
) -> Outcome<Vec<Vec<f32>>> {
    let bar = progress::bar("embedding pictures", count);
    let embeddings = (0..count)
        .into_par_iter()
        .map_init(
            || encoder.session(),
            |session, index| {
                let embedding = session.encode(&picture(index)?)?;
                bar.inc(1);
                Ok(if float {
                    embedding
                } else {
                    Embedding::I8(embedding.to_i8())
                }
                .to_unit_f32())
            },
        )
        .collect();
    bar.finish_and_clear();
    embeddings
}

/// As a bank would hold it: int8 unless `float`.
fn as_scored(embeddings: Vec<Vec<f32>>, float: bool) -> Vec<Vec<f32>> {
    if float {
        return embeddings;
    }
    embeddings
        .into_iter()
        .map(|embedding| Embedding::I8(Embedding::F32(embedding).to_i8()).to_unit_f32())
        .collect()
}

/// How many candidates score higher than `target`; earlier ones win ties, as in a bank.
fn rank(picture: &[f32], candidates: &[Vec<f32>], target: usize) -> usize {
    let dot =
        |candidate: &[f32]| -> f32 { candidate.iter().zip(picture).map(|(a, b)| a * b).sum() };
    let own = dot(&candidates[target]);
    let beats = |(index, candidate): (usize, &Vec<f32>)| {
        let score = dot(candidate);
        score > own || (score == own && index < target)
    };
    candidates
        .iter()
        .enumerate()
        .filter(|pair| beats(*pair))
        .count()
}

/// Share of `ranks` below `k`.
fn recall(ranks: &[usize], k: usize) -> f64 {
    ranks.iter().filter(|&&rank| rank < k).count() as f64 / ranks.len().max(1) as f64
}

type Labelled<'a> = dyn Fn(usize) -> Outcome<(RgbImage, usize)> + Sync + 'a;

fn accuracy(
    args: &Args,
    encoder: &ImageEncoder,
    text: &TextEncoder,
    names: &[String],
    count: usize,
    sample: &Labelled<'_>,
) -> Outcome<Value> {
    let classes = match &args.classes {
        Some(list) => ClassList::from_arg(list).map_err(Failure::new)?,
        None => ClassList::from_names(&args.data, names).map_err(Failure::new)?,
    };
    let found = classes.as_slice().len();
    if found != names.len() {
        return Err(Failure::new(format_args!(
            "--classes names {found} classes, the data has {}",
            names.len()
        )));
    }
    let templates = classify::templates(args.templates.as_deref(), &args.text_encoder)?;
    let class_embeddings = as_scored(
        bank::class_embeddings(text, &classes, &templates)?,
        args.float,
    );
    let embeddings = embed(encoder, args.float, count, &|index| Ok(sample(index)?.0))?;
    let labels: Vec<usize> = (0..count)
        .map(|index| Ok(sample(index)?.1))
        .collect::<Outcome<_>>()?;
    let ranks: Vec<usize> = embeddings
        .iter()
        .zip(&labels)
        .map(|(embedding, &label)| rank(embedding, &class_embeddings, label))
        .collect();
    let per_class: serde_json::Map<String, Value> = classes
        .as_slice()
        .iter()
        .enumerate()
        .map(|(class, listed)| {
            let ranks: Vec<usize> = ranks
                .iter()
                .zip(&labels)
                .filter(|(_, label)| **label == class)
                .map(|(r, _)| *r)
                .collect();
            (listed.name().to_string(), json!(recall(&ranks, 1)))
        })
        .collect();
    Ok(json!({
        "top1": recall(&ranks, 1), "top5": recall(&ranks, 5), "count": count, "classes": names.len(),
        "templates": templates.name(), "per_class_top1": per_class,
    }))
}

fn retrieval(
    args: &Args,
    encoder: &ImageEncoder,
    text: &TextEncoder,
    stamps: &Stamps,
) -> Outcome<Value> {
    let captions = distinct_captions(&stamps.stamps);
    let single: Vec<&Stamp> = stamps.single_objects();
    let count = single.len().min(args.limit.unwrap_or(usize::MAX));
    if count == 0 {
        return Err(Failure::new(
            "no stamp has a caption that is a sentence of one object",
        ));
    }
    let prompts: Vec<Vec<u32>> = captions
        .iter()
        .map(|caption| text.tokenizer.encode(caption))
        .collect();
    let bar = progress::bar("embedding captions", prompts.len());
    let candidates = as_scored(text.encode(&prompts, &|| bar.inc(1))?, args.float);
    bar.finish_and_clear();
    let embeddings = embed(encoder, args.float, count, &|index| {
        Ok(load_picture(&single[index].path)?)
    })?;
    let ranks: Vec<usize> = embeddings
        .iter()
        .zip(&single)
        .map(|(embedding, stamp)| {
            let target = captions
                .iter()
                .position(|caption| *caption == stamp.caption)
                .unwrap_or(0);
            rank(embedding, &candidates, target)
        })
        .collect();
    let photos: Vec<usize> = ranks
        .iter()
        .zip(&single)
        .filter(|(_, stamp)| !stamp.is_cartoon)
        .map(|(r, _)| *r)
        .collect();
    Ok(json!({
        "recall1": recall(&ranks, 1), "recall5": recall(&ranks, 5), "count": count, "captions": captions.len(),
        "photos": {"recall1": recall(&photos, 1), "recall5": recall(&photos, 5), "count": photos.len()},
        "pictures_in_all": stamps.stamps.len(),
    }))
}

fn print(args: &Args, result: &Value) {
    if args.json {
        say!("{result}");
        return;
    }
    let percent = |key: &str| 100.0 * result[key].as_f64().unwrap_or(0.0);
    let kind = if args.float { "f32" } else { "int8" };
    if result.get("top1").is_some() {
        say!(
            "{kind}: top-1 {:.2} %, top-5 {:.2} % of {} pictures, {} classes",
            percent("top1"),
            percent("top5"),
            result["count"],
            result["classes"]
        );
        for (name, share) in result["per_class_top1"]
            .as_object()
            .into_iter()
            .flatten()
            .take(20)
        {
            say!(
                "    {name:<20} {:.1} %",
                100.0 * share.as_f64().unwrap_or(0.0)
            );
        }
    } else {
        say!(
            "{kind}: recall@1 {:.2} %, recall@5 {:.2} % of {} pictures among {} captions",
            percent("recall1"),
            percent("recall5"),
            result["count"],
            result["captions"]
        );
    }
}
