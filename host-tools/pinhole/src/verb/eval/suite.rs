//! `--tasks`: embeds every picture once and runs the tasks over what that gave.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pinhole_data::{DataSpec, Split};
use pinhole_evaluate::{Rows, draw};
use pinhole_ranks::Ranks;
use pinhole_runtime::kernel::Kernels;
use pinhole_text::classes::ClassList;
use pinhole_text::templates::Templates;
use serde::Serialize;

use super::cache::Cache;
use super::calibration::{Calibration, calibration};
use super::duplicates::{self, Duplicates};
use super::embeddings::{self, Embedded, Embedder};
use super::labelled::{self, Classified, Clustering, Labelled, LinearProbe, Neighbours};
use super::map::{Map, map};
use super::retrieval::{Retrieval, retrieval};
use super::source::{Broken, Dataset, labels};
use super::task::{self, Asked};
use super::{Args, print, report, templates};
use crate::encoder::{ImageEncoder, TextEncoder};
use crate::failure::{Failure, Outcome};
use crate::output::json;
use crate::{bank, files};

/// Classes of a drawn matrix at most; of more, those with the most errors.
const DRAWN_CLASSES: usize = 40;
/// What logits are multiplied by where the model does not say, as for class banks.
const LOGIT_SCALE: f64 = 100.0;

/// Everything that was measured; the order of keys is part of the output.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    pub(super) model_sha256: String,
    pub(super) model: PathBuf,
    pub(super) text_encoder_sha256: Option<String>,
    pub(super) text_encoder: Option<PathBuf>,
    pub(super) data: String,
    pub(super) float: bool,
    pub(super) kernels: &'static str,
    pub(super) seed: u64,
    pub(super) tasks: Vec<&'static str>,
    /// Pictures that were measured.
    pub(super) test: usize,
    /// Pictures that were learned from.
    pub(super) train: usize,
    /// Training pictures that were not, since they are measured: byte for byte the same.
    pub(super) train_measured: usize,
    /// Pictures that cannot be read and are in no number.
    pub(super) broken: Vec<Broken>,
    pub(super) split: String,
    pub(super) classes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) zero_shot: Option<ZeroShot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retrieval: Option<Retrieval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) linear_probe: Option<LinearProbe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) knn: Option<Neighbours>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nmi: Option<Clustering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) calibration: Option<Calibration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confusion: Option<Confusions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duplicates: Option<Duplicates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) map: Option<Map>,
}

/// The nearest class embedding.
#[derive(Debug, Serialize)]
pub(super) struct ZeroShot {
    #[serde(flatten)]
    pub(super) classified: Classified,
    pub(super) templates: String,
    /// Sentences a class.
    pub(super) prompts: usize,
}

/// Which classes are taken for which.
#[derive(Debug, Serialize)]
pub(super) struct Confusions {
    /// The task whose predictions these are.
    pub(super) of: &'static str,
    /// Class, prediction, pictures; the most frequent first.
    pub(super) worst: Vec<(String, String, usize)>,
    #[serde(skip)]
    pub(super) classified: Classified,
    #[serde(skip)]
    pub(super) svg: String,
}

/// Runs the tasks, prints the results and writes what was asked for.
pub(super) fn run(
    args: &Args,
    spec: &DataSpec,
    (encoder, text): (&ImageEncoder, Option<&TextEncoder>),
    kernels: &'static dyn Kernels,
    ranks: &Ranks,
) -> Outcome {
    let (mut data, tasks) = ranks.agree(open(args, spec, text.is_some()))?;
    ranks.same("pictures", &data.sha256())?;
    if let Some(folder) = &args.out {
        let make = || std::fs::create_dir_all(folder);
        ranks.first(|| make().map_err(|error| files::cannot_write(folder, &error)))?;
    }
    let embedded = embed(args, encoder, &mut data, ranks)?;
    let texts = match text {
        Some(text) => Texts::embed(args, &data, text, &tasks, ranks)?,
        None => Texts::default(),
    };
    // What is left is little beside the embedding.
    ranks.first(|| finish(args, &data, &tasks, embedded, texts, kernels))
}

