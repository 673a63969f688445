//! Cameras, and frames on their way to the input of a model.

use embedded_io::{ErrorKind, ErrorType, Read};
use pinhole_firmware::camera::*;
use pinhole_runtime::kernel::Scalar;
use pinhole_runtime::preprocess::{
    BayerPattern, InputError, InputGeometry, PixelFormat, Preprocessor, RowSink, rgb565_to_rgb,
    yuv_to_rgb,
};
use proptest::prelude::*;

const GEOMETRY: InputGeometry = InputGeometry {
    width: 16,
    height: 16,
    resize_shorter: 18,
    mean: [0.5; 3],
    std: [0.5; 3],
};

const FORMATS: [FrameFormat; 9] = [
    FrameFormat::RGB565,
    FrameFormat::RGB565_BE,
    FrameFormat::YUYV,
    FrameFormat::UYVY,
    FrameFormat::GREY8,
    FrameFormat::Bayer(BayerPattern::Rggb),
    FrameFormat::Bayer(BayerPattern::Grbg),
    FrameFormat::Bayer(BayerPattern::Gbrg),
    FrameFormat::Bayer(BayerPattern::Bggr),
];

fn of(width: u16, height: u16, format: FrameFormat) -> Configuration {
    Configuration {
        size: FrameSize::new(width, height),
        format,
    }
}

#[derive(Default)]
struct Rows(Vec<u8>);

impl RowSink for Rows {
    fn row(&mut self, _: usize, rgb: &[u8]) {
        self.0.extend_from_slice(rgb);
    }
}

/// Keeps a frame whole, which the application never does.
#[derive(Default)]
struct Whole {
    bytes: Vec<u8>,
    bands: Vec<u32>,
}

impl FrameSink for Whole {
    fn band(&mut self, first_row: u32, bytes: &[u8]) -> Result<(), CameraError> {
        self.bands.push(first_row);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

fn whole(camera: &mut dyn Camera) -> Vec<u8> {
    let mut sink = Whole::default();
    camera.frame(&mut sink).unwrap();
    sink.bytes
}

fn feed<'a>(configuration: Configuration, scratch: &'a mut Vec<u32>) -> Feed<'a> {
    // Garbage and no word to spare.
    *scratch = vec![u32::MAX; Feed::scratch_len(&GEOMETRY, configuration).unwrap()];
    Feed::new(&Scalar, &GEOMETRY, configuration, None, scratch).unwrap()
}

/// The input that the bytes of a frame give, in bands of `rows`.
fn fed(configuration: Configuration, bytes: &[u8], rows: usize) -> Vec<u8> {
    let (mut scratch, mut sink) = (Vec::new(), Rows::default());
    let mut feed = feed(configuration, &mut scratch);
    for (band, at) in bytes
        .chunks(configuration.row_bytes() * rows)
        .zip((0..).step_by(rows))
    {
        feed.push(at, band, &mut sink).unwrap();
    }
    feed.finish(&mut sink).unwrap();
    sink.0
}

/// The input that an RGB888 picture gives.
fn of_rgb(configuration: Configuration, rgb: &[[u8; 3]]) -> Vec<u8> {
    let format = FrameFormat::Pixels(PixelFormat::Rgb888);
    let FrameSize { width, height } = configuration.size;
    fed(of(width, height, format), rgb.as_flattened(), 1)
}

