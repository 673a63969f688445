//! `mpirun -n 2 pinhole train`: two processes train as one, end when one of them is killed, go on to the same bytes, and
//! refuse to begin with different recipes. `pinhole eval` and `pinhole features` print and write what one process does.
//! `./ci.sh mpi` runs them; features need the packages under `PINHOLE_WEIGHTS`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::eval::two_classes;
use crate::fit::{PRODUCTS, fixture, product};
use crate::{IMAGE, PHOTOS, Ran, Sandbox, TEXT, command, run};

const STEPS: usize = 50;

/// `mpirun` of several programs, each a number of processes and the arguments of `pinhole`.
fn mpirun(programs: &[(usize, &[&str])]) -> Command {
    let pinhole = command();
    let mut mpirun = Command::new("mpirun");
    for (place, (count, args)) in programs.iter().enumerate() {
        mpirun.args([":"].iter().take(place));
        mpirun.arg("-n").arg(count.to_string());
        mpirun.arg(pinhole.get_program()).args(*args);
    }
    mpirun.current_dir(crate::root());
    // Of Open MPI: a container's only user may start it, on fewer cores than processes, which then let each other run.
    for variable in [
        "OMPI_ALLOW_RUN_AS_ROOT",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
        "OMPI_MCA_rmaps_base_oversubscribe",
        "OMPI_MCA_mpi_yield_when_idle",
    ] {
        mpirun.env(variable, "1");
    }
    mpirun
}

fn two(args: &[&str]) -> Command {
    mpirun(&[(2, args)])
}

fn ran(mut command: Command) -> Ran {
    command.output().expect("mpirun starts").into()
}

/// The recipe of `pinhole train` in floats, of [`STEPS`] steps.
fn recipe() -> (Sandbox, String) {
    let sandbox = fixture();
    let recipe = sandbox.path("recipe.toml");
    let text = std::fs::read_to_string(&recipe).expect("a recipe");
    let text = text.replace("[quantise]\npictures = 8\n", "");
    // One picture a chunk, so that two processes sum in another order than one.
    let text = text.replace("chunk = 2", "chunk = 1");
    let text = text.replace("steps = 30", &format!("steps = {STEPS}"));
    let recipe = sandbox.file("recipe.toml", text);
    (sandbox, recipe)
}

/// The column `name` of the log.
fn column(sandbox: &Sandbox, name: &str) -> Vec<f32> {
    let log = String::from_utf8(product(sandbox, "log.csv")).expect("UTF-8");
    let mut lines = log.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines
        .next()
        .and_then(|names| names.iter().position(|x| *x == name));
    let place = place.expect("the column");
    lines
        .map(|row| row[place].parse().expect("a number"))
        .collect()
}

