//! A board that looks for itself: cameras that work and fail, over a line whose requests come while frames are taken.

use crate::board::{Board, begin, embedding_on_the_host, frame, picture};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use pinhole_firmware::camera::*;
use pinhole_firmware::live::{Clock, Live, Stack, Trigger, TriggerFault};
use pinhole_firmware::stats::Watchdog;
use pinhole_firmware::{FIRST_PAUSE_MS, FRAMES_BEFORE_RESTART, RESTART_LIMIT, Served};
use pinhole_protocol::{Decoder, *};
use pinhole_runtime::preprocess::PixelFormat;
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

const SIZE: FrameSize = FrameSize::new(32, 24);
const RGB: Configuration = Configuration {
    size: SIZE,
    format: FrameFormat::Pixels(PixelFormat::Rgb888),
};

/// Requests, each after so many looks at the line since the one before. A board that waits in a read is given the next one.
struct Script {
    requests: Vec<(u32, Vec<u8>)>,
    looks: u32,
    outgoing: Vec<u8>,
}

impl Script {
    fn new(requests: &[(u32, Request<'_>)]) -> Self {
        let requests = requests
            .iter()
            .map(|(looks, request)| (*looks, frame(request)));
        Self::of(requests.collect())
    }

    fn of(mut requests: Vec<(u32, Vec<u8>)>) -> Self {
        requests.reverse();
        Self {
            requests,
            looks: 0,
            outgoing: Vec::new(),
        }
    }

    /// Sequence numbers and bodies of what the board said.
    fn said(&self) -> Vec<(u8, Vec<u8>)> {
        let mut decoder = Decoder::new();
        let (mut said, mut rest) = (Vec::new(), &self.outgoing[..]);
        while !rest.is_empty() {
            let (taken, status) = decoder.take(rest);
            rest = &rest[taken..];
            assert_eq!(status, Status::Complete);
            said.push((decoder.sequence(), decoder.body().to_vec()));
        }
        said
    }
}

impl ErrorType for Script {
    type Error = Infallible;
}

impl ReadReady for Script {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        self.looks += 1;
        let due = self.requests.last().map(|(looks, _)| *looks);
        Ok(due.is_none_or(|due| self.looks > due))
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        self.looks = 0;
        let Some((looks, bytes)) = self.requests.last_mut() else {
            return Ok(0);
        };
        *looks = 0;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        bytes.drain(..count);
        if bytes.is_empty() {
            self.requests.pop();
        }
        Ok(count)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A millisecond with each look, ten with each pause.
#[derive(Default)]
struct Time {
    ms: u64,
    pauses: u64,
}

impl Clock for Time {
    fn ticks(&mut self) -> u64 {
        self.ms += 1;
        self.ms
    }
    fn ticks_per_second(&self) -> u32 {
        1000
    }
    fn pause(&mut self) {
        self.pauses += 1;
        self.ms += 10;
    }
}

#[derive(Default)]
struct Dog(u32);

impl Watchdog for Dog {
    fn feed(&mut self) {
        self.0 += 1;
    }
}

/// A test pattern whose starts and frames fail as it is told; when what it was told is used up, they do not.
struct Flaky<'a> {
    pattern: TestPattern<'a>,
    starts: Vec<bool>,
    frames: Vec<bool>,
    log: Rc<RefCell<(u32, u32)>>,
}

impl Camera for Flaky<'_> {
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        self.log.borrow_mut().0 += 1;
        if self.starts.pop().unwrap_or(false) {
            return Err(CameraError::NoAcknowledge {
                address: 0x30,
                register: 0x10a,
                source: embedded_hal::i2c::NoAcknowledgeSource::Address,
            });
        }
        self.pattern.configure(configuration)
    }
    fn configuration(&self) -> Option<Configuration> {
        self.pattern.configuration()
    }
    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        self.pattern.control(control)
    }
    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        self.log.borrow_mut().1 += 1;
        if self.frames.pop().unwrap_or(false) {
            sink.band(0, &[9; 32 * 3])?;
            return Err(CameraError::ShortFrame {
                expected: 24,
                found: 1,
            });
        }
        self.pattern.frame(sink)
    }
}

