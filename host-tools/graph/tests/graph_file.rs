//! The graph file: what is written is read again, and nothing else is.

use std::path::Path;

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{
    FileError, Graph, ModelKind, Op, PictureGeometry, QuantDType, QuantParams, Tensor, pass,
};

/// Every kind of field that a file holds.
fn graph() -> Graph {
    let mut graph = Graph::empty("sample");
    let ids = graph.add_value("ids", &[4]);
    graph.values[ids].is_ids = true;
    graph.values[ids].dynamic = true;
    graph.inputs.push(ids);
    let table = graph.add_constant(
        "table",
        Tensor::f32(&[3, 2], vec![0.1, -2.5, 3.0e-30, f32::MAX, 0.0, 1.0]),
    );
    let x = graph.add_node("words", Op::Embedding, &[ids, table], &[4, 2]);
    graph.values[x].dynamic = true;
    let y = graph.add_node(
        "relu",
        Op::Unary {
            function: Unary::Clip {
                min: 0.0,
                max: f32::INFINITY,
            },
        },
        &[x],
        &[4, 2],
    );
    graph.values[y].dynamic = true;
    graph.values[y].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales: vec![0.123_456_79],
        zero_point: -128,
    });
    let positions = graph.add_constant("positions", Tensor::f32(&[4, 2], vec![0.25; 8]));
    let op = Op::Binary {
        function: Binary::Add,
        activation: Activation::Relu6,
    };
    let z = graph.add_node("sum", op, &[y, positions], &[4, 2]);
    graph.values[z].dynamic = true;
    graph.outputs.push(z);
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.geometry = Some(PictureGeometry {
        width: 1,
        height: 2,
        resize_shorter: 3,
        mean: [0.1; 3],
        std: [0.3; 3],
    });
    graph.meta.embedding_space = Some([7; 16]);
    graph.meta.logit_scale = Some(14.285_714);
    graph.meta.vocabulary = Some("[PAD]\n\"quoted\"\nö\n".to_owned());
    graph.meta.max_tokens = Some(4);
    graph.meta.source.insert("b".into(), "2".into());
    graph.meta.source.insert("a".into(), "1".into());
    pass::validate(&graph).expect("sound");
    graph
}

fn bytes_of(graph: &Graph) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("g.phg");
    graph.save(&file).expect("saves");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("lists").collect();
    assert_eq!(left.len(), 1, "no partial file stays");
    std::fs::read(file).expect("reads")
}

fn parse(bytes: &[u8]) -> Result<Graph, FileError> {
    Graph::parse(Path::new("g.phg"), bytes)
}

/// A file with its JSON edited and its length corrected.
fn edited(from: &str, to: &str) -> Vec<u8> {
    let bytes = bytes_of(&graph());
    let header_len = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + header_len]).expect("text");
    let (from, to) = (from.replace('"', "\\\""), to.replace('"', "\\\""));
    assert!(header.contains(&from), "{from} is not in {header}");
    let header = header.replacen(&from, &to, 1);
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&bytes[8 + header_len..]);
    out
}

#[test]
fn a_graph_survives_its_file_and_equal_graphs_make_equal_bytes() {
    let bytes = bytes_of(&graph());
    assert_eq!(bytes, bytes_of(&graph()));
    let read = parse(&bytes).expect("loads");
    assert_eq!(read, graph());
    assert_eq!(bytes_of(&read), bytes);
}

#[test]
fn infinite_numbers_survive_a_file() {
    let mut graph = graph();
    let function = Unary::Affine {
        alpha: f32::NEG_INFINITY,
        beta: f32::INFINITY,
    };
    graph.nodes[1].op = Op::Unary { function };
    let again = parse(&bytes_of(&graph)).expect("is read again");
    assert_eq!(again, graph);
}

#[test]
fn every_prefix_is_refused_and_no_flipped_byte_panics() {
    let bytes = bytes_of(&graph());
    for end in 0..bytes.len() {
        assert!(parse(&bytes[..end]).is_err(), "{end} bytes");
    }
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            damaged[at] ^= flip;
            if let Ok(read) = parse(&damaged) {
                // Names, weights and notes may differ; the structure has to hold.
                pass::validate(&read).expect("sound");
            }
            damaged[at] ^= flip;
        }
    }
}

#[test]
fn a_newer_version_says_so() {
    match parse(&edited("\"version\":1", "\"version\":3")) {
        Err(FileError::Newer { found: 3, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn hostile_structure_is_an_error_that_names_the_place() {
    let cases = [
        (
            "\"inputs\":[2],\"output\":3",
            "\"inputs\":[99999999],\"output\":3",
            "relu: refers to value 99999999",
        ),
        (
            "\"inputs\":[2],\"output\":3",
            "\"inputs\":[5],\"output\":3",
            "relu: reads sum before it is computed",
        ),
        (
            "\"inputs\":[2],\"output\":3",
            "\"inputs\":[2],\"output\":2",
            "has a value already",
        ),
        (
            "\"inputs\":[2],\"output\":3",
            "\"inputs\":[],\"output\":3",
            "has 0 inputs, expected 1 to 1",
        ),
        (
            "\"outputs\":[5]",
            "\"outputs\":[6]",
            "output refers to value 6",
        ),
        (
            "\"shape\":[4]",
            "\"shape\":[18446744073709551615]",
            "expected",
        ),
        (
            "\"scales\":[0.12345679]",
            "\"scales\":[0.0]",
            "quantisation scale",
        ),
        (
            "\"std\":[0.3,0.3,0.3]",
            "\"std\":[0.3,0.0,0.3]",
            "deviations above 0",
        ),
        (
            "\"mean\":[0.1,0.1,0.1]",
            "\"mean\":[0.1,1e300,0.1]",
            "pixels have mean",
        ),
        (
            "\"logit_scale\":14.285714",
            "\"logit_scale\":1e300",
            "the logit scale is inf",
        ),
        (
            "\"name\":\"table\"",
            "\"name\":\"ids\"",
            "two values have this name",
        ),
        (
            "\"constant\":true",
            "\"constant\":false",
            "tensors, expected 1",
        ),
        (
            "\"function\":\"Add\"",
            "\"function\":\"Launch\"",
            "damaged graph",
        ),
    ];
    for (from, to, expected) in cases {
        let found = parse(&edited(from, to))
            .map(drop)
            .expect_err("is refused")
            .to_string();
        assert!(found.contains(expected), "{from} to {to}: {found}");
    }
}

#[test]
fn another_safetensors_file_is_no_graph() {
    let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 4]);
    let found = parse(&bytes).map(drop).expect_err("is refused").to_string();
    assert!(
        found.contains("expected a graph, made by `pinhole import`"),
        "{found}"
    );
}

#[test]
fn a_failed_write_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    // A folder is in the way, so that the rename fails after the writing.
    let target = folder.path().join("g.phg");
    std::fs::create_dir(&target).expect("makes a folder");
    assert!(graph().save(&target).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1);
    assert!(graph().save(folder.path().join("missing/g.phg")).is_err());
}

#[test]
fn the_summary_counts_what_is_there() {
    let graph = graph();
    assert_eq!(graph.parameter_count(), 14);
    assert_eq!(
        graph.summary(),
        "sample: 3 nodes, 0.00 M parameters, 0.0 M macs, ids [4] -> sum [4, 2]"
    );
    let text = graph.to_string();
    assert_eq!(text.lines().count(), 4);
    assert!(
        text.contains("words") && text.contains("Embedding") && text.contains("[4, 2] tokens"),
        "{text}"
    );
}