#[test]
fn two_processes_have_the_loss_curve_of_one() {
    let ((one, of_one), (many, of_many)) = (recipe(), recipe());
    run(["train", &of_one]).done();
    let said = ran(two(&["train", &of_many])).done();
    assert_eq!(
        said.matches(&format!("after {STEPS} steps")).count(),
        1,
        "{said}"
    );
    let (one, many) = (column(&one, "loss"), column(&many, "loss"));
    assert_eq!((one.len(), many.len()), (STEPS, STEPS));
    assert!(one[STEPS - 1] < 0.9 * one[0], "{one:?}");
    let differences = one.iter().zip(&many).map(|(a, b)| (a - b).abs());
    let worst = differences.fold(0f32, f32::max);
    println!("largest difference of {STEPS} losses: {worst:e}");
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn a_run_of_which_one_process_is_killed_ends_and_goes_on_to_the_same_bytes() {
    let ((whole, of_whole), (broken, of_broken)) = (recipe(), recipe());
    ran(two(&["train", &of_whole])).done();
    let checkpoint = broken.path("out/checkpoint.safetensors");
    let written = || {
        std::fs::metadata(&checkpoint)
            .and_then(|file| file.modified())
            .ok()
    };
    let mut killed = 0;
    for (round, wait) in [3, 11, 0, 7, 17].into_iter().enumerate() {
        let before = written();
        let mut child = two(&["train", &of_broken, "--resume"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mpirun starts");
        // Somewhere behind a checkpoint of this round, or when it has ended.
        while written() == before && child.try_wait().expect("its state").is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(wait));
        killed += usize::from(kill(&child, round % 2));
        let began = Instant::now();
        let ran = Ran::from(child.wait_with_output().expect("it ends"));
        assert!(began.elapsed() < Duration::from_secs(60), "{ran:?}");
    }
    assert!(killed > 2, "{killed} processes were killed");
    ran(two(&["train", &of_broken, "--resume"])).done();
    for name in PRODUCTS {
        let (whole, broken) = (product(&whole, name), product(&broken, name));
        assert!(!whole.is_empty() && whole == broken, "{name} differs");
    }
}

/// Kills the process `rank` of `mpirun`, at once; false where it has ended.
fn kill(mpirun: &Child, rank: usize) -> bool {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let is_it = |pid: &str| {
        let read = |name: &str| std::fs::read(Path::new("/proc").join(pid).join(name));
        let status = String::from_utf8(read("status").unwrap_or_default()).unwrap_or_default();
        let parent = format!("PPid:\t{}", mpirun.id());
        let environment = read("environ").unwrap_or_default();
        status.lines().any(|line| line == parent)
            && environment
                .split(|&byte| byte == 0)
                .any(|x| x == wanted.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let Some(pid) = names.find(|pid| is_it(pid)) else {
        return false;
    };
    let status = Command::new("kill").args(["-KILL", &pid]).status();
    status.expect("kill starts").success()
}

#[test]
fn processes_with_different_recipes_are_refused_by_rank_and_host() {
    let (sandbox, recipe) = recipe();
    let text = std::fs::read_to_string(&recipe).expect("a recipe");
    let other = sandbox.file("other.toml", text.replace("siglip = 1.0", "siglip = 2.0"));
    let ran = ran(mpirun(&[(1, &["train", &recipe]), (1, &["train", &other])]));
    assert!(
        ran.code != Some(0) && !ran.stdout.contains("steps"),
        "{ran:?}"
    );
    for part in [
        "do not have the same recipe: rank 0 on ",
        ", rank 1 on ",
        "help: ",
    ] {
        assert!(
            ran.stderr.contains(part),
            "`{part}` is not in: {}",
            ran.stderr
        );
    }
    assert!(!sandbox.names().contains(&"out".to_owned()));
}

#[test]
fn a_recipe_of_version_1_trains_in_one_process() {
    let recipe = "models/lite0/recipe.toml";
    let ran = ran(two(&["train", recipe, "--dry-run"]));
    assert!(ran.code != Some(0), "{ran:?}");
    let said = "found 2 processes of an MPI launcher, expected 1: a recipe of version 1";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}

/// Names and bytes of all files below `folder`, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => {
                let bytes = std::fs::read(&path).expect("a file");
                found.push((
                    path.file_name().expect("a name").to_string_lossy().into(),
                    bytes,
                ));
            }
        }
    }
    found.sort();
    found
}

/// The beginning of `pinhole eval` of the default model.
fn eval_of(data: &str) -> [&str; 7] {
    [
        "eval",
        "--model",
        IMAGE,
        "--text-encoder",
        TEXT,
        "--data",
        data,
    ]
}

#[test]
fn processes_evaluate_to_the_bytes_of_one() {
    let sandbox = two_classes();
    // Its header is whole, so that only the process that decodes it finds out.
    let whole = std::fs::read(sandbox.path("photos/red/3.png")).expect("a picture");
    sandbox.file("photos/red/3.png", &whole[..whole.len() / 2]);
    let data = sandbox.path("photos");
    let mut found = Vec::new();
    for (round, count) in [0, 2, 3, 3].into_iter().enumerate() {
        // The last round finds its embeddings in the cache of the one before it. The report quotes the command: one path.
        let cache = sandbox.path("cache");
        if (1..3).contains(&round) {
            std::fs::remove_dir_all(&cache).expect("a folder");
        }
        let (out, html) = (sandbox.path("out"), sandbox.path("out.html"));
        let tasks = "zero-shot,linear-probe,knn,nmi,calibration,confusion,duplicates,map";
        let kept = ["--cache", &cache, "--tasks", tasks];
        let args = [
            &eval_of(&data)[..],
            &kept,
            &["--out", &out, "--html", &html],
        ]
        .concat();
        let ran = match count {
            0 => run(&args),
            count => ran(mpirun(&[(count, &args)])),
        };
        let said = "left out ";
        assert_eq!(ran.stderr.matches(said).count(), 1, "{}", ran.stderr);
        let kept = files(Path::new(&cache));
        found.push((
            ran.done(),
            files(Path::new(&out)),
            std::fs::read(&html).ok(),
            kept,
        ));
        std::fs::remove_dir_all(&out).expect("a folder");
    }
    assert!(
        found[0].1.len() > 4 && !found[0].3.is_empty(),
        "{:?}",
        found[0].0
    );
    for (printed, out, html, kept) in &found {
        assert_eq!(printed, &found[0].0);
        assert!(out == &found[0].1, "files of --out differ");
        assert!(html == &found[0].2, "reports differ");
        assert!(kept == &found[0].3, "caches differ");
    }
}

