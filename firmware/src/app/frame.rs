//! One frame of the camera: capture, preprocessing row by row, the model, scores, their averages, and what is told of them.

use super::live::tell;
use super::read::{Left, Next, Session, judge};
use crate::camera::{Camera, CameraError, Feed};
use crate::live::{Clock, Live, Nothing, Seen};
use crate::load::Loaded;
use crate::modes::Action;
use crate::smooth::ClassScore;
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use embedded_io::Write;
use heapless::Vec;
use pinhole_protocol::{
    ErrorCode, LiveClass, LiveEvent, LiveResult, LogLevel, MAX_EVENTS, MAX_TOP, OperatorTimes,
    Preview, Reply,
};
use pinhole_runtime::interpreter::{Interpreter, Observer};
use pinhole_runtime::preprocess::S8Sink;
use pinhole_runtime::score::{Ranked, Verdict};
use zerocopy::IntoBytes;

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// When a frame began and what its parts took, in ticks.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    run: u32,
}

/// Ticks since `start`, at most the largest number.
fn since(clock: &mut dyn Clock, start: u64) -> u32 {
    let ticks = clock.ticks().saturating_sub(start);
    ticks.try_into().unwrap_or(u32::MAX)
}

impl Session<'_> {
    /// Takes the frame that is due.
    pub(super) fn frame<L: Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
    ) -> Result<Next, L::Error> {
        let classify = live.action == Action::Classify;
        if classify && self.loaded.is_err() {
            return Ok(Next::Leave(Left::Blind));
        }
        let taken = match start(live) {
            Ok(()) if classify => self.classify(live),
            Ok(()) => watch(live).map(|()| None),
            Err(fault) => Err(fault),
        };
        match taken {
            Ok(times) => {
                live.care.succeeded();
                let motion = self.look_for_motion(live);
                match times {
                    Some(times) => self.finish(line, live, times, motion)?,
                    None => self.tell_motion(line, live, motion)?,
                }
            }
            Err(fault) => {
                if classify {
                    live.modes.finished(false);
                }
                self.camera_failed(line, live, &fault)?;
            }
        }
        Ok(Next::Wait)
    }

    fn camera_failed<L: Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
        fault: &CameraError,
    ) -> Result<(), L::Error> {
        live.failed(fault);
        let (level, then) = live.care.prospect();
        let text = format_args!("camera: {fault}; {then}");
        tell(self.port, line, live, level, text)
    }

    /// From the rows of the camera to the embedding, which is the first output of the model then.
    fn classify(&mut self, live: &mut Live<'_>) -> Result<Option<Times>, CameraError> {
        let Ok(loaded) = &self.loaded else {
            return Ok(None);
        };
        let start = live.clock.ticks();
        // `Loaded` proved arena and types.
        let Ok(mut interpreter) = Interpreter::new(&loaded.model, self.arena, self.kernels) else {
            return Ok(None);
        };
        let mut sink = S8Sink::new(
            self.kernels,
            &loaded.geometry,
            loaded.input_scale,
            loaded.input_zero_point,
            interpreter.input_s8_mut(0).unwrap_or_default(),
        )?;
        let configuration = live.configuration;
        let decoder = live.decoder.as_mut().map(|decoder| &mut **decoder as _);
        let feed = Feed::new(
            self.kernels,
            &loaded.geometry,
            configuration,
            decoder,
            self.scratch,
        )?;
        live.preview.begin(configuration);
        let motion = live.motion.begin(configuration).is_ok();
        let mut seen = Seen {
            camera: live.camera,
            preview: (live.reports.preview_every > 0).then_some(&mut live.preview),
            motion: motion.then_some(&mut live.motion),
        };
        feed.capture(&mut seen, &mut sink, None)?;
        let captured = live.clock.ticks();
        interpreter.run();
        let run = since(live.clock, captured);
        Ok(Some(Times { start, run }))
    }

    /// Cells that moved since the frame before, when they are enough.
    fn look_for_motion(&mut self, live: &mut Live<'_>) -> Option<u16> {
        let now = live.now_ms();
        let motion = live.motion.end(now as u32);
        live.ended_motion(motion.moved);
        motion.moved.then_some(motion.changed)
    }

    /// Scores the embedding, averages, counts, and tells.
    fn finish<L: Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
        times: Times,
        motion: Option<u16>,
    ) -> Result<(), L::Error> {
        let Ok(loaded) = &self.loaded else {
            return Ok(());
        };
        let Ok(interpreter) = Interpreter::new(&loaded.model, self.arena, self.kernels) else {
            return Ok(());
        };
        let embedding = interpreter.output_s8(0).unwrap_or_default();
        let mut ranked = [Ranked::default(); MAX_TOP];
        let (verdict, rejected) = match judge(self.kernels, loaded, embedding, &mut ranked) {
            Ok(judged) => judged,
            Err(fault) => {
                live.modes.finished(false);
                live.statistics.error(crate::stats::ErrorClass::Model);
                let text = format_args!("class bank: {fault}");
                return tell(self.port, line, live, LogLevel::Error, text);
            }
        };
        let ranked = ranked.get(..verdict.ranked).unwrap_or_default();
        let events = smooth(live, ranked, rejected, motion);
        let latency_ticks = since(live.clock, times.start);
        let finished = live.statistics.frame_finished(latency_ticks, rejected);
        live.feed(finished);
        live.modes.finished(true);
        if live.reports_now(!events.is_empty()) {
            let result = result(
                live,
                loaded,
                embedding,
                (&verdict, rejected),
                events,
                ranked,
            );
            let result = LiveResult {
                latency_ticks,
                run_ticks: times.run,
                ..result
            };
            self.port.push(line, &Reply::Live(result))?;
        }
        self.push_preview(line, live)
    }

    fn push_preview<L: Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
    ) -> Result<(), L::Error> {
        if !live.previews_now() {
            return Ok(());
        }
        let frame = live.statistics.frames();
        let Some((width, height, pixels)) = live.preview.pixels() else {
            return Ok(());
        };
        let preview = Preview {
            frame,
            width,
            height,
            pixels,
        };
        self.port.push(line, &Reply::Preview(preview))
    }

    /// A frame that was only watched has no result to be told with.
    fn tell_motion<L: Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
        motion: Option<u16>,
    ) -> Result<(), L::Error> {
        let Some(cells) = motion else {
            return Ok(());
        };
        let text = format_args!("motion in {cells} cells");
        tell(self.port, line, live, LogLevel::Info, text)
    }

    /// Runs the model over what its arena holds, and replies what its operators took.
    pub(super) fn time_operators<L: Write>(
        &mut self,
        line: &mut L,
        live: &mut Live<'_>,
        from: u32,
    ) -> Result<(), L::Error> {
        let loaded = match &self.loaded {
            Ok(loaded) => loaded,
            Err(fault) => return self.port.fail(line, fault.code(), 0, fault),
        };
        let interpreter = Interpreter::new(&loaded.model, self.arena, self.kernels);
        let mut interpreter = match interpreter {
            Ok(interpreter) => interpreter,
            Err(fault) => return self.port.fail(line, ErrorCode::Memory, 0, &fault),
        };
        // A run may have written over the input, and the time of an operator must not depend on what is left there.
        interpreter.input_s8_mut(0).unwrap_or_default().fill(0);
        let ticks_per_second = live.clock.ticks_per_second();
        let mut timer = Timer {
            clock: live.clock,
            from: from as usize,
            start: 0,
            ticks: Vec::new(),
        };
        interpreter.run_observed(&mut timer);
        let times = OperatorTimes {
            ticks_per_second,
            total: loaded.model.ops().len() as u32,
            from,
            ticks: timer.ticks,
        };
        self.port.reply(line, &Reply::OperatorTimes(times))
    }
}

