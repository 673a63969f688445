//! What a run is made of before its first step: files opened, widths compared, the head started, the graph quantised.

use std::path::{Path, PathBuf};

use pinhole_graph::Graph;
use pinhole_quantize::{Input, Options, quantize};
use pinhole_text::classes::ClassList;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::encoder::{Encoder, unit};
use super::evaluate::{Measure, plain_unless_broken};
use super::head;
use super::inputs::reading;
use super::recipe::{HeadStart, Loaded};
use super::source::{Mixed, held_out};
use super::student::Student;
use super::teacher_cache::{TeacherCache, Views};
use super::texts::FrozenTexts;
use super::towers::{output_width, split, text_graph};
use crate::TrainError;
use crate::data::{LoadError, LoaderOptions, Plan, Shard, Source, Texts};
use crate::device::Place;
use crate::features::Matrix;
use crate::recipe::hex;
use burn::tensor::Tensor;

/// A teacher and what its space says of texts.
pub(super) struct Teacher {
    pub(super) cache: TeacherCache,
    /// The targets of all samples, where they are averages over neighbours.
    pub(super) averaged: Option<Matrix>,
    /// Its own text encoder, where it is another than the student's.
    pub(super) texts: Option<FrozenTexts>,
    pub(super) classes: Option<Tensor<2>>,
    pub(super) logit_scale: f32,
    pub(super) weight: f32,
}

/// Everything that stays the same from step to step.
pub(super) struct Setup {
    pub(super) place: Place,
    pub(super) loaded: Loaded,
    pub(super) source: Mixed,
    /// Samples that captions are measured on, and that no step sees.
    pub(super) held: Option<Mixed>,
    /// The text encoder, where it is frozen.
    pub(super) texts: Option<FrozenTexts>,
    /// That which trains, as it starts.
    pub(super) text_graph: Option<Graph>,
    pub(super) classes: Option<Tensor<2>>,
    pub(super) teachers: Vec<Teacher>,
    /// What says which pictures are alike.
    pub(super) neighbourhood: Option<TeacherCache>,
    pub(super) measure: Option<Measure>,
    pub(super) options: LoaderOptions,
    pub(super) plan: Plan,
    /// The graph as it is imported.
    imported: Graph,
    /// SHA-256 of all that is read beside the recipe.
    pub(super) inputs_sha256: String,
}