const LOUD: Reports = Reports {
    every: 1,
    preview_every: 0,
    log: true,
};

fn set(mode: LiveMode) -> Request<'static> {
    Request::SetMode { mode }
}

/// Serves a script with a camera that fails as told, in continuous mode, with a watchdog; what was said, feeds, starts, frames.
fn flaky(
    starts: Vec<bool>,
    frames: Vec<bool>,
    script: &mut Script,
    dog: Option<&mut Dog>,
) -> (u32, u32) {
    let log = Rc::new(RefCell::new((0, 0)));
    let mut row = [0; 32 * 3];
    let mut camera = Flaky {
        pattern: TestPattern::new(Pattern::ColourBars, &mut row),
        starts,
        frames,
        log: log.clone(),
    };
    let mut time = Time::default();
    let mut live = Live::new(&mut camera, RGB, &mut time);
    if let Some(dog) = dog {
        live = live.with_watchdog(dog);
    }
    let mut board = Board::new();
    let served = board.app().serve_live(script, &mut live);
    assert_eq!(served, Ok(Served::EndOfLine));
    *log.borrow()
}

fn status(body: &[u8]) -> LiveStatus {
    match decode(body).unwrap() {
        Reply::LiveStatus(status) => status,
        other => panic!("{other:?}"),
    }
}

/// The bodies of what was pushed, and of what was replied.
fn sorted(script: &Script) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut pushed, mut replied) = (Vec::new(), Vec::new());
    for (sequence, body) in script.said() {
        let is_pushed = decode::<Reply<'_>>(&body).unwrap().is_pushed();
        assert_eq!(is_pushed, sequence == NO_SEQUENCE, "{body:?}");
        match is_pushed {
            true => pushed.push(body),
            false => replied.push(body),
        }
    }
    (pushed, replied)
}

fn logs(pushed: &[Vec<u8>]) -> Vec<String> {
    let text = |body: &Vec<u8>| match decode(body).unwrap() {
        Reply::Log(line) => Some(line.text.as_str().to_string()),
        _ => None,
    };
    pushed.iter().filter_map(text).collect()
}

#[test]
fn frames_give_the_embedding_of_the_runtime_and_classes_appear_once() {
    let mut board = Board::new();
    let mut row = [0; 32 * 3];
    let mut camera = TestPattern::new(Pattern::Gradient, &mut row);
    let mut whole = Whole(Vec::new());
    camera.configure(RGB).unwrap();
    camera.frame(&mut whole).unwrap();
    let expected = embedding_on_the_host(&board, 32, 24, &whole.0);
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&expected);
    let mut script = Script::new(&[
        (0, Request::SetReports(LOUD)),
        (0, set(LiveMode::Continuous)),
        (30, Request::Hello),
        (0, Request::LiveStatus),
    ]);
    let mut time = Time::default();
    let mut live = Live::new(&mut camera, RGB, &mut time);
    let served = board.app().serve_live(&mut script, &mut live);
    assert_eq!(served, Ok(Served::EndOfLine));
    let (pushed, replied) = sorted(&script);
    assert_eq!(replied.len(), 4);
    assert!(matches!(decode(&replied[2]), Ok(Reply::Info(_))));
    let mut events = Vec::new();
    for (at, body) in (1..).zip(&pushed) {
        let Reply::Live(result) = decode(body).unwrap() else {
            panic!("no result");
        };
        assert_eq!((result.frame, result.embedding_crc32), (at, crc));
        assert!(result.latency_ticks > result.run_ticks && result.run_ticks > 0);
        events.extend(result.events.iter().map(|event| (at, *event)));
        let best = result.top[0];
        assert!(best.probability >= result.top[1].probability);
        // One frame is a quarter of the average.
        let average = best.probability * (1.0 - 0.75f32.powi(at as i32));
        assert!((best.average - average).abs() < 1e-4, "{best:?}");
    }
    assert!(pushed.len() > 20, "{}", pushed.len());
    let appeared = |(_, event): &&(u32, LiveEvent)| matches!(event, LiveEvent::Appeared { .. });
    assert!(events.iter().filter(appeared).count() <= 1, "{events:?}");
    let status = status(&replied[3]);
    assert_eq!(status.frames as usize, pushed.len());
    assert_eq!(
        (status.mode, status.camera),
        (LiveMode::Continuous, CameraStatus::Running)
    );
    assert_eq!((status.errors, status.restarts), ([0; 7], 0));
    assert_eq!(status.latency.ticks_per_second, 1000);
    assert!(status.latency.p50 > 0 && status.latency.p50 <= status.latency.max);
    // The plan's peak is what was touched; the arena of the board is no larger.
    assert_eq!(status.arena.used.next_multiple_of(16), status.arena.bytes);
}