/// Times the operators from one on, as many as a reply holds.
struct Timer<'a> {
    clock: &'a mut dyn Clock,
    from: usize,
    start: u64,
    ticks: Vec<u32, { pinhole_protocol::MAX_TIMES }>,
}

impl Observer for Timer<'_> {
    fn before_op(&mut self, _: usize) {
        self.start = self.clock.ticks();
    }

    fn after_op(&mut self, op: usize, _: usize, _: &[u8]) {
        if op >= self.from {
            // Those beyond the room are on the next page.
            let _ = self.ticks.push(since(self.clock, self.start));
        }
    }
}

/// Starts the camera when it has to be.
fn start(live: &mut Live<'_>) -> Result<(), CameraError> {
    if live.care.starts() {
        live.camera.configure(live.configuration)?;
        live.care.started();
    }
    Ok(())
}

/// Takes a frame and looks for motion alone.
fn watch(live: &mut Live<'_>) -> Result<(), CameraError> {
    live.motion.begin(live.configuration)?;
    let mut seen = Seen {
        camera: live.camera,
        preview: None,
        motion: Some(&mut live.motion),
    };
    seen.frame(&mut Nothing)
}

/// Averages the probabilities of a frame; what changed, motion among it.
fn smooth(
    live: &mut Live<'_>,
    ranked: &[Ranked],
    rejected: bool,
    motion: Option<u16>,
) -> Vec<LiveEvent, MAX_EVENTS> {
    let scores: Vec<ClassScore, MAX_TOP> = ranked
        .iter()
        .map(|entry| ClassScore {
            class_index: entry.class_index,
            score: entry.probability,
        })
        .collect();
    let mut events = Vec::new();
    events.extend(motion.map(|cells| LiveEvent::Motion { cells }));
    live.smoother.update(&scores, rejected, &mut |event| {
        // Of more events than a message holds the first are told: those that left, then those that came.
        let _ = events.push(event);
    });
    events
}

/// What is told of a frame, without what it took.
fn result<'a>(
    live: &Live<'_>,
    loaded: &Loaded<'a>,
    embedding: &[i8],
    (verdict, rejected): (&Verdict, bool),
    events: Vec<LiveEvent, MAX_EVENTS>,
    ranked: &[Ranked],
) -> LiveResult<'a> {
    let classes = ranked.iter().map(|entry| class(live, loaded, entry));
    LiveResult {
        frame: live.statistics.frames(),
        latency_ticks: 0,
        run_ticks: 0,
        ticks_per_second: live.clock.ticks_per_second(),
        embedding_crc32: CRC.checksum(embedding.as_bytes()),
        energy: verdict.energy,
        rejected,
        leader: live.smoother.leader(),
        events,
        top: classes.collect(),
    }
}

fn class<'a>(live: &Live<'_>, loaded: &Loaded<'a>, entry: &Ranked) -> LiveClass<'a> {
    LiveClass {
        class_index: entry.class_index,
        cosine: entry.cosine,
        probability: entry.probability,
        average: live.smoother.average_of(entry.class_index),
        present: live.smoother.is_present(entry.class_index),
        name: loaded.name(entry.class_index),
    }
}
