//! Without `--tasks`: zero-shot accuracy of labelled pictures, recall of stamps, a line or a JSON object.

use std::path::PathBuf;

use image::RgbImage;
use pinhole_data::cifar10::CLASSNAMES;
use pinhole_data::stamps::{Stamp, distinct_captions};
use pinhole_data::{Cifar10, DataSpec, ImageFolder, Split, Stamps, load_picture};
use pinhole_evaluate::ranking;
use pinhole_ranks::Ranks;
use pinhole_runtime::kernel::Kernels;
use pinhole_text::classes::ClassList;
use pinhole_text::templates::Templates;
use rayon::prelude::*;
use serde::{Serialize, Serializer};

use super::Args;
use crate::encoder::{Embedding, ImageEncoder, TextEncoder};
use crate::failure::{Failure, Outcome};
use crate::output::{json, note, say};
use crate::{bank, files, progress};

/// Measures what the data has labels or captions for.
pub(super) fn run(
    args: &Args,
    spec: &DataSpec,
    (encoder, text): (&ImageEncoder, &TextEncoder),
    kernels: &'static dyn Kernels,
    ranks: &Ranks,
) -> Outcome {
    let about = About {
        model_sha256: files::sha256(&ranks.agree(files::read(&args.model))?),
        model: args.model.clone(),
        data: args.data.clone(),
        float: args.float,
        kernels: kernels.name(),
    };
    match spec {
        DataSpec::Cifar10(dir) => {
            let data = ranks.agree(Cifar10::open(dir, Split::Test).map_err(Failure::from))?;
            let labelled = Labelled {
                names: CLASSNAMES.iter().map(ToString::to_string).collect(),
                count: data.len(),
                picture: &|i| Ok(data.picture(i)),
                label: &|i| data.label(i),
            };
            print_accuracy(
                args,
                &accuracy(args, (encoder, text), &labelled, about, ranks)?,
            )
        }
        DataSpec::ImageFolder(dir) => {
            let data = ranks.agree(ImageFolder::open(dir).map_err(Failure::from))?;
            for (path, reason) in &data.broken {
                note!("left out {}: {reason}", path.display());
            }
            let labelled = Labelled {
                names: data.classnames.clone(),
                count: data.len(),
                picture: &|i| Ok(load_picture(&data.samples[i].path)?),
                label: &|i| Some(data.samples[i].label),
            };
            print_accuracy(
                args,
                &accuracy(args, (encoder, text), &labelled, about, ranks)?,
            )
        }
        DataSpec::Csv(file) => Err(Failure::new(format_args!(
            "{}: found a table, expected --tasks with it",
            file.display()
        ))
        .help("--tasks all measures everything that the table has columns for")),
        DataSpec::Stamps(dir) => {
            let stamps = ranks.agree(Stamps::open(dir).map_err(Failure::from))?;
            print_retrieval(
                args,
                &retrieval(args, (encoder, text), &stamps, about, ranks)?,
            )
        }
    }
}

/// What was measured, with what.
#[derive(Serialize)]
struct About {
    model_sha256: String,
    model: PathBuf,
    data: String,
    float: bool,
    kernels: &'static str,
}

/// Of labelled pictures; the order of keys is part of the output.
#[derive(Serialize)]
struct Accuracy {
    top1: f64,
    top5: f64,
    count: usize,
    classes: usize,
    #[serde(flatten)]
    about: About,
    templates: String,
    #[serde(serialize_with = "in_order")]
    per_class_top1: Vec<(String, f64)>,
}

/// Of captioned pictures; the order of keys is part of the output.
#[derive(Serialize)]
struct Retrieval {
    recall1: f64,
    recall5: f64,
    count: usize,
    captions: usize,
    #[serde(flatten)]
    about: About,
    /// The pictures that are no drawings.
    photos: Recall,
    pictures_in_all: usize,
}

/// Of some of the captioned pictures.
#[derive(Serialize)]
struct Recall {
    recall1: f64,
    recall5: f64,
    count: usize,
}

/// Pairs as an object that keeps their order.
fn in_order<S: Serializer>(pairs: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// Embeds pictures 0..count on all cores of all `ranks`, in order.
fn embed(
    encoder: &ImageEncoder,
    float: bool,
    count: usize,
    picture: &(dyn Fn(usize) -> Outcome<RgbImage> + Sync),
    ranks: &Ranks,
) -> Outcome<Vec<Vec<f32>>> {
    ranks.rows(count, |part| {
        let bar = progress::bar("embedding pictures", part.len());
        let embeddings = part.into_par_iter().map_init(
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
        );
        let embeddings = embeddings.collect();
        bar.finish_and_clear();
        embeddings
    })
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
        |candidate: &Vec<f32>| -> f32 { candidate.iter().zip(picture).map(|(a, b)| a * b).sum() };
    let scores: Vec<f32> = candidates.iter().map(dot).collect();
    ranking::rank(&scores, target)
}

/// Share of `places` below `k`.
fn recall(places: &[usize], k: usize) -> f64 {
    ranking::hits(places, k) as f64 / places.len().max(1) as f64
}

/// Pictures with the index of their class.
struct Labelled<'a> {
    names: Vec<String>,
    count: usize,
    picture: &'a (dyn Fn(usize) -> Outcome<RgbImage> + Sync),
    label: &'a dyn Fn(usize) -> Option<usize>,
}

