//! `pinhole eval --tasks`: folders and tables that the tests make, what is written, what is refused.

use image::{Rgb, RgbImage};

use crate::{CAT, IMAGE, Sandbox, TEXT, run};

/// Pictures of a class, all different, in a folder that is made.
fn class(sandbox: &Sandbox, folder: &str, colour: [u8; 3], count: u32) {
    std::fs::create_dir_all(sandbox.path(folder)).expect("a folder");
    for index in 0..count {
        let picture = RgbImage::from_fn(32, 32, |x, y| {
            let on = (x * (index + 1) / 8 + y / 8) % 2 == 0;
            Rgb(if on { colour } else { [index as u8 * 20; 3] })
        });
        let path = sandbox.path(&format!("{folder}/{index}.png"));
        picture.save(path).expect("a picture");
    }
}

/// Red and blue pictures, six of each.
pub(crate) fn two_classes() -> Sandbox {
    let sandbox = Sandbox::new();
    class(&sandbox, "photos/red", [230, 20, 20], 6);
    class(&sandbox, "photos/blue", [20, 20, 230], 6);
    sandbox
}

/// The arguments of every run; `more` comes behind.
fn eval(sandbox: &Sandbox, data: &str, more: &[&str]) -> crate::Ran {
    let (data, cache) = (sandbox.path(data), sandbox.path("cache"));
    let args = ["eval", "--model", IMAGE, "--data", &data, "--cache", &cache];
    run(args.iter().chain(more))
}

fn json(output: &str) -> serde_json::Value {
    serde_json::from_str(output).expect("JSON")
}

#[test]
fn tasks_without_text_need_no_text_encoder_and_split_a_folder_by_class() {
    let sandbox = two_classes();
    let tasks = [
        "--tasks",
        "linear-probe,knn,nmi,confusion,duplicates,map",
        "--json",
    ];
    let output = eval(&sandbox, "photos", &tasks).done();
    let result = json(&output);
    assert_eq!(
        (result["test"].as_u64(), result["train"].as_u64()),
        (Some(6), Some(6))
    );
    assert_eq!(result["text_encoder"], serde_json::Value::Null);
    assert_eq!(result["knn"]["top1"]["of"], 6);
    assert_eq!(result["confusion"]["of"], "linear-probe");
    assert_eq!(result["duplicates"]["pictures"], 12);
    assert!(result.get("zero_shot").is_none());
    // From the cache, and on the same split: the same line.
    assert_eq!(eval(&sandbox, "photos", &tasks).done(), output);
    let other_seed = eval(
        &sandbox,
        "photos",
        &["--tasks", "knn", "--seed", "2", "--json"],
    )
    .done();
    assert_eq!(
        json(&other_seed)["split"],
        "half of every class drawn by seed 2"
    );
}

#[test]
fn folders_train_and_test_are_the_splits() {
    let sandbox = Sandbox::new();
    for (split, count) in [("train", 5), ("test", 2)] {
        class(&sandbox, &format!("data/{split}/red"), [230, 20, 20], count);
        class(
            &sandbox,
            &format!("data/{split}/blue"),
            [20, 20, 230],
            count,
        );
    }
    let tasks = [
        "--tasks",
        "knn,duplicates",
        "--duplicate-cosine",
        "0.9999",
        "--json",
    ];
    let result = json(&eval(&sandbox, "data", &tasks).done());
    assert_eq!(
        (result["test"].as_u64(), result["train"].as_u64()),
        (Some(4), Some(6))
    );
    // Every test picture is a training picture as well, from which nothing is learned.
    assert_eq!(result["train_measured"], 4);
    assert!(
        result["duplicates"]["across_splits"].as_u64() >= Some(4),
        "{result}"
    );
    assert_eq!(result["knn"]["train"], 6);
    std::fs::rename(
        sandbox.path("data/test/red"),
        sandbox.path("data/test/green"),
    )
    .expect("a folder");
    eval(&sandbox, "data", &tasks)
        .refused(&["found the classes blue, green", "expected blue, red"]);
}

#[test]
fn a_table_gives_captions_labels_and_splits_and_a_report_that_needs_no_other_file() {
    let sandbox = two_classes();
    let mut table = "path,caption,label,split\n".to_string();
    for index in 0..6 {
        let split = if index < 3 { "train" } else { "test" };
        for name in ["red", "blue"] {
            table += &format!(
                "photos/{name}/{index}.png,\"A {name} pattern, number {index}.\",{name},{split}\n"
            );
            table += &format!("photos/{name}/{index}.png,Something <{name}>.,{name},{split}\n");
        }
    }
    sandbox.file("data.csv", table);
    let (out, html) = (sandbox.path("out"), sandbox.path("report.html"));
    let more = [
        "--text-encoder",
        TEXT,
        "--tasks",
        "all",
        "--out",
        &out,
        "--html",
        &html,
        "--json",
    ];
    let result = json(&eval(&sandbox, "data.csv", &more).done());
    let all = [
        "zero-shot",
        "retrieval",
        "linear-probe",
        "knn",
        "nmi",
        "calibration",
        "confusion",
        "duplicates",
        "map",
    ];
    assert_eq!(result["tasks"], serde_json::json!(all));
    // Two captions a picture, of which one is shared by all pictures of its class.
    assert_eq!(result["retrieval"]["image_to_text"]["candidates"], 8);
    assert_eq!(result["retrieval"]["image_to_text"]["recall1"]["of"], 6);
    assert_eq!(result["retrieval"]["text_to_image"]["recall1"]["of"], 8);
    assert_eq!(result["calibration"]["train"], 6);
    let report = std::fs::read_to_string(&html).expect("a report");
    for part in [
        "Wilson",
        "prefers-color-scheme: dark",
        "width=device-width",
        "<svg",
        "data:image/jpeg",
        "No label of a test",
    ] {
        assert!(report.contains(part), "{part} is not in the report");
    }
    for outside in ["<script", "src=\"http", "href=", "url("] {
        assert!(!report.contains(outside), "{outside} is in the report");
    }
    let mut written: Vec<_> = std::fs::read_dir(&out)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    written.sort();
    let names = [
        "confusion.svg",
        "duplicates.csv",
        "map.svg",
        "reliability-scaled.svg",
        "reliability.svg",
        "results.json",
    ];
    assert_eq!(written, names);
    eval(&sandbox, "data.csv", &["--tasks", "zero-shot"])
        .refused(&["zero-shot: found no text encoder"]);
}

