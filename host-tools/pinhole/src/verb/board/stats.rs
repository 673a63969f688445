//! `pinhole board stats`: numbers of a board's storage, and of the frames that it took by itself.

use pinhole_device::{DeviceError, ErrorCode, LiveStatus, MemoryMark};

use super::manage::Target;
use crate::failure::Outcome;
use crate::output::{json, say};
use crate::verb::monitor::{camera, mode};

/// The numbers; the order of keys is part of the output.
#[derive(serde::Serialize)]
struct Numbers {
    classes: u32,
    free_slots: u32,
    damaged_slots: u32,
    threshold: Option<f32>,
    erases: u32,
    writes: u32,
    signed_only: bool,
    model_counter: u32,
    bank_counter: u32,
    /// Null for a board without a camera.
    live: Option<Live>,
}

/// Frames since the start of the board.
#[derive(serde::Serialize)]
struct Live {
    mode: String,
    camera: &'static str,
    uptime_ms: u64,
    frames: u32,
    rejects: u32,
    restarts: u32,
    errors: Errors,
    latency_ms: Latency,
    stack: Option<Memory>,
    arena: Memory,
    fault: Option<String>,
}

/// In the order of `LiveStatus::errors`.
#[derive(serde::Serialize)]
struct Errors {
    camera_control: u32,
    frame: u32,
    timeout: u32,
    format: u32,
    model: u32,
    line: u32,
    storage: u32,
}

#[derive(serde::Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

/// Most that was touched at some time, and all there is.
#[derive(serde::Serialize)]
struct Memory {
    used: u32,
    bytes: u32,
}

impl From<MemoryMark> for Memory {
    fn from(MemoryMark { used, bytes }: MemoryMark) -> Self {
        Self { used, bytes }
    }
}

impl Live {
    fn of(status: &LiveStatus) -> Self {
        let latency = &status.latency;
        let ms =
            |ticks: u32| f64::from(ticks) * 1000.0 / f64::from(latency.ticks_per_second.max(1));
        let [camera_control, frame, timeout, format, model, line, storage] = status.errors;
        Self {
            mode: mode(status),
            camera: camera(status),
            uptime_ms: status.uptime_ms,
            frames: status.frames,
            rejects: status.rejects,
            restarts: status.restarts,
            errors: Errors {
                camera_control,
                frame,
                timeout,
                format,
                model,
                line,
                storage,
            },
            latency_ms: Latency {
                p50: ms(latency.p50),
                p90: ms(latency.p90),
                p99: ms(latency.p99),
                max: ms(latency.max),
            },
            stack: status.stack.map(Memory::from),
            arena: status.arena.into(),
            fault: (!status.fault.is_empty()).then(|| status.fault.as_str().into()),
        }
    }

    fn print(&self) {
        say!("mode              {}, {}", self.mode, self.camera);
        say!("up for            {} s", self.uptime_ms / 1000);
        say!(
            "frames            {}, {} in no class",
            self.frames,
            self.rejects
        );
        let Latency { p50, p90, p99, max } = self.latency_ms;
        say!(
            "latency           {p50:.1} ms half of them, {p90:.1} ms 90 %, {p99:.1} ms 99 %, {max:.1} ms the longest"
        );
        let errors = &self.errors;
        say!(
            "errors            camera {}, frame {}, timeout {}, format {}, model {}, line {}, storage {}; {} restarts of the camera",
            errors.camera_control,
            errors.frame,
            errors.timeout,
            errors.format,
            errors.model,
            errors.line,
            errors.storage,
            self.restarts
        );
        let memory = |memory: &Memory| format!("{} of {} bytes", memory.used, memory.bytes);
        if let Some(stack) = &self.stack {
            say!("stack             {} at most", memory(stack));
        }
        say!("arena             {} at most", memory(&self.arena));
        if let Some(fault) = &self.fault {
            say!("last fault        {fault}");
        }
    }
}

pub(super) fn run(target: &Target) -> Outcome {
    let mut board = target.start()?;
    let found = board.ask(|link| link.statistics())?;
    let live = match board.ask(|link| link.live_status()) {
        Ok(status) => Some(Live::of(&status)),
        Err(DeviceError::Refused {
            code: ErrorCode::Live,
            ..
        }) => None,
        Err(fault) => return Err(fault.into()),
    };
    if target.json {
        return json(&Numbers {
            classes: found.classes,
            free_slots: found.free_slots,
            damaged_slots: found.damaged_slots,
            threshold: found.threshold,
            erases: found.erases,
            writes: found.writes,
            signed_only: found.has_key,
            model_counter: found.counters[0],
            bank_counter: found.counters[1],
            live,
        });
    }
    let threshold = match found.threshold {
        Some(threshold) => threshold.to_string(),
        None => "that of the bank".into(),
    };
    say!("classes           {}", found.classes);
    say!("free for more     {}", found.free_slots);
    say!("damaged           {}", found.damaged_slots);
    say!("reject threshold  {threshold}");
    say!("sectors erased    {}", found.erases);
    say!("writes            {}", found.writes);
    let taken = match found.has_key {
        true => "signed ones alone",
        false => "all: the device has no key",
    };
    say!("files taken       {taken}");
    if let Some(live) = &live {
        live.print();
    }
    Ok(())
}
