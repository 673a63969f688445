//! The confusion matrix: how often pictures of one class are named another.

/// Counts by class and by prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    counts: Vec<usize>, // (classes, classes): row the class, column the prediction
    classes: usize,
}

/// Pictures of one class that were named another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// What they are.
    pub class: usize,
    /// What they were called.
    pub predicted: usize,
    /// How many.
    pub count: usize,
}

impl Confusion {
    /// Counts pairs of class and prediction.
    ///
    /// # Panics
    /// Where the two differ in length or hold a number that is not below `classes`.
    pub fn new(labels: &[usize], predictions: &[usize], classes: usize) -> Self {
        assert_eq!(
            labels.len(),
            predictions.len(),
            "a prediction for each label"
        );
        let mut counts = vec![0; classes * classes];
        for (&label, &prediction) in labels.iter().zip(predictions) {
            assert!(label < classes && prediction < classes, "classes in range");
            counts[label * classes + prediction] += 1;
        }
        Self { counts, classes }
    }

    /// How many classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The predictions of a class: (classes,).
    pub fn row(&self, class: usize) -> &[usize] {
        &self.counts[class * self.classes..][..self.classes]
    }

    /// Pictures that were named right.
    pub fn right(&self) -> usize {
        (0..self.classes).map(|class| self.row(class)[class]).sum()
    }

    /// The mean of the classes' own shares of right names, over classes that have pictures; 0 where none has. Every
    /// class counts alike, however many pictures it has.
    pub fn mean_per_class(&self) -> f64 {
        let shares: Vec<f64> = (0..self.classes)
            .map(|class| {
                (
                    self.row(class)[class],
                    self.row(class).iter().sum::<usize>(),
                )
            })
            .filter(|(_, count)| *count > 0)
            .map(|(right, count)| right as f64 / count as f64)
            .collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    }

    /// What a class is most often mistaken for; `None` where it never is.
    pub fn most_confused(&self, class: usize) -> Option<Confused> {
        self.of_class(class)
            .max_by_key(|confused| (confused.count, std::cmp::Reverse(confused.predicted)))
    }

    /// All confusions, the most frequent first; equal ones by class.
    pub fn worst(&self) -> Vec<Confused> {
        let mut all: Vec<Confused> = (0..self.classes)
            .flat_map(|class| self.of_class(class))
            .collect();
        all.sort_by_key(|confused| std::cmp::Reverse(confused.count));
        all
    }

    /// The classes with the most wrong names, given and taken, at most `count` of them, in their own order.
    pub fn hardest(&self, count: usize) -> Vec<usize> {
        let mut errors = vec![0; self.classes];
        for confused in self.worst() {
            errors[confused.class] += confused.count;
            errors[confused.predicted] += confused.count;
        }
        let mut classes: Vec<usize> = (0..self.classes).collect();
        classes.sort_by_key(|&class| std::cmp::Reverse(errors[class]));
        classes.truncate(count);
        classes.sort_unstable();
        classes
    }

    fn of_class(&self, class: usize) -> impl Iterator<Item = Confused> {
        let row = self.row(class).iter().enumerate();
        row.filter(move |(predicted, count)| *predicted != class && **count > 0)
            .map(move |(predicted, &count)| Confused {
                class,
                predicted,
                count,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_confusion_comes_first() {
        let labels = [0, 0, 0, 1, 1, 1, 2, 2];
        let predictions = [0, 1, 1, 1, 1, 0, 2, 0];
        let confusion = Confusion::new(&labels, &predictions, 3);
        assert_eq!(confusion.row(0), [1, 2, 0]);
        assert_eq!(confusion.right(), 4);
        let worst = confusion.worst();
        assert_eq!(
            (worst[0].class, worst[0].predicted, worst[0].count),
            (0, 1, 2)
        );
        assert_eq!(worst.len(), 3);
        assert_eq!(confusion.most_confused(2).map(|c| c.predicted), Some(0));
        assert_eq!(confusion.hardest(2), [0, 1]);
        assert_eq!(Confusion::new(&[1], &[1], 2).most_confused(1), None);
    }

    #[test]
    fn classes_count_alike_however_many_pictures_they_have() {
        let confusion = Confusion::new(&[0, 0, 0, 0, 2], &[0, 0, 0, 0, 1], 3);
        assert_eq!((confusion.right(), confusion.mean_per_class()), (4, 0.5));
        assert_eq!(Confusion::new(&[], &[], 2).mean_per_class(), 0.0);
    }
}