impl Setup {
    /// Opens everything that the recipe names, relative to `base`; `shard` is this process's part of each batch, which it
    /// computes at `place`.
    ///
    /// # Errors
    /// Files that cannot be read, and what does not fit together.
    pub(super) fn new(
        loaded: Loaded,
        (base, folder): (&Path, &Path),
        shard: Shard,
        place: Place,
    ) -> Result<Self, TrainError> {
        let recipe = &loaded.recipe;
        let path = base.join(&recipe.image.graph);
        let imported = Graph::load(&path).map_err(|error| TrainError::Model {
            path: path.clone(),
            message: error.to_string(),
        })?;
        if imported.is_quantized() {
            return Err(loaded.fault(
                "image.graph",
                "is quantised, expected a graph in f32; `[quantise]` makes it int8",
            ));
        }
        let source = Mixed::open(&recipe.data.train, base)?;
        let (source, held) = split(&loaded, source)?;
        let spec = recipe.data.texts.load(base)?;
        let texts = recipe
            .text
            .as_ref()
            .and_then(|text| text.frozen())
            .map(|path| FrozenTexts::open(&base.join(path)))
            .transpose()?;
        let width = output_width(recipe, &imported);
        let text_graph = text_graph(&loaded, base, &source, width, &place)?;
        let measure = match &recipe.data.evaluate {
            Some(evaluate) => {
                let held = held_out(&loaded, evaluate, &source, base)?;
                Some(Measure::new(held, evaluate.limit, texts.as_ref(), &spec)?)
            }
            None => None,
        };
        let list = class_list(&loaded, &source, base)?;
        let classes = match (&list, &texts) {
            (Some(list), Some(texts)) => {
                Some(place.rows(texts.classes(list, spec.class_templates())?, texts.width()))
            }
            _ => None,
        };
        let views = Views {
            source: source.clone(),
            augmentations: recipe.data.augmentation.clone(),
            seed: recipe.seed,
            epochs: recipe.reinforced.epochs,
            plain: false,
        };
        let views = match recipe.reinforced.plain {
            true => views.plain(),
            false => views,
        };
        let cached = folder.join(&recipe.reinforced.folder);
        let mut teachers = Vec::new();
        for index in 0..recipe.teacher.len() {
            let list = list.as_ref().map(|list| (list, &spec));
            teachers.push(teacher(
                &loaded,
                index,
                base,
                (&views, &cached, &place),
                list,
                classes.as_ref(),
            )?);
        }
        let neighbourhood = recipe.neighbourhood.as_ref().map(|near| {
            let encoder = Encoder::open(&base.join(&near.model))?;
            TeacherCache::new(encoder, views.clone(), &cached)
        });
        let neighbourhood = neighbourhood.transpose()?;
        let said = spec.clone();
        let probe = Student::new(
            imported.clone(),
            super::recipe::Trainable::All,
            false,
            &place,
        )?;
        let mut options = LoaderOptions {
            shard,
            ..options(&loaded, &probe, spec)
        };
        options.pictures = reading(recipe, &options);
        let plan = Plan::new(&source, &options)?;
        let mut hasher = Sha256::new();
        hasher.update(imported.to_bytes().map_err(TrainError::Setup)?);
        hasher.update(source.fingerprint());
        hasher.update(format!("{list:?} {said:?}"));
        hasher.update(texts.as_ref().map_or("", |texts| texts.sha256()));
        if let Some(graph) = &text_graph {
            hasher.update(graph.to_bytes().map_err(TrainError::Setup)?);
        }
        for teacher in &teachers {
            hasher.update(&teacher.cache.encoder.sha256);
            hasher.update(teacher.texts.as_ref().map_or("", |texts| texts.sha256()));
        }
        if let Some(near) = &neighbourhood {
            hasher.update(&near.encoder.sha256);
        }
        let inputs_sha256 = hex(&hasher.finalize());
        let setup = Self {
            place,
            source,
            held,
            texts,
            text_graph,
            classes,
            teachers,
            neighbourhood,
            measure,
            options,
            plan,
            imported,
            inputs_sha256,
            loaded,
        };
        setup.check()?;
        Ok(setup)
    }

    /// Compares widths, and what losses ask with what data have.
    fn check(&self) -> Result<(), TrainError> {
        let (recipe, loss) = (&self.loaded.recipe, &self.loaded.recipe.loss);
        let width = output_width(recipe, &self.imported);
        let advice = format!("the student has {width}; set `embedding` under [image]");
        if let Some(found) = self.text_width()
            && found != width
        {
            let (key, or) = match self.text_graph {
                Some(_) => ("text.graph", " or under [text]"),
                None => ("text.model", ""),
            };
            let message = format!("gives {found} numbers, {advice}{or}");
            return Err(self.loaded.fault(key, message));
        }
        for (spec, teacher) in recipe.teacher.iter().zip(&self.teachers) {
            let of_teacher = teacher.cache.encoder.width;
            let name = spec.model.display();
            let meets = loss.feature + loss.contrastive_distill > 0.0 && !spec.projection;
            if (meets || loss.interactive > 0.0) && of_teacher != width {
                let found = format!(
                    "{name} gives {of_teacher} numbers, {advice}, or `projection = true` for the teacher"
                );
                return Err(self.loaded.fault("teacher.model", found));
            }
            let of_own = teacher.texts.as_ref().map(FrozenTexts::width);
            let text_width = of_own.or(self.text_width());
            let needs_texts = loss.affinity + loss.interactive + loss.logits > 0.0;
            if let (true, Some(texts)) = (needs_texts, text_width)
                && texts != of_teacher
            {
                let found = format!(
                    "{name} gives {of_teacher} numbers and its texts have {texts}; name the text encoder of \
                     its space with `text`"
                );
                return Err(self.loaded.fault("teacher.model", found));
            }
        }
        let has_labels = self
            .source
            .samples()
            .iter()
            .any(|sample| sample.label.is_some());
        for (name, asked) in [
            ("sup_con", loss.sup_con > 0.0 && recipe.data.views == 1),
            ("triplet", loss.triplet > 0.0),
        ] {
            if asked && !has_labels && !(name == "triplet" && recipe.data.views > 1) {
                let message = "needs labels, and no source has any; `views = 2` under [data] makes views of a \
                               picture a class";
                return Err(self.loaded.fault(&format!("loss.{name}"), message));
            }
        }
        Ok(())
    }

