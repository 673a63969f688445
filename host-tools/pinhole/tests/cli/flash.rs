//! Golden embeddings that `pinhole pack` changes, and what `pinhole flash` makes and refuses without starting a board.

use crate::{BANK, CAT, GRAPH, IMAGE, Sandbox, bytes, run};
use serde_json::Value;

pub(crate) const NANO: &str = "models/nano/image.phm";
pub(crate) const NANO_BANK: &str = "models/nano/bank.phc";

/// The beginning of `pinhole flash` for a board, a model and a class bank.
pub(crate) fn flash_of<'a>(board: &'a str, model: &'a str, bank: &'a str) -> [&'a str; 7] {
    ["flash", "--board", board, "--model", model, "--bank", bank]
}

/// A signed copy of a file.
fn signed(sandbox: &Sandbox, file: &str, key: &str) -> String {
    let out = sandbox.path(&file.replace('/', "-"));
    let args = ["sign", file, "--counter", "1", "--key", key, "--out", &out];
    run(args).done();
    out
}

#[test]
fn a_packed_model_gets_another_golden_embedding_or_none() {
    let sandbox = Sandbox::new();
    let [none, again, picture] = ["none", "again", "picture"].map(|name| sandbox.path(name));
    run(["pack", NANO, "--no-golden", "--out", &none]).done();
    run(["pack", &none, "--out", &again]).done();
    assert!(bytes(&again) == bytes(NANO), "the file of the tree");
    assert!(bytes(&none).len() < bytes(NANO).len());
    let said = run(["pack", NANO, "--golden", CAT, "--out", &picture, "--json"]).done();
    let report: Value = serde_json::from_str(&said).expect("JSON");
    // The picture, 96 x 96 x 3, and the embedding.
    assert_eq!(report["golden_bytes"], 96 * 96 * 3 + 256);
    assert_eq!(report["file_bytes"], bytes(&picture).len());
    run(["pack", NANO, "--strip-names", "--out", &none]).refused(&[
        "packed model beside --strip-names",
        "pinhole pack GRAPH.phg",
    ]);
    run(["pack", GRAPH, "--golden", CAT, "--out", &none])
        .refused(&["computes in floats", "leave out --golden"]);
    let both = run(["pack", NANO, "--golden", CAT, "--no-golden", "--out", &none]);
    assert!(
        both.code == Some(2) && both.stderr.contains("cannot be used with"),
        "{both:?}"
    );
    let key = sandbox.path("board.key");
    run(["keygen", "--out", &key]).done();
    let signed = signed(&sandbox, NANO, &key);
    run(["pack", &signed, "--out", &none]).refused(&["without a signature", "pinhole sign"]);
    let floats = run(["pack", GRAPH, "--out", &none]).done();
    assert!(floats.contains("no golden embedding"), "{floats}");
}

/// An ELF file whose one segment is `bytes` at `address`.
pub(crate) fn program(address: u32, bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 52];
    file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    file[18] = 40;
    file[28] = 52;
    file[42] = 32;
    file[44] = 1;
    let len = bytes.len() as u32;
    let words = [1, 84, address, address, len, len, 5, 4];
    file.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
    file.extend_from_slice(bytes);
    file
}

#[test]
fn an_image_lists_its_sections_with_addresses_and_checksums() {
    let sandbox = Sandbox::new();
    let elf = sandbox.file("program", program(0x100, b"123456789"));
    let hex = sandbox.path("out.hex");
    let nano = flash_of("qemu-an500", NANO, NANO_BANK);
    let args = [&nano[..], &["--program", &elf, "--image", &hex]].concat();
    let said = run(args.iter().chain(&["--json"])).done();
    let made: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(made["bytes"], bytes(&hex).len());
    let sections = made["sections"].as_array().expect("sections");
    let row = |at: usize| {
        let section = &sections[at];
        (
            section["section"].as_str().expect("a name"),
            section["address"].as_u64().expect("a number"),
        )
    };
    assert_eq!(row(0), ("program", 0x100));
    // The check value of CRC-32/ISO-HDLC.
    assert_eq!(sections[0]["crc32"], "cbf43926");
    assert_eq!(row(1), ("journal", 0x6000_0000));
    assert_eq!(row(2), ("class bank", 0x6001_0000));
    let models = sections
        .iter()
        .filter(|section| section["section"] == "model");
    let lengths: Vec<_> = models.map(|section| section["bytes"].as_u64()).collect();
    assert_eq!(lengths, [Some(bytes(NANO).len() as u64)]);
    let table = run(args).done();
    assert!(
        table.contains("0x60110000") && table.contains("--flash"),
        "{table}"
    );
    let lines = String::from_utf8(bytes(&hex)).expect("text");
    assert!(
        lines.starts_with(":09010000313233343536373839"),
        "{}",
        &lines[..40]
    );
    assert!(lines.ends_with(":00000001FF\n"));
}

