//! Text encoders in int8 from the command line, tables of static embeddings, and goals of accuracy.

use safetensors::tensor::{Dtype, TensorView};

use crate::{CAT, GRAPH, PHOTOS, Sandbox, TEXT, bytes, clip, run};

/// Words that the small tower of the tests has rows for.
const WORDS: &str = "a photo of the cat dog red blue small large house tree car boat on in old new";

/// The small text tower with a tokenizer, and a file of different sentences, one of which stands twice.
fn tower(sandbox: &Sandbox) -> [String; 2] {
    let source = clip::checkpoint(sandbox);
    let vocabulary = format!(
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{}\n",
        WORDS.replace(' ', "\n")
    );
    sandbox.file("vocab.txt", vocabulary);
    let graph = sandbox.path("text.phg");
    run(["import", &source, "--tower", "text", "--out", &graph]).done();
    let words: Vec<&str> = WORDS.split(' ').collect();
    let line = |index: usize| {
        let word = |place: usize| words[index * (place + 3) % words.len()];
        (0..2 + index % 6).map(word).collect::<Vec<_>>().join(" ") + "\n"
    };
    let lines: String = (1..40).map(line).collect();
    [
        graph,
        sandbox.file("lines.txt", format!("{lines}a photo\nA Photo\n")),
    ]
}

