//! Both towers of a small CLIP from its checkpoint to packed models.

use safetensors::tensor::TensorView;
use safetensors::{SafeTensors, serialize};

use crate::{Sandbox, bytes, run};

/// The small CLIP of the tests without what is expected of it, and its configuration, in a folder.
pub(crate) fn checkpoint(sandbox: &Sandbox) -> String {
    sandbox.file(
        "open_clip_config.json",
        r#"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"head_width": 32}, "text_cfg": {"heads": 4}}}"#,
    );
    sandbox.file("open_clip_model.safetensors", weights())
}

/// The weights alone.
pub(crate) fn weights() -> Vec<u8> {
    let whole = bytes("tests/golden/clip_vit.safetensors");
    let tensors = SafeTensors::deserialize(&whole).expect("a checkpoint");
    let kept: Vec<(String, TensorView<'_>)> = tensors
        .tensors()
        .into_iter()
        .filter(|(key, _)| !key.starts_with("expected."))
        .collect();
    serialize(kept, None).expect("a checkpoint")
}

#[test]
fn both_towers_become_models_of_one_space() {
    let sandbox = Sandbox::new();
    let source = checkpoint(&sandbox);
    for tower in ["image", "text"] {
        let [graph, model] = ["phg", "phm"].map(|kind| sandbox.path(&format!("{tower}.{kind}")));
        let imported = run([
            "import", &source, "--tower", tower, "--out", &graph, "--json",
        ]);
        assert_eq!(imported.code, Some(0), "{imported:?}");
        let no_tokenizer = imported.stderr.contains("found no tokenizer");
        assert_eq!(no_tokenizer, tower == "text", "{}", imported.stderr);
        run(["pack", &graph, "--out", &model]).done();
        let inspected = run(["inspect", &model]).done();
        assert!(
            inspected.contains(&format!("{tower} encoder")),
            "{inspected}"
        );
    }
}

#[test]
fn a_tokenizer_of_another_encoder_is_refused() {
    let sandbox = Sandbox::new();
    let source = checkpoint(&sandbox);
    let tokenizer = "host-tools/text/tests/golden/tokenizers/clip_merges.txt.gz";
    let out = sandbox.path("text.phg");
    let args = [
        "import",
        &source,
        "--tower",
        "text",
        "--tokenizer",
        tokenizer,
        "--out",
        &out,
    ];
    run(args).refused(&["expected at most 50, the rows of the encoder's table"]);
    assert!(!sandbox.names().contains(&"text.phg".to_owned()));
}

#[test]
fn a_folder_without_a_tokenizer_is_refused() {
    let sandbox = Sandbox::new();
    let source = checkpoint(&sandbox);
    let out = sandbox.path("text.phg");
    let args = [
        "import",
        &source,
        "--tower",
        "text",
        "--tokenizer",
        "docs",
        "--out",
        &out,
    ];
    run(args).refused(&["docs: found a folder without a tokenizer", "tokenizer.json"]);
}

#[test]
fn options_that_a_file_gives_no_meaning_to_are_refused() {
    let sandbox = Sandbox::new();
    let source = checkpoint(&sandbox);
    let out = sandbox.path("refused.phg");
    for option in [
        &["--head"][..],
        &["--features"],
        &["--output", "embedding"],
        &["--tokenizer", "docs"],
        &["--max-tokens", "8"],
    ] {
        let args = [&["import", &source, "--out", &out][..], option].concat();
        run(args).refused(&[option[0], "the image tower of a CLIP", "leave out"]);
    }
    for option in [
        &["--tower", "image"][..],
        &["--quick-gelu"],
        &["--max-tokens", "8"],
    ] {
        let args = [&["import", crate::GRAPH, "--out", &out][..], option].concat();
        run(args).refused(&[option[0], "a graph", "leave out"]);
    }
    assert!(!sandbox.names().contains(&"refused.phg".to_owned()));
}
