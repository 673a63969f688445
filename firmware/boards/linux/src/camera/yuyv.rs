//! Raw frames from a file, YUV 4:2:2 in the order YUYV as V4L2 gives them, from the first again after the last.

use super::recorded::{self, Frames};
use super::{Pace, Source};
use crate::Opened;
use pinhole_firmware::camera::{CameraError, Configuration, FrameFormat, FrameSink};
use std::fs::File;
use std::io::{Read, Seek};

struct Raw(File);

pub(super) fn open(source: &Source<'_>, pace: Pace) -> Result<Opened, String> {
    let path = source.path.display();
    let configuration = Configuration {
        size: source.size,
        format: FrameFormat::YUYV,
    };
    if configuration.size.width % 2 == 1 {
        return Err(format!(
            "--camera: {path}: found a width of {}, expected an even one: pixels come in pairs",
            configuration.size.width
        ));
    }
    let file = File::open(source.path).map_err(|fault| format!("--camera: {path}: {fault}"))?;
    let found = file
        .metadata()
        .map_err(|fault| format!("--camera: {path}: {fault}"))?
        .len();
    let frame = configuration.row_bytes() as u64 * u64::from(configuration.rows());
    if found == 0 || found % frame != 0 {
        return Err(format!(
            "--camera: {path}: found {found} bytes, expected a multiple of {frame}, the bytes of a frame"
        ));
    }
    Ok(recorded::camera(Raw(file), configuration, pace))
}

impl Frames for Raw {
    fn start(&mut self) -> std::io::Result<()> {
        self.0.rewind()
    }

    fn frame(&mut self, of: Configuration, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let mut row = vec![0; of.row_bytes()];
        let expected = of.rows();
        for found in 0..expected {
            if self.0.read_exact(&mut row).is_err() {
                // The file ended: at the start of a frame it begins anew.
                let again =
                    found == 0 && self.0.rewind().is_ok() && self.0.read_exact(&mut row).is_ok();
                if !again {
                    return Err(CameraError::ShortFrame { expected, found });
                }
            }
            sink.band(found, &row)?;
        }
        Ok(())
    }
}