fn accuracy(
    args: &Args,
    (encoder, text): (&ImageEncoder, &TextEncoder),
    data: &Labelled<'_>,
    about: About,
    ranks: &Ranks,
) -> Outcome<Accuracy> {
    let names = &data.names;
    let (classes, templates, labels) = ranks.agree(asked(args, data))?;
    let count = labels.len();
    let pictures = format!("{names:?} {labels:?}");
    ranks.same("pictures", &files::sha256(pictures.as_bytes()))?;
    let class_embeddings = as_scored(
        bank::class_embeddings(text, &classes, &templates, ranks)?,
        args.float,
    );
    let embeddings = embed(encoder, args.float, count, data.picture, ranks)?;
    let places: Vec<usize> = embeddings
        .iter()
        .zip(&labels)
        .map(|(embedding, &label)| rank(embedding, &class_embeddings, label))
        .collect();
    let per_class_top1 = classes
        .as_slice()
        .iter()
        .enumerate()
        .map(|(class, listed)| {
            let places: Vec<usize> = places
                .iter()
                .zip(&labels)
                .filter(|(_, label)| **label == class)
                .map(|(r, _)| *r)
                .collect();
            (listed.name().to_string(), recall(&places, 1))
        })
        .collect();
    Ok(Accuracy {
        top1: recall(&places, 1),
        top5: recall(&places, 5),
        count,
        classes: names.len(),
        about,
        templates: templates.name().to_string(),
        per_class_top1,
    })
}

/// The classes and templates that pictures are compared with, and the labels of those that are measured.
fn asked(args: &Args, data: &Labelled<'_>) -> Outcome<(ClassList, Templates, Vec<usize>)> {
    let names = &data.names;
    let count = data.count.min(args.limit.unwrap_or(usize::MAX));
    let classes = match &args.classes {
        Some(list) => ClassList::from_arg(list)?,
        None => ClassList::from_names(&args.data, names)?,
    };
    let found = classes.as_slice().len();
    if found != names.len() {
        return Err(Failure::new(format_args!(
            "--classes: found {found} classes, expected the {} of the data",
            names.len()
        ))
        .help(format_args!(
            "the data has, in this order: {}",
            names.join(", ")
        )));
    }
    let templates = super::templates(args)?;
    let label = |index| {
        (data.label)(index)
            .ok_or_else(|| Failure::new(format_args!("{}: has no labels", args.data)))
    };
    let labels = (0..count).map(label).collect::<Outcome<_>>()?;
    Ok((classes, templates, labels))
}

fn retrieval(
    args: &Args,
    (encoder, text): (&ImageEncoder, &TextEncoder),
    stamps: &Stamps,
    about: About,
    ranks: &Ranks,
) -> Outcome<Retrieval> {
    let captions = distinct_captions(&stamps.stamps);
    let single: Vec<&Stamp> = stamps.single_objects();
    let count = single.len().min(args.limit.unwrap_or(usize::MAX));
    if count == 0 {
        return Err(Failure::new(format_args!(
            "{}: found no caption that is a sentence of one object, expected some",
            args.data
        ))
        .help("pinhole data get stamps prints a folder that has them"));
    }
    let prompts: Vec<Vec<u32>> = captions
        .iter()
        .map(|caption| text.tokenizer.encode(caption))
        .collect();
    let pictures = format!("{captions:?} {single:?}");
    ranks.same("pictures", &files::sha256(pictures.as_bytes()))?;
    let candidates = as_scored(
        text.encode_on(ranks, "embedding captions", &prompts)?,
        args.float,
    );
    let picture = |index: usize| Ok(load_picture(&single[index].path)?);
    let embeddings = embed(encoder, args.float, count, &picture, ranks)?;
    let places: Vec<usize> = embeddings
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
    let photos: Vec<usize> = places
        .iter()
        .zip(&single)
        .filter(|(_, stamp)| !stamp.is_cartoon)
        .map(|(r, _)| *r)
        .collect();
    Ok(Retrieval {
        recall1: recall(&places, 1),
        recall5: recall(&places, 5),
        count,
        captions: captions.len(),
        about,
        photos: Recall {
            recall1: recall(&photos, 1),
            recall5: recall(&photos, 5),
            count: photos.len(),
        },
        pictures_in_all: stamps.stamps.len(),
    })
}

/// How the numbers came about, for people.
fn kind(args: &Args) -> &'static str {
    if args.float { "f32" } else { "int8" }
}

fn print_accuracy(args: &Args, result: &Accuracy) -> Outcome {
    /// Classes that are listed for people; `--json` has all.
    const LISTED: usize = 20;
    if args.json {
        return json(result);
    }
    say!(
        "{}: top-1 {:.2} %, top-5 {:.2} % of {} pictures, {} classes",
        kind(args),
        100.0 * result.top1,
        100.0 * result.top5,
        result.count,
        result.classes
    );
    for (name, share) in result.per_class_top1.iter().take(LISTED) {
        say!("    {name:<20} {:.1} %", 100.0 * share);
    }
    match result.per_class_top1.len().saturating_sub(LISTED) {
        0 => {}
        more => say!("    and {more} more classes: --json"),
    }
    Ok(())
}

fn print_retrieval(args: &Args, result: &Retrieval) -> Outcome {
    if args.json {
        return json(result);
    }
    say!(
        "{}: recall@1 {:.2} %, recall@5 {:.2} % of {} pictures among {} captions",
        kind(args),
        100.0 * result.recall1,
        100.0 * result.recall5,
        result.count,
        result.captions
    );
    Ok(())
}
