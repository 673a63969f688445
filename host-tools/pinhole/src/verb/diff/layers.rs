//! Two models on the pictures of a folder or the texts of a file, layer by layer.

use std::path::Path;

use image::RgbImage;
use pinhole_data::load_picture;
use pinhole_quantize::diff::{self, Comparison, LayerDifference, MatchedBy, Tolerance};
use pinhole_runtime::interpreter::Observer;
use pinhole_runtime::kernel::Scalar;
use pinhole_runtime::model::Model;
use serde::Serialize;

use super::Args;
use crate::encoder::{ImageEncoder, ImageSession, LoadedModel, TextEncoder, TextSession, kernels};
use crate::failure::{Failure, Outcome};
use crate::output::{json, note, say};
use crate::texts::{self, Text};
use crate::{pictures, progress};

/// Runs both and prints.
pub(super) fn compare(args: &Args, data: &Path) -> Outcome {
    if let (true, Some(tolerance)) = (args.channel_factors, args.tolerance) {
        beside_factors(tolerance)?;
    }
    let b = args.b.as_deref().unwrap_or(&args.a);
    let first = open_model(&args.a, args.kernels_a.as_deref())?;
    let second = open_model(b, args.kernels_b.as_deref())?;
    let data = Data::load(&args.a, first, data, args.count)?;
    let mut session_a = data.session(&args.a, first)?;
    let mut session_b = data.session(b, second)?;
    let (model_a, model_b) = (first.model, second.model);
    let mut comparison = Comparison::new(model_a, model_b);
    any_layer(&comparison, &args.a, b)?;
    if args.channel_factors {
        comparison.allow_channel_factors();
    }
    let bar = progress::bar("comparing", data.len() as _);
    for index in 0..data.len() {
        let mut kept = comparison.keep();
        session_a.observe(&data, index, &mut kept)?;
        session_b.observe(&data, index, &mut comparison.against(kept))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (set_a, set_b) = (first.kernels.name(), second.kernels.name());
    let tolerance = args
        .tolerance
        .unwrap_or_else(|| comparison.usual_tolerance(set_a == set_b));
    let matched = comparison.matched();
    let layers = comparison.layers(tolerance);
    let report = Report {
        a: Side::new(&args.a, set_a, &model_a, &matched.only_a),
        b: Side::new(b, set_b, &model_b, &matched.only_b),
        pictures: matches!(data, Data::Pictures(_)).then_some(data.len()),
        texts: matches!(data, Data::Texts(_)).then_some(data.len()),
        matched_by: matched.by,
        tolerance: spelled(tolerance),
        channel_factors: args.channel_factors,
        first_difference: layers.iter().position(|layer| layer.beyond),
        layers,
    };
    if args.json {
        json(&report)?;
    } else {
        report.print();
    }
    let scaled = comparison.scaled_layers();
    if !args.channel_factors && !comparison.is_same_precision() && scaled > 0 {
        note!(
            "{scaled} layers are much nearer up to a factor of each channel, as equalisation makes them: --channel-factors"
        );
    }
    report.verdict()
}

/// What both models run on.
enum Data {
    Pictures(Vec<RgbImage>),
    Texts(Vec<Text>),
}

impl Data {
    /// Of a folder, or the lines of a file, split by the tokenizer of model A.
    fn load(path: &Path, a: LoadedModel, data: &Path, count: usize) -> Outcome<Self> {
        match data.to_str().filter(|data| data.starts_with(texts::PREFIX)) {
            Some(source) => {
                let encoder = TextEncoder::new(path.display(), a)?;
                Ok(Self::Texts(texts::load(&encoder, source, count)?))
            }
            None => Ok(Self::Pictures(load(data, count)?)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Pictures(pictures) => pictures.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    fn session(&self, path: &Path, loaded: LoadedModel) -> Outcome<Session> {
        Ok(match self {
            Self::Pictures(_) => {
                Session::Pictures(ImageEncoder::new(path.display(), loaded)?.session())
            }
            Self::Texts(_) => Session::Texts(TextSession::new(path.display(), loaded)?),
        })
    }
}

/// A model at work.
enum Session {
    Pictures(ImageSession),
    Texts(TextSession),
}

impl Session {
    /// Shows `observer` a run on element `index` of the data.
    fn observe(&mut self, data: &Data, index: usize, observer: &mut dyn Observer) -> Outcome {
        match (self, data) {
            (Self::Pictures(session), Data::Pictures(pictures)) => {
                session.observe(&pictures[index], observer)
            }
            (Self::Texts(session), Data::Texts(texts)) => {
                session.observe(&texts[index].ids, observer)
            }
            _ => Ok(()),
        }
    }
}

/// Opens a model of pictures, as [`open_model`].
pub(super) fn open(path: &Path, set: Option<&str>) -> Outcome<ImageEncoder> {
    ImageEncoder::new(path.display(), open_model(path, set)?)
}

/// Opens a model; where the fastest kernels do not read its weights, the scalar ones do.
fn open_model(path: &Path, set: Option<&str>) -> Outcome<LoadedModel> {
    let set_kernels = kernels(set)?;
    let loaded = LoadedModel::open(path, false, set_kernels)?;
    if set_kernels.reads(loaded.model.weight_layout()) || set.is_some() {
        return Ok(loaded);
    }
    note!(
        "{}: its weights lie for another CPU, so that the scalar kernels run it here",
        path.display()
    );
    Ok(LoadedModel {
        kernels: &Scalar,
        ..loaded
    })
}

/// Pictures of a folder, without those that cannot be read, which are named.
pub(super) fn load(folder: &Path, count: usize) -> Outcome<Vec<RgbImage>> {
    let mut pictures = Vec::new();
    for path in pictures::spread(&pictures::below(folder)?, count) {
        match load_picture(&path) {
            Ok(picture) => pictures.push(picture),
            Err(error) => note!("left out: {error}"),
        }
    }
    if pictures.is_empty() {
        return Err(Failure::new(format_args!(
            "{}: found no picture that can be read, expected some",
            folder.display()
        ))
        .help("name a folder with png, jpg, webp, bmp, gif or ppm files in it"));
    }
    Ok(pictures)
}

/// Refuses models that have nothing in common.
pub(super) fn any_layer(comparison: &Comparison<'_>, a: &Path, b: &Path) -> Outcome {
    if !comparison.matched().pairs.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{} and {}: found no layer in common, expected two versions of one network",
        a.display(),
        b.display()
    ))
    .help("pinhole inspect FILE prints the layers of each"))
}

/// Refuses rules over single numbers, which factors change.
fn beside_factors(tolerance: Tolerance) -> Outcome {
    match tolerance {
        Tolerance::Cosine(_) | Tolerance::Sqnr(_) => Ok(()),
        _ => Err(Failure::new(format_args!(
            "--tolerance: found {} beside --channel-factors, expected cosine or sqnr",
            spelled(tolerance)
        ))
        .help("leave out --channel-factors, or take --tolerance sqnr:20")),
    }
}

/// As `--tolerance` reads it.
fn spelled(tolerance: Tolerance) -> String {
    match tolerance {
        Tolerance::Bits => "bits".into(),
        Tolerance::Numerics => "numerics".into(),
        Tolerance::Cosine(least) => format!("cosine:{least}"),
        Tolerance::Sqnr(least) => format!("sqnr:{least}"),
        Tolerance::MaxAbs(most) => format!("abs:{most}"),
    }
}

/// What was compared; the order of keys is part of the output.
#[derive(Serialize)]
struct Report<'a> {
    a: Side<'a>,
    b: Side<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pictures: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    texts: Option<usize>,
    matched_by: MatchedBy,
    tolerance: String,
    channel_factors: bool,
    /// Index into `layers`.
    first_difference: Option<usize>,
    layers: Vec<LayerDifference>,
}

