//! The board `linux`: pictures of the host, pictures and raw frames of its cameras, all with the bits of the host.
//!
//! `PINHOLE_LINUX` names its program, `PINHOLE_LINUX_RUNNER` what runs it, as "qemu-aarch64 -L /usr/aarch64-linux-gnu".

use super::Files;
use crate::common::Random;
use pinhole_device::{
    LiveMode, Options, Pushed, ReadyBoard, Reports, RgbRows, RunningBoard, board, build_firmware,
};
use pinhole_runtime::preprocess::PixelFormat;
use std::collections::BTreeSet;
use std::time::Duration;

const SIDES: (u32, u32) = (48, 20);

fn options(arguments: &[&str]) -> Options {
    let runner = std::env::var("PINHOLE_LINUX_RUNNER").unwrap_or_default();
    Options {
        arguments: arguments.iter().map(|word| word.to_string()).collect(),
        runner: runner.split_whitespace().map(String::from).collect(),
        show_log: true,
        ..Options::default()
    }
}

fn start(files: &Files, arguments: &[&str]) -> ReadyBoard {
    let spec = board("linux").unwrap();
    let program = build_firmware(spec).expect("the program builds");
    let (model, bank) = (files.path("model"), files.path("bank"));
    ReadyBoard::start(
        spec,
        &program,
        Some(&model),
        Some(&bank),
        &options(arguments),
    )
    .unwrap()
}

/// Checksums of the embeddings of the next `count` frames in continuous mode.
fn live(board: &mut RunningBoard, count: usize) -> Vec<u32> {
    let reports = Reports {
        every: 1,
        preview_every: 0,
        log: true,
    };
    board.ask(|link| link.set_reports(reports)).unwrap();
    board
        .ask(|link| link.set_mode(LiveMode::Continuous))
        .unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        match board
            .ask(|link| link.next_pushed(Duration::from_secs(30)))
            .unwrap()
        {
            Some(Pushed::Frame(frame)) => {
                assert_eq!(frame.frame as usize, found.len() + 1);
                assert!(frame.latency_ticks >= frame.run_ticks);
                found.push(frame.embedding_crc32);
            }
            Some(other) => panic!("{other:?}"),
            None => panic!("no frame came"),
        }
    }
    found
}

#[test]
#[ignore = "builds the program of the board; ./ci.sh linux"]
fn pictures_of_the_host_have_the_bits_of_the_host() {
    let files = Files::new();
    let mut board = start(&files, &[]);
    assert_eq!(board.info().board, "linux");
    println!("kernels {}", board.info().kernels);
    let mut random = Random(5);
    for (width, height) in [(6, 6), (1, 1), (40, 23), (701, 11), (300, 200)] {
        let bytes = random.bytes(width as usize * height as usize * 3);
        let picture = RgbRows {
            width,
            height,
            bytes: &bytes,
        };
        let found: Vec<u8> = board
            .classify(&picture)
            .unwrap()
            .embedding
            .iter()
            .map(|x| *x as u8)
            .collect();
        let expected = files.embedding((width, height), PixelFormat::Rgb888, &bytes);
        assert_eq!(found, expected, "{width}x{height}");
    }
}

#[test]
#[ignore = "builds the program of the board; ./ci.sh linux"]
fn a_camera_of_pictures_gives_the_bits_of_the_host() {
    let files = Files::new();
    let folder = files.path("pictures");
    std::fs::create_dir(&folder).unwrap();
    let mut expected = Vec::new();
    for at in 0..3u8 {
        let bytes = Random(u64::from(at) + 1).bytes((SIDES.0 * SIDES.1 * 3) as usize);
        // A portable pixmap: P6, the sides, the largest value, pixels.
        let head = format!("P6 {} {} 255\n", SIDES.0, SIDES.1);
        let file = [head.as_bytes(), &bytes].concat();
        std::fs::write(folder.join(format!("{at}.ppm")), file).unwrap();
        expected.push(files.embedding_crc32(SIDES, PixelFormat::Rgb888, &bytes));
    }
    let camera = format!("pictures:{}:{}x{}", folder.display(), SIDES.0, SIDES.1);
    let mut board = start(&files, &["--camera", &camera, "--fps", "100"]);
    let found = live(board.running(), 7);
    let again = (0..7).map(|at| expected[at % 3]).collect::<Vec<_>>();
    assert_eq!(found, again);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
#[ignore = "builds the program of the board; ./ci.sh linux"]
fn a_camera_of_raw_frames_gives_the_bits_of_the_host() {
    let files = Files::new();
    let frame = (SIDES.0 * SIDES.1 * 2) as usize;
    let bytes = Random(8).bytes(2 * frame);
    std::fs::write(files.path("raw"), &bytes).unwrap();
    let crc = |bytes| files.embedding_crc32(SIDES, PixelFormat::Yuyv, bytes);
    let [one, two] = [&bytes[..frame], &bytes[frame..]].map(crc);
    assert_ne!(one, two);
    let camera = format!(
        "yuyv:{}:{}x{}",
        files.path("raw").display(),
        SIDES.0,
        SIDES.1
    );
    let mut board = start(&files, &["--camera", &camera, "--fps", "100"]);
    assert_eq!(live(board.running(), 4), [one, two, one, two]);
}
