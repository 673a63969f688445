//! `pinhole train` on a small recipe: interrupted, killed, resumed; with wrong recipes, features and checkpoints.

use std::path::Path;
use std::process::Stdio;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

use crate::interrupt::{send, start, wait_until};
use crate::{Ran, Sandbox, bytes, run};

/// Enough steps that a test can interrupt them.
const STEPS: usize = 400;
const PRODUCTS: [&str; 4] = [
    "checkpoint.safetensors",
    "log.csv",
    "loss.svg",
    "projection.safetensors",
];

/// Feature files of six classes, two groups and two related groups, and their recipe.
fn fixture() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut state = 5u32;
    let mut floats = |count: usize| -> Vec<u8> {
        let number = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(number).flat_map(f32::to_le_bytes).collect()
    };
    let integers =
        |numbers: &[i32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_le_bytes()).collect() };
    let write = |name: &str, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]| {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (
                *name,
                TensorView::new(*dtype, shape.to_vec(), data).expect("shape and data agree"),
            )
        });
        sandbox.file(name, serialize(views, None).expect("distinct names"));
    };
    write(
        "prototypes.safetensors",
        &[
            ("weight", Dtype::F32, &[6, 8], floats(48)),
            ("bias", Dtype::F32, &[6], floats(6)),
        ],
    );
    write(
        "pictures.safetensors",
        &[("features", Dtype::F32, &[20, 8], floats(160))],
    );
    let group: Vec<i32> = (0..20).map(|n| n % 10).collect();
    write(
        "texts.safetensors",
        &[
            ("features", Dtype::F32, &[20, 4], floats(80)),
            ("group", Dtype::I32, &[20], integers(&group)),
            (
                "group_offsets",
                Dtype::I32,
                &[11],
                integers(&[0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 14]),
            ),
            (
                "group_members",
                Dtype::I32,
                &[14],
                integers(&[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 4, 5, 0]),
            ),
            (
                "group_related",
                Dtype::I32,
                &[10],
                integers(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
            ),
        ],
    );
    sandbox.file(
        "recipe.toml",
        format!(
            "version = 1\nname = \"fixture\"\nseed = 3\n\n\
             [inputs]\nprototypes = \"prototypes.safetensors\"\ntexts = \"texts.safetensors\"\npictures = \"pictures.safetensors\"\n\n\
             [model]\nembedding = 4\n\n[start]\nridge = 0.3\ngroups = 0.3\n\n\
             [loss]\nclip = 1.0\npictures = 1.0\ngroups = 1.0\nrelated = 0.5\n\n\
             [optimiser]\nsteps = {STEPS}\nlearning_rate = 1e-2\nwarmup = 4\npictures = 7\nclasses = 5\ngroups = 2\n\n\
             [output]\nfolder = \"out\"\ncheckpoint_every = 10\nlog_every = 2\n"
        ),
    );
    sandbox
}

fn product(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    std::fs::read(Path::new(&sandbox.path("out")).join(name)).unwrap_or_default()
}

fn left(sandbox: &Sandbox) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(sandbox.path("out"))
        .expect("the folder of the products")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_run_that_was_interrupted_and_killed_ends_with_the_bytes_of_one_that_was_not() {
    let (whole, broken) = (fixture(), fixture());
    let recipe = whole.path("recipe.toml");
    let said = run(["train", &recipe]).done();
    assert!(said.contains(&format!("after {STEPS} steps")), "{said}");
    assert_eq!(left(&whole), PRODUCTS);

    let recipe = broken.path("recipe.toml");
    for signal in ["-INT", "-KILL", "-INT", "-KILL"] {
        let before = product(&broken, "checkpoint.safetensors");
        let mut child = start(&["train", &recipe, "--resume"]);
        wait_until(|| {
            product(&broken, "checkpoint.safetensors") != before
                || child.try_wait().expect("a child").is_some()
        });
        send(signal, &child);
        let ran = Ran::from(child.wait_with_output().expect("it ends"));
        if signal == "-INT" {
            ran.refused(&["interrupted at step", "--resume"]);
        } else {
            assert_eq!(ran.code, None, "it was killed: {ran:?}");
        }
        assert!(
            product(&broken, "projection.safetensors").is_empty(),
            "a product before the end"
        );
    }
    run(["train", &recipe, "--resume"]).done();
    for name in PRODUCTS {
        assert!(
            product(&whole, name) == product(&broken, name),
            "{name} differs"
        );
    }
}

