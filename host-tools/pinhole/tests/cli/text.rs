//! Text encoders in int8 from the command line, and goals of accuracy.

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
