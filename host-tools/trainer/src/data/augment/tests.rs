//! Tests of the list: its TOML, its seeds, its faults.

use std::path::Path;

use super::super::pixels::tests::{geometry, picture};
use super::*;

const DRAW: Draw = Draw {
    seed: 7,
    epoch: 0,
    id: "a.jpg",
    view: 0,
};

fn parse(text: &str) -> Result<Augmentations, LoadError> {
    Augmentations::parse(text, Path::new("a.toml"))
}

fn fault(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn every_kind_is_read_by_its_name_with_the_defaults() {
    for expected in Augmentation::all() {
        let text = format!(
            "[[augmentation]]\nkind = \"{}\"\nprobability = 1.0\n",
            expected.kind()
        );
        assert_eq!(parse(&text).unwrap(), Augmentations(vec![expected]));
    }
    assert!(parse("").unwrap().is_empty());
}

#[test]
fn unknown_keys_and_kinds_are_refused_with_their_name() {
    let error = fault("[[augmentation]]\nkind = \"blur\"\nsigmas = [1, 2]\n");
    assert!(
        error.starts_with("a.toml: ") && error.contains("`sigmas`"),
        "{error}"
    );
    let error = fault("[[augmentation]]\nkind = \"flop\"\n");
    assert!(
        error.contains("`flop`") && error.contains("`horizontal_flip`"),
        "{error}"
    );
    assert!(fault("[[augmentations]]\nkind = \"blur\"\n").contains("`augmentations`"));
}

#[test]
fn every_parameter_outside_its_range_is_told_with_its_key() {
    let cases = [
        ("random_resized_crop", "scale = [0.0, 1.0]", "scale"),
        ("random_resized_crop", "ratio = [2.0, 1.0]", "ratio"),
        ("random_resized_crop", "probability = 2.0", "probability"),
        ("horizontal_flip", "probability = -0.1", "probability"),
        ("colour_jitter", "brightness = 1.5", "brightness"),
        ("colour_jitter", "contrast = -1.0", "contrast"),
        ("colour_jitter", "saturation = nan", "saturation"),
        ("colour_jitter", "hue_degrees = 181.0", "hue_degrees"),
        ("blur", "sigma = [-1.0, 2.0]", "sigma"),
        ("grey", "probability = nan", "probability"),
        ("rotation", "degrees = [-200.0, 0.0]", "degrees"),
        ("cut_out", "area = [0.0, 1.1]", "area"),
        ("cut_out", "ratio = [0.0, 1.0]", "ratio"),
        ("cut_out", "fill = [0.5, 0.5, 255.0]", "fill"),
        (
            "camera_noise",
            "full_well_electrons = 0.0",
            "full_well_electrons",
        ),
        (
            "camera_noise",
            "read_noise_electrons = -1.0",
            "read_noise_electrons",
        ),
        ("camera_noise", "gain = [0.5, 2.0]", "gain"),
        ("exposure", "stops = [1.0, -1.0]", "stops"),
        ("white_balance", "red_stops = [0.0, 9.0]", "red_stops"),
        ("white_balance", "blue_stops = [nan, 1.0]", "blue_stops"),
    ];
    for (kind, line, key) in cases {
        let error = fault(&format!("[[augmentation]]\nkind = \"{kind}\"\n{line}\n"));
        let expected = format!("`{key}` of augmentation[0] ({kind}) is ");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains("expected"), "{error}");
    }
    let both = "[[augmentation]]\nkind = \"blur\"\nsigma = [2, 1]\n[[augmentation]]\nkind = \"random_resized_crop\"\n";
    let error = fault(both);
    assert!(
        error.contains("`sigma` of augmentation[0] (blur) is [2, 1]"),
        "{error}"
    );
    assert!(error.contains("`kind` of augmentation[1] (random_resized_crop) must be the first"));
}

