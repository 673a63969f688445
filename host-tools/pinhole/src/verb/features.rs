//! `pinhole features`: what frozen encoders make of pictures and sentences, in the files that `pinhole train` reads.
//!
//! [`pinhole_trainer::features`] says what is in them. The encoders run in this runtime, so that training sees what a board
//! will see: pictures in int8 where there are pictures to calibrate with (else in f32), sentences with the int8 weights that
//! text encoders are shipped with. `features.json` beside the files says what each was made from; a file whose inputs are
//! unchanged is not made again.

mod photos;
mod tower;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::{Cifar10, load_picture};
use pinhole_pack::{FloatWeights, PackOptions, pack};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::Kernels;
use pinhole_trainer::TextList;
use pinhole_trainer::features::{
    Matrix, View, write_photos, write_pictures, write_prototypes, write_teacher, write_texts,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::tower::{Encoder, Tower};
use crate::encoder::{LoadedModel, TextEncoder, kernels};
use crate::failure::{Context, Failure, Outcome};
use crate::output::{json, note, say};
use crate::verb::import;
use crate::{files, pictures, progress};

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
kept: after an interruption the same command goes on with the next file.")]
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
pub(crate) fn run(args: Args) -> Outcome {
    let kernels = kernels(None)?;
    // Everything is opened and checked before the first hour of work.
    let student = Tower::open(&args.image_encoder, &args, kernels)?;
    let teachers = tower::teachers(&args, &student, kernels)?;
    let neighbourhood = args.neighbourhood.as_deref();
    let neighbourhood = neighbourhood.map(|path| Encoder::open(path, &args, kernels));
    let neighbourhood = neighbourhood.transpose()?;
    let list = TextList::load(&args.texts, &args.groups).map_err(Failure::new)?;
    check_members(&args.groups, &list, student.weight.rows)?;
    let source = Source::open(&args.pictures, args.count)?;
    let seen = source.digest(args.count)?;
    std::fs::create_dir_all(&args.out).context(args.out.display())?;
    let mut folder = Folder::open(&args.out)?;

    folder.make(
        "prototypes.safetensors",
        &[&student.encoder.sha256],
        |path| {
            write_prototypes(path, &student.weight, &student.bias).map_err(Failure::new)?;
            Ok([student.weight.rows, student.weight.columns])
        },
    )?;
    let text_sha256 = files::sha256(&files::read(&args.text_encoder)?);
    let tsv = [&args.texts, &args.groups].map(|path| files::read(path));
    let [texts_sha256, groups_sha256] = tsv.map(|bytes| bytes.map(|b| files::sha256(&b)));
    let tokens = args.max_tokens.to_string();
    let inputs = [&text_sha256, &texts_sha256?, &groups_sha256?, &tokens];
    folder.make("texts.safetensors", &inputs, |path| {
        let features = sentence_features(&args, &list, kernels)?;
        write_texts(path, &features, &list).map_err(Failure::new)?;
        Ok([features.rows, features.columns])
    })?;
    let files = [
        ("pictures.safetensors", Some(&student.encoder)),
        ("neighbourhood.safetensors", neighbourhood.as_ref()),
    ];
    for (name, encoder) in files {
        let Some(encoder) = encoder else { continue };
        folder.make(name, &[&encoder.sha256, &seen], |path| {
            let features = encoder.features(&source, args.count)?;
            write_pictures(path, &features).map_err(Failure::new)?;
            Ok([features.rows, features.columns])
        })?;
    }
    if let Some(photographs) = &args.photos {
        let seen = Source::Folder(pictures::below(photographs)?);
        let seen = seen.digest(seen.len())?;
        let towers = std::iter::once(&student).chain(&teachers);
        let inputs: Vec<&String> = towers.map(|t| &t.encoder.sha256).chain([&seen]).collect();
        folder.make("photos.safetensors", &inputs, |path| {
            let found = photos::photos(&student, &teachers, photographs)?;
            write_photos(path, &found).map_err(Failure::new)?;
            Ok([found.features.rows, found.features.columns])
        })?;
    }
    for teacher in teachers {
        let inputs = [&teacher.encoder.sha256, &seen];
        let name = format!("{}.safetensors", teacher.encoder.name);
        folder.make(&name, &inputs, |path| {
            let features = teacher.encoder.features(&source, args.count)?;
            let shape = [features.rows, features.columns];
            let view = View {
                features,
                weight: teacher.weight.clone(),
                bias: teacher.bias.clone(),
            };
            write_teacher(path, &view).map_err(Failure::new)?;
            Ok(shape)
        })?;
    }
    print(&args, &folder.files, kernels)
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

/// Pooled features of the sentences in their order, not normalised: (sentences, features).
fn sentence_features(
    args: &Args,
    list: &TextList,
    kernels: &'static dyn Kernels,
) -> Outcome<Matrix> {
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
    let encoder = TextEncoder::new(path.display(), loaded)?;
    let tokens: Vec<Vec<u32>> = list
        .sentences
        .iter()
        .map(|sentence| encoder.tokenizer.encode(sentence))
        .collect();
    let bar = progress::bar("sentences", tokens.len());
    let rows = encoder.encode(&tokens, &|| bar.inc(1))?;
    bar.finish_and_clear();
    let columns = rows.first().map_or(0, Vec::len);
    matrix("texts", &rows, columns)
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

    /// SHA-256 over the first `count` pictures.
    fn digest(&self, count: usize) -> Outcome<String> {
        let mut hasher = Sha256::new();
        for index in 0..count {
            match self {
                Self::Cifar10(data) => hasher.update(data.pixels(index)),
                Self::Folder(paths) => hasher.update(Sha256::digest(files::read(&paths[index])?)),
            }
        }
        Ok(files::hex(&hasher.finalize()))
    }
}

/// What `features.json` says of a file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
struct Made {
    /// SHA-256 of what it was made from.
    inputs_sha256: String,
    /// SHA-256 of the file.
    sha256: String,
    /// Of its features.
    shape: [usize; 2],
}

/// The folder of the feature files, and what is finished in it.
struct Folder {
    path: PathBuf,
    files: BTreeMap<String, Made>,
}

impl Folder {
    fn open(path: &Path) -> Outcome<Self> {
        let record = path.join(Self::RECORD);
        let files = if record.exists() {
            serde_json::from_slice(&files::read(&record)?).context(record.display())?
        } else {
            BTreeMap::new()
        };
        Ok(Self {
            path: path.to_path_buf(),
            files,
        })
    }

    const RECORD: &str = "features.json";

    /// Makes a file with `write`, which returns the shape of its features, unless it is there from the same inputs.
    fn make(
        &mut self,
        name: &str,
        inputs: &[&String],
        write: impl FnOnce(&Path) -> Outcome<[usize; 2]>,
    ) -> Outcome {
        let path = self.path.join(name);
        let inputs: Vec<&str> = inputs.iter().map(|input| input.as_str()).collect();
        let inputs_sha256 = files::sha256(inputs.join(" ").as_bytes());
        if let Some(made) = self.files.get(name)
            && made.inputs_sha256 == inputs_sha256
            && path.is_file()
            && files::sha256(&files::read(&path)?) == made.sha256
        {
            note!("{}: finished already, kept", path.display());
            return Ok(());
        }
        let shape = files::produce(&path, write)?;
        let made = Made {
            inputs_sha256,
            sha256: files::sha256(&files::read(&path)?),
            shape,
        };
        self.files.insert(name.to_owned(), made);
        let record = serde_json::to_vec_pretty(&self.files).map_err(Failure::new)?;
        files::write(&self.path.join(Self::RECORD), &record)
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
    use super::{Folder, Source, check_members};
    use pinhole_trainer::TextList;
    use std::cell::Cell;
    use std::path::Path;

    #[test]
    fn a_file_is_made_once_and_again_when_its_inputs_or_its_bytes_change() {
        let dir = tempfile::tempdir().unwrap();
        let made = Cell::new(0);
        let make = |input: &str| {
            let mut folder = Folder::open(dir.path()).unwrap();
            let write = |path: &Path| {
                made.set(made.get() + 1);
                std::fs::write(path, "features").unwrap();
                Ok([2, 3])
            };
            folder
                .make("a.safetensors", &[&input.to_owned()], write)
                .unwrap();
            assert_eq!(folder.files["a.safetensors"].shape, [2, 3]);
        };
        make("x");
        make("x");
        assert_eq!(made.get(), 1);
        make("y");
        assert_eq!(made.get(), 2);
        std::fs::write(dir.path().join("a.safetensors"), "feat").unwrap();
        make("y");
        assert_eq!(made.get(), 3);
    }

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
