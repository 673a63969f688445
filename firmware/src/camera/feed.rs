//! From the bands of a camera to the input of the model: demosaicing or decoding where the format needs it, then the
//! preprocessing of the runtime.

use super::{
    Camera, CameraError, Configuration, FrameFormat, FrameSink, FrameSize, MotionGrid, rows_of,
};
use core::fmt;
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::preprocess::{
    Demosaic, InputError, InputGeometry, PixelFormat, Preprocessor, RowSink,
};

/// Decodes the files of a camera that sends JPEG. None is in this package: a board with a hardware codec has one.
pub trait Decoder: fmt::Debug {
    /// A file begins, of a picture of this size.
    ///
    /// # Errors
    /// See [`DecodeError`].
    fn begin(&mut self, size: FrameSize) -> Result<(), DecodeError>;

    /// Takes the next bytes and gives `emit` every row of RGB888 that they complete.
    ///
    /// # Errors
    /// [`CameraError::Decoder`], those of `emit`.
    fn push(
        &mut self,
        bytes: &[u8],
        emit: &mut dyn FnMut(&[u8]) -> Result<(), InputError>,
    ) -> Result<(), CameraError>;
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The file is damaged.
    Damaged {
        /// Where, in bytes from its start.
        offset: u32,
    },
    /// The file is of a kind that the decoder does not know.
    NotSupported,
    /// The picture has another size than the camera was set to.
    Size {
        /// Size that the camera was set to.
        expected: FrameSize,
        /// Size found in the file.
        found: FrameSize,
    },
    /// The file does not end.
    TooLong {
        /// Most bytes.
        limit: u32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Damaged { offset } => write!(f, "the file is damaged at byte {offset}"),
            Self::NotSupported => f.write_str("the decoder does not know this kind of file"),
            Self::Size { expected, found } => write!(
                f,
                "the picture is {}x{}, expected {}x{}",
                found.width, found.height, expected.width, expected.height
            ),
            Self::TooLong { limit } => write!(f, "no end of the file within {limit} bytes"),
        }
    }
}

/// What stands before the preprocessing.
#[derive(Debug)]
enum Front<'a> {
    None,
    Mosaic(Demosaic<'a>),
    File(&'a mut dyn Decoder),
}

/// One frame on its way to the model.
#[derive(Debug)]
pub struct Feed<'a> {
    configuration: Configuration,
    next_row: u32,
    front: Front<'a>,
    preprocessor: Preprocessor<'a>,
}

impl<'a> Feed<'a> {
    /// Words of scratch for frames of this configuration.
    ///
    /// # Errors
    /// When the geometry or the size is out of range.
    pub fn scratch_len(
        geometry: &InputGeometry,
        configuration: Configuration,
    ) -> Result<usize, InputError> {
        let (width, height) = sides(configuration);
        let words = Preprocessor::scratch_len(geometry, width, height)?;
        Ok(words.saturating_add(front_words(configuration)))
    }

    /// A frame of which nothing came yet; `scratch` has [`Feed::scratch_len`] words. `decoder` is for [`FrameFormat::Jpeg`] alone.
    ///
    /// # Errors
    /// [`CameraError::NoDecoder`] for JPEG without a decoder; [`CameraError::Decoder`]; [`CameraError::Input`] for geometry, size
    /// or scratch.
    pub fn new(
        kernels: &'a dyn Kernels,
        geometry: &InputGeometry,
        configuration: Configuration,
        decoder: Option<&'a mut dyn Decoder>,
        scratch: &'a mut [u32],
    ) -> Result<Self, CameraError> {
        let (width, height) = sides(configuration);
        let given = scratch.len();
        let too_small = |needed: usize| InputError::ScratchTooSmall {
            needed: needed as u64,
            given,
        };
        let needed = Self::scratch_len(geometry, configuration)?;
        let (front_scratch, scratch) = scratch
            .split_at_mut_checked(front_words(configuration))
            .filter(|_| given >= needed)
            .ok_or(too_small(needed))?;
        let (front, format) = match configuration.format {
            FrameFormat::Pixels(format) => (Front::None, format),
            FrameFormat::Bayer(pattern) => {
                let demosaic = Demosaic::new(pattern, width, height, front_scratch)?;
                (Front::Mosaic(demosaic), PixelFormat::Rgb888)
            }
            FrameFormat::Jpeg => {
                let decoder = decoder.ok_or(CameraError::NoDecoder)?;
                let begun = decoder.begin(configuration.size);
                begun.map_err(CameraError::Decoder)?;
                (Front::File(decoder), PixelFormat::Rgb888)
            }
        };
        Ok(Self {
            configuration,
            next_row: 0,
            front,
            preprocessor: Preprocessor::new(kernels, geometry, width, height, format, scratch)?,
        })
    }

