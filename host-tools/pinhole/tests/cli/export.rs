//! `pinhole export`: formats, what is said of the input, and what cannot be written.

use serde_json::Value;

use crate::{GRAPH, Sandbox, run};

/// A TFLite file in int8 of small layers.
const INT8: &str = "tests/golden/tflite_int8.tflite";

/// The JSON of an export of a quantised graph, and the file.
fn export(options: &[&str], name: &str) -> (Value, Vec<u8>) {
    let sandbox = Sandbox::new();
    let (graph, out) = (sandbox.path("int8.phg"), sandbox.path(name));
    run(["import", INT8, "--out", &graph]).done();
    let args = [&["export", &graph, "--json", "--out", &out], options].concat();
    let report = serde_json::from_str(&run(args).done()).expect("JSON");
    assert_eq!(sandbox.names().len(), 2, "something is left beside it");
    (report, std::fs::read(out).expect("a file"))
}

#[test]
fn the_ending_says_the_format() {
    let (report, bytes) = export(&[], "model.tflite");
    assert_eq!(&bytes[4..8], b"TFL3");
    assert_eq!(report["format"], "tflite");
    assert_eq!(report["quantised"], true);
    assert_eq!(report["file_bytes"], bytes.len());
    assert_eq!(report["float_nodes"], Value::Array(vec![]));
    assert_eq!(report["input_scale"], 0.0078125);
    let (other, _) = export(&["--format", "tflite"], "model.bin");
    assert_eq!(other, report);
}

#[cfg(feature = "onnx")]
#[test]
fn a_quantised_graph_is_written_in_f32_when_asked() {
    let (int8, bytes) = export(&[], "model.onnx");
    let (float, real) = export(&["--float"], "model.onnx");
    assert_eq!(int8["format"], "onnx");
    assert_eq!([&int8["quantised"], &float["quantised"]], [true, false]);
    let rounds = |bytes: &[u8]| bytes.windows(14).any(|name| name == b"QuantizeLinear");
    assert!(rounds(&bytes) && !rounds(&real));
}

#[test]
fn the_input_is_explained() {
    let sandbox = Sandbox::new();
    let said = run(["export", GRAPH, "--out", &sandbox.path("model.tflite")]).done();
    assert!(
        said.contains("in f32, (pixel / 255 - mean) / std"),
        "{said}"
    );
    let graph = sandbox.path("int8.phg");
    run(["import", INT8, "--out", &graph]).done();
    let said = run(["export", &graph, "--out", &sandbox.path("model.tflite")]).done();
    assert!(said.contains("7.8125e-3 * (byte - -1) ="), "{said}");
}

#[test]
fn an_unknown_ending_is_answered_with_what_to_type() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("model.pb");
    run(["export", GRAPH, "--out", &out]).refused(&["expected .onnx or .tflite", "model.onnx"]);
    assert!(sandbox.names().is_empty());
}

#[cfg(feature = "onnx")]
#[test]
fn what_tflite_lacks_is_named_with_what_to_type() {
    let sandbox = Sandbox::new();
    let (graph, out) = (sandbox.path("vit.phg"), sandbox.path("vit.tflite"));
    let source = "host-tools/graph/tests/onnx/vit.onnx";
    run(["import", source, "--out", &graph]).done();
    run(["export", &graph, "--out", &out]).refused(&["operators are not supported", ".onnx"]);
    assert_eq!(sandbox.names(), ["vit.phg"]);
}