    /// Numbers of a text's embedding.
    fn text_width(&self) -> Option<usize> {
        let of_graph = |graph: &Graph| graph.values[graph.outputs[0]].shape.iter().product();
        let frozen = self.texts.as_ref().map(FrozenTexts::width);
        frozen.or(self.text_graph.as_ref().map(of_graph))
    }

    /// Widths of the teachers' embeddings.
    pub(super) fn teacher_widths(&self) -> Vec<usize> {
        self.teachers
            .iter()
            .map(|teacher| teacher.cache.encoder.width)
            .collect()
    }

    /// The graph that training begins with: with its head, and quantised where that is asked for. One that was kept at
    /// `kept` by an earlier call with the same recipe and inputs is taken instead of computing it again.
    ///
    /// # Errors
    /// Pictures that cannot be read, or a graph that cannot be quantised.
    pub(super) fn start(
        &self,
        kept: Option<&Path>,
        say: &dyn Fn(&str),
    ) -> Result<Graph, TrainError> {
        let recipe = &self.loaded.recipe;
        let name = format!("{} {}", self.loaded.sha256, self.inputs_sha256);
        if let Some(kept) = kept
            && let Ok(graph) = Graph::load(kept)
            && graph.meta.source.get(START) == Some(&name)
        {
            return Ok(graph);
        }
        let mut graph = self.imported.clone();
        if let Some(width) = recipe.image.embedding {
            graph = self.headed(width, say)?;
        }
        if let Some(quantise) = &recipe.quantise {
            say("calibrating");
            let student = Student::new(graph.clone(), recipe.image.trainable, false, &self.place)?;
            let inputs = self.plain_pictures(quantise.pictures, &student.geometry)?;
            let inputs: Vec<Input> = inputs.into_iter().map(Input::from).collect();
            graph = quantize(&graph, &inputs, &Options::default(), &|_| ())?.quantized;
        }
        graph.meta.source.insert(START.to_owned(), name);
        if let Some(kept) =
            kept.filter(|_| recipe.quantise.is_some() || recipe.image.head == HeadStart::Ridge)
        {
            save(&graph, kept)?;
        }
        Ok(graph)
    }

    fn headed(&self, width: usize, say: &dyn Fn(&str)) -> Result<Graph, TrainError> {
        let image = &self.loaded.recipe.image;
        let features = head::features(&self.imported);
        let inputs: usize = features.values[features.outputs[0]].shape.iter().product();
        let affine = match image.head {
            HeadStart::Random => head::random(inputs, width, self.loaded.recipe.seed),
            HeadStart::Ridge => {
                say("regressing the head");
                self.regressed(&features, width)?
            }
        };
        head::with_head(&self.imported, width, affine)
    }