#[test]
fn a_damaged_foreign_or_newer_checkpoint_is_refused_and_a_fresh_start_works() {
    let sandbox = fixture();
    let recipe = sandbox.path("recipe.toml");
    let short = std::fs::read_to_string(&recipe)
        .expect("a recipe")
        .replace(&format!("steps = {STEPS}"), "steps = 12");
    sandbox.file("recipe.toml", &short);
    run(["train", &recipe]).done();
    let whole = product(&sandbox, "checkpoint.safetensors");
    let mut flipped = whole.clone();
    let last = whole.len() - 9;
    flipped[last] ^= 0x20;
    let newer = whole
        .windows(13)
        .position(|window| window == br#""version":"1""#)
        .expect("a version")
        + 11;
    let mut of_newer = whole.clone();
    of_newer[newer] = b'9';
    for (kind, bytes, said) in [
        (
            "truncated",
            whole[..whole.len() / 2].to_vec(),
            "not a checkpoint",
        ),
        ("flipped", flipped, "is damaged"),
        (
            "foreign",
            b"hello, this is a letter to a friend".to_vec(),
            "not a checkpoint",
        ),
        (
            "another safetensors file",
            bytes("tests/golden/float_parity.safetensors"),
            "has no `",
        ),
        ("newer", of_newer, "is of version 9, this program reads 1"),
    ] {
        println!("{kind}");
        let path = sandbox.file("out/checkpoint.safetensors", &bytes);
        run(["train", &recipe, "--resume"]).refused(&[&path, said, "without --resume"]);
        assert!(
            std::fs::read(&path).expect("it is there") == bytes,
            "a refused checkpoint stays"
        );
        assert_eq!(left(&sandbox), PRODUCTS);
    }
    run(["train", &recipe]).done();
    assert!(product(&sandbox, "checkpoint.safetensors") == whole);
}

#[test]
fn a_wrong_recipe_or_feature_file_is_refused_by_name_and_line() {
    let sandbox = fixture();
    let recipe = sandbox.path("recipe.toml");
    let text = std::fs::read_to_string(&recipe).expect("a recipe");
    let line = text
        .lines()
        .position(|line| line == "groups = 2")
        .expect("a line")
        + 1;
    let groups =
        format!("recipe.toml, line {line}: `optimiser.groups` is 9, the inputs have 2 groups");
    for (from, to, said) in [
        (
            "classes = 5\ngroups = 2",
            "classes = 5\ngroups = 9",
            groups.as_str(),
        ),
        (
            "classes = 5",
            "classes = 9",
            "`optimiser.classes` is 9, the inputs have 6 classes",
        ),
        (
            "warmup = 4",
            "warmpu = 4",
            "the nearest known one is `warmup`",
        ),
        ("seed = 3", "seed = many", "recipe.toml, line 3"),
        ("pictures = 7", "pictures = 0", "at least 1 is needed"),
    ] {
        sandbox.file("recipe.toml", text.replace(from, to));
        let ran = run(["train", &recipe]);
        assert!(!ran.stderr.contains("line 0"), "{ran:?}");
        ran.refused(&[&recipe, said]);
    }
    sandbox.file("recipe.toml", &text);
    sandbox.file("pictures.safetensors", "hello");
    run(["train", &recipe]).refused(&["pictures.safetensors"]);
    std::fs::remove_file(sandbox.path("pictures.safetensors")).expect("it is there");
    run(["train", &recipe]).refused(&["pictures.safetensors", "--inputs"]);
    run(["train", &sandbox.path("none.toml")]).refused(&["none.toml", "No such file"]);
    assert!(
        !Path::new(&sandbox.path("out")).exists(),
        "nothing is written"
    );
}

/// Training on a disk without room: the system refuses to let the checkpoint grow.
#[cfg(unix)]
#[test]
fn training_on_a_full_disk_is_said_and_leaves_no_half_written_file() {
    let sandbox = fixture();
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_pinhole"),
            "train",
            &sandbox.path("recipe.toml"),
        ])
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    Ran::from(output).refused(&["out/checkpoint.safetensors", "--output"]);
    assert_eq!(left(&sandbox), [""; 0]);
}
