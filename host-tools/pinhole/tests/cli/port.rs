//! Boards that run already, and boards with chips: what is refused, and what is given to the tools that write them.

use std::path::Path;

use crate::flash::{NANO, NANO_BANK, flash_of, program};
use crate::{CAT, Sandbox, bytes, command, run};

/// The beginning of `pinhole flash` for a board and nano.
fn nano_on(board: &str) -> [&str; 7] {
    flash_of(board, NANO, NANO_BANK)
}

/// A file with the program of a board: one segment at `address`.
fn elf_at(sandbox: &Sandbox, address: u32) -> String {
    sandbox.file("program", program(address, b"program of a board"))
}

#[test]
fn a_port_that_is_not_there_is_named_with_those_that_are() {
    let nowhere = "/dev/tty-not-there";
    run(["board", "slots", "--port", nowhere]).refused(&["cannot connect to /dev/tty-not-there"]);
    run(["classes", "list", "--port", nowhere]).refused(&["cannot connect to"]);
    run(["board", "run", "--port", nowhere, CAT]).refused(&["cannot connect to"]);
    run(["monitor", "--port", nowhere, "--json"]).refused(&["cannot connect to"]);
    // Nobody listens at port 1.
    run(["board", "stats", "--port", "127.0.0.1:1"]).refused(&[
        "cannot connect to 127.0.0.1:1",
        "pinhole-linux",
        "--listen 127.0.0.1:1",
    ]);
    for (args, said) in [
        (
            &["board", "slots", "--port", "x", "--flash", "y"][..],
            "cannot be used with",
        ),
        (
            &["board", "slots", "--port", "x", "--board", "linux"],
            "cannot be used with",
        ),
        (
            &["monitor", "--port", "x", "--model", NANO],
            "cannot be used with",
        ),
        (&["board", "slots"], "--flash"),
    ] {
        let ran = run(args);
        assert!(ran.code == Some(2) && ran.stderr.contains(said), "{ran:?}");
    }
}

#[test]
fn what_an_option_is_for_has_to_be_there() {
    let sandbox = Sandbox::new();
    let elf = elf_at(&sandbox, 0x1000_0000);
    let flash = sandbox.path("board.bin");
    let unused = ["board", "slots", "--flash", &flash, "--baud", "9600"];
    run(unused).refused(&["--baud without a port", "--port"]);
    let alone = ["--program", &elf, "--port", "127.0.0.1:1"];
    run([&nano_on("rp2350")[..], &alone].concat())
        .refused(&["over which no program goes", "--probe"]);
    for more in [
        &["--flash", &flash, "--unlock", &elf][..],
        &["--flash", &flash, "--baud", "9600"],
        &["--probe", "--baud", "9600"],
        &["--probe", "--verbose"],
    ] {
        let ran = run([&nano_on("rp2350")[..], more].concat());
        assert_eq!(ran.code, Some(2), "{more:?}: {ran:?}");
    }
    assert!(!Path::new(&flash).exists());
    let bench = ["bench", "--model", NANO, "--port", "127.0.0.1:1"];
    run(bench).refused(&["cannot connect to 127.0.0.1:1"]);
}

#[test]
fn a_board_with_a_chip_is_not_started_here() {
    run(["board", "slots", "--board", "rp2350", "--flash", "x.bin"]).refused(&[
        "no emulated board",
        "--port PORT",
        "pinhole flash --board rp2350",
    ]);
    run([&nano_on("rp2350")[..], &["--flash", "x.bin"]].concat())
        .refused(&["found --flash for rp2350", "--drive FOLDER"]);
    assert!(!Path::new("x.bin").exists());
}

#[test]
fn an_image_of_a_chip_says_who_takes_it() {
    let sandbox = Sandbox::new();
    let elf = elf_at(&sandbox, 0x1000_0000);
    let out = sandbox.path("out.uf2");
    let said = run([
        &nano_on("rp2350")[..],
        &["--program", &elf, "--image", &out],
    ]
    .concat())
    .done();
    assert!(said.contains("/media/$USER/RP2350/"), "{said}");
    assert!(said.contains("probe-rs download --chip RP235x"), "{said}");
    assert_eq!(bytes(&out).len() % 512, 0);
    // The program of an STM32N6 is not part of what a programmer writes at its address.
    let elf = elf_at(&sandbox, 0x3418_0400);
    let out = sandbox.path("out.bin");
    let args = nano_on("stm32n657");
    let said = run([&args[..], &["--program", &elf, "--image", &out]].concat()).done();
    assert!(said.contains("0x70100000"), "{said}");
    assert!(!said.contains("program       "), "{said}");
    assert!(said.contains("docs/boards/stm32n657.md"), "{said}");
}