/// A frame as RGB, the whole of it at once.
fn expand(configuration: Configuration, bytes: &[u8]) -> Vec<[u8; 3]> {
    let width = usize::from(configuration.size.width);
    let pairs = |split: fn(&[u8; 4]) -> [u8; 4]| -> Vec<[u8; 3]> {
        let pairs = bytes.as_chunks().0.iter().map(split);
        pairs
            .flat_map(|[y0, y1, u, v]| [yuv_to_rgb(y0, u, v), yuv_to_rgb(y1, u, v)])
            .collect()
    };
    let words = |word: fn([u8; 2]) -> u16| -> Vec<[u8; 3]> {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| rgb565_to_rgb(word(*bytes)))
            .collect()
    };
    match configuration.format {
        FrameFormat::RGB565 => words(u16::from_le_bytes),
        FrameFormat::RGB565_BE => words(u16::from_be_bytes),
        FrameFormat::YUYV => pairs(|[y0, u, y1, v]| [*y0, *y1, *u, *v]),
        FrameFormat::UYVY => pairs(|[u, y0, v, y1]| [*y0, *y1, *u, *v]),
        FrameFormat::GREY8 => bytes.iter().map(|grey| [*grey; 3]).collect(),
        FrameFormat::Bayer(pattern) => {
            let colours = match pattern {
                BayerPattern::Rggb => b"rggb",
                BayerPattern::Grbg => b"grbg",
                BayerPattern::Gbrg => b"gbrg",
                BayerPattern::Bggr => b"bggr",
            };
            (0..bytes.len())
                .map(|at| (*b"rgb").map(|colour| nearest(bytes, width, at, colours, colour)))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The rounded mean of the nearest samples of `colour`, with the mosaic mirrored at its border.
fn nearest(bytes: &[u8], width: usize, at: usize, colours: &[u8; 4], colour: u8) -> u8 {
    let height = bytes.len() / width;
    let (x, y) = ((at % width) as i32, (at / width) as i32);
    let mirror = |at: i32, len: usize| {
        let last = len as i32 - 1;
        (last - (last - at.abs()).abs()) as usize
    };
    for distance in 0..3 {
        let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy)));
        let near: Vec<u32> = around
            .filter(|(dx, dy)| dx * dx + dy * dy == distance)
            .filter(|(dx, dy)| {
                let (column, row) = ((x + dx).rem_euclid(2), (y + dy).rem_euclid(2));
                colours[(row * 2 + column) as usize] == colour
            })
            .map(|(dx, dy)| bytes[mirror(y + dy, height) * width + mirror(x + dx, width)].into())
            .collect();
        if !near.is_empty() {
            let count = near.len() as u32;
            return ((near.iter().sum::<u32>() + count / 2) / count) as u8;
        }
    }
    unreachable!()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_in_any_format_and_bands_give_what_the_whole_picture_gives(
        half_width in 1u16..30, height in 2u16..30, which in 0usize..FORMATS.len(), rows in 1usize..7,
        seed in prop::collection::vec(any::<u8>(), 4000),
    ) {
        let configuration = of(half_width * 2, height, FORMATS[which]);
        let bytes = &seed[..configuration.row_bytes() * usize::from(height)];
        let expected = of_rgb(configuration, &expand(configuration, bytes));
        prop_assert_eq!(fed(configuration, bytes, rows), expected);
    }
}