/// The pictures, as the tasks to run want them.
fn open(args: &Args, spec: &DataSpec, has_text: bool) -> Outcome<(Dataset, Vec<Asked>)> {
    let mut data = Dataset::open(spec)?;
    rename_classes(args, &mut data)?;
    let tasks = task::chosen(&args.tasks, &data, has_text)?;
    if tasks.is_empty() {
        return Err(
            Failure::new("--tasks: found no task that can be run, expected one")
                .help("pinhole eval --help says what each needs"),
        );
    }
    let learns = tasks.iter().any(|task| task.learns(has_text));
    data.prepare(args, learns, tasks.contains(&Asked::Duplicates));
    Ok((data, tasks))
}

/// Runs the tasks over embeddings, prints the results and writes what was asked for.
fn finish(
    args: &Args,
    data: &Dataset,
    tasks: &[Asked],
    (test, train): (Embedded, Option<Embedded>),
    texts: Texts<'_>,
    kernels: &'static dyn Kernels,
) -> Outcome {
    let learns = tasks
        .iter()
        .any(|task| task.learns(texts.encoder.is_some()));
    let lessons = match (&train, learns) {
        (Some(train), true) => lessons(&test, train)?,
        _ => Vec::new(),
    };
    let suite = Suite {
        args,
        data,
        texts,
        test: test.rows,
        train: train.map(|train| train.rows),
        lessons,
        learns,
    };
    let results = suite.measure(tasks, kernels.name())?;
    if let Some(folder) = &args.out {
        write_folder(folder, &results)?;
    }
    if let Some(path) = &args.html {
        files::write(path, report::html(&results, data)?.as_bytes())?;
    }
    if args.json {
        return json(&results);
    }
    print::results(&results);
    Ok(())
}

/// Embeds both splits; `data` loses the pictures that are broken.
fn embed(
    args: &Args,
    encoder: &ImageEncoder,
    data: &mut Dataset,
    ranks: &Ranks,
) -> Outcome<(Embedded, Option<Embedded>)> {
    let cache = match ranks.is_first() {
        true => Cache::open(args, encoder),
        false => Ok(Cache::default()),
    };
    let mut embedder = Embedder {
        encoder,
        float: args.float,
        cache: ranks.agree(cache)?,
        ranks,
    };
    let mut test = embedder.pictures(data, &data.test, "embedding pictures")?;
    let mut train = match data.train.is_empty() {
        true => None,
        false => Some(embedder.pictures(data, &data.train, "embedding training")?),
    };
    data.leave_out(Split::Test, std::mem::take(&mut test.broken));
    if let Some(train) = &mut train {
        data.leave_out(Split::Train, std::mem::take(&mut train.broken));
    }
    Ok((test, train))
}

/// The indices of training pictures that are not measured as well; equal bytes are one picture.
fn lessons(test: &Embedded, train: &Embedded) -> Outcome<Vec<usize>> {
    let measured: HashSet<_> = test.keys.iter().collect();
    let is_new = |index: &usize| !measured.contains(&train.keys[*index]);
    let found: Vec<usize> = (0..train.keys.len()).filter(is_new).collect();
    if found.is_empty() {
        return Err(Failure::new(format_args!(
            "found each of the {} training pictures among the measured ones, expected others",
            train.keys.len()
        ))
        .help("give training pictures that are not measured"));
    }
    Ok(found)
}

/// `--classes` gives the classes of the data other names, for prompts and reports.
fn rename_classes(args: &Args, data: &mut Dataset) -> Outcome {
    let Some(list) = &args.classes else {
        return Ok(());
    };
    let classes = ClassList::from_arg(list)?;
    let found = classes.as_slice().len();
    if found != data.classnames.len() {
        return Err(Failure::new(format_args!(
            "--classes: found {found} classes, expected the {} of the data",
            data.classnames.len()
        ))
        .help(format_args!(
            "the data has, in this order: {}",
            data.classnames.join(", ")
        )));
    }
    data.classnames = classes
        .as_slice()
        .iter()
        .map(|class| class.name().to_string())
        .collect();
    Ok(())
}

