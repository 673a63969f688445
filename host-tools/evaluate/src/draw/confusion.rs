//! The confusion matrix as a picture: a row a class, a column a prediction, the darker the larger its share of the row.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{DrawError, GAP, INK, MEASURED, failed, svg};
use crate::confusion::Confusion;

/// Longer names are cut.
const LONGEST_NAME: usize = 18;
/// With more classes no numbers stand in the cells.
const MOST_WITH_NUMBERS: usize = 16;

/// Draws the rows and columns of `classes`, which have `names`; names are of all classes.
///
/// # Errors
/// Where the drawing library fails.
pub fn confusion(of: &Confusion, classes: &[usize], names: &[String]) -> Result<String, DrawError> {
    let cell = (560 / classes.len().max(1)).clamp(12, 40) as i32;
    let margin = 130;
    let side = margin + cell * classes.len() as i32 + 10;
    let size = u32::try_from(side).map_err(failed)?;
    svg((size, size), |area| {
        let font = ("sans-serif", f64::from((cell * 2 / 3).min(13)));
        let right = font
            .into_text_style(area)
            .color(&INK)
            .pos(Pos::new(HPos::Right, VPos::Center));
        let upward = font
            .into_text_style(area)
            .color(&INK)
            .transform(FontTransform::Rotate270)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let middle = font
            .into_text_style(area)
            .color(&INK)
            .pos(Pos::new(HPos::Center, VPos::Center));
        for (row, &class) in classes.iter().enumerate() {
            let top = margin + row as i32 * cell;
            let name: String = names[class].chars().take(LONGEST_NAME).collect();
            area.draw_text(&name, &right, (margin - 6, top + cell / 2))
                .map_err(failed)?;
            area.draw_text(&name, &upward, (top + cell / 2, margin - 6))
                .map_err(failed)?;
            let total = of.row(class).iter().sum::<usize>().max(1);
            for (column, &predicted) in classes.iter().enumerate() {
                let count = of.row(class)[predicted];
                let left = margin + column as i32 * cell;
                let colour = if class == predicted { MEASURED } else { GAP };
                let share = count as f64 / total as f64;
                // Few among many shall be seen as well: the square root.
                let corners = [(left, top), (left + cell - 1, top + cell - 1)];
                let fill = colour.mix(0.04 + 0.8 * share.sqrt()).filled();
                area.draw(&Rectangle::new(corners, fill)).map_err(failed)?;
                if count > 0 && classes.len() <= MOST_WITH_NUMBERS {
                    let at = (left + cell / 2, top + cell / 2);
                    area.draw_text(&count.to_string(), &middle, at)
                        .map_err(failed)?;
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_counts_stand_in_the_cells() {
        let matrix = Confusion::new(&[0, 0, 1], &[0, 1, 1], 2);
        let names = ["<cat>".to_string(), "dog".to_string()];
        let drawn = confusion(&matrix, &[0, 1], &names).expect("a drawing");
        assert!(!drawn.contains("<cat>"), "{drawn}");
        assert!(drawn.contains("dog"));
        assert_eq!(drawn.matches("<rect").count(), 4);
    }
}
