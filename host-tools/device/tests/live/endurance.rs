//! Many frames on an emulated board: memory that is touched stays what it was after the first frames, and so does the time of a
//! frame, in instructions.

use super::Files;
use pinhole_device::{
    BoardSpec, LiveFrame, LiveMode, LiveStatus, Options, Pushed, Reports, RunningBoard, available,
    build_firmware, emulated_boards,
};
use std::time::{Duration, Instant};

/// `PINHOLE_FRAMES` in front takes another number.
const FRAMES: u32 = 10_000;
/// Every so many results are told.
const EVERY: u16 = 10;
/// Frames after which memory has been touched wherever it will be.
const WARM: u32 = 20;
/// SysTick's exception may come at the deepest place of a frame: registers and those of the FPU, 104 bytes and 4 to align them, and what its
/// handler keeps.
const EXCEPTION_BYTES: u32 = 128;
/// Without a result for so long, the board hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn next_frame(board: &mut RunningBoard) -> LiveFrame {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match board.ask(|link| link.next_pushed(PATIENCE)).unwrap() {
            Some(Pushed::Frame(frame)) => return frame,
            Some(Pushed::Log(_, text)) => println!("log: {text}"),
            _ => {}
        }
    }
    panic!("no frame within {PATIENCE:?}");
}

fn status(board: &mut RunningBoard) -> LiveStatus {
    board.ask(|link| link.live_status()).unwrap()
}

/// Mean of the latencies of some frames, in ticks.
fn mean(frames: &[LiveFrame]) -> f64 {
    let sum: f64 = frames.iter().map(|f| f64::from(f.latency_ticks)).sum();
    sum / frames.len() as f64
}

fn endures(spec: &BoardSpec, files: &Files, frames: u32) {
    let firmware = build_firmware(spec).expect("the firmware builds");
    let options = Options {
        counts_instructions: true,
        ..Options::default()
    };
    let (model, bank) = (files.path("model"), files.path("bank"));
    let mut board =
        RunningBoard::start(spec, &firmware, Some(&model), Some(&bank), &options).unwrap();
    let reports = Reports {
        every: EVERY,
        preview_every: 1000,
        log: true,
    };
    let start = Instant::now();
    board.ask(|link| link.set_reports(reports)).unwrap();
    board
        .ask(|link| link.set_mode(LiveMode::Continuous))
        .unwrap();
    while next_frame(&mut board).frame < WARM {}
    // The first answer is the deepest place that a request reaches.
    status(&mut board);
    let before = status(&mut board);
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|frame: &LiveFrame| frame.frame < frames)
    {
        seen.push(next_frame(&mut board));
    }
    let after = status(&mut board);
    let (first, last) = (
        &seen[..seen.len() / 10],
        &seen[seen.len() - seen.len() / 10..],
    );
    let instructions = 1e9 / f64::from(after.latency.ticks_per_second);
    println!(
        "{}: {} frames in {} s; instructions a frame: {:.0} in the first tenth, {:.0} in the last; stack {:?}, arena {:?}",
        spec.name,
        after.frames,
        start.elapsed().as_secs(),
        mean(first) * instructions,
        mean(last) * instructions,
        after.stack,
        after.arena
    );
    assert_eq!(after.errors, [0; 7]);
    assert_eq!(after.restarts, 0);
    assert!(after.frames >= frames);
    // Every frame was counted, and every tenth was told.
    assert!(
        seen.windows(2)
            .all(|pair| pair[1].frame - pair[0].frame <= u32::from(EVERY))
    );
    assert_eq!(after.arena, before.arena);
    let [stack_before, stack] =
        [&before, &after].map(|status| status.stack.expect("it is painted"));
    let grown = stack.used - stack_before.used;
    assert!(grown <= EXCEPTION_BYTES, "{stack_before:?} {stack:?}");
    assert!(stack.used > 0 && stack.used < stack.bytes / 2, "{stack:?}");
    assert!(after.arena.used > 0 && after.arena.used < after.arena.bytes);
    // Ticks are 31 or 40 instructions, and the box that moves has another place in each frame.
    let drift = mean(last) / mean(first) - 1.0;
    assert!(drift.abs() < 1e-3, "the latency drifted by {drift}");
    // The longest frame is no outlier.
    let longest = f64::from(after.latency.max);
    assert!(longest < 1.2 * mean(&seen), "{longest} {}", mean(&seen));
}

#[test]
#[ignore = "takes minutes and an emulator; ./ci.sh endurance"]
fn ten_thousand_frames_leak_nothing_and_take_no_longer() {
    let frames = std::env::var("PINHOLE_FRAMES").map_or(FRAMES, |text| text.parse().unwrap());
    let files = Files::new();
    let mut boards = 0;
    for spec in emulated_boards() {
        match available(spec) {
            Ok(()) => endures(spec, &files, frames),
            Err(missing) => {
                println!("SKIPPED {}: {} is missing", spec.name, missing.what);
                continue;
            }
        }
        boards += 1;
    }
    assert!(boards > 0, "no board can be run here");
}