/// A picture of which half is missing, and a file that is none.
#[test]
fn broken_pictures_are_left_out_named_and_counted() {
    let sandbox = two_classes();
    let whole = std::fs::read(sandbox.path("photos/red/0.png")).expect("a picture");
    sandbox.file("photos/red/cut.png", &whole[..whole.len() / 2]);
    sandbox.file("photos/blue/none.png", b"no picture");
    let html = sandbox.path("report.html");
    let tasks = ["--tasks", "nmi", "--html", &html, "--json"];
    let ran = eval(&sandbox, "photos", &tasks);
    assert!(ran.stderr.contains("cut.png"), "{ran:?}");
    let result = json(&ran.done());
    assert_eq!(result["test"], 12);
    let broken = result["broken"].as_array().expect("a list");
    let names: Vec<&str> = broken
        .iter()
        .map(|of| of["picture"].as_str().expect("a name"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].ends_with("none.png") && names[1].ends_with("cut.png"));
    let report = std::fs::read_to_string(&html).expect("a report");
    assert!(report.contains("2 broken pictures"));
    let lines = eval(&sandbox, "photos", &["--tasks", "nmi"]).done();
    assert!(lines.contains("2 broken pictures"), "{lines}");
    sandbox.file("data.csv", "path\nphotos/red/cut.png\n");
    eval(&sandbox, "data.csv", &["--tasks", "map"])
        .refused(&["found no picture that can be decoded", "cut.png"]);
}

#[test]
fn training_pictures_that_are_measured_teach_nothing() {
    let sandbox = two_classes();
    for name in ["red", "blue"] {
        std::fs::copy(
            sandbox.path(&format!("photos/{name}/0.png")),
            sandbox.path(&format!("{name}.png")),
        )
        .expect("a copy");
    }
    // The copies have the wrong labels: whoever learned from them would be wrong.
    let table = "path,label,split\n\
        photos/red/0.png,red,test\nphotos/blue/0.png,blue,test\n\
        red.png,blue,train\nblue.png,red,train\n\
        photos/red/1.png,red,train\nphotos/blue/1.png,blue,train\n";
    sandbox.file("data.csv", table);
    let result = json(&eval(&sandbox, "data.csv", &["--tasks", "knn", "--json"]).done());
    assert_eq!(
        (&result["train"], &result["train_measured"]),
        (&2.into(), &2.into())
    );
    assert_eq!(result["knn"]["top1"]["value"], 1.0);
    let copies_alone = table.split("photos/red/1.png").next().expect("a table");
    sandbox.file("data.csv", copies_alone);
    eval(&sandbox, "data.csv", &["--tasks", "knn"])
        .refused(&["found each of the 2 training pictures among the measured ones"]);
}

#[test]
fn what_a_task_lacks_is_named() {
    let sandbox = two_classes();
    eval(&sandbox, "photos", &["--tasks", "retrieval"]).refused(&["retrieval: found no captions"]);
    let bound = ["--tasks", "nmi", "--duplicate-cosine", "2"];
    eval(&sandbox, "photos", &bound).refused(&["--duplicate-cosine: found 2"]);
    sandbox.file(
        "data.csv",
        format!("path,caption\nnone.png,A cat.\n{CAT},\n"),
    );
    eval(&sandbox, "data.csv", &["--tasks", "map"]).refused(&["none.png", "found no such file"]);
    eval(&sandbox, "data.csv", &["--tasks", "knn"]).refused(&["knn: found no labels"]);
}

#[test]
fn a_damaged_file_of_the_cache_is_said_and_made_again() {
    let sandbox = two_classes();
    let tasks = ["--tasks", "nmi", "--json"];
    let before = eval(&sandbox, "photos", &tasks).done();
    let model = std::fs::read_dir(sandbox.path("cache"))
        .expect("a folder")
        .next()
        .expect("a model");
    let folder = model.expect("an entry").path();
    let file = std::fs::read_dir(folder)
        .expect("a folder")
        .next()
        .expect("a file")
        .expect("an entry")
        .path();
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes[40] ^= 1;
    std::fs::write(&file, bytes).expect("a file");
    let ran = eval(&sandbox, "photos", &tasks);
    assert!(
        ran.stderr
            .contains("damaged; its pictures are embedded again"),
        "{ran:?}"
    );
    assert_eq!(ran.done(), before);
    assert!(!eval(&sandbox, "photos", &tasks).stderr.contains("damaged"));
}