/// What tasks compare pictures with.
#[derive(Default)]
struct Texts<'a> {
    encoder: Option<&'a TextEncoder>,
    /// Class embeddings and the templates that they are made with.
    classes: Option<(Rows, Templates)>,
    captions: Option<Rows>,
}

impl<'a> Texts<'a> {
    /// Embeds what `tasks` need; each of `ranks` encodes a part.
    fn embed(
        args: &Args,
        data: &Dataset,
        text: &'a TextEncoder,
        tasks: &[Asked],
        ranks: &Ranks,
    ) -> Outcome<Self> {
        let asked = |of: &[Asked]| of.iter().any(|task| tasks.contains(task));
        let names_classes = asked(&[Asked::ZeroShot, Asked::Calibration, Asked::Confusion]);
        let classes = match names_classes && data.is_labelled() {
            true => {
                let (classes, set) = ranks.agree(classes(args, data))?;
                let rows = bank::class_embeddings(text, &classes, &set, ranks)?;
                Some((embeddings::as_scored(rows, args.float)?, set))
            }
            false => None,
        };
        let captions = match asked(&[Asked::Retrieval]) {
            true => Some(embeddings::captions(
                text,
                &data.captions,
                args.float,
                ranks,
            )?),
            false => None,
        };
        Ok(Self {
            encoder: Some(text),
            classes,
            captions,
        })
    }
}

/// The classes and the templates of their prompts.
fn classes(args: &Args, data: &Dataset) -> Outcome<(ClassList, Templates)> {
    let classes = match &args.classes {
        Some(list) => ClassList::from_arg(list)?,
        None => ClassList::from_names(&args.data, &data.classnames)?,
    };
    Ok((classes, templates(args)?))
}

/// What all tasks look at.
struct Suite<'a> {
    args: &'a Args,
    data: &'a Dataset,
    texts: Texts<'a>,
    test: Rows,
    train: Option<Rows>,
    /// Training pictures to learn from.
    lessons: Vec<usize>,
    learns: bool,
}