#[test]
fn colour_bars_are_the_same_picture_in_every_format_of_colour() {
    let bars = [
        [255, 255, 255],
        [255, 255, 0],
        [0, 255, 255],
        [0, 255, 0],
        [255, 0, 255],
        [255, 0, 0],
        [0, 0, 255],
        [0, 0, 0],
    ];
    for format in FORMATS
        .into_iter()
        .filter(|format| *format != FrameFormat::GREY8)
    {
        let mut row = [0; 320 * 2];
        let mut camera = TestPattern::new(Pattern::ColourBars, &mut row);
        let configuration = of(320, 24, format);
        camera.configure(configuration).unwrap();
        let rgb = expand(configuration, &whole(&mut camera));
        // In the middle of a bar, where no neighbour has another colour.
        for (bar, expected) in bars.iter().enumerate() {
            let found = rgb[320 * 12 + bar * 40 + 20];
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    found.abs_diff(*expected) <= 2,
                    "{format:?} {bar} {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn patterns_are_what_they_say_and_the_box_moves() {
    let mut row = [0; 32];
    let mut frames = |pattern, count: usize| -> Vec<Vec<u8>> {
        let mut camera = TestPattern::new(pattern, &mut row);
        camera.configure(of(32, 8, FrameFormat::GREY8)).unwrap();
        (0..count).map(|_| whole(&mut camera)).collect()
    };
    let checker = &frames(Pattern::Checker(4), 1)[0];
    assert_eq!(checker[..9], [255, 255, 255, 255, 0, 0, 0, 0, 255]);
    assert_eq!(checker[32 * 4], 0);
    let moving = frames(Pattern::MovingBox { side: 2, step: 16 }, 3);
    assert_eq!((moving[0][3 * 32], moving[0][3 * 32 + 16]), (255, 0));
    assert_eq!((moving[1][3 * 32], moving[1][3 * 32 + 16]), (0, 255));
    // Around and back.
    assert_eq!(moving[2], moving[0]);
    assert_eq!(moving[0].iter().filter(|grey| **grey == 255).count(), 4);
    let gradient = frames(Pattern::Gradient, 2);
    assert_eq!(gradient[0], gradient[1]);
    assert_ne!(gradient[0][0], gradient[0][31]);
}

/// A line that gives bytes in pieces, then a fault or its end.
struct Line {
    bytes: Vec<u8>,
    read: usize,
    then: Option<ErrorKind>,
}

impl ErrorType for Line {
    type Error = ErrorKind;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let rest = &self.bytes[self.read..];
        let count = rest.len().min(buffer.len()).min(1 + self.read % 5);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        match (count, self.then) {
            (0, Some(fault)) => Err(fault),
            _ => Ok(count),
        }
    }
}

#[test]
fn rows_of_a_host_are_joined_and_a_line_that_ends_or_stalls_is_told() {
    let configuration = of(10, 4, FrameFormat::YUYV);
    let bytes: Vec<u8> = (0..80).collect();
    for (len, then, expected) in [
        (80, None, Ok(())),
        (
            79,
            None,
            Err(CameraError::ShortFrame {
                expected: 4,
                found: 3,
            }),
        ),
        (
            0,
            None,
            Err(CameraError::ShortFrame {
                expected: 4,
                found: 0,
            }),
        ),
        (
            41,
            Some(ErrorKind::TimedOut),
            Err(CameraError::Timeout {
                expected: 4,
                found: 2,
            }),
        ),
        (
            41,
            Some(ErrorKind::BrokenPipe),
            Err(CameraError::ShortFrame {
                expected: 4,
                found: 2,
            }),
        ),
    ] {
        let mut row = [0; 20];
        let line = Line {
            bytes: bytes[..len].to_vec(),
            read: 0,
            then,
        };
        let mut camera = HostFed::new(line, &mut row);
        assert_eq!(
            camera.frame(&mut Whole::default()),
            Err(CameraError::NotConfigured)
        );
        camera.configure(configuration).unwrap();
        let mut sink = Whole::default();
        assert_eq!(camera.frame(&mut sink), expected);
        assert_eq!(sink.bytes, bytes[..len / 20 * 20]);
    }
    let mut row = [0; 19];
    let mut camera = HostFed::new(&[0u8][..], &mut row);
    let short = InputError::RowLength {
        expected: 20,
        found: 19,
    };
    assert_eq!(
        camera.configure(configuration),
        Err(CameraError::Input(short))
    );
}

/// A sensor that is told what to fail with.
#[derive(Default)]
struct Sensor1 {
    starts: u32,
    fail: Option<CameraError>,
}

impl Sensor for Sensor1 {
    fn start(&mut self) -> Result<(), CameraError> {
        self.starts += 1;
        Ok(())
    }
    fn configure(&mut self, _: Configuration) -> Result<(), CameraError> {
        self.fail.take().map_or(Ok(()), Err)
    }
    fn control(&mut self, _: Control) -> Result<(), CameraError> {
        Ok(())
    }
}

/// A port that gives bands of these lengths, then a fault or the end of the frame.
#[derive(Default)]
struct Port {
    bands: Vec<usize>,
    then: Option<PortFault>,
    next: usize,
    memory: Vec<u8>,
    stopped: u32,
}

impl RowPort for Port {
    fn start(&mut self, _: usize, _: u32) -> Result<(), PortFault> {
        self.next = 0;
        Ok(())
    }
    fn next(&mut self) -> Result<&[u8], PortFault> {
        let len = self.bands.get(self.next).copied();
        self.next += 1;
        match (len, self.then) {
            (Some(len), _) => {
                self.memory = vec![7; len];
                Ok(&self.memory)
            }
            (None, Some(fault)) => Err(fault),
            (None, None) => Ok(&[]),
        }
    }
    fn stop(&mut self) {
        self.stopped += 1;
    }
}

#[test]
fn frames_of_a_port_are_whole_or_an_error_with_the_rows() {
    let configuration = of(8, 6, FrameFormat::GREY8);
    let (expected, row) = (6, 8);
    for (bands, then, result) in [
        (vec![8; 6], None, Ok(())),
        (vec![32, 16], None, Ok(())),
        (
            vec![32, 8],
            None,
            Err(CameraError::ShortFrame { expected, found: 5 }),
        ),
        (
            vec![],
            None,
            Err(CameraError::ShortFrame { expected, found: 0 }),
        ),
        (
            vec![16],
            Some(PortFault::Timeout),
            Err(CameraError::Timeout { expected, found: 2 }),
        ),
        (
            vec![16],
            Some(PortFault::Overrun),
            Err(CameraError::Overrun { found: 2 }),
        ),
        (
            vec![8, 7],
            None,
            Err(InputError::RowLength {
                expected: row,
                found: 7,
            }
            .into()),
        ),
        (
            vec![56],
            None,
            Err(InputError::TooManyRows { expected }.into()),
        ),
    ] {
        let port = Port {
            bands,
            then,
            ..Port::default()
        };
        let mut camera = SensorCamera::new(Sensor1::default(), port);
        assert_eq!(
            camera.frame(&mut Whole::default()),
            Err(CameraError::NotConfigured)
        );
        camera.configure(configuration).unwrap();
        let mut sink = Whole::default();
        assert_eq!(camera.frame(&mut sink), result);
        assert_eq!(sink.bytes.len() == 48, result.is_ok());
        assert_eq!(camera.into_parts().1.stopped, 1);
    }
}

#[test]
fn a_sensor_starts_again_after_a_fault_of_its_bus_and_not_after_a_refusal() {
    let configuration = of(8, 6, FrameFormat::GREY8);
    for (fault, starts) in [
        (
            CameraError::FormatNotSupported {
                asked: configuration,
            },
            1,
        ),
        (CameraError::Pin, 2),
    ] {
        let sensor = Sensor1 {
            fail: Some(fault),
            ..Sensor1::default()
        };
        let mut camera = SensorCamera::new(sensor, Port::default());
        assert_eq!(camera.configure(configuration), Err(fault));
        assert_eq!(camera.configuration(), None);
        camera.configure(configuration).unwrap();
        assert_eq!(camera.configuration(), Some(configuration));
        assert_eq!(camera.into_parts().0.starts, starts);
    }
}

/// Takes a file of three bytes a pixel for the picture, after a first byte of 0xff.
#[derive(Debug, Default)]
struct Plain {
    size: Option<FrameSize>,
    row: Vec<u8>,
    offset: u32,
}

impl Decoder for Plain {
    fn begin(&mut self, size: FrameSize) -> Result<(), DecodeError> {
        self.size = Some(size);
        Ok(())
    }
    fn push(
        &mut self,
        bytes: &[u8],
        emit: &mut dyn FnMut(&[u8]) -> Result<(), InputError>,
    ) -> Result<(), CameraError> {
        for byte in bytes {
            if self.offset == 0 && *byte != 0xff {
                return Err(CameraError::Decoder(DecodeError::Damaged { offset: 0 }));
            }
            if self.offset > 0 {
                self.row.push(*byte);
            }
            self.offset += 1;
            if self.row.len() == usize::from(self.size.unwrap().width) * 3 {
                emit(&self.row)?;
                self.row.clear();
            }
        }
        Ok(())
    }
}

#[test]
fn jpeg_is_refused_without_a_decoder_and_goes_through_one() {
    let configuration = of(4, 4, FrameFormat::Jpeg);
    let mut scratch = vec![0; Feed::scratch_len(&GEOMETRY, configuration).unwrap()];
    let refused = Feed::new(&Scalar, &GEOMETRY, configuration, None, &mut scratch);
    assert_eq!(refused.err(), Some(CameraError::NoDecoder));
    let text = CameraError::NoDecoder.to_string();
    assert!(text.contains("no decoder") && text.contains("rgb565"));
    let rgb: Vec<u8> = (100..148).collect();
    let file: Vec<u8> = [&[0xff], &rgb[..]].concat();
    let (mut decoder, mut sink) = (Plain::default(), Rows::default());
    let mut feed = Feed::new(
        &Scalar,
        &GEOMETRY,
        configuration,
        Some(&mut decoder),
        &mut scratch,
    )
    .unwrap();
    for part in file.chunks(5) {
        feed.push(0, part, &mut sink).unwrap();
    }
    feed.finish(&mut sink).unwrap();
    assert_eq!(sink.0, of_rgb(configuration, rgb.as_chunks().0));
    let mut decoder = Plain::default();
    let mut feed = Feed::new(
        &Scalar,
        &GEOMETRY,
        configuration,
        Some(&mut decoder),
        &mut scratch,
    )
    .unwrap();
    let damaged = CameraError::Decoder(DecodeError::Damaged { offset: 0 });
    assert_eq!(feed.push(0, &[1], &mut sink), Err(damaged));
}

#[test]
fn a_file_that_does_not_end_is_given_up() {
    let port = Port {
        bands: vec![30; 4],
        ..Port::default()
    };
    let mut camera = SensorCamera::new(Sensor1::default(), port);
    camera.configure(of(10, 10, FrameFormat::Jpeg)).unwrap();
    let endless = CameraError::Decoder(DecodeError::TooLong { limit: 100 });
    assert_eq!(camera.frame(&mut Whole::default()), Err(endless));
}

#[test]
fn bands_out_of_order_missing_rows_and_short_scratch_are_refused() {
    let configuration = of(8, 6, FrameFormat::Bayer(BayerPattern::Rggb));
    let (mut scratch, mut sink) = (Vec::new(), Rows::default());
    let mut one = feed(configuration, &mut scratch);
    one.push(0, &[0; 16], &mut sink).unwrap();
    let order = CameraError::BandOrder {
        expected: 2,
        found: 3,
    };
    assert_eq!(one.push(3, &[0; 8], &mut sink), Err(order));
    let length = InputError::RowLength {
        expected: 8,
        found: 9,
    };
    assert_eq!(one.push(2, &[0; 9], &mut sink), Err(length.into()));
    let missing = InputError::RowsMissing {
        expected: 6,
        found: 2,
    };
    assert_eq!(one.finish(&mut sink), Err(missing.into()));
    let needed = Feed::scratch_len(&GEOMETRY, configuration).unwrap();
    assert!(needed > Preprocessor::scratch_len(&GEOMETRY, 8, 6).unwrap());
    let mut short = vec![0; needed - 1];
    let refused = Feed::new(&Scalar, &GEOMETRY, configuration, None, &mut short);
    let error = InputError::ScratchTooSmall {
        needed: needed as u64,
        given: needed - 1,
    };
    assert_eq!(refused.err(), Some(error.into()));
}

/// Motion of each frame, a tenth of a second apart.
fn motions(grid: &mut MotionGrid, camera: &mut dyn Camera, frames: u32) -> Vec<Motion> {
    let configuration = camera.configuration().unwrap();
    (0..frames)
        .map(|frame| {
            grid.begin(configuration).unwrap();
            let (mut scratch, mut sink) = (Vec::new(), Rows::default());
            let feed = feed(configuration, &mut scratch);
            feed.capture(camera, &mut sink, Some(grid)).unwrap();
            grid.end(frame * 100)
        })
        .collect()
}

#[test]
fn a_moving_box_is_motion_in_every_format_and_a_still_picture_is_none() {
    for format in FORMATS {
        let mut row = [0; 320 * 2];
        let mut camera = TestPattern::new(Pattern::MovingBox { side: 60, step: 40 }, &mut row);
        camera.configure(of(320, 240, format)).unwrap();
        let mut grid = MotionGrid::new(MotionSettings {
            hold_off_ms: 250,
            ..MotionSettings::default()
        });
        let motions = motions(&mut grid, &mut camera, 6);
        // The first frame has none before it; after a report two frames are within the hold-off.
        let moved: Vec<bool> = motions.iter().map(|motion| motion.moved).collect();
        assert_eq!(
            moved,
            [false, true, false, false, true, false],
            "{format:?}"
        );
        assert!(
            motions[1..].iter().all(|motion| motion.changed >= 6),
            "{format:?}"
        );
    }
    let mut row = [0; 640];
    let mut camera = TestPattern::new(Pattern::ColourBars, &mut row);
    camera
        .configure(of(320, 240, FrameFormat::RGB565_BE))
        .unwrap();
    let mut grid = MotionGrid::new(MotionSettings::default());
    let motions = motions(&mut grid, &mut camera, 3);
    assert_eq!(motions, vec![Motion::default(); 3]);
}

#[test]
fn means_of_the_grid_are_those_of_its_cells_and_a_lamp_is_no_motion() {
    // Sides that the cells do not divide.
    let configuration = of(37, 29, FrameFormat::GREY8);
    let picture: Vec<u8> = (0..37 * 29).map(|at| (at * 7 % 200) as u8).collect();
    let mut grid = MotionGrid::new(MotionSettings::default());
    let mut show = |picture: &[u8], now| {
        grid.begin(configuration).unwrap();
        for (y, rows) in (0..).step_by(3).zip(picture.chunks(37 * 3)) {
            grid.band(y, rows).unwrap();
        }
        let motion = grid.end(now);
        (*grid.means(), motion)
    };
    let (means, _) = show(&picture, 0);
    for (row, means) in means.iter().enumerate() {
        for (column, mean) in means.iter().enumerate() {
            let (mut sum, mut count) = (0, 0);
            for y in row * 29 / 12..(row + 1) * 29 / 12 {
                for x in column * 37 / 16..(column + 1) * 37 / 16 {
                    sum += u32::from(picture[y * 37 + x]);
                    count += 1;
                }
            }
            assert_eq!(u32::from(*mean), sum / count, "{row} {column}");
        }
    }
    let brighter: Vec<u8> = picture.iter().map(|grey| grey + 50).collect();
    assert_eq!(show(&brighter, 100).1, Motion::default());
    // A quarter of the picture alone is motion.
    let mut part = brighter.clone();
    part[..37 * 7].fill(255);
    assert!(show(&part, 200).1.moved);
}

#[test]
fn a_grid_refuses_what_it_cannot_add_up_and_ignores_half_a_frame() {
    let mut grid = MotionGrid::new(MotionSettings::default());
    assert_eq!(grid.band(0, &[]), Err(CameraError::NotConfigured));
    for (asked, by_size) in [
        (of(15, 12, FrameFormat::GREY8), true),
        (of(16, 11, FrameFormat::GREY8), true),
        (of(4097, 12, FrameFormat::GREY8), true),
        (of(320, 240, FrameFormat::Jpeg), false),
    ] {
        let expected = match by_size {
            true => CameraError::SizeNotSupported { asked },
            false => CameraError::FormatNotSupported { asked },
        };
        assert_eq!(grid.begin(asked), Err(expected));
    }
    let configuration = of(16, 12, FrameFormat::GREY8);
    grid.begin(configuration).unwrap();
    grid.band(0, &[0; 16 * 12]).unwrap();
    grid.end(0);
    grid.begin(configuration).unwrap();
    grid.band(0, &[255; 16 * 6]).unwrap();
    assert_eq!(grid.end(1), Motion::default());
    let order = CameraError::BandOrder {
        expected: 6,
        found: 0,
    };
    assert_eq!(grid.band(0, &[0; 16]), Err(order));
    // Still against the last whole frame.
    grid.begin(configuration).unwrap();
    let mut half = [0; 16 * 12];
    half[..80].fill(255);
    grid.band(0, &half).unwrap();
    assert!(grid.end(2).moved);
}
