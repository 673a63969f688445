//! Ctrl-C in the middle of work: the process ends soon, with exit code 2, and nothing half-written is left.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{CAT, GRAPH, IMAGE, Ran, Sandbox, TEXT, command};

/// SIGINT.
const INTERRUPT: u32 = 2;

/// Starts `pinhole` and waits until it handles Ctrl-C; earlier the system would end it.
pub(crate) fn start(args: &[&str]) -> Child {
    let child = command()
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    let handles = || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & (1 << (INTERRUPT - 1)) != 0)
    };
    if Path::new("/proc/self/status").exists() {
        wait_until(handles);
    } else {
        std::thread::sleep(Duration::from_secs(1));
    }
    child
}

/// Looks again and again, for a minute at most.
#[track_caller]
pub(crate) fn wait_until(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited for a minute"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal by name.
pub(crate) fn send(signal: &str, child: &Child) {
    // A process that has just ended has no need of it.
    let _ = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .stderr(Stdio::null())
        .status()
        .expect("kill starts");
}

/// Interrupts after `delay` and gives what was left; it must end within two seconds.
fn interrupted(args: &[&str], delay: Duration) -> Ran {
    let child = start(args);
    std::thread::sleep(delay);
    let sent = Instant::now();
    send("-INT", &child);
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert!(
        sent.elapsed() < Duration::from_secs(2),
        "{args:?} took {:?} to end",
        sent.elapsed()
    );
    ran
}

#[test]
fn long_work_ends_soon_after_ctrl_c_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("out");
    let pictures = Sandbox::new();
    for class in ["cat", "dog"] {
        std::fs::create_dir(pictures.path(class)).expect("a folder");
        let cat = crate::bytes(CAT);
        (0..200).for_each(|n| drop(pictures.file(&format!("{class}/{n}.jpg"), &cat)));
    }
    let data = format!("imagefolder:{}", pictures.path(""));
    for args in [
        &[
            "convert",
            GRAPH,
            "--calibrate",
            &pictures.path(""),
            "--out",
            &out,
        ][..],
        &[
            "embed",
            "--text-encoder",
            TEXT,
            "--classes",
            "imagenet",
            "--out",
            &out,
        ],
        &[
            "eval",
            "--model",
            IMAGE,
            "--text-encoder",
            TEXT,
            "--data",
            &data,
        ],
    ] {
        let ran = interrupted(args, Duration::from_millis(500));
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(2), ""),
            "{args:?}: {ran:?}"
        );
        assert!(
            ran.stderr
                .contains("interrupted; nothing half-written is left"),
            "{ran:?}"
        );
        assert_eq!(sandbox.names(), [""; 0], "{args:?}");
    }
}

#[test]
fn ctrl_c_at_any_moment_of_writing_leaves_the_whole_file_or_none() {
    let (mut whole, mut none) = (0, 0);
    for delay in 0..20 {
        let sandbox = Sandbox::new();
        let out = sandbox.path("image.phm");
        let ran = interrupted(
            &["pack", GRAPH, "--out", &out],
            Duration::from_millis(delay * 15),
        );
        match &sandbox.names()[..] {
            [] => none += 1,
            [name] if name == "image.phm" => {
                crate::run(["inspect", &out]).done();
                whole += 1;
            }
            left => panic!("after {delay} waits {left:?} are left: {ran:?}"),
        }
    }
    println!("{whole} whole files, {none} times none");
}