#[test]
fn processes_measure_accuracy_as_one_does_and_stop_at_a_picture_that_is_broken() {
    let sandbox = two_classes();
    let data = format!("imagefolder:{}", sandbox.path("photos"));
    for more in [&["--json"][..], &["--float"]] {
        let args = [&eval_of(&data)[..], more].concat();
        let one = run(&args).done();
        assert_eq!(ran(two(&args)).done(), one);
    }
    let whole = std::fs::read(sandbox.path("photos/red/5.png")).expect("a picture");
    sandbox.file("photos/red/5.png", &whole[..whole.len() / 2]);
    let ran = ran(two(&eval_of(&data)));
    assert!(ran.code != Some(0) && ran.stdout.is_empty(), "{ran:?}");
    assert!(ran.stderr.contains("red/5.png"), "{}", ran.stderr);
}

#[test]
fn processes_make_the_features_of_one() {
    let Some(weights) = std::env::var_os("PINHOLE_WEIGHTS") else {
        println!("left out: features need PINHOLE_WEIGHTS, the folder of pinhole data get");
        return;
    };
    let weights = weights.to_str().expect("UTF-8");
    let sandbox = Sandbox::new();
    let texts = String::from_utf8(crate::bytes("models/lite0/texts.tsv")).expect("UTF-8");
    let few: Vec<&str> = texts.lines().take(5).collect();
    let texts = sandbox.file("texts.tsv", few.join("\n"));
    let (image, text) = (
        format!("{weights}/efficientnet-lite0/efficientnet-lite0.pth"),
        format!("{weights}/minilm/model.safetensors"),
    );
    let mut found = Vec::new();
    // Fewer pictures than processes, and as many as do not divide by them.
    for pictures in ["2", "5"] {
        let mut made = Vec::new();
        for count in [0, 3] {
            let out = sandbox.path("features");
            let args = [
                "features",
                "--image-encoder",
                &image,
                "--text-encoder",
                &text,
                "--texts",
                &texts,
                "--groups",
                "models/lite0/groups.tsv",
                "--pictures",
                PHOTOS,
                "--count",
                pictures,
                "--out",
                &out,
            ];
            let said = match count {
                0 => run(args).done(),
                count => ran(mpirun(&[(count, &args)])).done(),
            };
            made.push((said, files(Path::new(&out))));
            std::fs::remove_dir_all(&out).expect("a folder");
        }
        assert!(made[0] == made[1], "processes differ");
        found.push(made.remove(0));
    }
    assert!(
        found[0].1.len() == 4 && found[0] != found[1],
        "{:?}",
        found[0].0
    );
}

#[test]
fn what_processes_do_not_share_is_refused_and_so_are_different_arguments() {
    let refused = ran(two(&["inspect", IMAGE]));
    assert!(
        refused.code != Some(0) && refused.stdout.is_empty(),
        "{refused:?}"
    );
    let said = "pinhole train, features and eval share their work between processes";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    let eval = ["eval", "--model", IMAGE, "--data", PHOTOS, "--tasks"];
    let [map, duplicates] = ["map", "duplicates"].map(|task| [&eval[..], &[task]].concat());
    let refused = ran(mpirun(&[(1, &map), (1, &duplicates)]));
    assert!(
        refused.code != Some(0) && refused.stdout.is_empty(),
        "{refused:?}"
    );
    let said = "the ranks do not have the same arguments: rank 0 on ";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
}