/// One of the two.
#[derive(Serialize)]
pub(super) struct Side<'a> {
    file: &'a Path,
    pub(super) kernels: &'a str,
    /// Layers that the other one lacks, or their indices in a file without names.
    only_here: Vec<String>,
}

impl<'a> Side<'a> {
    pub(super) fn new(file: &'a Path, kernels: &'a str, model: &Model<'_>, only: &[usize]) -> Self {
        let name = |&op: &usize| match diff::name(model, op) {
            "" => format!("#{op}"),
            name => name.to_owned(),
        };
        let mut only_here: Vec<String> = only.iter().map(name).collect();
        // A node may be several operators, which bear its name.
        only_here.dedup();
        Self {
            file,
            kernels,
            only_here,
        }
    }

    pub(super) fn print(&self, which: &str) {
        say!("{which}  {}, {}", self.file.display(), self.kernels);
    }

    /// Layers that were not compared, in one line.
    pub(super) fn print_only_here(&self, which: &str) {
        const SHOWN: usize = 5;
        if self.only_here.is_empty() {
            return;
        }
        let shown = &self.only_here[..self.only_here.len().min(SHOWN)];
        let more = self.only_here.len() - shown.len();
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        say!(
            "{} layers in {which} alone: {}{rest}",
            self.only_here.len(),
            shown.join(", ")
        );
    }
}

