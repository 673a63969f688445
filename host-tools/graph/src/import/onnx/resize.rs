//! `Resize` of constants (<https://onnx.ai/onnx/operators/onnx__Resize.html>): position embeddings that an exporter fits to
//! the size of the picture. Separable: one dimension after the other, weights in f64. Not here: antialiasing, regions of
//! interest, and activations, which are never resampled.

use super::constant::Constant;
use super::lower::Call;
use super::{Refusal, fold, refuse};

/// How the samples around a place count.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    /// Keys 1981 with this coefficient.
    Cubic(f64),
}

/// The constant in its new sizes.
pub(super) fn resize(call: &Call<'_>, x: &Constant) -> Result<Constant, Refusal> {
    let attributes = call.attributes;
    let mode = match attributes.text("mode", "nearest") {
        "nearest" => Mode::Nearest,
        "linear" => Mode::Linear,
        "cubic" => Mode::Cubic(f64::from(attributes.float("cubic_coeff_a", -0.75))),
        other => return Err(unknown("mode", other)),
    };
    let plain = attributes.int("antialias", 0) == 0
        && attributes.int("exclude_outside", 0) == 0
        && attributes.ints("axes").is_none();
    let nearest = attributes.text("nearest_mode", "round_prefer_floor");
    if !plain || mode == Mode::Nearest && !matches!(nearest, "floor" | "round_prefer_floor") {
        return Err(unknown(
            "variant",
            "antialias, exclude_outside, axes or nearest_mode",
        ));
    }
    // Before opset 11 there was no region of interest, and one way to place samples.
    let (index, default) = match call.opset {
        ..11 => (1, "asymmetric"),
        _ => (2, "half_pixel"),
    };
    let transform = attributes.text("coordinate_transformation_mode", default);
    let scales = call
        .optional_constant(index, "scales")?
        .map(Constant::to_floats)
        .filter(|scales| scales.len() == x.shape.len());
    let sizes = match (call.optional_constant(3, "sizes")?, &scales) {
        (Some(sizes), _) => fold::sizes(sizes)?,
        (None, Some(scales)) => {
            let pairs = x.shape.iter().zip(scales.iter());
            pairs
                .map(|(&size, &scale)| (size as f64 * f64::from(scale)).floor() as usize)
                .collect()
        }
        (None, None) => Vec::new(),
    };
    if sizes.len() != x.shape.len() || sizes.contains(&0) || x.shape.contains(&0) {
        return Err(refuse(
            format!("resize of {:?} to {sizes:?}", x.shape),
            "check the file with onnx.checker",
        ));
    }
    super::constant::checked_len(&sizes)?;
    let mut shape = x.shape.clone();
    let mut data: Vec<f64> = x.to_floats().iter().map(|&v| f64::from(v)).collect();
    for d in 0..shape.len() {
        // The factor of the file places the samples, not the quotient of rounded sizes.
        let quotient = sizes[d] as f64 / shape[d] as f64;
        let scale = scales
            .as_ref()
            .map_or(quotient, |scales| f64::from(scales[d]));
        if sizes[d] == shape[d] && scale == 1.0 {
            continue;
        }
        let taps = (0..sizes[d])
            .map(|index| {
                let place = place(transform, index, scale, shape[d], sizes[d])?;
                Ok(taps(mode, nearest, place, shape[d]))
            })
            .collect::<Result<Vec<_>, _>>()?;
        data = along(&data, &shape, d, &taps);
        shape[d] = sizes[d];
    }
    Ok(Constant::float(
        &sizes,
        data.into_iter().map(|v| v as f32).collect(),
    ))
}

fn unknown(what: &str, found: &str) -> Refusal {
    refuse(
        format!("a resize with {what} {found}"),
        "resize the constant before the export",
    )
}