#[test]
fn what_a_board_would_refuse_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    let elf = sandbox.file("program", program(0x100, b"program"));
    let out = sandbox.path("out.hex");
    let flash = |board: &str, model: &str, bank: &str, more: &[&str]| {
        run([
            &flash_of(board, model, bank)[..],
            &["--program", &elf],
            more,
        ]
        .concat())
    };
    let to = ["--image", &out];
    let floats = sandbox.path("floats.phm");
    run(["pack", GRAPH, "--out", &floats]).done();
    flash("qemu-an500", &floats, BANK, &to)
        .refused(&["the board qemu-an500 takes 7831552", "pinhole board list"]);
    flash("qemu-an500", BANK, BANK, &to).refused(&["does not suit qemu-an500"]);
    flash("qemu-an500", IMAGE, IMAGE, &to).refused(&["the class bank"]);
    let key = sandbox.path("board.key");
    run(["keygen", "--out", &key]).done();
    let public = format!("{key}.pub");
    let keyed = ["--image", &out, "--key", &public];
    flash("qemu-an500", NANO, NANO_BANK, &keyed).refused(&["not signed", "pinhole sign"]);
    let [model, bank] = [NANO, NANO_BANK].map(|file| signed(&sandbox, file, &key));
    flash("qemu-an500", &model, NANO_BANK, &keyed).refused(&["class bank", "not signed"]);
    assert!(!std::path::Path::new(&out).exists(), "nothing was written");
    flash("qemu-an500", &model, &bank, &keyed).done();
    let refused = |name: &str, said: &[&str]| {
        let path = sandbox.path(name);
        flash("qemu-an500", NANO, NANO_BANK, &["--image", &path]).refused(said);
        assert!(!std::path::Path::new(&path).exists());
    };
    refused("out.elf", &["expected .hex, .bin or .uf2"]);
    refused("out.uf2", &["takes no UF2 files", ".hex"]);
    refused("out.bin", &["nearly all of them between", ".hex"]);
    let elsewhere = sandbox.file("elsewhere", program(0x0800_0000, b"program"));
    let nano = flash_of("qemu-an500", NANO, NANO_BANK);
    run([&nano[..], &["--program", &elsewhere, "--image", &out]].concat()).refused(&[
        "the program lies at 0x08000000",
        "firmware/boards/qemu-an500",
    ]);
    flash("qemu-an501", NANO, NANO_BANK, &to).refused(&["unknown board"]);
    let neither = run(nano);
    assert!(
        neither.code == Some(2) && neither.stderr.contains("--flash"),
        "{neither:?}"
    );
}

#[test]
fn provisioning_reads_a_public_key_before_a_board_starts() {
    let sandbox = Sandbox::new();
    let flash = sandbox.path("board.bin");
    let short = sandbox.file("short.pub", "abcd");
    let zeros = sandbox.file("zeros.pub", "00".repeat(32));
    for (key, said) in [
        (&short, ["expected a public key of 64", "pinhole keygen"]),
        (&zeros, ["no public key", "pinhole keygen"]),
    ] {
        run(["board", "provision", "--key", key, "--flash", &flash]).refused(&said);
    }
    assert!(!std::path::Path::new(&flash).exists());
}
