//! Splits by class: each part has its share of every class, and a seed decides which rows.

use crate::Random;

/// Two parts of the indices 0..labels.len(), each in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The larger part, as a rule: what is fitted to.
    pub fit: Vec<usize>,
    /// What is held out.
    pub held_out: Vec<usize>,
}

/// Holds out `share` of every class, rounded to the nearest, of a class with two rows or more at least one and not
/// all; a class with one row is fitted to.
pub fn stratified(labels: &[usize], share: f64, seed: u64) -> Split {
    let classes = labels.iter().max().map_or(0, |most| most + 1);
    let mut of_class = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        of_class[label].push(index);
    }
    let mut random = Random::new(seed);
    let (mut fit, mut held_out) = (Vec::new(), Vec::new());
    for mut indices in of_class {
        random.shuffle(&mut indices);
        let count = match indices.len() {
            0 | 1 => 0,
            len => ((share * len as f64).round() as usize).clamp(1, len - 1),
        };
        held_out.extend(indices.drain(..count));
        fit.extend(indices);
    }
    fit.sort_unstable();
    held_out.sort_unstable();
    Split { fit, held_out }
}

/// At most `count` of the indices 0..len, drawn by a seed, in order.
pub fn draw(len: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..len).collect();
    if count < len {
        Random::new(seed).shuffle(&mut indices);
        indices.truncate(count);
        indices.sort_unstable();
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_in_both_parts_and_no_row_in_two() {
        let labels = [0, 0, 0, 0, 1, 1, 2, 0, 1, 0];
        let split = stratified(&labels, 0.25, 3);
        let mut all = [split.fit.clone(), split.held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        let held_out = |class| {
            split
                .held_out
                .iter()
                .filter(|&&i| labels[i] == class)
                .count()
        };
        assert_eq!((held_out(0), held_out(1), held_out(2)), (2, 1, 0));
        assert_eq!(split, stratified(&labels, 0.25, 3));
        assert_ne!(split, stratified(&labels, 0.25, 4));
    }

    #[test]
    fn a_draw_of_more_than_there_is_is_all() {
        assert_eq!(draw(3, 5, 1), [0, 1, 2]);
        assert_eq!(draw(100, 10, 1).len(), 10);
    }
}
