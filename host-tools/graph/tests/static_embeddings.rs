//! Small tables of static embeddings against means that were worked out by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pinhole_graph::import::static_embeddings::{self, Config};
use pinhole_graph::import::{Checkpoint, ImportError};
use pinhole_graph::{Graph, ModelKind, Tensor, pass};

/// Three rows of two numbers.
const ROWS: [f32; 6] = [3.0, 4.0, 1.0, -2.0, 5.0, 0.0];

fn checkpoint(tensors: &[(&str, Tensor)]) -> Checkpoint {
    let owned = tensors
        .iter()
        .map(|(key, tensor)| ((*key).to_owned(), tensor.clone()));
    Checkpoint {
        tensors: owned.collect::<BTreeMap<_, _>>(),
        path: PathBuf::from("folder/model.safetensors"),
        sha256: String::new(),
    }
}

fn table() -> (&'static str, Tensor) {
    ("embeddings", Tensor::f32(&[3, 2], ROWS.to_vec()))
}

fn import(tensors: &[(&str, Tensor)], normalize: bool) -> Result<Graph, ImportError> {
    let config = Config {
        normalize,
        max_tokens: 4,
        assumed: Vec::new(),
    };
    static_embeddings::import(&checkpoint(tensors), &config, config.max_tokens)
}

/// The embedding of a text of as many tokens as the graph takes.
fn embedding(graph: &Graph, ids: [i32; 4]) -> Vec<f32> {
    let ids = Tensor::i32(&[4], ids.to_vec());
    let found = pass::evaluate(graph, &[ids]).expect("an embedding");
    found[0].as_f32().expect("floats").to_vec()
}

#[test]
fn an_embedding_is_the_mean_of_rows() {
    let graph = import(&[table()], false).expect("imports");
    assert!(static_embeddings::is(&graph));
    assert_eq!(graph.meta.kind, ModelKind::TextEncoder);
    assert_eq!(graph.meta.max_tokens, Some(4));
    assert_eq!(embedding(&graph, [0, 0, 1, 2]), [3.0, 1.5]);
    let graph = import(&[table()], true).expect("imports");
    assert_eq!(embedding(&graph, [0; 4]), [0.6, 0.8]);
}

#[test]
fn weights_and_shared_rows_are_of_tokens() {
    let mapping = ("mapping", Tensor::i32(&[4], vec![2, 0, 0, 1]));
    let weights = ("weights", Tensor::f32(&[4], vec![1.0, 2.0, 0.5, 3.0]));
    let graph = import(&[table(), mapping, weights], false).expect("imports");
    let rows: Vec<f32> = (0..4)
        .flat_map(|token| embedding(&graph, [token; 4]))
        .collect();
    assert_eq!(rows, [5.0, 0.0, 6.0, 8.0, 1.5, 2.0, 3.0, -6.0]);
}

#[test]
fn a_table_of_integers_is_read() {
    let integers = Tensor::i32(&[2, 2], vec![127, -3, 1, 1]);
    let graph = import(&[("embeddings", integers)], false).expect("imports");
    assert_eq!(embedding(&graph, [0, 0, 1, 1]), [64.0, -1.0]);
}

#[test]
fn a_forgotten_token_is_zeros_and_so_is_a_text_of_it() {
    let mut graph = import(&[table()], true).expect("imports");
    static_embeddings::forget(&mut graph, 1);
    static_embeddings::forget(&mut graph, 3);
    assert_eq!(embedding(&graph, [1; 4]), [0.0, 0.0]);
    assert_eq!(embedding(&graph, [0, 1, 1, 1]), [0.6, 0.8]);
}

#[test]
fn what_does_not_fit_is_refused_with_what_was_expected() {
    let other = |key: &'static str, tensor: Tensor| vec![table(), (key, tensor)];
    let flat = Tensor::f32(&[6], ROWS.to_vec());
    let floats = Tensor::f32(&[3], vec![0.0; 3]);
    let cases = [
        (
            vec![("embeddings", flat.clone())],
            "embeddings is [6], expected (tokens, width)",
        ),
        (
            vec![("embeddings", Tensor::f32(&[0, 2], vec![]))],
            "expected a row and a column",
        ),
        (
            other("weights", flat.clone()),
            "weights is [6], expected [3], one for each token",
        ),
        (
            other("weights", Tensor::f32(&[3, 1], vec![0.0; 3])),
            "weights is [3, 1], expected [3]",
        ),
        (
            other("mapping", floats),
            "mapping has floats of shape [3], expected integers (tokens)",
        ),
        (
            other("mapping", Tensor::i32(&[2], vec![0, 3])),
            "gives token 1 row 3, expected one of 3 rows",
        ),
        (
            other("mapping", Tensor::i32(&[1], vec![-1])),
            "gives token 0 row -1",
        ),
        (other("linear.weight", flat), "unexpected linear.weight"),
    ];
    for (tensors, what) in cases {
        let refused = import(&tensors, false).expect_err(what).to_string();
        assert!(refused.contains(what), "no {what} in {refused}");
        assert!(refused.contains("model.safetensors"), "{refused}");
    }
    let config = static_embeddings::config_beside(&checkpoint(&[table()])).expect("assumed");
    let refused = static_embeddings::import(&checkpoint(&[table()]), &config, 0);
    assert!(
        refused
            .expect_err("no tokens")
            .to_string()
            .contains("0 tokens")
    );
}

#[test]
fn a_configuration_of_model2vec_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut checkpoint = checkpoint(&[table()]);
    checkpoint.path = folder.path().join("model.safetensors");
    let assumed = static_embeddings::config_beside(&checkpoint).expect("assumed");
    assert_eq!((assumed.normalize, assumed.max_tokens), (false, 512));
    assert_eq!(assumed.assumed.len(), 1);
    let write =
        |json: &str| std::fs::write(folder.path().join("config.json"), json).expect("a file");
    for (json, normalize, max_tokens) in [
        (r#"{"seq_length": 1000000, "normalize": true}"#, true, 512),
        (r#"{"max_length": 64}"#, false, 64),
        (r#"{"max_length": null}"#, false, 512),
    ] {
        write(json);
        let read = static_embeddings::config_beside(&checkpoint).expect(json);
        assert_eq!(
            (read.normalize, read.max_tokens),
            (normalize, max_tokens),
            "{json}"
        );
        assert_eq!(read.assumed.is_empty(), !json.contains("null"), "{json}");
    }
    for (json, what) in [
        ("{", "no JSON"),
        (
            r#"{"normalize": "yes"}"#,
            "normalize is \"yes\", expected true or false",
        ),
        (
            r#"{"max_length": 0}"#,
            "max_length is 0, expected a number of tokens",
        ),
        (r#"{"max_length": -5}"#, "max_length is -5"),
    ] {
        write(json);
        let refused = static_embeddings::config_beside(&checkpoint)
            .expect_err(what)
            .to_string();
        assert!(
            refused.contains(what) && refused.contains("config.json"),
            "{refused}"
        );
    }
}
