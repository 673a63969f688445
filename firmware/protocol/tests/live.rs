//! The messages of a device that looks for itself: they survive the line, keep their bytes, and fit.

use heapless::Vec as Bounded;
use pinhole_protocol::message::Message;
use pinhole_protocol::*;
use std::fmt::Debug;

fn written<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    let mut room = [0; MAX_BODY_BYTES];
    body(message, &mut room).unwrap().to_vec()
}

fn survives<'a, M: Message<'a> + PartialEq + Debug>(bytes: &'a [u8], message: &M) {
    assert_eq!(decode::<M>(bytes).as_ref(), Ok(message));
}

const SMOOTHING: Smoothing = Smoothing {
    alpha: 0.25,
    enter: 0.5,
    leave: 0.3,
    margin: 0.1,
    frames: 2,
};

fn result<'a>(name: &'a str) -> LiveResult<'a> {
    let class = LiveClass {
        class_index: u32::MAX,
        cosine: f32::MAX,
        probability: f32::MAX,
        average: f32::MAX,
        present: true,
        name,
    };
    let event = LiveEvent::Changed {
        from: u32::MAX,
        to: u32::MAX,
    };
    LiveResult {
        frame: u32::MAX,
        latency_ticks: u32::MAX,
        run_ticks: u32::MAX,
        ticks_per_second: u32::MAX,
        embedding_crc32: u32::MAX,
        energy: f32::MIN,
        rejected: true,
        leader: Some(u32::MAX),
        events: Bounded::from_array([event; MAX_EVENTS]),
        top: Bounded::from_array([class; MAX_TOP]),
    }
}

fn status() -> LiveStatus {
    LiveStatus {
        mode: LiveMode::OnMotion { frames: 300 },
        camera: CameraStatus::GivenUp,
        smoothing: SMOOTHING,
        uptime_ms: u64::MAX,
        frames: u32::MAX,
        rejects: 1,
        errors: [u32::MAX; 7],
        restarts: 2,
        latency: Latency {
            ticks_per_second: 25_000_000,
            p50: 1,
            p90: 2,
            p99: 3,
            max: u32::MAX,
        },
        stack: Some(MemoryMark { used: 5, bytes: 6 }),
        arena: MemoryMark { used: 7, bytes: 8 },
        fault: BoundedText::of(&"x".repeat(MAX_TEXT_BYTES)),
    }
}

#[test]
fn every_request_survives_the_line() {
    for request in [
        Request::SetMode {
            mode: LiveMode::OnPin { frames: 7 },
        },
        Request::SetSmoothing(SMOOTHING),
        Request::SetReports(Reports {
            every: 1,
            preview_every: 300,
            log: true,
        }),
        Request::SetLog {
            level: LogLevel::Warn,
        },
        Request::LiveStatus,
        Request::OperatorTimes { from: 300 },
    ] {
        survives(&written(&request), &request);
    }
}

#[test]
fn every_reply_survives_the_line_and_only_three_are_pushed() {
    let times = OperatorTimes {
        ticks_per_second: 1,
        total: 300,
        from: 128,
        ticks: Bounded::from_array([u32::MAX; MAX_TIMES]),
    };
    let log = LogLine {
        level: LogLevel::Error,
        text: BoundedText::of(&"camera"),
    };
    let preview = Preview {
        frame: 1,
        width: 48,
        height: 36,
        pixels: &[255; MAX_PREVIEW_BYTES],
    };
    let name = "n".repeat(MAX_NAME_BYTES);
    for (reply, pushed) in [
        (Reply::LiveStatus(status()), false),
        (Reply::OperatorTimes(times), false),
        (Reply::Live(result(&name)), true),
        (Reply::Preview(preview), true),
        (Reply::Log(log), true),
        (Reply::Received(1), false),
    ] {
        survives(&written(&reply), &reply);
        assert_eq!(reply.is_pushed(), pushed);
    }
}

/// The bytes of `docs/protocol.md`: a change of them is a change of the version.
#[test]
fn the_bytes_of_version_2_do_not_change() {
    let on_motion = LiveMode::OnMotion { frames: 300 };
    let set_mode = written(&Request::SetMode { mode: on_motion });
    assert_eq!(set_mode, [24, 4, 0xac, 0x02]);
    let reports = Reports {
        every: 1,
        preview_every: 0,
        log: true,
    };
    assert_eq!(written(&Request::SetReports(reports)), [26, 1, 0, 1]);
    assert_eq!(written(&Request::OperatorTimes { from: 1 }), [29, 1]);
    let preview = Preview {
        frame: 1,
        width: 1,
        height: 1,
        pixels: &[1, 2],
    };
    assert_eq!(written(&Reply::Preview(preview)), [12, 1, 1, 1, 2, 1, 2]);
    let failure = Failure {
        code: ErrorCode::Live,
        received: 0,
        text: BoundedText::of(&""),
    };
    assert_eq!(written(&Reply::Failed(failure)), [3, 15, 0, 0]);
}

#[test]
fn fields_beyond_their_limits_are_refused() {
    let name = "n".repeat(MAX_NAME_BYTES + 1);
    let room = &mut [0; MAX_BODY_BYTES];
    assert!(body(&Reply::Live(result(&name)), room).is_err());
    let preview = Preview {
        frame: 1,
        width: 48,
        height: 36,
        pixels: &[0; MAX_PREVIEW_BYTES + 1],
    };
    assert!(body(&Reply::Preview(preview), room).is_err());
}
