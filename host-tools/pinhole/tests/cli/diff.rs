//! `pinhole diff` and `pinhole inspect --svg` on the default model.

use crate::{CAT, GRAPH, IMAGE, PHOTOS, Sandbox, TEXT, run};

#[test]
fn the_kernel_sets_of_this_computer_agree_in_every_layer() {
    let sets = run(["bench", "--list-kernels"]).done();
    for set in sets.lines() {
        let args = [
            "diff",
            IMAGE,
            "--data",
            PHOTOS,
            "--count",
            "1",
            "--kernels-a",
            "scalar",
        ];
        let said = run(args.into_iter().chain(["--kernels-b", set])).done();
        assert!(
            said.contains("61 layers on 1 pictures, matched by name; tolerance bits"),
            "{said}"
        );
        assert_eq!(said.matches(" same ").count(), 61, "{said}");
    }
}

#[test]
fn a_quantised_model_is_near_its_graph_up_to_factors_of_channels() {
    let args = ["diff", GRAPH, IMAGE, "--data", PHOTOS, "--count", "2"];
    let said =
        run(args).failed_a_check(&["the first layer beyond cosine:0.98 is", "--channel-factors"]);
    assert_eq!(said.matches("first difference").count(), 1, "{said}");
    let said = run(args.into_iter().chain(["--channel-factors"])).done();
    assert!(said.contains("conv_f32 / conv_s8"), "{said}");
    assert!(!said.contains("beyond"), "{said}");
}

#[test]
fn a_tolerance_decides_and_json_says_which_layer_is_first() {
    let args = [
        "diff",
        GRAPH,
        IMAGE,
        "--data",
        PHOTOS,
        "--count",
        "1",
        "--json",
        "--tolerance",
    ];
    let found =
        run(args.into_iter().chain(["bits"])).failed_a_check(&["beyond bits is _conv_stem"]);
    for part in [
        r#"{"a":{"file":"models/lite0/image.phg","kernels":"#,
        r#""pictures":1,"matched_by":"name","tolerance":"bits","channel_factors":false,"first_difference":0,"layers":[{"layer":"_conv_stem","op_a":"conv_f32","op_b":"conv_s8","shape":[1,112,112,32],"sqnr_db":"#,
    ] {
        assert!(found.contains(part), "{part} is not in {found}");
    }
    let found = run(args.into_iter().chain(["abs:1000"])).done();
    assert!(found.contains(r#""first_difference":null"#), "{found}");
}

#[test]
fn a_file_without_names_is_matched_by_order() {
    let sandbox = Sandbox::new();
    let stripped = sandbox.path("stripped.phm");
    run(["pack", GRAPH, "--strip-names", "--out", &stripped]).done();
    let said = run(["diff", GRAPH, &stripped, "--data", PHOTOS, "--count", "1"]).done();
    assert!(
        said.contains("60 layers on 1 pictures, matched by order and shape"),
        "{said}"
    );
    assert!(said.contains("tolerance bits"), "{said}");
}

#[test]
fn layers_that_one_model_lacks_are_named() {
    let sandbox = Sandbox::new();
    let bands = sandbox.path("bands.phm");
    run(["pack", GRAPH, "--stem-patches", "2", "--out", &bands]).done();
    let said = run(["diff", GRAPH, &bands, "--data", PHOTOS, "--count", "1"]).done();
    assert!(said.contains("layers in A alone: _conv_stem"), "{said}");
    assert!(said.contains("layers in B alone: "), "{said}");
}

#[test]
fn graphs_are_compared_as_they_are_written() {
    let said = run(["diff", GRAPH, GRAPH]).done();
    assert!(said.contains("the same graph"), "{said}");
    let sandbox = Sandbox::new();
    let quantized = sandbox.path("int8.phg");
    let args = [
        "quantize",
        GRAPH,
        "--calibrate",
        PHOTOS,
        "--calibration-count",
        "1",
    ];
    run(args
        .into_iter()
        .chain(["--no-equalize", "--no-bias-correction", "--out", &quantized]))
    .done();
    let said = run(["diff", GRAPH, &quantized]).failed_a_check(&["differences", "--data DIR"]);
    assert!(
        said.contains("value image: quantisation none in A, I8 scale "),
        "{said}"
    );
    assert!(!said.contains("node "), "only scales were added: {said}");
    let said = run(["diff", GRAPH, &quantized, "--json"]).failed_a_check(&[]);
    let first = r#""differences":[{"subject":"value","name":"image","property":"quantisation","a":"none","b":"I8 "#;
    assert!(said.contains(first), "{said}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    run(["diff", IMAGE]).refused(&["nothing to compare it with"]);
    run(["diff", IMAGE, GRAPH])
        .refused(&[IMAGE, "expected a graph (.phg) where there is no --data"]);
    run(["diff", TEXT, "--data", PHOTOS]).refused(&[TEXT, "expected an image encoder"]);
    run(["diff", IMAGE, "--data", CAT]).refused(&[CAT, "expected a folder of pictures"]);
    run(["diff", IMAGE, "--data", PHOTOS, "--kernels-b", "none"]).refused(&["no kernel set none"]);
    run(["diff", IMAGE, "--data", PHOTOS, "--board", "qemu-386"])
        .refused(&["--board: found qemu-386", "the nearest name is qemu-an386"]);
    run(["diff", GRAPH, "--data", PHOTOS, "--board", "qemu-an547"])
        .refused(&["expected one: floats have no bits"]);
    let board = [
        "diff",
        IMAGE,
        "--data",
        PHOTOS,
        "--board",
        "qemu-an386",
        "--kernels-b",
    ];
    run(board.into_iter().chain(["scalars"])).refused(&["expected one of scalar, cortex_m-dsp"]);
    let factors = [
        "diff",
        IMAGE,
        "--data",
        PHOTOS,
        "--channel-factors",
        "--tolerance",
    ];
    run(factors.into_iter().chain(["bits"])).refused(&["expected cosine or sqnr"]);
    let tolerance = run(["diff", IMAGE, "--data", PHOTOS, "--tolerance", "cosine"]);
    assert_eq!(tolerance.code, Some(2), "{tolerance:?}");
}

#[test]
fn a_graph_is_drawn_whole_or_not_at_all() {
    let sandbox = Sandbox::new();
    let drawing = sandbox.path("image.svg");
    run(["inspect", GRAPH, "--svg", &drawing]).done();
    let svg = std::fs::read_to_string(&drawing).expect("a drawing");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(
        svg.matches("class=\"box\"").count(),
        62 + 2,
        "62 nodes, input, output"
    );
    for outside in ["href=", "url(http", "@import", "<script"] {
        assert!(
            !svg.contains(outside),
            "{outside} needs something beside the file"
        );
    }
    let other = sandbox.path("model.svg");
    run(["inspect", IMAGE, "--svg", &other]).refused(&["found a packed model", "expected a graph"]);
    assert_eq!(sandbox.names(), ["image.svg"]);
}
