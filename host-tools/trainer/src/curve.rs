//! The log of a run: one row every few steps, as CSV and as a picture of the losses (SVG).

use crate::output::write_atomically;
use crate::{TrainError, recipe::Loss};
use plotters::prelude::*;
use std::fmt::Write as _;
use std::path::Path;

/// One row of the log. A loss whose weight is 0 is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// The step, counted from 1.
    pub(crate) step: usize,
    /// The weighted sum of the losses.
    pub(crate) loss: f32,
    /// [`crate::loss::clip_loss`], unweighted.
    pub(crate) clip: f32,
    /// The loss of pictures without labels, unweighted.
    pub(crate) pictures: f32,
    /// [`crate::loss::group_loss`], unweighted.
    pub(crate) groups: f32,
    /// The loss of related groups, unweighted.
    pub(crate) related: f32,
    /// The logit scale.
    pub(crate) logit_scale: f32,
    /// The learning rate.
    pub(crate) learning_rate: f32,
}

impl Row {
    pub(crate) const COLUMNS: usize = 8;
    const HEADER: &str = "step,loss,clip,pictures,groups,related,logit_scale,learning_rate";

    /// All columns; a step is exact in f32 up to 2²⁴.
    pub(crate) fn numbers(&self) -> [f32; Self::COLUMNS] {
        let Self {
            step,
            loss,
            clip,
            pictures,
            groups,
            related,
            logit_scale,
            learning_rate,
        } = *self;
        [
            step as f32,
            loss,
            clip,
            pictures,
            groups,
            related,
            logit_scale,
            learning_rate,
        ]
    }

    pub(crate) fn from_numbers(numbers: &[f32]) -> Self {
        Self {
            step: numbers[0] as usize,
            loss: numbers[1],
            clip: numbers[2],
            pictures: numbers[3],
            groups: numbers[4],
            related: numbers[5],
            logit_scale: numbers[6],
            learning_rate: numbers[7],
        }
    }
}

/// Writes the log to `path` as CSV.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write_csv(path: &Path, rows: &[Row]) -> Result<(), TrainError> {
    let mut text = format!("{}\n", Row::HEADER);
    for row in rows {
        let [_, numbers @ ..] = row.numbers();
        let cells: Vec<String> = numbers.iter().map(f32::to_string).collect();
        writeln!(text, "{},{}", row.step, cells.join(",")).expect("a string takes all");
    }
    write_atomically(path, text.as_bytes())
}

/// Draws the losses that have a weight over the steps, to `path` as SVG.
///
/// # Errors
/// When there is nothing to draw on the disk.
pub(crate) fn write_svg(path: &Path, rows: &[Row], weights: &Loss) -> Result<(), TrainError> {
    let lines: [Line; 5] = [
        ("sum", 1.0, |row| row.loss),
        ("clip", weights.clip, |row| row.clip),
        ("pictures", weights.pictures, |row| row.pictures),
        ("groups", weights.groups, |row| row.groups),
        ("related", weights.related, |row| row.related),
    ];
    let drawn = lines.into_iter().filter(|(_, weight, _)| *weight > 0.0);
    let curves: Vec<Curve> = drawn
        .map(|(name, _, value)| Curve {
            name: name.to_owned(),
            points: rows
                .iter()
                .map(|row| (row.step as f32, value(row)))
                .collect(),
        })
        .collect();
    write_curves(path, &curves)
}

/// A line of the picture: its name, the weight of its loss and its value.
type Line = (&'static str, f32, fn(&Row) -> f32);

/// What is drawn over the steps.
pub(crate) struct Curve {
    /// For the legend.
    pub(crate) name: String,
    /// Step and value.
    pub(crate) points: Vec<(f32, f32)>,
}

/// Colours of curves, in turn.
const COLOURS: [RGBColor; 8] = [
    BLACK,
    BLUE,
    RED,
    GREEN,
    MAGENTA,
    CYAN,
    RGBColor(200, 120, 0),
    RGBColor(120, 120, 120),
];

/// Draws `curves` to `path` as SVG; the first one says how high the picture is.
///
/// # Errors
/// When there is nothing to draw on the disk.
pub(crate) fn write_curves(path: &Path, curves: &[Curve]) -> Result<(), TrainError> {
    let mut svg = String::new();
    draw(&mut svg, curves).map_err(|error| TrainError::Curve {
        path: path.to_path_buf(),
        message: error.to_string(),
    })?;
    write_atomically(path, svg.as_bytes())
}

fn draw(svg: &mut String, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let first = curves.first().map_or(&[][..], |curve| &curve.points);
    let last = first.last().map_or(1.0, |(step, _)| step.max(1.0));
    let top = first.iter().map(|(_, y)| *y).fold(1e-3f32, f32::max) * 1.05;
    let root = SVGBackend::with_string(svg, (900, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0f32..last, 0f32..top)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss")
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.into_iter().cycle()) {
        let points = curve.points.iter().copied();
        chart
            .draw_series(LineSeries::new(points, colour))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Row, write_csv, write_svg};
    use crate::recipe::Loss;

    fn rows() -> Vec<Row> {
        (1..=3)
            .map(|step| Row {
                step,
                loss: 4.0 / step as f32,
                clip: 1.0,
                ..Row::default()
            })
            .collect()
    }

    #[test]
    fn the_log_has_a_header_and_a_line_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        write_csv(&path, &rows()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[2], "2,2,1,0,0,0,0,0");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
    }

    #[test]
    fn rows_survive_being_numbers() {
        let row = rows()[1];
        assert_eq!(Row::from_numbers(&row.numbers()), row);
    }

    #[test]
    fn the_curve_is_drawn_even_of_one_row() {
        let folder = tempfile::tempdir().unwrap();
        for count in [1, 3] {
            let path = folder.path().join("loss.svg");
            write_svg(&path, &rows()[..count], &Loss::default()).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(
                svg.starts_with("<svg") && svg.contains("clip") && !svg.contains("related"),
                "{count} rows"
            );
        }
    }
}
