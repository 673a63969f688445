//! Picture files as frames, one after the other in the order of their names, from the first again after the last.

use super::recorded::{self, Frames};
use super::{Pace, Source};
use crate::Opened;
use image::imageops::{FilterType, resize};
use pinhole_firmware::camera::{CameraError, Configuration, FrameFormat, FrameSink};
use pinhole_runtime::preprocess::PixelFormat;
use std::path::PathBuf;

struct Pictures {
    files: Vec<PathBuf>,
    next: usize,
}

/// A picture, or a folder of them. One of another size than the frames have is resized.
pub(super) fn open(source: &Source<'_>, pace: Pace) -> Result<Opened, String> {
    let path = source.path;
    let failed = |fault: std::io::Error| format!("--camera: {}: {fault}", path.display());
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if image::ImageFormat::from_path(&file).is_ok() {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.into());
    }
    if files.is_empty() {
        return Err(format!(
            "--camera: {}: found no picture, expected files as photo.jpg",
            path.display()
        ));
    }
    let configuration = Configuration {
        size: source.size,
        format: FrameFormat::Pixels(PixelFormat::Rgb888),
    };
    let pictures = Pictures { files, next: 0 };
    Ok(recorded::camera(pictures, configuration, pace))
}

impl Frames for Pictures {
    fn start(&mut self) -> std::io::Result<()> {
        // It goes on behind a file that was at fault.
        Ok(())
    }

    /// A file that cannot be read is a frame without rows, and the next one is tried after it.
    fn frame(&mut self, of: Configuration, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let file = &self.files[self.next % self.files.len()];
        self.next = (self.next + 1) % self.files.len();
        let picture = image::ImageReader::open(file)
            .map_err(image::ImageError::from)
            .and_then(|reader| reader.with_guessed_format()?.decode());
        let picture = match picture {
            Ok(picture) => picture.into_rgb8(),
            Err(fault) => {
                eprintln!("warning: {}: {fault}", file.display());
                return Err(CameraError::ShortFrame {
                    expected: of.rows(),
                    found: 0,
                });
            }
        };
        let (width, height) = (of.size.width.into(), of.size.height.into());
        let picture = match picture.dimensions() == (width, height) {
            true => picture,
            false => resize(&picture, width, height, FilterType::Triangle),
        };
        for (at, row) in (0..).zip(picture.as_raw().chunks_exact(of.row_bytes())) {
            sink.band(at, row)?;
        }
        Ok(())
    }
}
