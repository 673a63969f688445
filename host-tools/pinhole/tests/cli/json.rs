//! What programs read: the keys, their order, one object a line, no space around `:` and `,`.

use crate::{BANK, CAT, GRAPH, IMAGE, Sandbox, TEXT, run};

/// The keys of the outermost object of a line, in order.
///
/// # Panics
/// When there is a space where none may be, or more than one line.
#[track_caller]
fn keys(output: &str) -> Vec<String> {
    let line = output.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "more than one line: {output}");
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let (mut keys, mut string) = (Vec::new(), String::new());
    for letter in line.chars() {
        if in_string {
            match letter {
                '"' if !escaped => in_string = false,
                _ => string.push(letter),
            }
            escaped = letter == '\\' && !escaped;
            continue;
        }
        assert!(
            !letter.is_whitespace(),
            "a space outside of strings: {line}"
        );
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            '"' => {
                in_string = true;
                string.clear();
            }
            ':' if depth == 1 => keys.push(string.clone()),
            _ => {}
        }
    }
    assert!(
        line.starts_with('{') && line.ends_with('}') && depth == 0,
        "no object: {line}"
    );
    keys
}

/// What stands after `"key":` up to the next comma or bracket.
#[track_caller]
fn value<'a>(output: &'a str, key: &str) -> &'a str {
    let start = output
        .find(&format!("\"{key}\":"))
        .unwrap_or_else(|| panic!("{key} in {output}"))
        + key.len()
        + 3;
    let rest = &output[start..];
    &rest[..rest.find([',', '}', ']']).expect("an end")]
}

const CLASSIFIED: [&str; 8] = [
    "image",
    "label",
    "score",
    "energy",
    "rejected",
    "top",
    "embedding_sha256",
    "kernels",
];