struct Whole(Vec<u8>);

impl FrameSink for Whole {
    fn band(&mut self, _: u32, bytes: &[u8]) -> Result<(), CameraError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn a_camera_that_does_not_answer_is_started_a_few_times_and_given_up() {
    let limit = u32::from(RESTART_LIMIT);
    let mut script = Script::new(&[
        (0, Request::SetReports(LOUD)),
        (0, set(LiveMode::Continuous)),
        (1000, Request::LiveStatus),
        // It answers when it is asked anew.
        (0, set(LiveMode::Continuous)),
        (20, Request::LiveStatus),
    ]);
    let (starts, _) = flaky(
        vec![true; RESTART_LIMIT as usize + 1],
        vec![],
        &mut script,
        None,
    );
    assert_eq!(starts, limit + 2);
    let (pushed, replied) = sorted(&script);
    let lines = logs(&pushed);
    assert_eq!(lines.len(), RESTART_LIMIT as usize + 1, "{lines:?}");
    assert!(lines[0].contains("did not acknowledge") && lines[0].ends_with("it is started again"));
    assert!(lines.last().unwrap().contains("given up"), "{lines:?}");
    let failed = status(&replied[2]);
    assert_eq!((failed.camera, failed.frames), (CameraStatus::GivenUp, 0));
    assert_eq!((failed.errors[0], failed.restarts), (limit + 1, limit));
    assert!(
        failed.fault.contains("did not acknowledge"),
        "{}",
        failed.fault
    );
    // Each pause is twice the one before.
    assert!(failed.uptime_ms >= FIRST_PAUSE_MS * ((1 << RESTART_LIMIT) - 1));
    let running = status(&replied[4]);
    assert_eq!(running.camera, CameraStatus::Running);
    assert!(running.frames > 5);
}

#[test]
fn single_short_frames_are_skipped_and_three_in_a_row_restart_the_camera() {
    // From the back: one bad, one good, two bad, one good, three bad, then good ones.
    let frames = [true, false, true, true, false, true, true, true];
    let bad = frames.iter().filter(|bad| **bad).count() as u32;
    let mut script = Script::new(&[
        (0, Request::SetReports(LOUD)),
        (0, set(LiveMode::Continuous)),
        (60, Request::LiveStatus),
    ]);
    let frames = frames.iter().rev().copied().collect();
    let (starts, taken) = flaky(vec![], frames, &mut script, None);
    assert_eq!((starts, FRAMES_BEFORE_RESTART), (2, 3));
    let (pushed, replied) = sorted(&script);
    let status = status(&replied[2]);
    assert_eq!((status.errors[1], status.restarts), (bad, 1));
    assert_eq!(status.frames + bad, taken);
    let lines = logs(&pushed);
    assert_eq!(lines.len() as u32, bad);
    assert!(lines[0].ends_with("the frame ended after 1 of 24 rows; the next frame is tried"));
    assert_eq!(status.fault.as_str(), "the frame ended after 1 of 24 rows");
}

#[test]
fn only_finished_frames_feed_the_watchdog_while_frames_are_due() {
    let mut fed = Dog::default();
    let requests = [(0, set(LiveMode::Continuous)), (40, Request::LiveStatus)];
    // The request comes at once, so that nothing was waited for.
    let mut script = Script::new(&requests);
    flaky(vec![], vec![], &mut script, Some(&mut fed));
    let frames = status(&script.said()[1].1).frames;
    // One look goes by while the mode is still idle.
    assert!(fed.0 == frames || fed.0 == frames + 1, "{} {frames}", fed.0);
    let mut starved = Dog::default();
    let mut script = Script::new(&requests);
    flaky(vec![], vec![true; 1000], &mut script, Some(&mut starved));
    assert!(starved.0 <= 1, "{}", starved.0);
    let mut idle = Dog::default();
    let mut script = Script::new(&[(500, Request::LiveStatus)]);
    flaky(vec![], vec![], &mut script, Some(&mut idle));
    assert!(idle.0 >= 500, "{}", idle.0);
}

#[test]
fn a_single_shot_is_one_frame() {
    let mut script = Script::new(&[
        (0, Request::SetReports(LOUD)),
        (0, set(LiveMode::SingleShot)),
        (9, Request::Slots),
        (0, Request::LiveStatus),
        (0, set(LiveMode::SingleShot)),
        (9, Request::LiveStatus),
    ]);
    // The first attempt of the first shot fails.
    flaky(vec![], vec![true], &mut script, None);
    let (pushed, replied) = sorted(&script);
    let last = status(replied.last().unwrap());
    assert_eq!(last.mode, LiveMode::Idle);
    assert_eq!((last.frames, last.errors[1]), (2, 1));
    assert_eq!(pushed.len(), 3);
}

#[test]
fn motion_takes_frames_and_stillness_does_not() {
    for (pattern, moves) in [
        (Pattern::MovingBox { side: 8, step: 4 }, true),
        (Pattern::MovingBox { side: 8, step: 0 }, false),
    ] {
        let mut row = [0; 32 * 3];
        let mut camera = TestPattern::new(pattern, &mut row);
        let mut time = Time::default();
        let mut live = Live::new(&mut camera, RGB, &mut time);
        let mut script = Script::new(&[
            (0, Request::SetReports(LOUD)),
            (0, set(LiveMode::OnMotion { frames: 2 })),
            (100, Request::LiveStatus),
        ]);
        Board::new()
            .app()
            .serve_live(&mut script, &mut live)
            .unwrap();
        let (pushed, replied) = sorted(&script);
        let status = status(&replied[2]);
        assert_eq!(status.frames > 0, moves, "{status:?}");
        assert_eq!(pushed.is_empty(), !moves);
        assert_eq!(status.frames % 2, 0);
    }
}

/// An edge every seventh look.
struct Button(u32);

impl Trigger for Button {
    fn poll(&mut self) -> Result<bool, TriggerFault> {
        self.0 += 1;
        match self.0 % 14 {
            0 => Ok(true),
            7 => Err(TriggerFault),
            _ => Ok(false),
        }
    }
}

struct Painted;

impl Stack for Painted {
    fn used_bytes(&self) -> usize {
        700
    }
    fn bytes(&self) -> usize {
        1000
    }
}

#[test]
fn a_pin_takes_frames_where_there_is_one() {
    let on_pin = set(LiveMode::OnPin { frames: 3 });
    let requests = [(0, on_pin), (100, Request::LiveStatus)];
    let mut row = [0; 32 * 3];
    let mut camera = TestPattern::new(Pattern::ColourBars, &mut row);
    let (mut time, mut button) = (Time::default(), Button(0));
    let mut live = Live::new(&mut camera, RGB, &mut time)
        .with_trigger(&mut button)
        .with_stack(&Painted);
    let mut script = Script::new(&requests);
    Board::new()
        .app()
        .serve_live(&mut script, &mut live)
        .unwrap();
    assert_eq!(live.mode(), LiveMode::OnPin { frames: 3 });
    let with = status(&script.said()[1].1);
    assert!(with.frames >= 6 && with.frames % 3 <= 2, "{with:?}");
    assert!(with.errors[0] >= 2);
    assert_eq!(
        with.stack,
        Some(MemoryMark {
            used: 700,
            bytes: 1000
        })
    );
    let mut script = Script::new(&requests);
    flaky(vec![], vec![], &mut script, None);
    let Ok(Reply::Failed(failure)) = decode(&script.said()[0].1) else {
        panic!("not refused");
    };
    assert_eq!(failure.code, ErrorCode::Live);
    assert_eq!(status(&script.said()[1].1).mode, LiveMode::Idle);
}

#[test]
fn a_board_without_a_sound_model_says_so_once_and_stays_on_the_line() {
    let mut board = Board::new();
    board.model[300] ^= 4;
    let mut row = [0; 32 * 3];
    let mut camera = TestPattern::new(Pattern::ColourBars, &mut row);
    let mut time = Time::default();
    let mut live = Live::new(&mut camera, RGB, &mut time);
    let mut script = Script::new(&[
        (0, Request::SetReports(LOUD)),
        (0, set(LiveMode::Continuous)),
        (50, Request::Slots),
        (0, Request::LiveStatus),
        (0, Request::Hello),
    ]);
    board.app().serve_live(&mut script, &mut live).unwrap();
    let (pushed, replied) = sorted(&script);
    assert_eq!(replied.len(), 5);
    let lines = logs(&pushed);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("model: "), "{lines:?}");
    let status = status(&replied[3]);
    assert_eq!((status.errors[4], status.frames), (1, 0));
    assert!(matches!(decode(&replied[4]), Ok(Reply::Failed(_))));
}