#[test]
fn a_text_encoder_is_quantised_on_lines_and_embeds_like_the_float_one() {
    let sandbox = Sandbox::new();
    let [graph, lines] = tower(&sandbox);
    let [int8, report, picture] =
        ["int8.phg", "report.json", "report.svg"].map(|name| sandbox.path(name));
    let source = format!("texts:{lines}");
    let said = run([
        "quantize",
        &graph,
        "--calibrate",
        &source,
        "--report",
        &report,
        "--picture",
        &picture,
        "--out",
        &int8,
    ]);
    assert!(
        said.stderr.contains("lines have the tokens of another"),
        "{}",
        said.stderr
    );
    assert!(
        said.stdout.contains("output cosine over 16 texts"),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout.contains(&format!("{lines}:")),
        "{}",
        said.stdout
    );
    assert_eq!(said.code, Some(0));
    let report = String::from_utf8(bytes(&report)).expect("JSON");
    assert!(
        report.contains(r#""of": "texts""#) && report.contains("worst_inputs"),
        "{report}"
    );

    let said = run([
        "diff",
        &graph,
        &int8,
        "--data",
        &source,
        "--tolerance",
        "cosine:0.5",
    ])
    .done();
    assert!(
        said.contains("embedding_f32 / embedding_s8") && said.contains("on 8 texts"),
        "{said}"
    );
    assert!(said.contains("attention_f32 / attention_s8"), "{said}");

    let sizes = [&graph, &int8].map(|graph| {
        let model = graph.replace(".phg", ".phm");
        run(["pack", graph, "--out", &model]).done();
        let bank = graph.replace(".phg", ".phc");
        run([
            "embed",
            "--text-encoder",
            &model,
            "--classes",
            "cat,dog,red house",
            "--out",
            &bank,
        ])
        .done();
        bytes(&model).len()
    });
    assert!(sizes[1] * 5 < sizes[0] * 2, "{sizes:?}");
}

#[test]
fn a_mix_of_a_text_encoder_reaches_its_goal() {
    let sandbox = Sandbox::new();
    let [graph, lines] = tower(&sandbox);
    let out = sandbox.path("mixed.phg");
    let said = run([
        "quantize",
        &graph,
        "--calibrate",
        &lines,
        "--cosine",
        "0.9999",
        "--out",
        &out,
        "--json",
    ]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains(r#""reached":true"#), "{}", said.stdout);
    assert!(
        !said.stdout.contains(r#""float_layers":[]"#),
        "{}",
        said.stdout
    );
}

#[test]
fn sources_of_the_wrong_kind_are_refused() {
    let sandbox = Sandbox::new();
    let [graph, lines] = tower(&sandbox);
    let out = sandbox.path("int8.phg");
    let quantize =
        |graph: &str, source: &str| run(["quantize", graph, "--calibrate", source, "--out", &out]);
    quantize(&graph, PHOTOS).refused(&["found a folder", "one text a line", "texts:FILE"]);
    let source = format!("texts:{lines}");
    quantize(GRAPH, &source).refused(&["for an image encoder", "expected pictures", "cifar10:DIR"]);
    let empty = format!("texts:{}", sandbox.file("empty.txt", "\n  \n"));
    quantize(&graph, &empty).refused(&["empty.txt", "found no text"]);
    quantize(&graph, "texts:absent.txt").refused(&["absent.txt", "no such file"]);
    run(["diff", TEXT, "--data", PHOTOS, "--kernels-a", "scalar"])
        .refused(&["found a text encoder, expected an image encoder"]);
    run(["diff", &graph, GRAPH, "--data", &source])
        .refused(&["found an image encoder, expected a text encoder"]);
}

#[test]
fn accuracy_on_labelled_pictures_is_a_goal() {
    let sandbox = Sandbox::new();
    let labelled = sandbox.path("labelled");
    for (class, number) in [("a", 0), ("a", 1), ("b", 0), ("b", 1)] {
        let folder = format!("{labelled}/{class}");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(format!("{folder}/{number}.jpg"), bytes(CAT)).expect("a picture");
    }
    let out = sandbox.path("int8.phg");
    let quantize = |extra: &[&str]| {
        let args = [
            "quantize",
            GRAPH,
            "--calibrate",
            PHOTOS,
            "--calibration-count",
            "4",
            "--no-bias-correction",
            "--observer",
            "min-max",
            "--out",
            &out,
        ];
        run(args.iter().chain(extra))
    };
    let said = quantize(&[
        "--max-drop",
        "50",
        "--labelled",
        &labelled,
        "--max-float-macs",
        "5M",
    ]);
    let found = said.done();
    assert!(
        found.contains("nearest class mean of 2 labelled pictures: f32 50.00 %"),
        "{found}"
    );
    assert!(found.contains("50 points below f32 allowed"), "{found}");
    quantize(&["--max-float-macs", "5M"]).refused(&["--max-float-macs without a goal", "--cosine"]);
    quantize(&["--max-drop", "1", "--labelled", PHOTOS]).refused(&["demo", "expected"]);
}

/// A folder with a table of static embeddings, a row for each of the unknown token and [`WORDS`], and its tokenizer.
fn static_table(sandbox: &Sandbox, rows: usize) -> String {
    let folder = sandbox.path("static");
    std::fs::create_dir_all(&folder).expect("a folder");
    let floats = |seed: usize| ((seed * 37 % 64) as f32 - 31.0).to_le_bytes();
    let data: Vec<u8> = (0..rows * 8).flat_map(floats).collect();
    let table = TensorView::new(Dtype::F32, vec![rows, 8], &data).expect("a tensor");
    let weights = safetensors::serialize([("embeddings", table)], None).expect("a checkpoint");
    let words = ["[UNK]"].into_iter().chain(WORDS.split(' ')).enumerate();
    let words: Vec<String> = words
        .map(|(id, word)| format!("\"{word}\": {id}"))
        .collect();
    let tokenizer = format!(
        r#"{{"version": "1.0", "normalizer": null, "pre_tokenizer": {{"type": "BertPreTokenizer"}},
            "model": {{"type": "WordPiece", "unk_token": "[UNK]", "vocab": {{{}}}}}}}"#,
        words.join(", ")
    );
    for (name, content) in [
        ("static/model.safetensors", weights),
        ("static/tokenizer.json", tokenizer.into_bytes()),
        ("static/vocab.txt", b"[UNK]\n".to_vec()),
        ("static/config.json", br#"{"normalize": true}"#.to_vec()),
    ] {
        sandbox.file(name, content);
    }
    folder
}

#[test]
fn a_table_of_static_embeddings_embeds_and_is_quantised() {
    let sandbox = Sandbox::new();
    let folder = static_table(&sandbox, WORDS.split(' ').count() + 1);
    let [graph, int8, bank] = ["static.phg", "int8.phg", "bank.phc"].map(|name| sandbox.path(name));
    let said = run(["import", &folder, "--max-tokens", "8", "--out", &graph]).done();
    assert!(
        said.contains("3 nodes") && said.contains("ids [8]"),
        "{said}"
    );
    let lines = WORDS.replace(' ', " cat\n");
    let source = format!("texts:{}", sandbox.file("lines.txt", lines));
    run(["quantize", &graph, "--calibrate", &source, "--out", &int8]).done();
    for encoder in [&graph, &int8] {
        let embed = |classes: &str| {
            run([
                "embed",
                "--text-encoder",
                encoder,
                "--classes",
                classes,
                "--out",
                &bank,
            ])
        };
        embed("cat,dog,red house").done();
    }
    // The unknown token is left out, whatever its row, and what is left is nothing.
    let templates = sandbox.file("bare.txt", "{}\n");
    let nothing = [
        "embed",
        "--text-encoder",
        &graph,
        "--classes",
        "zebra",
        "--templates",
        &templates,
        "--out",
        &bank,
    ];
    run(nothing).refused(&["zebra", "found an embedding of length 0"]);
}

#[test]
fn a_table_that_does_not_fit_its_tokenizer_is_refused() {
    let sandbox = Sandbox::new();
    let words = WORDS.split(' ').count() + 1;
    let folder = static_table(&sandbox, words + 2);
    let out = sandbox.path("static.phg");
    let import = |extra: &[&str]| run(["import", &folder, "--out", &out].iter().chain(extra));
    let expected = format!("found a tokenizer of {words} ids, expected {}", words + 2);
    import(&[]).refused(&["tokenizer.json", &expected, "--tokenizer FILE"]);
    let vocabulary = format!("{folder}/vocab.txt");
    import(&["--tokenizer", &vocabulary]).refused(&[
        "vocab.txt",
        "found no JSON",
        "tokenizer.json",
    ]);
    import(&["--head"]).refused(&["found --head beside a table of static embeddings"]);
    run(["import", "docs", "--out", &out])
        .refused(&["found a folder without weights", "model.safetensors"]);
}
