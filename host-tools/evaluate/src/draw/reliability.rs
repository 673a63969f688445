//! The reliability diagram: accuracy over confidence, bin by bin (DeGroot and Fienberg, The Statistician 32, 1983).

use plotters::prelude::*;

use super::{DrawError, GAP, INK, MEASURED, failed, svg};
use crate::calibration::{Bin, Reliability};

/// Bars of accuracy, the gap of each to its mean confidence, and the diagonal on which both agree.
///
/// # Errors
/// Where the drawing library fails.
pub fn reliability(of: &Reliability) -> Result<String, DrawError> {
    svg((440, 440), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(52)
            .build_cartesian_2d(0f64..1f64, 0f64..1f64)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("confidence")
            .y_desc("accuracy")
            .axis_style(INK)
            .bold_line_style(INK.mix(0.12))
            .light_line_style(INK.mix(0.0))
            .label_style(("sans-serif", 13, &INK))
            .draw()
            .map_err(failed)?;
        let filled: Vec<&Bin> = of.bins.iter().filter(|bin| bin.count > 0).collect();
        let bar = |bin: &&Bin| {
            Rectangle::new(
                [(bin.low, 0.0), (bin.high, bin.accuracy)],
                MEASURED.mix(0.75).filled(),
            )
        };
        let gap = |bin: &&Bin| {
            let corners = [(bin.low, bin.accuracy), (bin.high, bin.confidence)];
            Rectangle::new(corners, GAP.mix(0.45).filled())
        };
        chart.draw_series(filled.iter().map(bar)).map_err(failed)?;
        chart.draw_series(filled.iter().map(gap)).map_err(failed)?;
        let diagonal = LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.mix(0.6));
        chart.draw_series(diagonal).map_err(failed)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::{Binning, reliability as measure};

    #[test]
    fn every_bin_with_predictions_has_a_bar_and_a_gap() {
        let measured = measure(
            &[(0.2, true), (0.9, true), (0.95, false)],
            Binning::EqualWidth,
            5,
        );
        let drawn = reliability(&measured).expect("a drawing");
        let bars = drawn.matches("#3874CB").count();
        let gaps = drawn.matches("#D6543C").count();
        assert_eq!((bars, gaps), (2, 2), "{drawn}");
        assert!(drawn.contains("currentColor") && !drawn.contains("#000000"));
    }
}