#[test]
fn a_picture_of_the_host_goes_between_frames_and_does_not_hold_them_up_for_ever() {
    let bytes = [77; 10 * 10 * 3];
    let expected = embedding_on_the_host(&Board::new(), 10, 10, &bytes);
    let mut row = [0; 32 * 3];
    let mut camera = TestPattern::new(Pattern::ColourBars, &mut row);
    let mut time = Time::default();
    let mut live = Live::new(&mut camera, RGB, &mut time).in_mode(LiveMode::Continuous);
    let mut script = Script::of(vec![
        (10, picture(10, 10, &bytes, 70)),
        (10, frame(&begin(5, 5))),
        // Longer than the board waits for a chunk, and then it takes frames again.
        (400, frame(&Request::LiveStatus)),
        (0, frame(&Request::End)),
    ]);
    Board::new()
        .app()
        .serve_live(&mut script, &mut live)
        .unwrap();
    let said = script.said();
    let classified = said.iter().find_map(|(_, body)| match decode(body) {
        Ok(Reply::Classified(classified)) => Some(classified.embedding.to_vec()),
        _ => None,
    });
    assert_eq!(classified, Some(expected));
    let status = status(&said[said.len() - 2].1);
    assert!(status.frames > 100 && status.uptime_ms > 2000, "{status:?}");
    let Ok(Reply::Failed(failure)) = decode(&said.last().unwrap().1) else {
        panic!("the picture was not dropped");
    };
    assert_eq!(failure.code, ErrorCode::NoPicture);
}