#[test]
fn a_drive_is_known_by_its_bootloader_and_gets_the_image() {
    let sandbox = Sandbox::new();
    let elf = elf_at(&sandbox, 0x1000_0000);
    let drive = sandbox.path("RP2350");
    std::fs::create_dir(&drive).expect("a folder");
    let args = [
        &nano_on("rp2350")[..],
        &["--program", &elf, "--drive", &drive],
    ]
    .concat();
    run(&args).refused(&["INFO_UF2.TXT", "BOOTSEL"]);
    std::fs::write(
        Path::new(&drive).join("INFO_UF2.TXT"),
        "UF2 Bootloader v1.0\n",
    )
    .expect("a file");
    let said = run(&args).done();
    assert!(
        said.contains("program, model and class bank are there"),
        "{said}"
    );
    let image = sandbox.path("out.uf2");
    run([
        &nano_on("rp2350")[..],
        &["--program", &elf, "--image", &image],
    ]
    .concat())
    .done();
    assert!(bytes(&image) == bytes(&format!("{drive}/pinhole.uf2")));
    let an500 = nano_on("qemu-an500");
    let elf = elf_at(&sandbox, 0x100);
    run([&an500[..], &["--program", &elf, "--drive", &drive]].concat())
        .refused(&["takes no UF2 files"]);
}

#[cfg(unix)]
#[test]
fn probe_rs_is_given_the_image_or_the_program() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let tools = sandbox.path("tools");
    std::fs::create_dir(&tools).expect("a folder");
    let probe = |args: &[&str]| -> crate::Ran {
        command()
            .args(args)
            .env("PATH", &tools)
            .output()
            .expect("pinhole starts")
            .into()
    };
    let elf = elf_at(&sandbox, 0x1000_0000);
    let pico = [&nano_on("rp2350")[..], &["--program", &elf, "--probe"]].concat();
    probe(&pico).refused(&["probe-rs", "cargo install probe-rs-tools"]);
    // It notes what it is asked for, keeps the file, and fails when there is no file `works`.
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{0}/asked\nfor last; do :; done\n[ -f \"$last\" ] && /bin/cp \"$last\" {0}/written\n[ -f {0}/works ]\n",
        sandbox.path("")
    );
    let path = Path::new(&tools).join("probe-rs");
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    probe(&pico).refused(&["did not write the board", "probe-rs list"]);
    sandbox.file("works", "");
    let said = probe(&pico).done();
    assert!(
        said.contains("program, model and class bank by the probe"),
        "{said}"
    );
    let asked = String::from_utf8(bytes(&sandbox.path("asked"))).expect("text");
    let lines: Vec<_> = asked.lines().collect();
    assert!(
        lines[1].starts_with("download --chip RP235x --verify --binary-format hex"),
        "{asked}"
    );
    assert_eq!(lines[2], "reset --chip RP235x");
    let image = sandbox.path("out.hex");
    run([
        &nano_on("rp2350")[..],
        &["--program", &elf, "--image", &image],
    ]
    .concat())
    .done();
    assert!(bytes(&image) == bytes(&sandbox.path("written")));
    // The storage of this one lies in another flash.
    let elf = elf_at(&sandbox, 0x0800_0000);
    let h743 = [
        &nano_on("stm32h743")[..],
        &["--program", &elf, "--probe", "--json"],
    ]
    .concat();
    let ran = probe(&h743);
    assert!(ran.stderr.contains("--port PORT"), "{ran:?}");
    let done: serde_json::Value = serde_json::from_str(&ran.done()).expect("JSON");
    assert_eq!(done["program_by"], "probe");
    assert!(done["files_by"].is_null() && done["selftest"].is_null());
    assert!(bytes(&elf) == bytes(&sandbox.path("written")));
    let n657 = [&nano_on("stm32n657")[..], &["--probe"]].concat();
    probe(&n657).refused(&["copies its program into RAM", "docs/boards/stm32n657.md"]);
    let an500 = [&nano_on("qemu-an500")[..], &["--probe"]].concat();
    probe(&an500).refused(&["a board that this machine runs", "--flash FILE"]);
}
