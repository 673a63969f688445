//! `pinhole features`: what frozen encoders make of pictures and sentences, in the files that `pinhole train` reads.
//!
//! [`pinhole_trainer::features`] says what is in them. The encoders run in this runtime, so that training sees what a board
//! will see: pictures in int8 where there are pictures to calibrate with (else in f32), sentences with the int8 weights that
//! text encoders are shipped with. `features.json` beside the files says what each was made from; a file whose inputs are
//! unchanged is not made again.

mod folder;
mod photos;
mod tower;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::{Cifar10, load_picture};
use pinhole_pack::{FloatWeights, PackOptions, pack};
use pinhole_ranks::Ranks;
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::Kernels;
use pinhole_trainer::TextList;
use pinhole_trainer::features::{
    Matrix, View, write_photos, write_pictures, write_prototypes, write_teacher, write_texts,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::folder::{Folder, Made};
use self::tower::{Encoder, Tower};
use crate::encoder::{LoadedModel, TextEncoder, kernels};
use crate::failure::{Context, Failure, Outcome};
use crate::output::{json, say};
use crate::verb::import;
use crate::{files, pictures};

/// Compute the features that pinhole train starts from.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole features --image-encoder efficientnet-lite0.pth \\
    --teacher efficientnet-lite1.pth --teacher efficientnet-lite2.pth \\
    --text-encoder minilm/model.safetensors --texts models/lite0/texts.tsv \\
    --groups models/lite0/groups.tsv \\
    --pictures cifar10:$(pinhole data get cifar10) --out features/

Writes prototypes, texts, pictures and photos.safetensors, lite1.safetensors and
so on for teachers, and neighbourhood.safetensors. Files that are finished are
kept: after an interruption the same command goes on with the next file.

Where pinhole is built with the feature mpi, several processes share the
pictures and sentences: mpirun -n 4 pinhole features ...")]
pub(crate) struct Args {
    /// Checkpoint of the image encoder, an EfficientNet-Lite with its classifier head.
    #[arg(long, value_name = "FILE")]
    image_encoder: PathBuf,
    /// Checkpoint of another EfficientNet-Lite over the same classes; may be given more than once.
    #[arg(long, value_name = "FILE")]
    teacher: Vec<PathBuf>,
    /// Checkpoint of the text encoder, its vocabulary beside it.
    #[arg(long, value_name = "FILE")]
    text_encoder: PathBuf,
    /// An image encoder that says which pictures are alike, for the recipe's `neighbourhood`: a checkpoint, an ONNX file or a
    /// graph.
    #[arg(long, value_name = "FILE")]
    neighbourhood: Option<PathBuf>,
    /// Sentences: GROUP, a tab, SENTENCE.
    #[arg(long, value_name = "TSV")]
    texts: PathBuf,
    /// Groups of classes: NAME, a tab, RELATED, a tab, CLASSES.
    #[arg(long, value_name = "TSV")]
    groups: PathBuf,
    /// cifar10:DIR (the training split, without its labels) or a folder of pictures.
    #[arg(long, value_name = "SOURCE")]
    pictures: String,
    /// A folder of photographs, which the student also sees at low resolution.
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    /// The first N pictures.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    count: usize,
    /// A folder of pictures, or cifar10:DIR, to quantise the image encoders with: features are then those of int8 encoders,
    /// several times as fast. May be given more than once.
    #[arg(long, value_name = "DIR")]
    calibrate: Vec<String>,
    /// Pictures taken for that, spread evenly over each source.
    #[arg(long, default_value_t = 64, value_name = "N")]
    calibration_count: usize,
    /// Longest token sequence of the text encoder.
    #[arg(long, default_value_t = 64, value_name = "N")]
    max_tokens: usize,
    /// Folder of the feature files.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args, ranks: &Ranks) -> Outcome {
    let kernels = kernels(None)?;
    // Everything is opened and checked before the first hour of work.
    let inputs = ranks.agree(Inputs::open(&args, kernels))?;
    ranks.same("encoders and kernel set", &inputs.encoders_sha256(kernels))?;
    let Inputs {
        student,
        teachers,
        neighbourhood,
        list,
        texts_sha256,
        source,
    } = inputs;
    let seen = source.digest(args.count, ranks)?;
    ranks.same("pictures", &seen)?;
    ranks.same("texts", &texts_sha256.join(" "))?;
    ranks.first(|| std::fs::create_dir_all(&args.out).context(args.out.display()))?;
    let mut folder = Folder::open(&args.out, ranks)?;

    folder.make(
        "prototypes.safetensors",
        &[&student.encoder.sha256],
        || Ok(()),
        |path, ()| {
            write_prototypes(path, &student.weight, &student.bias).map_err(Failure::new)?;
            Ok([student.weight.rows, student.weight.columns])
        },
    )?;
    let tokens = args.max_tokens.to_string();
    let inputs: Vec<&String> = texts_sha256.iter().chain([&tokens]).collect();
    folder.make(
        "texts.safetensors",
        &inputs,
        || sentence_features(&args, &list, kernels, ranks),
        |path, features| {
            write_texts(path, features, &list).map_err(Failure::new)?;
            Ok([features.rows, features.columns])
        },
    )?;
    let files = [
        ("pictures.safetensors", Some(&student.encoder)),
        ("neighbourhood.safetensors", neighbourhood.as_ref()),
    ];
    for (name, encoder) in files {
        let Some(encoder) = encoder else { continue };
        folder.make(
            name,
            &[&encoder.sha256, &seen],
            || encoder.features(&source, args.count, ranks),
            |path, features| {
                write_pictures(path, features).map_err(Failure::new)?;
                Ok([features.rows, features.columns])
            },
        )?;
    }
    if let Some(photographs) = &args.photos {
        let seen = Source::Folder(ranks.agree(pictures::below(photographs))?);
        let seen = seen.digest(seen.len(), ranks)?;
        ranks.same("photographs", &seen)?;
        let towers = std::iter::once(&student).chain(&teachers);
        let inputs: Vec<&String> = towers.map(|t| &t.encoder.sha256).chain([&seen]).collect();
        folder.make(
            "photos.safetensors",
            &inputs,
            || photos::photos(&student, &teachers, photographs, ranks),
            |path, found| {
                write_photos(path, found).map_err(Failure::new)?;
                Ok([found.features.rows, found.features.columns])
            },
        )?;
    }
    for teacher in teachers {
        let inputs = [&teacher.encoder.sha256, &seen];
        let name = format!("{}.safetensors", teacher.encoder.name);
        let compute = || -> Outcome<View> {
            Ok(View {
                features: teacher.encoder.features(&source, args.count, ranks)?,
                weight: teacher.weight.clone(),
                bias: teacher.bias.clone(),
            })
        };
        folder.make(&name, &inputs, compute, |path, view| {
            write_teacher(path, view).map_err(Failure::new)?;
            Ok([view.features.rows, view.features.columns])
        })?;
    }
    print(&args, &folder.files, kernels)
}

/// What the options name, opened and checked.
struct Inputs {
    student: Tower,
    teachers: Vec<Tower>,
    neighbourhood: Option<Encoder>,
    list: TextList,
    /// Of the text encoder, the sentences and the groups.
    texts_sha256: Vec<String>,
    source: Source,
}

impl Inputs {
    fn open(args: &Args, kernels: &'static dyn Kernels) -> Outcome<Self> {
        let student = Tower::open(&args.image_encoder, args, kernels)?;
        let teachers = tower::teachers(args, &student, kernels)?;
        let neighbourhood = args.neighbourhood.as_deref();
        let neighbourhood = neighbourhood.map(|path| Encoder::open(path, args, kernels));
        let neighbourhood = neighbourhood.transpose()?;
        let list = TextList::load(&args.texts, &args.groups).map_err(Failure::new)?;
        check_members(&args.groups, &list, student.weight.rows)?;
        let texts = [&args.text_encoder, &args.texts, &args.groups];
        let texts = texts.map(|path| Ok(files::sha256(&files::read(path)?)));
        Ok(Self {
            student,
            teachers,
            neighbourhood,
            list,
            texts_sha256: texts.into_iter().collect::<Outcome<_>>()?,
            source: Source::open(&args.pictures, args.count)?,
        })
    }

    /// SHA-256 over what sees the pictures.
    fn encoders_sha256(&self, kernels: &dyn Kernels) -> String {
        let towers = std::iter::once(&self.student).chain(&self.teachers);
        let encoders = towers
            .map(|tower| &tower.encoder)
            .chain(&self.neighbourhood);
        let names: Vec<&str> = encoders.map(|encoder| encoder.sha256.as_str()).collect();
        files::sha256(format!("{names:?} {}", kernels.name()).as_bytes())
    }
}

/// Every class that a group names must have a head row.
fn check_members(path: &Path, list: &TextList, classes: usize) -> Outcome {
    let wrong = list.members.iter().zip(1..).find_map(|(members, line)| {
        let class = members.iter().find(|&&class| class >= classes)?;
        Some((line, class))
    });
    match wrong {
        Some((line, class)) => Err(Failure::new(format_args!(
            "{}: line {line}: found class {class}, expected 0 to below {classes}",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Pooled features of the sentences in their order, not normalised: (sentences, features). Each of `ranks` encodes a part.
fn sentence_features(
    args: &Args,
    list: &TextList,
    kernels: &'static dyn Kernels,
    ranks: &Ranks,
) -> Outcome<Matrix> {
    let encoder = ranks.agree(text_encoder(args, kernels))?;
    let tokens: Vec<Vec<u32>> = list
        .sentences
        .iter()
        .map(|sentence| encoder.tokenizer.encode(sentence))
        .collect();
    let rows = encoder.encode_on(ranks, "sentences", &tokens)?;
    let columns = rows.first().map_or(0, Vec::len);
    matrix("texts", &rows, columns)
}

/// The text encoder, packed as a board would run it.
fn text_encoder(args: &Args, kernels: &'static dyn Kernels) -> Outcome<TextEncoder> {
    let path = &args.text_encoder;
    let graph = import::imported(path, &import::Choices::features(Some(args.max_tokens)))?;
    // As text encoders are shipped.
    let options = PackOptions {
        float_weights: FloatWeights::I8,
        ..PackOptions::default()
    };
    let packed = pack(&graph, &options).context(path.display())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let loaded = LoadedModel::from_bytes(path.display(), bytes, kernels)?;
    TextEncoder::new(path.display(), loaded)
}

/// Rows end to end, all of `columns`.
fn matrix(name: &str, rows: &[Vec<f32>], columns: usize) -> Outcome<Matrix> {
    if let Some(row) = rows.iter().find(|row| row.len() != columns) {
        return Err(Failure::new(format_args!(
            "{name}: found {} features, expected {columns}",
            row.len()
        )));
    }
    Ok(Matrix {
        data: rows.concat(),
        rows: rows.len(),
        columns,
    })
}

/// Pictures without labels.
enum Source {
    /// The training split.
    Cifar10(Box<Cifar10>),
    /// Files, sorted by path.
    Folder(Vec<PathBuf>),
}

impl Source {
    /// Opens a source that must have `count` pictures.
    fn open(text: &str, count: usize) -> Outcome<Self> {
        let source = match text.strip_prefix("cifar10:") {
            Some(dir) => Self::Cifar10(Box::new(Cifar10::train_unlabelled(dir)?)),
            None => Self::Folder(pictures::below(Path::new(text))?),
        };
        let len = source.len();
        if count == 0 || count > len {
            return Err(Failure::new(format_args!(
                "{text}: found {len} pictures, --count is {count}"
            ))
            .help(format_args!("--count takes 1 to {len} here")));
        }
        Ok(source)
    }

    fn len(&self) -> usize {
        match self {
            Self::Cifar10(data) => data.len(),
            Self::Folder(paths) => paths.len(),
        }
    }

    fn picture(&self, index: usize) -> Outcome<RgbImage> {
        match self {
            Self::Cifar10(data) => Ok(data.picture(index)),
            Self::Folder(paths) => Ok(load_picture(&paths[index])?),
        }
    }

    /// SHA-256 over the first `count` pictures; each of `ranks` reads a part of the files.
    fn digest(&self, count: usize, ranks: &Ranks) -> Outcome<String> {
        let mut hasher = Sha256::new();
        match self {
            Self::Cifar10(data) => (0..count).for_each(|index| hasher.update(data.pixels(index))),
            Self::Folder(paths) => {
                let digest =
                    |path| -> Outcome<[u8; 32]> { Ok(Sha256::digest(files::read(path)?).into()) };
                let own = ranks.part(&paths[..count]).iter().map(PathBuf::as_path);
                let digests = ranks.join(own.map(digest).collect::<Outcome<Vec<_>>>())?;
                digests.iter().for_each(|digest| hasher.update(digest));
            }
        }
        Ok(files::hex(&hasher.finalize()))
    }
}

/// What was made; the order of keys is part of the output.
#[derive(Serialize)]
struct Features<'a> {
    folder: &'a Path,
    files: &'a BTreeMap<String, Made>,
    kernels: &'a str,
}

fn print(args: &Args, made: &BTreeMap<String, Made>, kernels: &dyn Kernels) -> Outcome {
    if args.json {
        return json(&Features {
            folder: &args.out,
            files: made,
            kernels: kernels.name(),
        });
    }
    for (name, Made { shape, .. }) in made {
        let path = args.out.join(name);
        say!("{}: {} × {}", path.display(), shape[0], shape[1]);
    }
    say!("pinhole train RECIPE --inputs {}", args.out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Source, check_members};
    use pinhole_trainer::TextList;
    use std::path::Path;

    #[test]
    fn a_group_of_a_class_without_a_head_row_is_refused_by_its_line() {
        let list = TextList {
            members: vec![vec![0], vec![1, 7]],
            ..TextList::default()
        };
        assert!(check_members(Path::new("g.tsv"), &list, 8).is_ok());
        let error = check_members(Path::new("g.tsv"), &list, 7).unwrap_err();
        assert_eq!(
            error.to_string(),
            "g.tsv: line 2: found class 7, expected 0 to below 7"
        );
    }

    #[test]
    fn more_pictures_than_there_are_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        image::RgbImage::new(2, 2)
            .save(dir.path().join("one.png"))
            .unwrap();
        let text = dir.path().to_str().unwrap();
        assert!(Source::open(text, 1).is_ok());
        for count in [0, 2] {
            let error = Source::open(text, count).map(|_| ()).unwrap_err();
            let expected = format!("found 1 pictures, --count is {count}");
            assert!(error.to_string().ends_with(&expected), "{error}");
        }
    }
}