#[test]
fn operators_are_timed_in_pages_and_previews_are_pixels_of_the_frame() {
    let mut script = Script::new(&[
        (0, Request::OperatorTimes { from: 0 }),
        (0, Request::OperatorTimes { from: 1 }),
        (
            0,
            Request::SetReports(Reports {
                every: 0,
                preview_every: 3,
                log: false,
            }),
        ),
        (0, set(LiveMode::Continuous)),
        (9, Request::LiveStatus),
    ]);
    flaky(vec![], vec![], &mut script, None);
    let (pushed, replied) = sorted(&script);
    let times = |body: &[u8]| match decode(body).unwrap() {
        Reply::OperatorTimes(times) => times,
        other => panic!("{other:?}"),
    };
    let (all, rest) = (times(&replied[0]), times(&replied[1]));
    assert_eq!(all.ticks.len() as u32, all.total);
    assert_eq!((rest.from, rest.ticks.len() + 1), (1, all.ticks.len()));
    assert!(all.ticks.iter().all(|ticks| *ticks > 0));
    for (at, body) in (1..).zip(&pushed) {
        let Reply::Preview(preview) = decode(body).unwrap() else {
            panic!("no preview");
        };
        assert_eq!(
            (preview.frame, preview.width, preview.height),
            (3 * at, 32, 24)
        );
        // Colour bars: white at the left, black at the right.
        let word =
            |x: usize| u16::from_le_bytes([preview.pixels[2 * x], preview.pixels[2 * x + 1]]);
        assert_eq!((word(0), word(16), word(31)), (0xffff, 0xf81f, 0));
    }
    assert!(pushed.len() >= 2, "{}", pushed.len());
}

