use super::*;
use pinhole_firmware::camera::{CameraError, FrameSink};

#[derive(Default)]
struct Whole(Vec<u8>);

impl FrameSink for Whole {
    fn band(&mut self, _: u32, bytes: &[u8]) -> Result<(), CameraError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn frames(camera: &str, count: usize) -> Vec<Result<Vec<u8>, CameraError>> {
    let (mut camera, configuration) = open(camera, 1e6).unwrap();
    camera.configure(configuration).unwrap();
    let frame = |_| {
        let mut whole = Whole::default();
        camera.frame(&mut whole).map(|()| whole.0)
    };
    (0..count).map(frame).collect()
}

fn refusal(camera: &str) -> String {
    open(camera, 1.0).err().expect("a refusal")
}

#[test]
fn pictures_come_in_the_order_of_their_names_and_a_bad_one_is_a_short_frame() {
    let folder = tempfile::tempdir().unwrap();
    for (name, grey) in [("b.png", 90), ("a.png", 30)] {
        let picture = image::RgbImage::from_pixel(4, 2, image::Rgb([grey; 3]));
        picture.save(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("c.png"), b"no picture").unwrap();
    std::fs::write(folder.path().join("notes.txt"), b"left out").unwrap();
    let found = frames(&format!("pictures:{}:4x2", folder.path().display()), 4);
    assert_eq!(found[0], Ok(vec![30; 24]));
    assert_eq!(found[1], Ok(vec![90; 24]));
    let short = CameraError::ShortFrame {
        expected: 2,
        found: 0,
    };
    assert_eq!(found[2], Err(short));
    assert_eq!(found[3], Ok(vec![30; 24]));
    // One of another size is resized.
    let found = frames(
        &format!("pictures:{}/a.png:6x6", folder.path().display()),
        1,
    );
    assert_eq!(found[0], Ok(vec![30; 108]));
}

#[test]
fn raw_frames_are_those_of_the_file_and_begin_anew_after_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raw");
    let bytes: Vec<u8> = (0..32).collect();
    std::fs::write(&path, &bytes).unwrap();
    let found = frames(&format!("yuyv:{}:4x2", path.display()), 3);
    let expected = [&bytes[..16], &bytes[16..], &bytes[..16]];
    assert_eq!(found, expected.map(|frame| Ok(frame.to_vec())));
    let words = refusal(&format!("yuyv:{}:4x3", path.display()));
    assert!(
        words.contains("found 32 bytes, expected a multiple of 24"),
        "{words}"
    );
    let words = refusal(&format!("yuyv:{}:5x2", path.display()));
    assert!(words.contains("expected an even one"), "{words}");
}

#[test]
fn what_names_no_camera_is_answered_by_what_does() {
    for (camera, words) in [
        ("webcam", "expected test, pictures, yuyv or v4l2"),
        ("pictures:photos", "found no size"),
        ("pictures:photos:0x4", "expected WIDTHxHEIGHT"),
        ("pictures:/nowhere-at-all:4x4", "/nowhere-at-all"),
        ("test:12", "expected WIDTHxHEIGHT"),
    ] {
        let words_found = match open(camera, 1.0) {
            Err(words) => words,
            // A file is opened when its frame is asked for.
            Ok(_) if camera.contains("nowhere") => continue,
            Ok(_) => panic!("{camera} was taken"),
        };
        assert!(words_found.contains(words), "{words_found}");
    }
    assert!(Pace::new(0.0).is_err() && Pace::new(f64::NAN).is_err());
}
