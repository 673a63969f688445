//! Emulated boards whose flash the host writes, that get a key over the line, and then let nobody without it change anything.
//! Ignored by default since it needs an emulator; `./ci.sh qemu` runs it.

use std::path::{Path, PathBuf};

use pinhole_device::{
    BoardSpec, DeviceError, ErrorCode, Files, Link, Options, RunningBoard, SelfTest, available,
    boards_run_here, build_firmware,
};
use pinhole_signing::{public_key, sign};
use pinhole_tests::file;

const SEED: [u8; 32] = [1; 32];
const NEW_SEED: [u8; 32] = [2; 32];
/// Elements of an embedding of nano.
const DIM: u32 = 256;

/// The code of a refusal.
fn code<T: std::fmt::Debug>(result: Result<T, DeviceError>) -> ErrorCode {
    match result {
        Err(DeviceError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

/// Model and bank of nano, signed.
fn signed(folder: &Path) -> [PathBuf; 2] {
    ["image.phm", "bank.phc"].map(|name| {
        let bytes = file(&format!("models/nano/{name}"));
        let signed = sign(&bytes, &SEED, 1).expect("a sound file");
        let path = folder.join(name);
        std::fs::write(&path, signed).expect("a file");
        path
    })
}

struct Subject {
    spec: &'static BoardSpec,
    firmware: PathBuf,
    flash: PathBuf,
}

impl Subject {
    fn start(&self) -> RunningBoard {
        let options = Options {
            flash: Some(self.flash.clone()),
            ..Options::default()
        };
        RunningBoard::start(self.spec, &self.firmware, None, None, &options).expect("it starts")
    }

    fn flash_bytes(&self) -> Vec<u8> {
        std::fs::read(&self.flash).expect("the flash file")
    }
}

#[test]
#[ignore = "needs an emulator: ./ci.sh qemu"]
fn a_board_with_a_key_is_changed_by_its_holder_alone() {
    let mut run = 0;
    for spec in boards_run_here() {
        if let Err(missing) = available(spec) {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "{} is missing",
                missing.what
            );
            eprintln!("SKIPPED {}: {} is missing", spec.name, missing.what);
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let subject = Subject {
            spec,
            firmware: build_firmware(spec).expect("it builds"),
            flash: folder.path().join("flash.bin"),
        };
        let [model, bank] = signed(folder.path());
        let files = Files::read(spec, &model, &bank, Some(public_key(&SEED))).expect("it suits");
        let kept = files.write(&subject.flash).expect("it is written");
        assert_eq!(kept.bytes, spec.flash_bytes as usize);
        let mut board = subject.start();
        // Nobody writes the file under a board that runs on it.
        assert!(matches!(
            files.write(&subject.flash),
            Err(DeviceError::InUse { .. })
        ));
        board.ask(provision_and_lock).expect("it takes the key");
        drop(board);
        strangers_write_nothing(&subject);
        the_holder_may(&subject);
        println!(
            "{}: a key of its own, a stranger, a reboot, a new key",
            spec.name
        );
        run += 1;
    }
    assert!(run > 0 || std::env::var("CI").is_err(), "no board ran");
}

fn provision_and_lock<S: std::io::Read + std::io::Write>(
    link: &mut Link<S>,
) -> Result<(), DeviceError> {
    assert_eq!(link.self_test()?, SelfTest::Passed { bytes: DIM });
    assert_eq!(code(link.unlock(&SEED)), ErrorCode::Key);
    link.set_threshold(Some(1.0))?;
    assert_eq!(
        code(link.provision(&public_key(&NEW_SEED))),
        ErrorCode::Storage
    );
    link.provision(&public_key(&SEED))?;
    assert!(link.statistics()?.has_key);
    Ok(())
}

fn strangers_write_nothing(subject: &Subject) {
    let before = subject.flash_bytes();
    let mut board = subject.start();
    let asked = board.ask(|link| {
        assert_eq!(code(link.set_threshold(Some(2.0))), ErrorCode::Locked);
        assert_eq!(code(link.remove_class("cat")), ErrorCode::Locked);
        assert_eq!(
            code(link.provision(&public_key(&NEW_SEED))),
            ErrorCode::Locked
        );
        assert_eq!(code(link.unlock(&NEW_SEED)), ErrorCode::Key);
        assert_eq!(code(link.set_threshold(Some(2.0))), ErrorCode::Locked);
        link.hello()
    });
    assert_eq!(asked.expect("whoever only asks is answered").dim, DIM);
    drop(board);
    assert!(subject.flash_bytes() == before, "nothing was written");
}

fn the_holder_may(subject: &Subject) {
    let mut board = subject.start();
    let done = board.ask(|link| {
        link.unlock(&SEED)?;
        link.set_threshold(Some(3.0))?;
        link.reboot()?;
        let numbers = link.statistics()?;
        assert_eq!((numbers.threshold, numbers.has_key), (Some(3.0), true));
        // The reset has locked it.
        assert_eq!(code(link.set_threshold(Some(4.0))), ErrorCode::Locked);
        link.replace_key(&SEED, &public_key(&NEW_SEED))?;
        assert_eq!(code(link.unlock(&SEED)), ErrorCode::Key);
        link.unlock(&NEW_SEED)?;
        link.set_threshold(Some(5.0))?;
        link.self_test()
    });
    let passed = SelfTest::Passed { bytes: DIM };
    assert_eq!(done.expect("the holder may"), passed);
}
