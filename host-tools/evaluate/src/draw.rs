//! Drawings as SVG. Lines and letters have `currentColor` and no ground lies behind them, so that a page that holds
//! one decides whether it is light or dark; [`standalone`] makes a file of one.

mod confusion;
mod map;
mod reliability;

use std::fmt;

use plotters::prelude::*;

pub use confusion::confusion;
pub use map::{Point, map, palette};
pub use reliability::reliability;

/// A drawing could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawError(String);

impl fmt::Display for DrawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot draw: {}", self.0)
    }
}

impl std::error::Error for DrawError {}

/// Adds why.
fn failed(error: impl fmt::Display) -> DrawError {
    DrawError(error.to_string())
}

/// What is to be seen on any ground; it becomes `currentColor`.
const INK: RGBColor = RGBColor(0, 0, 0);
/// The colour of what is measured.
const MEASURED: RGBColor = RGBColor(56, 116, 203);
/// The colour of what is missing or too much.
const GAP: RGBColor = RGBColor(214, 84, 60);

/// The SVG that `paint` makes on an area of so many pixels.
fn svg(
    size: (u32, u32),
    paint: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        paint(&area)?;
        area.present().map_err(failed)?;
    }
    let (width, height) = size;
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\" ");
    let fluid = format!("<svg style=\"max-width:{width}px\" width=\"100%\" ");
    Ok(drawn
        .replace("#000000", "currentColor")
        .replacen(&fixed, &fluid, 1))
}

/// A file of its own: dark on white.
pub fn standalone(svg: &str) -> String {
    svg.replacen("style=\"", "style=\"color:#1b1b1b;background:#ffffff;", 1)
}