/// One word where both models compute a layer by the same operator.
pub(super) fn operators(a: &str, b: &str) -> String {
    if a == b {
        a.to_owned()
    } else {
        format!("{a} / {b}")
    }
}

impl Report<'_> {
    fn print(&self) {
        self.a.print("A");
        self.b.print("B");
        let by = match self.matched_by {
            MatchedBy::Name => "matched by name",
            MatchedBy::Order => "matched by order and shape, since a file has no names",
        };
        let on = match (self.pictures, self.texts) {
            (_, Some(texts)) => format!("{texts} texts"),
            (pictures, None) => format!("{} pictures", pictures.unwrap_or(0)),
        };
        say!(
            "{} layers on {on}, {by}; tolerance {}{}",
            self.layers.len(),
            self.tolerance,
            if self.channel_factors {
                ", up to factors of channels"
            } else {
                ""
            }
        );
        say!();
        let widths = [
            width("layer", self.layers.iter().map(|layer| layer.layer.len())),
            width(
                "operator",
                self.layers
                    .iter()
                    .map(|layer| operators(layer.op_a, layer.op_b).len()),
            ),
        ];
        say!(
            "{:<name$} {:<operator$} {:>8} {:>9} {:>10} {:>9}",
            "layer",
            "operator",
            "SQNR dB",
            "cosine",
            "max |a-b|",
            "differing",
            name = widths[0],
            operator = widths[1]
        );
        for (index, layer) in self.layers.iter().enumerate() {
            let mark = match self.first_difference {
                Some(first) if first == index => "  first difference",
                _ if layer.beyond => "  beyond",
                _ => "",
            };
            say!("{}{mark}", row(layer, widths));
        }
        say!();
        self.a.print_only_here("A");
        self.b.print_only_here("B");
    }

    /// Exit code 1 where a layer is beyond the tolerance.
    fn verdict(&self) -> Outcome {
        let Some(first) = self.first_difference else {
            return Ok(());
        };
        let beyond = self.layers.iter().filter(|layer| layer.beyond).count();
        Err(Failure::check(format_args!(
            "the first layer beyond {} is {}; {beyond} of {} are",
            self.tolerance,
            named(&self.layers[first].layer, first),
            self.layers.len()
        )))
    }
}

/// A layer as messages name it.
pub(super) fn named(name: &str, index: usize) -> String {
    if name.is_empty() {
        format!("number {index}")
    } else {
        name.to_owned()
    }
}

/// Of a column.
pub(super) fn width(title: &str, cells: impl Iterator<Item = usize>) -> usize {
    cells.chain([title.len()]).max().unwrap_or_default()
}

fn row(layer: &LayerDifference, [name, operator]: [usize; 2]) -> String {
    let sqnr = match layer.sqnr_db {
        None if layer.differing == 0.0 => "same".to_owned(),
        None => "exact".to_owned(),
        Some(db) => format!("{db:.1}"),
    };
    format!(
        "{:<name$} {:<operator$} {sqnr:>8} {:>9.6} {:>10.3e} {:>8.2}%",
        layer.layer,
        operators(layer.op_a, layer.op_b),
        layer.cosine,
        layer.max_abs,
        100.0 * layer.differing
    )
}
