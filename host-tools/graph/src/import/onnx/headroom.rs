//! Room for a layer's sums in 32 bits.
//!
//! Where the weights of a channel are tiny, a file may have a bias that fills 32 bits alone, so that adding products
//! to it could overflow. Such a channel gets steps of twice the size until they fit: beside its bias, the half of a
//! step by which its weights then move is nothing.

/// Integers of a layer: weights (channels, products), a scale of weights for each channel, biases in units of the sums.
pub(super) struct Layer {
    pub(super) weights: Vec<i8>,
    pub(super) scales: Vec<f32>,
    pub(super) biases: Vec<i32>,
}

/// Largest magnitude of a weight or an input, and of an input's zero point.
const LARGEST: i64 = 128;

impl Layer {
    /// Doubles the steps of channels whose sums could overflow; whether there was one.
    pub(super) fn make_room(&mut self) -> bool {
        let channels = self.biases.len();
        if channels == 0 || !self.weights.len().is_multiple_of(channels) {
            return false;
        }
        let products = self.weights.len() / channels;
        let sums = i64::try_from(products)
            .unwrap_or(i64::MAX)
            .saturating_mul(2 * LARGEST * LARGEST);
        let limit = i64::from(i32::MAX).saturating_sub(sums);
        let narrow = |bias: &i32| i64::from(*bias).abs() > limit;
        if limit <= 0 || !self.biases.iter().any(narrow) {
            return false;
        }
        if self.scales.len() == 1 {
            self.scales = vec![self.scales[0]; channels];
        }
        for channel in 0..channels {
            while narrow(&self.biases[channel]) {
                self.scales[channel] *= 2.0;
                self.biases[channel] /= 2;
                for weight in &mut self.weights[channel * products..][..products] {
                    *weight /= 2;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Layer;

    #[test]
    fn a_bias_that_fills_32_bits_gets_room_and_the_others_stay() {
        let mut layer = Layer {
            weights: vec![100, -50, 7, -128],
            scales: vec![0.5],
            biases: vec![i32::MIN, 1000],
        };
        assert!(layer.make_room());
        assert_eq!(layer.weights, [50, -25, 7, -128]);
        assert_eq!(layer.scales, [1.0, 0.5]);
        assert_eq!(layer.biases, [i32::MIN / 2, 1000]);
        assert!(!layer.make_room());
    }
}
