//! Ranks that are threads, beside one process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use image::{Rgb, RgbImage};
use pinhole_data::DataSpec;
use pinhole_ranks::threads::on_threads;

use super::cache::Cache;
use super::embeddings::{Embedded, Embedder};
use super::source::Dataset;
use super::{Args, encoders, kernels, plain};
use crate::failure::Failure;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn model(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lite0");
    models.join(name)
}

/// The options of a run over the pictures of `folder`.
fn args(folder: &Path, more: &[&str]) -> Args {
    let (image, text) = (model("image.phm"), model("text.phm"));
    let data = format!("imagefolder:{}", folder.join("photos").display());
    let known = [
        "eval",
        "--model",
        image.to_str().unwrap(),
        "--text-encoder",
        text.to_str().unwrap(),
        "--data",
        &data,
    ];
    Line::parse_from(known.iter().chain(more)).args
}

/// `count` pictures of a class, of which each seventh is that of seven before it.
fn pictures(folder: &Path, count: usize) {
    let folder = folder.join("photos/spots");
    std::fs::create_dir_all(&folder).unwrap();
    for index in 0..count {
        let step = (index % 7 + 1) as u32;
        let picture =
            RgbImage::from_fn(24, 24, |x, y| Rgb([(x * step) as u8, (y * step) as u8, 9]));
        picture
            .save(folder.join(format!("{index:02}.png")))
            .unwrap();
    }
}

/// Leaves half of a picture, whose header is whole.
fn cut(folder: &Path, index: usize) {
    let path = folder.join(format!("photos/spots/{index:02}.png"));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Files of a cache, by name.
fn cached(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for model in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(model.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// What each of `count` ranks has of the pictures of `folder`, whose cache is the first one's.
fn embedded(folder: &Path, cache: &Path, count: usize) -> Vec<Result<Embedded, Failure>> {
    on_threads(count, |ranks| {
        let args = args(
            folder,
            &["--tasks", "map", "--cache", cache.to_str().unwrap()],
        );
        let (encoder, _) = encoders(&args, kernels(None).unwrap()).unwrap();
        let data = Dataset::open(&DataSpec::parse(&args.data).unwrap()).unwrap();
        let cache = match ranks.is_first() {
            true => Cache::open(&args, &encoder).unwrap(),
            false => Cache::default(),
        };
        let mut embedder = Embedder {
            encoder: &encoder,
            float: false,
            cache,
            ranks: &ranks,
        };
        embedder.pictures(&data, &data.test, "pictures")
    })
}

#[test]
fn ranks_embed_keep_and_leave_out_what_one_process_does() {
    for count in [2, 11, 19] {
        let folder = tempfile::tempdir().unwrap();
        pictures(folder.path(), count);
        let broken: Vec<usize> = [9, 17].into_iter().filter(|&index| index < count).collect();
        broken.iter().for_each(|&index| cut(folder.path(), index));
        let mut expected = None;
        // The second run of each number finds all in its cache.
        for ranks in [1, 2, 2, 4, 4] {
            let cache = folder.path().join(format!("cache{ranks}"));
            let all = embedded(folder.path(), &cache, ranks);
            assert_eq!(all.len(), ranks);
            for found in all {
                let found = found.unwrap();
                let rows: Vec<Vec<u32>> = (0..found.rows.len())
                    .map(|row| found.rows.row(row).iter().map(|x| x.to_bits()).collect())
                    .collect();
                let left_out: Vec<usize> = found.broken.iter().map(|(place, _)| *place).collect();
                assert_eq!(left_out, broken);
                let found = (rows, found.keys, found.broken, cached(&cache));
                assert_eq!(found.0.len(), count - broken.len());
                let expected = expected.get_or_insert_with(|| found.clone());
                assert!(found == *expected, "{count} pictures on {ranks} ranks");
            }
        }
    }
}

#[test]
fn pictures_of_which_none_can_be_decoded_are_refused_on_every_rank() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 2);
    [0, 1]
        .into_iter()
        .for_each(|index| cut(folder.path(), index));
    for found in embedded(folder.path(), &folder.path().join("cache"), 4) {
        let told = found.err().unwrap().to_string();
        assert!(
            told.contains("found no picture that can be decoded"),
            "{told}"
        );
    }
}

#[test]
fn a_broken_picture_stops_all_ranks_of_a_plain_run_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 5);
    cut(folder.path(), 4);
    let told = on_threads(2, |ranks| {
        let args = args(folder.path(), &[]);
        let (encoder, text) = encoders(&args, kernels(None).unwrap()).unwrap();
        let spec = DataSpec::parse(&args.data).unwrap();
        let models = (&encoder, text.as_ref().unwrap());
        let failed = plain::run(&args, &spec, models, kernels(None).unwrap(), &ranks);
        failed.unwrap_err().to_string()
    });
    assert!(told[1].contains("04.png"), "{told:?}");
    assert_eq!(told[0], format!("rank 1 on thread 1 stopped: {}", told[1]));
}
