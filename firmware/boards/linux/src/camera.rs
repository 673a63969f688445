//! Cameras of this board: pictures and raw frames from files, a test pattern, and what V4L2 drives.

mod pictures;
mod recorded;
#[cfg(feature = "v4l2")]
mod v4l2;
mod yuyv;

use crate::Opened;
use pinhole_firmware::camera::{Configuration, FrameFormat, FrameSize, Pattern, TestPattern};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What `--camera` says, beside its kind.
struct Source<'a> {
    path: &'a Path,
    size: FrameSize,
}

/// Opens the camera that `--camera` names, of at most `fps` frames a second where no hardware sets the pace.
pub(crate) fn open(camera: &str, fps: f64) -> Result<Opened, String> {
    let (kind, rest) = camera.split_once(':').unwrap_or((camera, ""));
    let pace = Pace::new(fps)?;
    match kind {
        "test" => test_pattern(if rest.is_empty() { "160x120" } else { rest }),
        "pictures" => pictures::open(&source(camera, rest)?, pace),
        "yuyv" => yuyv::open(&source(camera, rest)?, pace),
        #[cfg(feature = "v4l2")]
        "v4l2" => v4l2::open(&source(camera, rest)?),
        #[cfg(not(feature = "v4l2"))]
        "v4l2" => Err(
            "--camera v4l2: this program was built without it; cargo build --release --features v4l2 -p pinhole-linux"
                .into(),
        ),
        _ => Err(format!(
            "--camera {camera}: found {kind:?}, expected test, pictures, yuyv or v4l2"
        )),
    }
}

/// A path and a size.
fn source<'a>(camera: &str, rest: &'a str) -> Result<Source<'a>, String> {
    let (path, size) = rest.rsplit_once(':').ok_or(format!(
        "--camera {camera}: found no size, expected KIND:PATH:WIDTHxHEIGHT, as pictures:photos:320x240"
    ))?;
    Ok(Source {
        path: Path::new(path),
        size: size_of(size)?,
    })
}

fn size_of(size: &str) -> Result<FrameSize, String> {
    let sides = size
        .split_once('x')
        .map(|(width, height)| (width.parse(), height.parse()));
    match sides {
        Some((Ok(width @ 1..), Ok(height @ 1..))) => Ok(FrameSize::new(width, height)),
        _ => Err(format!(
            "--camera: found the size {size:?}, expected WIDTHxHEIGHT, as 320x240"
        )),
    }
}

fn test_pattern(size: &str) -> Result<Opened, String> {
    let configuration = Configuration {
        size: size_of(size)?,
        format: FrameFormat::RGB565,
    };
    // It lives as long as the process.
    let row = Box::leak(vec![0; configuration.row_bytes()].into_boxed_slice());
    let pattern = Pattern::MovingBox { side: 48, step: 4 };
    Ok((Box::new(TestPattern::new(pattern, row)), configuration))
}

/// The pace of a camera that could give frames as fast as they are taken.
struct Pace {
    period: Duration,
    next: Instant,
}

impl Pace {
    fn new(fps: f64) -> Result<Self, String> {
        if !(fps.is_finite() && fps > 0.0) {
            return Err(format!("--fps {fps}: expected a number above 0"));
        }
        Ok(Self {
            period: Duration::try_from_secs_f64(1.0 / fps).unwrap_or(Duration::from_secs(3600)),
            next: Instant::now(),
        })
    }

    /// Waits for the time of the next frame. Frames that came late are not made up for.
    fn wait(&mut self) {
        let now = Instant::now();
        if let Some(early) = self.next.checked_duration_since(now) {
            thread::sleep(early);
        }
        self.next = now.max(self.next) + self.period;
    }
}

#[cfg(test)]
mod tests;
