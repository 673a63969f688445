//! The image encoders that features come from, packed as a board would run them.

use std::path::Path;

use image::RgbImage;
use pinhole_graph::import::{Checkpoint, efficientnet_lite};
use pinhole_pack::{PackOptions, pack};
use pinhole_ranks::Ranks;
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::Kernels;
use pinhole_trainer::features::Matrix;
use rayon::prelude::*;

use super::{Args, Source, matrix};
use crate::encoder::{Embedding, ImageEncoder, LoadedModel};
use crate::failure::{Context, Failure, Outcome};
use crate::verb::import;
use crate::verb::quantize::{self, Calibration};
use crate::{files, progress};

/// A frozen image encoder.
pub(super) struct Encoder {
    /// `lite1`, or the file's stem.
    pub(super) name: String,
    encoder: ImageEncoder,
    /// Of the packed encoder.
    pub(super) sha256: String,
}

impl Encoder {
    /// The encoder of a checkpoint, an ONNX file or a graph up to its pooled features, in int8 where there are pictures to
    /// calibrate with; a graph that is quantised stays as it is.
    pub(super) fn open(path: &Path, args: &Args, kernels: &'static dyn Kernels) -> Outcome<Self> {
        let mut graph = import::imported(path, &import::Choices::features(None))?;
        if !args.calibrate.is_empty() && !graph.is_quantized() {
            let choices = Calibration::of(args.calibrate.clone(), args.calibration_count);
            graph = quantize::calibrated(&graph, path, &choices, path, &PackOptions::default())?.0;
        }
        let packed = pack(&graph, &PackOptions::default()).context(path.display())?;
        let sha256 = files::sha256(&packed.bytes);
        let bytes = AlignedBytes::from_slice(&packed.bytes);
        let loaded = LoadedModel::from_bytes(path.display(), bytes, kernels)?;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            encoder: ImageEncoder::new(path.display(), loaded)?,
            sha256,
        })
    }

    /// The features of one picture as reals.
    fn reals(&self, embedding: Embedding) -> Vec<f32> {
        match embedding {
            Embedding::F32(row) => row,
            Embedding::I8(row) => {
                let model = &self.encoder.loaded.model;
                let output = model.outputs().next().map(|output| model.value(output));
                let (scale, zero_point) = output.map_or((1.0, 0), |o| (o.scale, o.zero_point));
                row.iter()
                    .map(|&q| scale * (i32::from(q) - zero_point) as f32)
                    .collect()
            }
        }
    }

    /// Features of the first `count` pictures, on all cores of all `ranks`, in order: (count, features).
    pub(super) fn features(&self, source: &Source, count: usize, ranks: &Ranks) -> Outcome<Matrix> {
        self.features_of(count, &|index| source.picture(index), ranks)
    }

    /// Features of `count` pictures, on all cores of all `ranks`, in order: (count, features).
    pub(super) fn features_of(
        &self,
        count: usize,
        picture: &(dyn Fn(usize) -> Outcome<RgbImage> + Sync),
        ranks: &Ranks,
    ) -> Outcome<Matrix> {
        let rows = ranks.rows(count, |part| {
            let bar = progress::bar(&format!("{}: pictures", self.name), part.len());
            let rows = part.into_par_iter().map_init(
                || self.encoder.session(),
                |session, index| {
                    let row = self.reals(session.encode(&picture(index)?)?);
                    bar.inc(1);
                    Ok(row)
                },
            );
            let rows: Outcome<Vec<_>> = rows.collect();
            bar.finish_and_clear();
            rows
        })?;
        let columns = rows.first().map_or(0, Vec::len);
        matrix(&self.name, &rows, columns)
    }
}

/// An image encoder and the classifier head that it was trained with.
pub(super) struct Tower {
    pub(super) encoder: Encoder,
    /// (classes, features)
    pub(super) weight: Matrix,
    /// (classes)
    pub(super) bias: Vec<f32>,
}