    fn regressed(
        &self,
        features: &Graph,
        width: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
        let image = &self.loaded.recipe.image;
        let fitting = self
            .teachers
            .iter()
            .find(|teacher| teacher.cache.encoder.width == width);
        let Some(teacher) = fitting else {
            let widths = self.teacher_widths();
            let message = format!(
                "regresses onto a teacher of {width} numbers, found teachers of {widths:?}"
            );
            return Err(self.loaded.fault("image.head", message));
        };
        let encoder = Encoder::of_graph(Path::new(&features.name), features)?;
        let embed = |encoder: &Encoder| -> Result<Vec<Vec<f32>>, TrainError> {
            let inputs = self.plain_pictures(image.ridge_pictures, &encoder.geometry()?)?;
            encoder.pictures(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        let targets: Vec<Vec<f32>> = embed(&teacher.cache.encoder)?
            .into_iter()
            .map(unit)
            .collect();
        let regressed = head::ridge(&embed(&encoder)?, &targets, image.ridge);
        regressed.ok_or_else(|| {
            self.loaded.fault(
                "image.head",
                "finds features that do not vary, expected a trained encoder",
            )
        })
    }

    /// Inputs of the first `count` training pictures that can be read, as they are.
    fn plain_pictures(
        &self,
        count: usize,
        geometry: &pinhole_runtime::preprocess::InputGeometry,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let samples = self.source.samples().len();
        let count = count.min(samples);
        let input =
            |place: usize| plain_unless_broken(&self.source, place * samples / count, geometry);
        let inputs: Result<Vec<_>, LoadError> = (0..count).into_par_iter().map(input).collect();
        Ok(inputs?.into_iter().flatten().collect())
    }
}

/// The entry of a graph's source that says what a start was made from.
pub(super) const START: &str = "start";

/// Writes a graph whole or not at all.
pub(super) fn save(graph: &Graph, path: &Path) -> Result<(), TrainError> {
    let bytes = graph.to_bytes().map_err(TrainError::Setup)?;
    crate::output::write_atomically(path, &bytes)
}

fn class_list(
    loaded: &Loaded,
    source: &Mixed,
    base: &Path,
) -> Result<Option<ClassList>, TrainError> {
    let recipe = &loaded.recipe;
    if recipe.loss.logits == 0.0 {
        return Ok(None);
    }
    let classes = recipe
        .text
        .as_ref()
        .and_then(|text| text.classes.as_deref());
    let list = match classes {
        Some(named) if base.join(named).is_file() => ClassList::load(&base.join(named)),
        Some(named) => ClassList::from_arg(named),
        None if source.classnames().is_empty() => {
            let message =
                "needs classes, and no source names any; name them with `classes` under [text]";
            return Err(loaded.fault("loss.logits", message));
        }
        None => ClassList::from_names("data.train", source.classnames()),
    };
    list.map(Some)
        .map_err(|error| loaded.fault("text.classes", error.to_string()))
}

fn teacher(
    loaded: &Loaded,
    index: usize,
    base: &Path,
    (views, cached, place): (&Views, &PathBuf, &Place),
    list: Option<(&ClassList, &Texts)>,
    own_classes: Option<&Tensor<2>>,
) -> Result<Teacher, TrainError> {
    let spec = &loaded.recipe.teacher[index];
    let encoder = Encoder::open(&base.join(&spec.model))?;
    let texts = spec
        .text
        .as_ref()
        .map(|path| FrozenTexts::open(&base.join(path)))
        .transpose()?;
    let classes = match (&texts, list) {
        (Some(texts), Some((list, templates))) => Some(place.rows(
            texts.classes(list, templates.class_templates())?,
            texts.width(),
        )),
        _ => own_classes.cloned(),
    };
    let of_model = Some(encoder.logit_scale).filter(|scale| *scale > 0.0);
    Ok(Teacher {
        logit_scale: spec.logit_scale.or(of_model).unwrap_or(100.0),
        cache: TeacherCache::new(encoder, views.clone(), cached)?,
        averaged: None,
        texts,
        classes,
        weight: spec.weight,
    })
}

fn options(loaded: &Loaded, student: &Student, texts: Texts) -> LoaderOptions {
    let recipe = &loaded.recipe;
    let loss = &recipe.loss;
    let defaults = LoaderOptions::default();
    let views_repeat = !recipe.teacher.is_empty() && !recipe.reinforced.plain;
    LoaderOptions {
        geometry: student.geometry,
        batch: recipe.optimiser.batch,
        seed: recipe.seed,
        views: recipe.data.views,
        augmentations: recipe.data.augmentation.clone(),
        view_epochs: views_repeat.then_some(recipe.reinforced.epochs),
        texts: (loss.clip + loss.siglip + loss.affinity + loss.interactive + loss.caption > 0.0)
            .then_some(texts),
        transforms: loss.transform > 0.0,
        threads: recipe.data.threads.unwrap_or(defaults.threads),
        ..defaults
    }
}
