//! A map of embeddings: a dot a picture, a colour a class.

use plotters::prelude::*;

use super::{DrawError, INK, failed, svg};

/// Classes with colours that are told apart easily; further ones go round the circle of hues.
const PALETTE: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
];
/// Side in pixels.
const SIDE: u32 = 640;

/// Where a picture lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Place; any unit.
    pub at: [f64; 2],
    /// Its class; `None` where there are none.
    pub class: Option<usize>,
}

/// The colour of a class of `classes`, red, green and blue.
pub fn palette(class: usize, classes: usize) -> [u8; 3] {
    let colour = match PALETTE.get(class) {
        Some(colour) if classes <= PALETTE.len() => *colour,
        _ => {
            // Neighbours in the list differ in lightness as well.
            let lightness = [0.38, 0.5, 0.62][class % 3];
            let (r, g, b) = HSLColor(class as f64 / classes.max(1) as f64, 0.65, lightness).rgb();
            RGBColor(r, g, b)
        }
    };
    [colour.0, colour.1, colour.2]
}

/// Draws all points; both axes have the same scale.
///
/// # Errors
/// Where the drawing library fails.
pub fn map(points: &[Point], classes: usize) -> Result<String, DrawError> {
    let range = |axis: usize| {
        let places = points
            .iter()
            .map(|point| point.at[axis])
            .filter(|at| at.is_finite());
        let low = places.clone().fold(f64::INFINITY, f64::min);
        let high = places.fold(f64::NEG_INFINITY, f64::max);
        if low <= high { (low, high) } else { (0.0, 0.0) }
    };
    let (x, y) = (range(0), range(1));
    let half = 0.52 * (x.1 - x.0).max(y.1 - y.0).max(1e-9);
    let around =
        |(low, high): (f64, f64)| f64::midpoint(low, high) - half..f64::midpoint(low, high) + half;
    svg((SIDE, SIDE), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .build_cartesian_2d(around(x), around(y))
            .map_err(failed)?;
        let frame = [
            (around(x).start, around(y).start),
            (around(x).end, around(y).end),
        ];
        let frame = Rectangle::new(frame, INK.mix(0.25));
        chart.draw_series([frame]).map_err(failed)?;
        let dot = |point: &Point| {
            let [r, g, b] = palette(point.class.unwrap_or(0), classes);
            Circle::new(
                (point.at[0], point.at[1]),
                3,
                RGBColor(r, g, b).mix(0.8).filled(),
            )
        };
        chart.draw_series(points.iter().map(dot)).map_err(failed)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_a_dot_and_equal_points_have_a_place() {
        let points = [Point {
            at: [1.0, 1.0],
            class: Some(0),
        }; 3];
        let drawn = map(&points, 2).expect("a drawing");
        assert_eq!(drawn.matches("<circle").count(), 3);
        assert!(map(&[], 0).expect("an empty map").starts_with("<svg"));
    }

    #[test]
    fn classes_beyond_the_palette_differ_too() {
        let mut colours: Vec<[u8; 3]> = (0..30).map(|class| palette(class, 30)).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), 30);
    }
}