/// Where output `index` lies in the input.
fn place(
    transform: &str,
    index: usize,
    scale: f64,
    from: usize,
    to: usize,
) -> Result<f64, Refusal> {
    let at = index as f64;
    Ok(match transform {
        "half_pixel" => (at + 0.5) / scale - 0.5,
        "pytorch_half_pixel" if to == 1 => 0.0,
        "pytorch_half_pixel" => (at + 0.5) / scale - 0.5,
        "align_corners" if to == 1 => 0.0,
        // The last sample of a size that is no whole number lies behind the last of the output.
        "align_corners" => at * (from - 1) as f64 / (from as f64 * scale - 1.0),
        "asymmetric" => at / scale,
        other => return Err(unknown("coordinates", other)),
    })
}

/// Samples and their weights; beyond the ends the last sample repeats.
fn taps(mode: Mode, nearest: &str, place: f64, size: usize) -> Vec<(usize, f64)> {
    let clamped = |at: f64| at.clamp(0.0, (size - 1) as f64) as usize;
    let base = place.floor();
    let t = place - base;
    match mode {
        Mode::Nearest if nearest == "floor" => vec![(clamped(base), 1.0)],
        Mode::Nearest => vec![(clamped((place - 0.5).ceil()), 1.0)],
        Mode::Linear => vec![(clamped(base), 1.0 - t), (clamped(base + 1.0), t)],
        Mode::Cubic(a) => {
            let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
            let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
            let weights = [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)];
            let places = (-1..3).map(|offset| clamped(base + f64::from(offset)));
            places.zip(weights).collect()
        }
    }
}

/// Weighted sums along dimension `d`.
fn along(data: &[f64], shape: &[usize], d: usize, taps: &[Vec<(usize, f64)>]) -> Vec<f64> {
    let inner: usize = shape[d + 1..].iter().product();
    let outer: usize = shape[..d].iter().product();
    let mut out = Vec::with_capacity(outer * taps.len() * inner);
    for o in 0..outer {
        for taps in taps {
            out.extend((0..inner).map(|i| {
                let sample =
                    |&(at, weight): &(usize, f64)| weight * data[(o * shape[d] + at) * inner + i];
                taps.iter().map(sample).sum::<f64>()
            }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(mode: Mode, transform: &str, data: &[f64], scale: f64) -> Vec<f64> {
        let to = (data.len() as f64 * scale) as usize;
        let taps: Vec<_> = (0..to)
            .map(|index| {
                let place = place(transform, index, scale, data.len(), to).expect("known");
                taps(mode, "floor", place, data.len())
            })
            .collect();
        along(data, &[data.len()], 0, &taps)
    }

    #[test]
    fn a_line_stays_a_line_away_from_its_ends() {
        let line: Vec<f64> = (0..10).map(f64::from).collect();
        for mode in [Mode::Linear, Mode::Cubic(-0.75), Mode::Cubic(-0.5)] {
            let found = resized(mode, "half_pixel", &line, 0.5);
            let even = resized(mode, "asymmetric", &line, 0.5);
            for (index, (a, b)) in found.iter().zip(&even).enumerate().take(4).skip(1) {
                assert!((a - (2.0 * index as f64 + 0.5)).abs() < 1e-12, "{found:?}");
                assert!((b - 2.0 * index as f64).abs() < 1e-12, "{even:?}");
            }
        }
    }

    #[test]
    fn ends_repeat_and_corners_align() {
        let found = resized(Mode::Linear, "half_pixel", &[1.0, 3.0], 2.0);
        assert_eq!(found, [1.0, 1.5, 2.5, 3.0]);
        let found = resized(Mode::Linear, "align_corners", &[1.0, 4.0], 2.0);
        assert_eq!(found, [1.0, 2.0, 3.0, 4.0]);
        let found = resized(Mode::Nearest, "asymmetric", &[1.0, 4.0], 2.0);
        assert_eq!(found, [1.0, 1.0, 4.0, 4.0]);
    }
}