#[test]
fn classify_prints_one_object_a_picture() {
    let output = run([
        "classify",
        "--model",
        IMAGE,
        "--bank",
        BANK,
        "--json",
        CAT,
        "models/demo/rocket.jpg",
    ])
    .done();
    let lines: Vec<&str> = output.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 2);
    for (line, picture) in lines.iter().zip([CAT, "models/demo/rocket.jpg"]) {
        assert_eq!(keys(line), CLASSIFIED);
        assert!(
            line.starts_with(&format!(r#"{{"image":"{picture}","label":""#)),
            "{line}"
        );
        assert!(
            line.contains(r#""top":[{"label":""#) && line.contains(r#"","score":"#),
            "{line}"
        );
        assert_eq!(value(line, "embedding_sha256").len(), 64 + 2);
        assert!(["true", "false"].contains(&value(line, "rejected")));
    }
    assert!(lines[0].contains(r#""label":"cat","#), "{output}");
}

#[test]
fn every_kernel_set_gives_the_same_line_but_for_its_name() {
    let mut lines = Vec::new();
    for set in run(["bench", "--list-kernels"]).done().lines() {
        let line = run([
            "classify",
            "--model",
            IMAGE,
            "--bank",
            BANK,
            "--json",
            "--kernels",
            set,
            CAT,
        ])
        .done();
        assert_eq!(value(&line, "kernels"), format!("\"{set}\""));
        lines.push(line.replace(set, "K"));
    }
    assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
    println!("{} kernel sets compared", lines.len());
}

#[test]
fn eval_prints_one_object() {
    let sandbox = Sandbox::new();
    for class in ["cat", "rocket"] {
        std::fs::create_dir(sandbox.path(class)).expect("a folder");
        sandbox.file(
            &format!("{class}/1.jpg"),
            crate::bytes(&format!("models/demo/{class}.jpg")),
        );
    }
    let data = format!("imagefolder:{}", sandbox.path(""));
    let args = [
        "eval",
        "--model",
        IMAGE,
        "--text-encoder",
        TEXT,
        "--data",
        &data,
        "--json",
    ];
    let output = run(args).done();
    assert_eq!(
        keys(&output),
        [
            "top1",
            "top5",
            "count",
            "classes",
            "model_sha256",
            "model",
            "data",
            "float",
            "kernels",
            "templates",
            "per_class_top1"
        ]
    );
    assert!(
        output.starts_with(r#"{"top1":1.0,"top5":1.0,"count":2,"classes":2,"model_sha256":""#),
        "{output}"
    );
    assert!(
        output.ends_with("\"per_class_top1\":{\"cat\":1.0,\"rocket\":1.0}}\n"),
        "{output}"
    );
    let limited = run(args.iter().chain(&["--limit", "1"])).done();
    assert_eq!(value(&limited, "count"), "1");

    std::fs::write(sandbox.path("cat/1.txt"), "A cat.\n").expect("a caption");
    std::fs::write(sandbox.path("rocket/1.txt"), "A rocket.\n").expect("a caption");
    for class in ["cat", "rocket"] {
        // Stamps are PNG files by name; the content decides how one is read.
        std::fs::rename(
            sandbox.path(&format!("{class}/1.jpg")),
            sandbox.path(&format!("{class}/1.png")),
        )
        .expect("a file");
    }
    let data = format!("stamps:{}", sandbox.path(""));
    let output = run([
        "eval",
        "--model",
        IMAGE,
        "--text-encoder",
        TEXT,
        "--data",
        &data,
        "--json",
    ])
    .done();
    assert_eq!(
        keys(&output),
        [
            "recall1",
            "recall5",
            "count",
            "captions",
            "model_sha256",
            "model",
            "data",
            "float",
            "kernels",
            "photos",
            "pictures_in_all"
        ]
    );
}

#[test]
fn bench_prints_one_object_and_the_kernel_sets_one_a_line() {
    let output = run([
        "bench",
        "--model",
        IMAGE,
        "--threads",
        "1",
        "--runs",
        "1",
        "--json",
    ])
    .done();
    assert_eq!(
        keys(&output),
        [
            "kernels",
            "median_us",
            "min_us",
            "macs",
            "arena_bytes",
            "arena_lower_bound_bytes",
            "ops",
            "threads",
            "runs",
            "median_cpu_us"
        ]
    );
    assert!(output.contains(r#""ops":[{"index":0,"name":""#), "{output}");
    let two = ["bench", "--model", IMAGE, "--threads", "2", "--runs", "1"];
    let output = run(two.into_iter().chain(["--json"])).done();
    assert!(output.contains(r#""threads":2,"runs":1"#), "{output}");
    let sets = run(["bench", "--list-kernels"]).done();
    assert_eq!(sets.lines().next(), Some("scalar"));
    let is_name = |set: &str| set == "scalar" || set.contains('-') && !set.contains(' ');
    assert!(sets.lines().all(is_name), "{sets}");
}

#[test]
fn bench_compares_with_what_it_printed_before() {
    let sandbox = Sandbox::new();
    let bench = ["bench", "--model", IMAGE, "--runs", "1", "--json"];
    let before = sandbox.file("before.json", run(bench).done());
    let output = run(bench.into_iter().chain(["--compare", &before])).done();
    let result: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    let ops = result["ops"].as_array().expect("operators");
    assert!(ops.iter().all(|op| op["before"].is_number()), "{output}");
    let ratio = |of: &serde_json::Value| {
        let number = |key: &str| of[key].as_f64().expect("a number");
        let expected = number("median_us") / number("before");
        assert!((number("ratio") - expected).abs() < 1e-9, "{of}");
    };
    ratio(&result);
    ratio(&ops[0]);
}

#[test]
fn inspect_prints_one_object_for_each_kind_of_file() {
    let model = run(["inspect", IMAGE, "--json"]).done();
    assert_eq!(
        keys(&model),
        [
            "file",
            "kind",
            "format_version",
            "file_bytes",
            "data_bytes",
            "golden_bytes",
            "macs",
            "arena_bytes",
            "arena_lower_bound_bytes",
            "arena_ratio",
            "embedding_space",
            "logit_scale",
            "geometry",
            "max_tokens",
            "vocabulary_bytes",
            "ops",
            "values"
        ]
    );
    assert!(
        model.contains(r#""geometry":{"width":224,"height":224,"#),
        "{model}"
    );
    assert!(
        model.contains(r#""scale":"#) && model.contains(r#""zero_point":"#),
        "{model}"
    );
    let bank = run(["inspect", BANK, "--json"]).done();
    assert_eq!(
        keys(&bank),
        [
            "file",
            "kind",
            "file_bytes",
            "classes",
            "slots",
            "slot_bytes",
            "dim",
            "embedding_space",
            "logit_scale",
            "logit_bias",
            "temperature",
            "reject_threshold",
            "templates",
            "names"
        ]
    );
    assert_eq!(
        value(&bank, "embedding_space"),
        value(&model, "embedding_space")
    );
    let graph = run(["inspect", GRAPH, "--json"]).done();
    assert_eq!(
        keys(&graph),
        [
            "file",
            "kind",
            "name",
            "parameters",
            "macs",
            "nodes",
            "source"
        ]
    );
    assert_eq!(value(&graph, "kind"), "\"Graph\"");
}

#[test]
fn what_writes_a_file_prints_one_object() {
    let sandbox = Sandbox::new();
    let (out, graph) = (sandbox.path("bank.phc"), sandbox.path("graph.phg"));
    let output = run([
        "embed",
        "--text-encoder",
        TEXT,
        "--classes",
        "cat,dog",
        "--out",
        &out,
        "--json",
    ])
    .done();
    assert_eq!(
        keys(&output),
        [
            "bank",
            "classes",
            "bytes",
            "sha256",
            "reject_threshold",
            "kernels"
        ]
    );
    let output = run(["import", GRAPH, "--out", &graph, "--json"]).done();
    assert_eq!(
        keys(&output),
        ["graph", "name", "nodes", "parameters", "macs", "source"]
    );
    assert_eq!(sandbox.names(), ["bank.phc", "graph.phg"]);
}

#[test]
fn doctor_prints_one_object_and_says_with_its_exit_code_whether_something_is_missing() {
    let ran = run(["doctor", "--json"]);
    assert_eq!(keys(&ran.stdout), ["kernels", "tools"]);
    assert!(
        ran.stdout
            .contains(r#""tools":[{"tool":"npm","expects":"","found":"#),
        "{ran:?}"
    );
    let missing = ran.stdout.contains(r#""found":false"#);
    assert_eq!(ran.code, Some(i32::from(missing)), "{ran:?}");
}

#[test]
fn a_data_set_in_the_cache_is_one_object_that_begins_with_its_path() {
    let sandbox = Sandbox::new();
    let cache = sandbox.path("");
    run([
        "data",
        "get",
        "stamps",
        "--offline",
        "--cache",
        &cache,
        "--json",
    ])
    .refused(&[
        "data set `stamps` is not in the cache",
        "pinhole data get stamps",
    ]);
    let ran = run(["data", "get", "stamps", "--offline", "--json"]);
    if ran.code == Some(0) {
        assert_eq!(
            keys(&ran.stdout),
            [
                "path", "name", "files", "bytes", "licence", "source", "cached"
            ]
        );
    } else {
        println!("NOT RUN: no data set is in this user's cache: pinhole data get stamps");
    }
}

#[test]
fn the_board_prints_what_classify_prints() {
    let doctor = run(["doctor", "--json"]).stdout;
    let has = |tool: &str| {
        let row = doctor
            .split("{\"tool\":")
            .find(|row| row.starts_with(&format!("\"{tool}\"")));
        row.is_some_and(|row| row.contains(r#""found":true"#))
    };
    if ["qemu-system-arm", "cargo", "rustup"]
        .iter()
        .any(|tool| !has(tool))
    {
        println!("NOT RUN: no emulated board on this machine; pinhole doctor says what is missing");
        return;
    }
    let host = run(["classify", "--model", IMAGE, "--bank", BANK, "--json", CAT]).done();
    let without_kernels =
        |line: &str| line.replace(&format!("\"kernels\":{}", value(line, "kernels")), "");
    for name in ["qemu-an547", "qemu-an500", "qemu-an386"] {
        let board = run([
            "board", "run", "--board", name, "--model", IMAGE, "--bank", BANK, "--json", CAT,
        ])
        .done();
        assert_eq!(keys(&board), CLASSIFIED);
        assert_eq!(without_kernels(&board), without_kernels(&host));
    }
}

#[test]
fn pack_prints_the_arena_its_bound_and_what_bands_cost() {
    let sandbox = Sandbox::new();
    let [whole, bands] = ["1", "auto"].map(|patches| {
        let out = sandbox.path(patches);
        run([
            "pack",
            GRAPH,
            "--stem-patches",
            patches,
            "--out",
            &out,
            "--json",
        ])
        .done()
    });
    assert_eq!(
        keys(&whole),
        [
            "file_bytes",
            "data_bytes",
            "golden_bytes",
            "arena_bytes",
            "arena_lower_bound_bytes",
            "arena_ratio",
            "macs",
            "ops",
            "replacing_ops",
            "stem"
        ]
    );
    let number = |output: &str, key: &str| value(output, key).parse::<f64>().expect("a number");
    assert_eq!(value(&whole, "bands"), "0");
    assert!(number(&bands, "bands") > 1.0 && number(&bands, "extra_macs") > 0.0);
    assert!(number(&bands, "arena_bytes") < number(&whole, "arena_bytes") / 2.0);
    assert!(number(&bands, "arena_ratio") <= 1.05, "{bands}");
}
