use super::screen::{Wish, draw, wish};
use super::*;
use pinhole_device::{CameraStatus, LiveFrameClass, LiveStatus, MemoryMark, Picture};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

fn frame(number: u32, events: Vec<LiveEvent>) -> LiveFrame {
    let class = |class_index, name: &str, average, present| LiveFrameClass {
        class_index,
        name: name.into(),
        cosine: 0.3,
        probability: average,
        average,
        present,
    };
    LiveFrame {
        frame: number,
        latency_ticks: 25_000,
        run_ticks: 20_000,
        ticks_per_second: 1_000_000,
        embedding_crc32: 0xab,
        energy: -12.5,
        rejected: false,
        leader: Some(4),
        events,
        top: vec![
            class(4, "a cat", 0.75, true),
            class(7, "a dog", 0.125, false),
        ],
    }
}

fn status() -> LiveStatus {
    LiveStatus {
        mode: LiveMode::OnMotion { frames: 5 },
        camera: CameraStatus::Restarting,
        smoothing: Smoothing {
            alpha: 0.25,
            enter: 0.5,
            leave: 0.3,
            margin: 0.1,
            frames: 2,
        },
        uptime_ms: 9000,
        frames: 42,
        rejects: 3,
        errors: [1, 0, 0, 0, 1, 0, 0],
        restarts: 2,
        latency: Default::default(),
        stack: Some(MemoryMark {
            used: 2048,
            bytes: 65_536,
        }),
        arena: MemoryMark {
            used: 1024,
            bytes: 4096,
        },
        fault: Default::default(),
    }
}

/// The lines of a terminal of 100×30.
fn drawn(state: &State, now: Instant) -> (Vec<String>, Terminal<TestBackend>) {
    let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
    terminal.draw(|frame| draw(frame, state, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = (0..30).map(|y| (0..100).map(|x| buffer[(x, y)].symbol()).collect());
    (lines.collect(), terminal)
}

#[test]
fn a_frame_is_drawn_with_bars_numbers_log_and_picture() {
    let mut state = State::new("linux");
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    state.take(Pushed::Frame(frame(10, vec![])), at(0));
    state.take(
        Pushed::Log(LogLevel::Warn, "camera: no row in time".into()),
        at(1),
    );
    let events = vec![
        LiveEvent::Appeared { class_index: 4 },
        LiveEvent::Disappeared { class_index: 9 },
    ];
    state.take(Pushed::Frame(frame(14, events)), at(1000));
    let picture = Picture {
        frame: 14,
        width: 2,
        height: 2,
        pixels: vec![[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]],
    };
    state.take(Pushed::Picture(picture), at(1000));
    state.status = Some(status());
    let (lines, terminal) = drawn(&state, at(1000));
    let has = |words: &str| lines.iter().any(|line| line.contains(words));
    for words in [
        "linux   4.0 frames/s   frame 14   latency 25.0 ms, model 20.0 ms   energy -12.50",
        "5 frames after motion, camera is started again   42 frames, 3 rejected, 2 errors, 2 restarts",
        "arena 1 of 4 kB   stack 2 of 64 kB",
        "frame 14: appeared: a cat",
        // Its name came with no frame.
        "frame 14: disappeared: class 9",
        "camera: no row in time",
        "c all frames",
    ] {
        assert!(has(words), "{words} in {lines:#?}");
    }
    let bar = |name: &str| {
        let line = lines.iter().find(|line| line.contains(name)).unwrap();
        line.matches('█').count()
    };
    // Of equal room, six times the average; rounded.
    assert!(bar("a cat") >= 5 * bar("a dog") && bar("a dog") > 0);
    let buffer = terminal.backend().buffer();
    let pixel = buffer
        .content()
        .iter()
        .find(|cell| cell.symbol() == "▀")
        .unwrap();
    assert_eq!(
        (pixel.fg, pixel.bg),
        (Color::Rgb(255, 0, 0), Color::Rgb(0, 0, 255))
    );
    // Nothing comes any more.
    assert!(drawn(&state, at(9000)).0[0].contains("0.0 frames/s"));
    state.shows_picture = false;
    assert!(!drawn(&state, at(1000)).0.concat().contains('▀'));
}

#[test]
fn a_small_terminal_and_a_board_that_says_nothing_are_drawn() {
    let mut state = State::new("qemu-an547");
    for (width, height) in [(1, 1), (10, 4), (30, 8), (300, 90)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| draw(frame, &state, Instant::now()))
            .unwrap();
        state.take(Pushed::Frame(frame(1, vec![])), Instant::now());
        for line in 0..300 {
            state.take(
                Pushed::Log(LogLevel::Info, line.to_string()),
                Instant::now(),
            );
        }
        assert_eq!(state.lines.len(), 200);
        state.status = Some(status());
    }
}

#[test]
fn keys_change_the_mode_and_end() {
    let key = |code| wish(KeyEvent::new(KeyCode::Char(code), KeyModifiers::NONE));
    assert_eq!(key('q'), Some(Wish::Quit));
    assert_eq!(key('c'), Some(Wish::Mode(LiveMode::Continuous)));
    assert_eq!(key('i'), Some(Wish::Mode(LiveMode::Idle)));
    assert_eq!(key('s'), Some(Wish::Mode(LiveMode::SingleShot)));
    assert_eq!(key('m'), Some(Wish::Mode(LiveMode::OnMotion { frames: 5 })));
    assert_eq!(key('p'), Some(Wish::Picture));
    assert_eq!(key('x'), None);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(wish(interrupt), Some(Wish::Quit));
}

#[test]
fn a_line_of_json_has_the_frame_and_its_events() {
    let mut names = Names::default();
    let frame = frame(3, vec![LiveEvent::Changed { from: 4, to: 7 }]);
    names.learn(&frame);
    let line = serde_json::to_string(&Line::of(&frame, &names)).unwrap();
    let expected = r#"{"frame":3,"label":"a cat","probability":0.75,"present":["a cat"],"events":["changed: a cat to a dog"],"energy":-12.5,"rejected":false,"latency_ms":25.0,"run_ms":20.0,"embedding_crc32":"000000ab","top":[{"label":"a cat","probability":0.75,"average":0.75},{"label":"a dog","probability":0.125,"average":0.125}]}"#;
    assert_eq!(line, expected);
}

#[test]
fn a_board_without_frames_says_why() {
    let words = State::why_quiet(&status());
    assert!(
        words.contains("5 frames after motion; camera is started again"),
        "{words}"
    );
    assert!(words.contains("pinhole board slots"), "{words}");
}
