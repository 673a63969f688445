//! Keys and signed files, and what `pinhole classes` says before a board starts.

use crate::{BANK, IMAGE, Sandbox, TEXT, root, run};

#[test]
fn a_key_signs_a_model_and_nobody_else_reads_it() {
    let sandbox = Sandbox::new();
    let (key, out) = (sandbox.path("board.key"), sandbox.path("signed.phm"));
    let said = run(["keygen", "--out", &key, "--json"]).done();
    let public = std::fs::read_to_string(sandbox.path("board.key.pub")).expect("a public key");
    assert_eq!(public.trim().len(), 64);
    assert!(said.contains(public.trim()), "{said}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::metadata(&key).expect("a key").permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
    }
    let sign = |file: &str| run(["sign", file, "--key", &key, "--counter", "3", "--out", &out]);
    sign(IMAGE).done();
    let file = std::fs::read(root().join(IMAGE)).expect("the model");
    let signed = std::fs::read(&out).expect("a signed model");
    assert_eq!(signed[..file.len()], file);
    assert_eq!(signed.len(), file.len() + 96);
    sign(&out).refused(&["its header says", "has no signature yet"]);
    sign(&key).refused(&["expected a model"]);
    run(["keygen", "--out", &key]).refused(&["found a file, expected a new name"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&key, open).expect("a mode");
        sign(IMAGE).refused(&["found mode 644", "chmod 600"]);
    }
    let short = sandbox.file("short", "abcd");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&short, own).expect("a mode");
    }
    let sign = [
        "sign",
        IMAGE,
        "--key",
        &short,
        "--counter",
        "3",
        "--out",
        &out,
    ];
    run(sign).refused(&["found 4 bytes", "64 hexadecimal digits"]);
}

#[test]
fn what_is_no_class_and_no_bank_is_told_before_a_board_starts() {
    let sandbox = Sandbox::new();
    let flash = sandbox.path("flash.bin");
    let add = [
        "classes",
        "add",
        "cat,dog",
        "--text-encoder",
        TEXT,
        "--flash",
        &flash,
    ];
    run(add).refused(&["found a comma", "one by one"]);
    let add = [
        "classes",
        "add",
        "cat",
        "--text-encoder",
        IMAGE,
        "--flash",
        &flash,
    ];
    run(add).refused(&["expected a text encoder"]);
    run(["classes", "push", IMAGE, "--flash", &flash]).refused(&[IMAGE]);
    let list = ["classes", "list", "--board", "qemu-500", "--flash", &flash];
    run(list).refused(&["the nearest name is qemu-an500"]);
    let push = [
        "classes", "push", BANK, "--board", "qemu-500", "--flash", &flash,
    ];
    run(push).refused(&["unknown board"]);
    assert_eq!(sandbox.names(), [""; 0], "no flash file was made");
}
