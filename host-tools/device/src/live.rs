//! A device that looks for itself: its mode, what it is asked to report, and what it pushes.

use crate::link::Link;
use crate::{DeviceError, LiveEvent, LiveMode, LiveStatus, LogLevel, Reports, Smoothing};
use pinhole_protocol::{LiveResult, Preview, Reply, Request};
use std::io::{Read, Write};

/// A class in what a frame showed.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveFrameClass {
    /// Its place in the bank.
    pub class_index: u32,
    /// Its name; cut at 128 bytes.
    pub name: String,
    /// Cosine of this frame and the class.
    pub cosine: f32,
    /// Softmax over all classes of the bank, of this frame.
    pub probability: f32,
    /// The average of its probabilities.
    pub average: f32,
    /// Whether it is in front of the camera.
    pub present: bool,
}

/// What a frame of the device's camera showed.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveFrame {
    /// Number of the frame among those classified, from 1.
    pub frame: u32,
    /// From the start of the capture to the score, in ticks.
    pub latency_ticks: u32,
    /// Of it, the run of the model.
    pub run_ticks: u32,
    /// Ticks of a second.
    pub ticks_per_second: u32,
    /// CRC-32/ISO-HDLC of the int8 embedding as bytes.
    pub embedding_crc32: u32,
    /// Energy of the logits.
    pub energy: f32,
    /// In no class.
    pub rejected: bool,
    /// The class that leads among those present.
    pub leader: Option<u32>,
    /// What changed with this frame.
    pub events: Vec<LiveEvent>,
    /// The best classes of this frame, falling.
    pub top: Vec<LiveFrameClass>,
}

impl LiveFrame {
    /// The latency in milliseconds.
    pub fn latency_ms(&self) -> f64 {
        self.ms(self.latency_ticks)
    }

    /// The run of the model in milliseconds.
    pub fn run_ms(&self) -> f64 {
        self.ms(self.run_ticks)
    }

    fn ms(&self, ticks: u32) -> f64 {
        f64::from(ticks) * 1000.0 / f64::from(self.ticks_per_second.max(1))
    }

    fn of(result: &LiveResult<'_>) -> Self {
        let top = result.top.iter().map(|class| LiveFrameClass {
            class_index: class.class_index,
            name: class.name.into(),
            cosine: class.cosine,
            probability: class.probability,
            average: class.average,
            present: class.present,
        });
        Self {
            frame: result.frame,
            latency_ticks: result.latency_ticks,
            run_ticks: result.run_ticks,
            ticks_per_second: result.ticks_per_second,
            embedding_crc32: result.embedding_crc32,
            energy: result.energy,
            rejected: result.rejected,
            leader: result.leader,
            events: result.events.to_vec(),
            top: top.collect(),
        }
    }
}

/// A small picture of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Number of the frame.
    pub frame: u32,
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green, blue; shape (height, width).
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// `None` when the pixels are not as many as the sides say.
    fn of(preview: &Preview<'_>) -> Option<Self> {
        let (words, rest) = preview.pixels.as_chunks();
        let (width, height) = (preview.width.into(), preview.height.into());
        if !rest.is_empty() || words.len() != width * height {
            return None;
        }
        let pixel = |word: &[u8; 2]| {
            let word = u16::from_le_bytes(*word);
            // The highest bits again below, so that white is white.
            let five = |bits: u16| (bits << 3 | bits >> 2) as u8;
            let green = word >> 5 & 0x3f;
            let green = (green << 2 | green >> 4) as u8;
            [five(word >> 11), green, five(word & 0x1f)]
        };
        Some(Self {
            frame: preview.frame,
            width,
            height,
            pixels: words.iter().map(pixel).collect(),
        })
    }
}

/// What a device pushed.
#[derive(Clone, Debug, PartialEq)]
pub enum Pushed {
    /// What a frame showed.
    Frame(LiveFrame),
    /// A small picture of a frame.
    Picture(Picture),
    /// A line of its log.
    Log(LogLevel, String),
}

impl Pushed {
    /// `None` for what is no pushed message.
    pub(crate) fn of(reply: &Reply<'_>) -> Option<Self> {
        match reply {
            Reply::Live(result) => Some(Self::Frame(LiveFrame::of(result))),
            Reply::Preview(preview) => Picture::of(preview).map(Self::Picture),
            Reply::Log(line) => Some(Self::Log(line.level, line.text.as_str().into())),
            _ => None,
        }
    }
}

impl<S: Read + Write> Link<S> {
    /// Changes when frames of the device's camera are classified.
    ///
    /// # Errors
    /// When the line fails, or the device has no camera or no pin.
    pub fn set_mode(&mut self, mode: LiveMode) -> Result<(), DeviceError> {
        self.order("mode", &Request::SetMode { mode })
    }

    /// Changes how results are smoothed.
    ///
    /// # Errors
    /// When the line fails, or the settings make no sense.
    pub fn set_smoothing(&mut self, smoothing: Smoothing) -> Result<(), DeviceError> {
        self.order("smoothing", &Request::SetSmoothing(smoothing))
    }

    /// Says what the device pushes, which [`Link::next_pushed`] gives.
    ///
    /// # Errors
    /// When the line fails, or the device has no camera.
    pub fn set_reports(&mut self, reports: Reports) -> Result<(), DeviceError> {
        self.order("reports", &Request::SetReports(reports))
    }

    /// Says which log lines the device makes.
    ///
    /// # Errors
    /// When the line fails, or the device has no camera.
    pub fn set_log(&mut self, level: LogLevel) -> Result<(), DeviceError> {
        self.order("log", &Request::SetLog { level })
    }

    /// Counters of frames, the camera and memory.
    ///
    /// # Errors
    /// When the line fails, or the device has no camera.
    pub fn live_status(&mut self) -> Result<LiveStatus, DeviceError> {
        self.ask("counters", &Request::LiveStatus, |reply| match reply {
            Reply::LiveStatus(status) => Some(status.clone()),
            _ => None,
        })
    }

    /// What each operator of the model takes, in ticks, and the ticks of a second.
    ///
    /// # Errors
    /// When the line fails, or the device has no camera or no sound model.
    pub fn operator_times(&mut self) -> Result<(Vec<u32>, u32), DeviceError> {
        let mut all = Vec::new();
        loop {
            let from = all.len() as u32;
            let request = Request::OperatorTimes { from };
            let (ticks, total, ticks_per_second) =
                self.ask("operator times", &request, |reply| match reply {
                    Reply::OperatorTimes(times) if times.from == from => Some((
                        times.ticks.to_vec(),
                        times.total as usize,
                        times.ticks_per_second,
                    )),
                    _ => None,
                })?;
            let is_empty = ticks.is_empty();
            all.extend(ticks);
            if all.len() >= total || is_empty {
                return Ok((all, ticks_per_second));
            }
        }
    }
}