    /// Takes a band; see [`FrameSink::band`].
    ///
    /// # Errors
    /// [`CameraError::BandOrder`] when it does not continue the frame; [`CameraError::Input`], [`CameraError::Decoder`].
    pub fn push(
        &mut self,
        first_row: u32,
        bytes: &[u8],
        sink: &mut dyn RowSink,
    ) -> Result<(), CameraError> {
        let preprocessor = &mut self.preprocessor;
        if let Front::File(decoder) = &mut self.front {
            return decoder.push(bytes, &mut |rgb| preprocessor.push_row(rgb, sink));
        }
        if first_row != self.next_row {
            return Err(CameraError::BandOrder {
                expected: self.next_row,
                found: first_row,
            });
        }
        for row in rows_of(self.configuration, bytes)? {
            match &mut self.front {
                Front::Mosaic(demosaic) => {
                    demosaic.push_row(row, &mut |rgb| preprocessor.push_row(rgb, sink))?;
                }
                _ => preprocessor.push_row(row, sink)?,
            }
            self.next_row += 1;
        }
        Ok(())
    }

    /// Ends the frame: the sink has seen every row of the input then.
    ///
    /// # Errors
    /// [`CameraError::Input`] with [`InputError::RowsMissing`] when rows are missing.
    pub fn finish(self, sink: &mut dyn RowSink) -> Result<(), CameraError> {
        if let Front::Mosaic(demosaic) = self.front {
            demosaic.finish()?;
        }
        Ok(self.preprocessor.finish(sink)?)
    }

    /// Takes the next frame of `camera` into `rows`, and looks for motion in it where a grid is given.
    ///
    /// The grid has to be told of the start of the frame before ([`MotionGrid::begin`]) and is asked after
    /// ([`MotionGrid::end`]).
    ///
    /// # Errors
    /// Those of the camera, of [`Feed::push`] and [`Feed::finish`].
    pub fn capture(
        mut self,
        camera: &mut dyn Camera,
        rows: &mut dyn RowSink,
        motion: Option<&mut MotionGrid>,
    ) -> Result<(), CameraError> {
        camera.frame(&mut FeedSink {
            feed: &mut self,
            rows,
            motion,
        })?;
        self.finish(rows)
    }
}

/// A feed as the sink of a camera.
struct FeedSink<'f, 'a> {
    feed: &'f mut Feed<'a>,
    rows: &'f mut dyn RowSink,
    motion: Option<&'f mut MotionGrid>,
}

impl FrameSink for FeedSink<'_, '_> {
    fn band(&mut self, first_row: u32, bytes: &[u8]) -> Result<(), CameraError> {
        if let Some(motion) = &mut self.motion {
            motion.band(first_row, bytes)?;
        }
        self.feed.push(first_row, bytes, self.rows)
    }
}

fn sides(configuration: Configuration) -> (u32, u32) {
    (configuration.size.width.into(), configuration.rows())
}

fn front_words(configuration: Configuration) -> usize {
    match configuration.format {
        FrameFormat::Bayer(_) => Demosaic::scratch_len(configuration.size.width.into()),
        _ => 0,
    }
}
