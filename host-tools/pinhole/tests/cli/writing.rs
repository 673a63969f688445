//! Where results go: full disks, missing folders, closed pipes. No half-written file and no temporary one is left.

use std::process::{Command, Stdio};

use crate::{BANK, CAT, GRAPH, IMAGE, Ran, Sandbox, TEXT, command, root, run};

/// Runs `pinhole` where no file can grow beyond `blocks` of 512 bytes, as on a disk that is full.
#[cfg(unix)]
fn run_with_room(blocks: u32, args: &[&str]) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_pinhole")])
        .args(args)
        .current_dir(root())
        .output()
        .expect("sh starts")
        .into()
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_nothing_half_written_is_left() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("out");
    for args in [
        &["pack", GRAPH, "--out", &out][..],
        &["import", GRAPH, "--out", &out],
        &[
            "embed",
            "--text-encoder",
            TEXT,
            "--classes",
            "cat,dog",
            "--out",
            &out,
        ],
    ] {
        run_with_room(1, args).refused(&[&out, "cannot write it", "make room"]);
        assert_eq!(sandbox.names(), [""; 0], "{args:?}");
    }
    // An older file of that name stays as it was.
    sandbox.file("out", "old");
    run_with_room(1, &["pack", GRAPH, "--out", &out]).refused(&[&out]);
    assert_eq!(std::fs::read(&out).expect("it is there"), b"old");
    assert_eq!(sandbox.names(), ["out"]);
}

/// A disk of 64 KiB that is really full, where this user may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_file_system_without_room_is_said_and_nothing_half_written_is_left() {
    let sandbox = Sandbox::new();
    let disk = sandbox.path("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let mount = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", &disk];
    let mounted = Command::new("mount")
        .args(mount)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!(
            "NOT RUN: this user cannot mount a small file system; the limit on file sizes stands in for it"
        );
        return;
    }
    let out = format!("{disk}/image.phm");
    let ran = run(["pack", GRAPH, "--out", &out]);
    let left = std::fs::read_dir(&disk).expect("a folder").count();
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(
        unmounted.is_ok_and(|status| status.success()),
        "{disk} stays mounted"
    );
    ran.refused(&[&out, "cannot write it", "No space left", "make room"]);
    assert_eq!(left, 0, "something is left on the full disk");
}

#[test]
fn a_result_that_cannot_be_printed_is_exit_code_2() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        println!("NOT RUN: this machine has no /dev/full");
        return;
    };
    let output = command()
        .args(["inspect", BANK])
        .stdout(full)
        .output()
        .expect("it starts");
    let ran = Ran::from(output);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("cannot write to standard output"),
        "{ran:?}"
    );
}

#[test]
fn a_folder_that_is_missing_is_said_before_the_work_begins() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("no/such/folder/out");
    let folder = sandbox.path("no/such/folder");
    let said = [out.as_str(), "found no such folder", "mkdir -p", &folder];
    run(["import", GRAPH, "--out", &out]).refused(&said);
    run(["pack", GRAPH, "--out", &out]).refused(&said);
    run([
        "quantize",
        GRAPH,
        "--calibrate",
        "models/demo",
        "--out",
        &out,
    ])
    .refused(&said);
    run([
        "convert",
        GRAPH,
        "--calibrate",
        "models/demo",
        "--out",
        &out,
    ])
    .refused(&said);
    run([
        "embed",
        "--text-encoder",
        TEXT,
        "--classes",
        "cat",
        "--out",
        &out,
    ])
    .refused(&said);
    let folder = sandbox.path("");
    run(["pack", GRAPH, "--out", &folder])
        .refused(&["found a folder, expected a file or a new name"]);
    if std::path::Path::new("/dev/null").exists() {
        run(["pack", GRAPH, "--out", "/dev/null"]).refused(&["found a device or a pipe"]);
    }
    assert_eq!(sandbox.names(), [""; 0]);
}

/// `pinhole … | head -1`
#[test]
fn a_reader_that_has_gone_is_no_error_and_no_panic() {
    for args in [
        &["inspect", IMAGE][..],
        &["inspect", BANK, "--json"],
        &["data", "list"],
        &["classify", "--help"],
    ] {
        let mut child = command()
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let ran = Ran::from(child.wait_with_output().expect("it ends"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    // Nobody listens on standard error either.
    let mut child = command()
        .args(["inspect", "/no/such/file"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(2));
}

#[test]
fn progress_is_not_drawn_where_nobody_looks() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("bank.phc");
    let ran = run([
        "embed",
        "--text-encoder",
        TEXT,
        "--classes",
        "cat,dog",
        "--out",
        &out,
    ]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let ran = run(["classify", "--model", IMAGE, "--bank", &out, CAT]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(sandbox.names(), ["bank.phc"]);
}
