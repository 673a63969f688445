//! What an emulated board keeps in its flash file over a restart and a kill. Run by `./ci.sh qemu`; skipped as
//! `tests/emulated.rs` is.

use pinhole_device::{BoardSpec, available, emulated_boards};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The firmware's example `wear` for a board.
fn build(board: &BoardSpec) -> PathBuf {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/boards");
    let folder = boards.join("target").join(board.machine);
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--example", "wear", "--target-dir"])
        .arg(&folder)
        .current_dir(boards.join(board.name));
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().expect("cargo starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    folder.join(board.target).join("release/examples/wear")
}

/// The boards that this machine can run, with the program.
fn boards_here() -> Vec<(&'static BoardSpec, PathBuf)> {
    let mut here = Vec::new();
    for board in emulated_boards() {
        match available(board) {
            Ok(()) => here.push((board, build(board))),
            Err(missing) => {
                let ci = std::env::var("CI");
                assert_ne!(ci.as_deref(), Ok("true"), "{} is missing", missing.what);
                eprintln!("SKIPPED {}: {} is missing", board.name, missing.what);
            }
        }
    }
    here
}

/// The emulator with the program's orders and a flash file.
fn emulator(board: &BoardSpec, program: &Path, orders: &[String], flash: Option<&Path>) -> Command {
    let orders: String = orders.iter().map(|order| format!(",arg={order}")).collect();
    let flash = flash.map_or(String::new(), |path| {
        format!(",arg=flash={}", path.display())
    });
    let mut command = Command::new(board.emulator);
    command
        .args(["-machine", board.machine, "-display", "none"])
        .args(["-monitor", "none", "-serial", "none", "-semihosting-config"])
        .arg(format!("enable=on,target=native,arg=wear{orders}{flash}"))
        .arg("-kernel")
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// What the program prints, and whether it ends as it should.
fn wear(
    (board, program): &(&BoardSpec, PathBuf),
    flash: Option<&Path>,
    orders: &[&str],
) -> (String, bool) {
    let orders: Vec<String> = orders.iter().map(|order| order.to_string()).collect();
    let output = emulator(board, program, &orders, flash).output();
    let output = output.expect("the emulator starts");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    (words, output.status.success())
}

#[test]
fn a_restart_finds_what_was_erased_and_programmed() {
    for here in boards_here() {
        let folder = tempfile::tempdir().unwrap();
        let flash = folder.path().join("flash.bin");
        let last = here.0.flash_bytes - 4;
        let program = format!("program:{last}:01020304");
        let orders = ["program:4096:0ff0aa55", "program:4100:00112233", &program];
        // A file that is not there yet is a blank flash.
        assert_eq!(wear(&here, Some(&flash), &orders), (String::new(), true));
        let read = format!("read:{last}:4");
        // What a word holds is the AND of what was programmed.
        let orders = ["program:4096:ff0f0fff", "read:4092:16", &read];
        let found = wear(&here, Some(&flash), &orders);
        let bytes = "ffffffff0f000a5500112233ffffffff\n01020304\n";
        assert_eq!(found, (bytes.to_string(), true), "{}", here.0.name);
        let found = wear(&here, Some(&flash), &["erase:4096:8192", "read:4096:8"]);
        assert_eq!(found, ("ffffffffffffffff\n".to_string(), true));
        let kept = std::fs::read(&flash).unwrap();
        assert_eq!(kept.len(), here.0.flash_bytes as usize);
        let (rest, end) = kept.split_at(last as usize);
        assert!(rest.iter().all(|byte| *byte == 0xff));
        assert_eq!(end, [1, 2, 3, 4]);
    }
}

#[test]
fn a_short_file_is_a_flash_whose_rest_is_blank_and_a_long_one_is_refused() {
    for here in boards_here() {
        let folder = tempfile::tempdir().unwrap();
        let flash = folder.path().join("flash.bin");
        std::fs::write(&flash, [7; 6]).unwrap();
        let found = wear(&here, Some(&flash), &["read:0:8", "program:4:0100ff00"]);
        assert_eq!(found, ("070707070707ffff\n".to_string(), true));
        let mut kept = std::fs::read(&flash).unwrap();
        assert_eq!(kept.len(), here.0.flash_bytes as usize);
        assert_eq!(kept[..9], [7, 7, 7, 7, 1, 0, 0xff, 0, 0xff]);
        kept.push(0);
        std::fs::write(&flash, kept).unwrap();
        assert!(!wear(&here, Some(&flash), &["read:0:8"]).1, "it goes on");
        let nowhere = folder.path().join("no/flash.bin");
        assert!(!wear(&here, Some(&nowhere), &["read:0:8"]).1, "it goes on");
        // Without a file it is blank each time.
        for _ in 0..2 {
            let found = wear(&here, None, &["read:0:4", "program:0:00000000"]);
            assert_eq!(found, ("ffffffff\n".to_string(), true));
        }
    }
}

#[test]
fn a_board_that_is_killed_leaves_all_that_it_has_written() {
    for (board, program) in boards_here() {
        let folder = tempfile::tempdir().unwrap();
        let flash = folder.path().join("flash.bin");
        let orders: Vec<String> = (0..64)
            .map(|word| {
                format!(
                    "program:{}:{word:02x}{word:02x}{word:02x}{word:02x}",
                    word * 4
                )
            })
            .chain(["hang".to_string()])
            .collect();
        let mut child = emulator(board, &program, &orders, Some(&flash))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(line, "hang\n");
        let kept = std::fs::read(&flash).unwrap();
        for (word, bytes) in kept[..256].chunks(4).enumerate() {
            assert_eq!(bytes, [word as u8; 4], "{}", board.name);
        }
    }
}
