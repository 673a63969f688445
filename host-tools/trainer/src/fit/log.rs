//! The log of a run: a row every few steps, as CSV and as a picture of the losses.

use std::path::Path;

use super::recipe::Loss;
use crate::TrainError;
use crate::curve::{Curve, write_curves};
use crate::output::write_atomically;

/// Columns of every log; those of the losses follow `loss`.
const BEFORE: [&str; 3] = ["step", "epoch", "loss"];
const BEHIND: [&str; 5] = [
    "gradient_norm",
    "logit_scale",
    "logit_bias",
    "learning_rate",
    "top1",
];

/// Rows of numbers; what was not measured is NaN, and an empty cell of the CSV.
#[derive(Clone, Debug)]
pub(super) struct Log {
    columns: Vec<&'static str>,
    /// Each as long as `columns`.
    pub(super) rows: Vec<Vec<f32>>,
}

impl Log {
    /// An empty log of the losses that have a weight.
    pub(super) fn new(loss: &Loss) -> Self {
        let losses = loss
            .weights()
            .into_iter()
            .filter(|(_, weight)| *weight > 0.0);
        let losses = losses.map(|(name, _)| name);
        Self {
            columns: BEFORE.into_iter().chain(losses).chain(BEHIND).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Adds a row of named numbers; those that have no column are left out.
    pub(super) fn push(&mut self, numbers: &[(&str, f32)]) {
        let number = |column: &&str| {
            numbers
                .iter()
                .find(|(name, _)| name == column)
                .map_or(f32::NAN, |(_, x)| *x)
        };
        self.rows.push(self.columns.iter().map(number).collect());
    }

    /// The column `name`, of the rows that have it: step and number.
    pub(super) fn column(&self, name: &str) -> Vec<(f32, f32)> {
        let place = self.columns.iter().position(|column| *column == name);
        let number = |row: &Vec<f32>| Some((row[0], row[place?]));
        self.rows
            .iter()
            .filter_map(number)
            .filter(|(_, x)| !x.is_nan())
            .collect()
    }

    /// Writes the CSV.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn write_csv(&self, path: &Path) -> Result<(), TrainError> {
        let cell = |x: &f32| {
            if x.is_nan() {
                String::new()
            } else {
                x.to_string()
            }
        };
        let line = |row: &Vec<f32>| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
        let lines: String = self.rows.iter().map(line).collect();
        let text = format!("{}\n{lines}", self.columns.join(","));
        write_atomically(path, text.as_bytes())
    }

    /// Draws the losses.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn write_svg(&self, path: &Path) -> Result<(), TrainError> {
        let losses = &self.columns[2..self.columns.len() - BEHIND.len()];
        let curve = |name: &&'static str| Curve {
            name: (*name).to_owned(),
            points: self.column(name),
        };
        write_curves(path, &losses.iter().map(curve).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_an_empty_cell() {
        let mut log = Log::new(&Loss {
            siglip: 1.0,
            ..Loss::default()
        });
        log.push(&[("step", 1.0), ("loss", 2.5), ("siglip", 2.5), ("clip", 9.0)]);
        log.push(&[("step", 2.0), ("loss", 2.0), ("top1", 0.5)]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        log.write_csv(&path).unwrap();
        log.write_svg(&folder.path().join("loss.svg")).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let expected = "step,epoch,loss,siglip,gradient_norm,logit_scale,logit_bias,learning_rate,top1\n\
                        1,,2.5,2.5,,,,,\n2,,2,,,,,,0.5\n";
        assert_eq!(text, expected);
        assert_eq!(log.column("top1"), [(2.0, 0.5)]);
    }
}
