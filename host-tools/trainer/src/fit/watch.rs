//! Whether the loss still is one that training comes back from.

/// Steps whose largest loss is what later ones are measured by.
const EARLY: f32 = 10.0;
/// A loss of so many times the largest early one has exploded.
const FACTOR: f32 = 10.0;
/// So many times is how an explosion begins.
const RISING: f32 = 2.0;

/// Losses seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Watch {
    /// Losses seen.
    seen: f32,
    /// The largest of the first ten.
    early: f32,
    /// The step, from 1, since which every loss was high; 0 for none.
    rising: f32,
}

impl Watch {
    pub(super) const LEN: usize = 3;

    pub(super) fn numbers(&self) -> [f32; Self::LEN] {
        [self.seen, self.early, self.rising]
    }

    pub(super) fn from_numbers(numbers: &[f32]) -> Self {
        Self {
            seen: numbers[0],
            early: numbers[1],
            rising: numbers[2],
        }
    }

    /// Whether the last loss was high, so that the state may not be a good one.
    pub(super) fn is_rising(&self) -> bool {
        self.rising > 0.0
    }

    /// Takes in the loss of `step`, from 1; where it has exploded or is no number, the step at which that began.
    pub(super) fn see(&mut self, step: usize, loss: f32) -> Option<usize> {
        let is_high = self.seen >= EARLY && loss > RISING * self.early.max(f32::MIN_POSITIVE);
        if !loss.is_finite() || is_high {
            if self.rising == 0.0 {
                self.rising = step as f32;
            }
        } else {
            self.rising = 0.0;
        }
        let began = self.rising as usize;
        if !loss.is_finite() || (is_high && loss > FACTOR * self.early) {
            return Some(began);
        }
        if self.seen < EARLY {
            self.early = self.early.max(loss);
            self.seen += 1.0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Watch;

    #[test]
    fn an_explosion_is_told_with_the_step_at_which_it_began() {
        let mut watch = Watch::default();
        for step in 1..=10 {
            assert_eq!(watch.see(step, 1.0 / step as f32), None);
        }
        assert_eq!(watch.see(11, 2.5), None);
        assert!(watch.is_rising());
        assert_eq!(watch.see(12, 0.5), None);
        assert_eq!(watch.see(13, 2.5), None);
        let mut copy = Watch::from_numbers(&watch.numbers());
        assert_eq!(copy.see(14, 11.0), Some(13));
        assert_eq!(watch.see(14, f32::NAN), Some(13));
    }

    #[test]
    fn what_is_no_number_stops_at_once() {
        assert_eq!(Watch::default().see(1, f32::INFINITY), Some(1));
    }
}