impl Suite<'_> {
    fn measure(&self, tasks: &[Asked], kernels: &'static str) -> Outcome<Results> {
        let asked = |task: Asked| tasks.contains(&task);
        let (args, data) = (self.args, self.data);
        let test_labels = labels(&data.test);
        let confused = asked(Asked::Confusion);
        let class_rows = &self.texts.classes;
        let cosines = class_rows
            .as_ref()
            .map(|(rows, _)| labelled::cosines(&self.test, rows));
        let zero_shot = cosines
            .as_ref()
            .map(|cosines| Classified::new(cosines, &test_labels, &data.classnames));
        let needs_probe = asked(Asked::LinearProbe) || (confused && zero_shot.is_none());
        let probe = self.with_train(needs_probe, |splits| {
            labelled::linear_probe(splits, args.seed)
        });
        let confusion = match (&zero_shot, &probe) {
            (Some(of), _) if confused => Some(self.confusions("zero-shot", of)?),
            (None, Some(of)) if confused => Some(self.confusions("linear-probe", &of.classified)?),
            _ => None,
        };
        let calibrated = match (&cosines, class_rows, self.texts.encoder) {
            (Some(cosines), Some((rows, _)), Some(text)) => {
                self.with_train(asked(Asked::Calibration), |splits| {
                    let train = labelled::cosines(splits.train, rows);
                    let test = (&cosines[..], &test_labels[..]);
                    calibration(
                        test,
                        (&train, splits.train_labels),
                        logit_scale(text),
                        args.seed,
                    )
                })
            }
            _ => None,
        };
        Ok(Results {
            model_sha256: files::sha256(&files::read(&args.model)?),
            model: args.model.clone(),
            text_encoder_sha256: match &args.text_encoder {
                Some(path) => Some(files::sha256(&files::read(path)?)),
                None => None,
            },
            text_encoder: args.text_encoder.clone(),
            data: args.data.clone(),
            float: args.float,
            kernels,
            seed: args.seed,
            tasks: tasks.iter().map(|task| task.name()).collect(),
            test: data.test.len(),
            train: self.lessons.len(),
            train_measured: match self.learns {
                true => data.train.len() - self.lessons.len(),
                false => 0,
            },
            broken: data.broken.clone(),
            split: data.split.clone(),
            classes: data.classnames.len(),
            zero_shot: zero_shot
                .filter(|_| asked(Asked::ZeroShot))
                .map(|classified| {
                    let prompts = class_rows.as_ref();
                    ZeroShot {
                        classified,
                        templates: prompts
                            .map_or_else(String::new, |(_, set)| set.name().to_string()),
                        prompts: prompts.map_or(0, |(_, set)| set.as_slice().len()),
                    }
                }),
            retrieval: self
                .texts
                .captions
                .as_ref()
                .map(|captions| retrieval(&data.test, &self.test, captions)),
            linear_probe: probe.filter(|_| asked(Asked::LinearProbe)),
            knn: self.with_train(asked(Asked::Knn), labelled::neighbours),
            nmi: asked(Asked::Nmi)
                .then(|| labelled::clustering(&self.test, &test_labels, args.seed)),
            calibration: calibrated,
            confusion,
            duplicates: match asked(Asked::Duplicates) {
                true => Some(duplicates::duplicates(
                    data,
                    &self.test,
                    self.train.as_ref(),
                    args.duplicate_cosine,
                )?),
                false => None,
            },
            map: match asked(Asked::Map) {
                true => Some(map(
                    &self.test,
                    &data.test,
                    data.classnames.len(),
                    args.seed,
                )?),
                false => None,
            },
        })
    }

    /// What `learn` makes of both splits, where it is wanted.
    fn with_train<T>(&self, wanted: bool, learn: impl FnOnce(&Labelled<'_>) -> T) -> Option<T> {
        let train = self.train.as_ref().filter(|_| wanted)?;
        let train = match self.lessons.len() == train.len() {
            true => Cow::Borrowed(train),
            false => Cow::Owned(train.select(&self.lessons)),
        };
        let all = labels(&self.data.train);
        let train_labels: Vec<usize> = self.lessons.iter().map(|&index| all[index]).collect();
        Some(learn(&Labelled {
            test: &self.test,
            test_labels: &labels(&self.data.test),
            train: &train,
            train_labels: &train_labels,
            classnames: &self.data.classnames,
        }))
    }

    fn confusions(&self, of: &'static str, classified: &Classified) -> Outcome<Confusions> {
        let names = &self.data.classnames;
        let matrix = &classified.confusion;
        let drawn = matrix.hardest(DRAWN_CLASSES);
        let worst = matrix.worst().into_iter();
        Ok(Confusions {
            of,
            worst: worst
                .map(|c| (names[c.class].clone(), names[c.predicted].clone(), c.count))
                .collect(),
            classified: classified.clone(),
            svg: draw::confusion(matrix, &drawn, names).map_err(Failure::new)?,
        })
    }
}

fn logit_scale(text: &TextEncoder) -> f64 {
    match f64::from(text.loaded.model.header().logit_scale.get()) {
        scale if scale > 0.0 => scale,
        _ => LOGIT_SCALE,
    }
}

/// Writes results and drawings into a folder.
fn write_folder(folder: &Path, results: &Results) -> Outcome {
    let write = |name: &str, text: &str| files::write(&folder.join(name), text.as_bytes());
    let json = serde_json::to_string_pretty(results).map_err(Failure::new)?;
    write("results.json", &(json + "\n"))?;
    if let Some(calibration) = &results.calibration {
        for (name, of) in [
            ("reliability", &calibration.as_it_is),
            ("reliability-scaled", &calibration.scaled),
        ] {
            let svg = draw::reliability(&of.diagram).map_err(Failure::new)?;
            write(&format!("{name}.svg"), &draw::standalone(&svg))?;
        }
    }
    if let Some(confusion) = &results.confusion {
        write("confusion.svg", &draw::standalone(&confusion.svg))?;
    }
    if let Some(map) = &results.map {
        write("map.svg", &draw::standalone(&map.svg))?;
    }
    if let Some(duplicates) = &results.duplicates {
        write("duplicates.csv", &duplicates::csv(&duplicates.list))?;
    }
    Ok(())
}
