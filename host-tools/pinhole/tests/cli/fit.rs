//! `pinhole train` on a recipe of version 2: a small encoder trained end to end, killed at any moment and resumed.

use std::time::Duration;

#[cfg(not(feature = "mpi"))]
use crate::command;
use crate::interrupt::{send, start};
use crate::{Ran, Sandbox, clip, run};

const STEPS: usize = 30;
const NAMES: [&str; 8] = [
    "astronaut",
    "biplane",
    "cat",
    "coffee-cup",
    "dahlia",
    "moose",
    "pagoda",
    "rocket",
];
pub(crate) const PRODUCTS: [&str; 5] = [
    "image.phg",
    "log.csv",
    "loss.svg",
    "report.json",
    "checkpoint.safetensors",
];

/// The towers of a small CLIP, captioned photographs, and a recipe with texts, a teacher and quantisation.
pub(crate) fn fixture() -> Sandbox {
    let sandbox = Sandbox::new();
    let source = clip::checkpoint(&sandbox);
    sandbox.file(
        "vocab.txt",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nphoto\nof\ncat\ndog\ncar\n",
    );
    for tower in ["image", "text"] {
        let graph = sandbox.path(&format!("{tower}.phg"));
        run(["import", &source, "--tower", tower, "--out", &graph]).done();
    }
    let mut table = String::from("path,caption\n");
    for (number, name) in NAMES.iter().enumerate() {
        let picture = crate::bytes(&format!("{}/{name}.jpg", crate::PHOTOS));
        sandbox.file(&format!("{name}.jpg"), picture);
        let caption = ["cat", "dog", "car"][number % 3];
        table += &format!("{name}.jpg,a photo of a {caption}\n");
    }
    sandbox.file("captions.csv", table);
    sandbox.file(
        "recipe.toml",
        format!(
            "version = 2\nname = \"small\"\nseed = 3\n\
             [image]\ngraph = \"image.phg\"\n\
             [text]\nmodel = \"text.phg\"\n\
             [[teacher]]\nmodel = \"image.phg\"\n\
             [reinforced]\nepochs = 2\n\
             [[data.train]]\nkind = \"table\"\npath = \"captions.csv\"\n\
             [[data.augmentation]]\nkind = \"random_resized_crop\"\n\
             [loss]\nsiglip = 1.0\nfeature = 0.5\n\
             [optimiser]\nsteps = {STEPS}\nbatch = 4\nchunk = 2\nlearning_rate = 1e-3\nema = 0.9\n\
             [quantise]\npictures = 8\n\
             [output]\nfolder = \"out\"\ncheckpoint_every = 1\nlog_every = 1\n"
        ),
    );
    sandbox
}

pub(crate) fn product(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    std::fs::read(sandbox.path(&format!("out/{name}"))).unwrap_or_default()
}

#[test]
fn a_run_that_was_killed_at_any_moment_ends_with_the_bytes_of_one_that_was_not() {
    let (whole, broken) = (fixture(), fixture());
    let began = std::time::Instant::now();
    let said = run(["train", &whole.path("recipe.toml")]).done();
    let took = began.elapsed();
    assert!(said.contains(&format!("after {STEPS} steps")), "{said}");
    let recipe = broken.path("recipe.toml");
    let mut killed = 0;
    // Odd shares of a whole run, so that kills fall into calibration, teachers, steps and writing.
    for share in [3, 7, 11, 13, 17, 19, 23, 29, 31] {
        let mut child = start(&["train", &recipe, "--resume"]);
        std::thread::sleep(Duration::from_micros(took.as_micros() as u64 * share / 60));
        if child.try_wait().expect("a child").is_none() {
            send("-KILL", &child);
            killed += 1;
        }
        let ran = Ran::from(child.wait_with_output().expect("it ends"));
        assert!(ran.code.is_none() || ran.code == Some(0), "{ran:?}");
    }
    assert!(killed > 2, "{killed} runs were killed");
    run(["train", &recipe, "--resume"]).done();
    for name in PRODUCTS {
        let (whole, broken) = (product(&whole, name), product(&broken, name));
        assert!(!whole.is_empty() && whole == broken, "{name} differs");
    }
}

#[test]
fn a_dry_run_tells_parameters_samples_memory_and_time() {
    let sandbox = fixture();
    let said = run(["train", &sandbox.path("recipe.toml"), "--dry-run"]).done();
    for part in [
        "parameters train",
        "8 samples, 2 steps an epoch, 30 steps",
        "MiB of memory",
        "s a step",
        "it would compute on cpu in f32",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!sandbox.names().contains(&"out".to_owned()));
}

#[test]
fn a_device_that_there_is_not_is_refused_before_anything_is_written() {
    let sandbox = fixture();
    let recipe = sandbox.path("recipe.toml");
    // No machine has so many, whatever this program was built with.
    for device in ["cuda:999", "wgpu:999"] {
        let named = format!("device {device}: ");
        run(["train", &recipe, "--device", device]).refused(&[&named, "--device cpu"]);
    }
    let unknown = run(["train", &recipe, "--device", "gpu"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    let said = "found the device `gpu`, expected cpu, cuda, cuda:N, wgpu or wgpu:N";
    assert!(unknown.stderr.contains(said), "{unknown:?}");
    assert!(!sandbox.names().contains(&"out".to_owned()));
}

#[cfg(not(feature = "mpi"))]
#[test]
fn a_program_without_mpi_refuses_to_be_one_of_several_processes() {
    let sandbox = fixture();
    for (variable, value) in [("OMPI_COMM_WORLD_SIZE", "2"), ("PMI_SIZE", "3")] {
        let mut train = command();
        train.args(["train", &sandbox.path("recipe.toml")]);
        let ran = Ran::from(train.env(variable, value).output().expect("it starts"));
        ran.refused(&["processes of an MPI launcher, expected 1", "--features mpi"]);
        assert!(!sandbox.names().contains(&"out".to_owned()));
        let mut inspect = command();
        inspect.args(["inspect", crate::IMAGE]).env(variable, value);
        let ran = Ran::from(inspect.output().expect("it starts"));
        ran.refused(&[
            "train, features and eval share their work",
            "without mpirun",
        ]);
    }
    let mut alone = command();
    alone.args(["train", &sandbox.path("recipe.toml"), "--dry-run"]);
    let ran = alone.env("OMPI_COMM_WORLD_SIZE", "1").output();
    Ran::from(ran.expect("it starts")).done();
}

#[test]
fn a_wrong_recipe_is_refused_with_its_line_and_what_to_do() {
    let sandbox = fixture();
    let recipe = sandbox.path("recipe.toml");
    let good = std::fs::read_to_string(&recipe).expect("a recipe");
    let cases = [
        (
            ("batch = 4", "batsh = 4"),
            "unknown key `batsh`, the nearest known one is `batch`",
        ),
        (("batch = 4", "batch = 9"), "9"),
        (
            ("[text]\nmodel = \"text.phg\"\n", ""),
            "`loss.siglip` needs texts",
        ),
        (
            ("version = 2", "version = 3"),
            "`version` is 3, this program reads 1 and 2",
        ),
    ];
    for ((from, to), message) in cases {
        sandbox.file("recipe.toml", good.replace(from, to));
        run(["train", &recipe]).refused(&[message]);
    }
}