#[test]
fn a_view_depends_on_its_draw_alone() {
    let all = Augmentations::new(Augmentation::all()).unwrap();
    let (picture, geometry) = (picture(40, 30), geometry(16));
    let view = |draw| all.view(&picture, &geometry, draw).unwrap();
    let first = view(DRAW);
    assert_eq!(view(DRAW), first);
    for other in [
        Draw { seed: 8, ..DRAW },
        Draw { epoch: 1, ..DRAW },
        Draw {
            id: "b.jpg",
            ..DRAW
        },
        Draw { view: 1, ..DRAW },
    ] {
        assert_ne!(view(other), first, "{other:?}");
    }
    assert!(first.values.iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn what_one_draws_does_not_shift_those_behind_it() {
    let (picture, geometry) = (picture(40, 30), geometry(16));
    let view = |probability| {
        let mut list = Augmentation::all();
        list[1] = Augmentation::HorizontalFlip(HorizontalFlip { probability });
        // Cut-out last: the rectangle must lie in the same place.
        list.truncate(2);
        list.push(Augmentation::CutOut(CutOut {
            fill: [1.0, 0.0, 1.0],
            ..CutOut::default()
        }));
        let list = Augmentations::new(list).unwrap();
        let pixels = list.view(&picture, &geometry, DRAW).unwrap();
        let cut = |i: &usize| pixels.at(i % 16, i / 16) == [1.0, 0.0, 1.0];
        (0..256).filter(cut).collect::<Vec<_>>()
    };
    assert!(!view(0.0).is_empty());
    assert_eq!(view(0.0), view(1.0));
}

#[test]
fn probabilities_are_how_often_and_none_keeps_the_picture() {
    let (picture, geometry) = (picture(8, 8), geometry(8));
    let plain = Pixels::fitted(&picture, &geometry).unwrap();
    let flip = |probability| {
        let flip = Augmentation::HorizontalFlip(HorizontalFlip { probability });
        let list = Augmentations::new(vec![flip]).unwrap();
        let changed = (0..1000).filter(|epoch| {
            let draw = Draw {
                epoch: *epoch,
                ..DRAW
            };
            list.view(&picture, &geometry, draw).unwrap() != plain
        });
        changed.count()
    };
    assert_eq!((flip(0.0), flip(1.0)), (0, 1000));
    assert!((210..=390).contains(&flip(0.3)), "{}", flip(0.3));
}

#[test]
fn identity_settings_keep_the_bytes() {
    let list = [
        (
            "random_resized_crop",
            "scale = [1.0, 1.0]\nratio = [1.0, 1.0]",
        ),
        (
            "colour_jitter",
            "brightness = 0.0\ncontrast = 0.0\nsaturation = 0.0\nhue_degrees = 0.0",
        ),
        ("blur", "sigma = [0.0, 0.0]"),
        ("rotation", "degrees = [0.0, 0.0]"),
        ("cut_out", "area = [0.0, 0.0]"),
        ("exposure", "stops = [0.0, 0.0]"),
        (
            "white_balance",
            "red_stops = [0.0, 0.0]\nblue_stops = [0.0, 0.0]",
        ),
        ("grey", "probability = 0.0"),
    ];
    let text: String = list
        .iter()
        .map(|(kind, keys)| format!("[[augmentation]]\nkind = \"{kind}\"\n{keys}\n"))
        .collect();
    let picture = picture(12, 12);
    let view = parse(&text).unwrap().view(&picture, &geometry(12), DRAW);
    assert_eq!(view.unwrap().to_rgb8(), picture);
}

/// A picture without detail, so that any resampling of it is nearly the same.
fn smooth(width: u32, height: u32) -> RgbImage {
    let wave = |at: f32| (127.0 + 100.0 * (at * 6.0).sin()) as u8;
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32 / width as f32, y as f32 / height as f32);
        image::Rgb([wave(x), wave(y), wave(x + y)])
    })
}

#[test]
fn one_draw_is_the_same_view_at_any_size_of_input() {
    let relative = |augmentation: &Augmentation| {
        !matches!(
            augmentation,
            Augmentation::Blur(_) | Augmentation::CameraNoise(_)
        )
    };
    let list = Augmentation::all().into_iter().filter(relative).collect();
    let augmentations = Augmentations::new(list).unwrap();
    let picture = smooth(150, 110);
    for epoch in 0..20 {
        let draw = Draw { epoch, ..DRAW };
        let [large, small] = [64u16, 32].map(|side| {
            let view = augmentations.view(&picture, &geometry(side), draw);
            view.unwrap().values
        });
        let at = |y: usize, x: usize, c: usize| large[(y * 64 + x) * 3 + c];
        let differences = small.iter().enumerate().map(|(i, found)| {
            let (y, x, c) = (2 * (i / 96), 2 * (i / 3 % 32), i % 3);
            let mean = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| at(y + dy, x + dx, c));
            (found - mean.iter().sum::<f32>() / 4.0).abs()
        });
        let mean = differences.sum::<f32>() / small.len() as f32;
        assert!(mean < 0.01, "{mean} in epoch {epoch}");
    }
}
