//! The factor that the loss has while its gradients are computed in f16 (Micikevicius et al., 2018, Mixed Precision Training,
//! arXiv 1710.03740, section 3.2).
//!
//! Gradients of activations are often below 6e-8, the smallest number of f16. With a factor they are not, and the gradients
//! of weights, in f32, are divided by it again: it is a power of two, so that nothing is rounded. It is as large as the range
//! allows: a step whose gradients overflow is left out and halves it, many steps without one double it.

use crate::Precision;

/// The first factor.
const FIRST: f32 = 65536.0;
/// The largest one; what needs more is 0 in f32 too.
const LARGEST: f32 = 16_777_216.0;
/// Steps without an overflow before it grows.
const PATIENCE: usize = 2000;

/// The factor, and how long it has held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LossScale {
    factor: f32,
    /// Steps since it changed.
    steps: usize,
    /// Whether it changes at all.
    is_dynamic: bool,
}

impl LossScale {
    /// Numbers of [`Self::numbers`].
    pub(super) const LEN: usize = 2;

    /// 1 for all time, but in f16.
    pub(super) fn new(precision: Precision) -> Self {
        let is_dynamic = precision == Precision::F16;
        Self {
            factor: if is_dynamic { FIRST } else { 1.0 },
            steps: 0,
            is_dynamic,
        }
    }

    pub(super) fn factor(&self) -> f32 {
        self.factor
    }

    /// Takes note of a step, and whether its gradients were `finite`. Whether training can go on.
    pub(super) fn see(&mut self, finite: bool) -> bool {
        if !self.is_dynamic {
            return finite;
        }
        self.steps += 1;
        if !finite {
            (self.factor, self.steps) = (self.factor / 2.0, 0);
        } else if self.steps == PATIENCE {
            (self.factor, self.steps) = ((self.factor * 2.0).min(LARGEST), 0);
        }
        self.factor >= 1.0
    }

    /// What a checkpoint keeps; nothing of a factor that does not change.
    pub(super) fn numbers(&self) -> Option<[f32; Self::LEN]> {
        self.is_dynamic.then_some([self.factor, self.steps as f32])
    }

    /// Takes what [`Self::numbers`] gave.
    pub(super) fn take(&mut self, numbers: &[f32]) {
        if let &[factor, steps] = numbers {
            (self.factor, self.steps) = (factor, steps as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, LARGEST, LossScale, PATIENCE};
    use crate::Precision;

    #[test]
    fn without_f16_it_is_one_and_no_gradient_may_be_infinite() {
        for precision in [Precision::F32, Precision::Bf16] {
            let mut scale = LossScale::new(precision);
            assert!(scale.see(true) && !scale.see(false));
            assert_eq!((scale.factor(), scale.numbers()), (1.0, None));
        }
    }

    #[test]
    fn an_overflow_halves_it_and_many_steps_without_one_double_it() {
        let mut scale = LossScale::new(Precision::F16);
        assert!(scale.see(false));
        assert_eq!(scale.factor(), FIRST / 2.0);
        for _ in 1..PATIENCE {
            assert!(scale.see(true));
        }
        assert_eq!(scale.factor(), FIRST / 2.0);
        scale.see(true);
        assert_eq!(scale.factor(), FIRST);
        (0..20 * PATIENCE).for_each(|_| assert!(scale.see(true)));
        assert_eq!(scale.factor(), LARGEST);
    }

    #[test]
    fn overflows_without_end_end_training() {
        let mut scale = LossScale::new(Precision::F16);
        let went = (0..100).take_while(|_| scale.see(false)).count();
        assert_eq!(went, FIRST.log2() as usize);
    }

    #[test]
    fn a_checkpoint_keeps_factor_and_age() {
        let mut scale = LossScale::new(Precision::F16);
        for finite in [false, true, true] {
            scale.see(finite);
        }
        let mut other = LossScale::new(Precision::F16);
        other.take(&scale.numbers().unwrap());
        assert_eq!(other, scale);
    }
}