impl Tower {
    pub(super) fn open(path: &Path, args: &Args, kernels: &'static dyn Kernels) -> Outcome<Self> {
        let checkpoint = Checkpoint::load(path).map_err(Failure::new)?;
        let variant = efficientnet_lite::variant_of(&checkpoint).map_err(Failure::new)?;
        let (weight, bias) = head(&checkpoint)?;
        let mut encoder = Encoder::open(path, args, kernels)?;
        encoder.name = format!("lite{}", variant.number);
        Ok(Self {
            encoder,
            weight,
            bias,
        })
    }
}

/// The head of a checkpoint: `_fc.weight` (classes, features) and `_fc.bias` (classes).
fn head(checkpoint: &Checkpoint) -> Outcome<(Matrix, Vec<f32>)> {
    let shapes = ["_fc.weight", "_fc.bias"].map(|key| checkpoint.shape(key).unwrap_or_default());
    let floats = |key: &str| checkpoint.tensors.get(key).and_then(|t| t.as_f32());
    match (shapes, floats("_fc.weight"), floats("_fc.bias")) {
        ([&[rows, columns], &[biases]], Some(weight), Some(bias)) if rows == biases => {
            let data = weight.to_vec();
            Ok((
                Matrix {
                    data,
                    rows,
                    columns,
                },
                bias.to_vec(),
            ))
        }
        _ => Err(Failure::new(format_args!(
            "{}: _fc.weight has shape {:?} and _fc.bias {:?}, expected (classes, features) and (classes)",
            checkpoint.path.display(),
            shapes[0],
            shapes[1]
        ))
        .help("features need the classifier head; take a checkpoint that still has it")),
    }
}

/// The teachers, over as many classes as the student has, each another member of the family.
pub(super) fn teachers(
    args: &Args,
    student: &Tower,
    kernels: &'static dyn Kernels,
) -> Outcome<Vec<Tower>> {
    let mut found: Vec<Tower> = Vec::new();
    for path in &args.teacher {
        let teacher = Tower::open(path, args, kernels)?;
        if teacher.weight.rows != student.weight.rows {
            return Err(Failure::new(format_args!(
                "{}: found a head of {} classes, expected the {} of the image encoder",
                path.display(),
                teacher.weight.rows,
                student.weight.rows
            )));
        }
        if found
            .iter()
            .any(|other| other.encoder.name == teacher.encoder.name)
        {
            return Err(Failure::new(format_args!(
                "{}: a second teacher that is {}, expected each once",
                path.display(),
                teacher.encoder.name
            )));
        }
        found.push(teacher);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::{Rgb, RgbImage};
    use pinhole_ranks::threads::on_threads;

    use super::{Encoder, ImageEncoder};
    use crate::encoder::kernels;
    use crate::failure::{Failure, Outcome};

    fn encoder() -> Encoder {
        let model = "../../models/lite0/image.phm";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
        Encoder {
            name: "lite0".to_owned(),
            encoder: ImageEncoder::open(&path, false, kernels(None).unwrap()).unwrap(),
            sha256: String::new(),
        }
    }

    fn picture(index: usize) -> Outcome<RgbImage> {
        let step = index as u32 + 1;
        Ok(RgbImage::from_fn(20, 20, |x, y| {
            Rgb([(x * step) as u8, (y * step) as u8, 7])
        }))
    }

    #[test]
    fn ranks_have_the_features_of_one_process() {
        for count in [3, 7] {
            let of = |ranks| {
                on_threads(ranks, |ranks| {
                    encoder().features_of(count, &picture, &ranks)
                })
            };
            let one = of(1).remove(0).unwrap();
            assert_eq!((one.rows, one.data.len()), (count, count * one.columns));
            assert!(one.row(0) != one.row(1));
            for ranks in [2, 4] {
                for found in of(ranks) {
                    assert_eq!(found.unwrap(), one);
                }
            }
        }
    }

    #[test]
    fn a_picture_that_one_rank_cannot_read_stops_all() {
        let broken = |index: usize| match index {
            5 => Err(Failure::new("5.png is broken")),
            index => picture(index),
        };
        let told = on_threads(3, |ranks| {
            let failed = encoder().features_of(6, &broken, &ranks);
            failed.err().unwrap().to_string()
        });
        let of_last = "rank 2 on thread 2 stopped: 5.png is broken";
        assert_eq!(told, [of_last, of_last, "5.png is broken"]);
    }
}