#[test]
fn settings_that_make_no_sense_are_refused_and_others_hold() {
    let smoothing = |alpha| {
        Request::SetSmoothing(Smoothing {
            alpha,
            enter: 0.6,
            leave: 0.2,
            margin: 0.0,
            frames: 1,
        })
    };
    let mut script = Script::new(&[
        (0, smoothing(0.0)),
        (0, smoothing(1.0)),
        (
            0,
            Request::SetLog {
                level: LogLevel::Info,
            },
        ),
        (0, Request::LiveStatus),
    ]);
    flaky(vec![], vec![], &mut script, None);
    let said = script.said();
    let Ok(Reply::Failed(failure)) = decode(&said[0].1) else {
        panic!("not refused");
    };
    assert!(
        failure.text.contains("smoothing weight 0"),
        "{}",
        failure.text
    );
    let smoothing = status(&said[3].1).smoothing;
    assert_eq!(
        (smoothing.alpha, smoothing.enter, smoothing.frames),
        (1.0, 0.6, 1)
    );
}

#[test]
fn a_board_without_a_camera_refuses_what_is_for_one() {
    let mut board = Board::new();
    let (_, bodies) = board.answers(frame(&set(LiveMode::Continuous)));
    let Ok(Reply::Failed(failure)) = decode(&bodies[0]) else {
        panic!("not refused");
    };
    assert_eq!(
        (failure.code, failure.text.as_str()),
        (ErrorCode::Live, "this board has no camera")
    );
}

#[test]
fn a_board_learns_a_class_while_it_looks() {
    let embedding = [3i8; 10].map(|x| x as u8);
    let class = NewClass {
        name: "forklift",
        scale: 1.0 / (10.0f32 * 9.0).sqrt(),
        embedding: &embedding,
    };
    let mut script = Script::new(&[
        (0, set(LiveMode::Continuous)),
        (10, Request::AddClass(class)),
        (10, Request::ListClasses { from: 4 }),
        (10, Request::LiveStatus),
    ]);
    flaky(vec![], vec![], &mut script, None);
    let said = script.said();
    assert_eq!(decode(&said[1].1), Ok(Reply::Received(0)));
    let Ok(Reply::Classes(classes)) = decode(&said[2].1) else {
        panic!("no classes");
    };
    assert_eq!(classes.names[..], ["forklift"]);
    assert!(status(&said[3].1).frames > 20);
}
