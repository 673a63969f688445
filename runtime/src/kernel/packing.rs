//! How weights lie in a model file, and the arithmetic of their offsets.
//!
//! Integer weights are the matrix (n, k) of output channels by inputs, cut into blocks of channels. Inside a block, groups
//! of consecutive inputs: for each group, its inputs of channel 0, its inputs of channel 1, and so on. Missing channels and
//! inputs are zeros. A [`WeightLayout`] fixes both sizes, for all integer products of a file:
//!
//! - `generic`: blocks of 16 channels, the last one as wide as what is left, rounded up to 4; groups of 4 inputs. So 64
//!   bytes are what one 512-bit dot product of bytes takes, and 16 bytes what one 128-bit one takes; a scalar loop reads 4
//!   inputs of a channel at once.
//! - `aarch64`: blocks of 8 channels, groups of 8 inputs. 16 bytes are one operand of SMMLA: 8 inputs of 2 channels.
//!
//! Depthwise weights are (taps, channels) in every layout. The packer writes a layout, kernels read it in place, and
//! [`Kernels::reads`](super::Kernels::reads) says which ones a set reads; the scalar set reads all.
//!
//! Float weights: blocks of 16 output channels, in a block k rows of `width` channels, no padding.

/// How the weights of integer products lie, see the [module](self). The code of a layout in a file never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WeightLayout {
    /// What every kernel set reads.
    Generic = 0,
    /// For SMMLA.
    Aarch64 = 1,
}

impl WeightLayout {
    /// Every layout, in the order of the codes.
    pub const ALL: [Self; 2] = [Self::Generic, Self::Aarch64];

    /// The layout of a header byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&layout| layout as u8 == byte)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Bytes of the packed weights of an (n, k) matrix; `None` when that overflows.
    pub fn packed_bytes_s8(self, n: usize, k: usize) -> Option<usize> {
        match self {
            Self::Generic => packed_bytes_s8(n, k),
            Self::Aarch64 => n
                .checked_next_multiple_of(aarch64::BLOCK_CHANNELS)?
                .checked_mul(k.checked_next_multiple_of(aarch64::GROUP_INPUTS)?),
        }
    }

    /// Where weight (channel, input) lies; also where the zeros of padding lie.
    pub fn offset_s8(self, n: usize, k: usize, channel: usize, input: usize) -> usize {
        match self {
            Self::Generic => offset_s8(n, k, channel, input),
            Self::Aarch64 => aarch64::offset_s8(k, channel, input),
        }
    }

    /// Inputs of one channel that stand together.
    pub fn group_inputs(self) -> usize {
        match self {
            Self::Generic => GROUP_INPUTS,
            Self::Aarch64 => aarch64::GROUP_INPUTS,
        }
    }

    /// Channels and inputs that are stored for an (n, k) matrix, padding among them.
    pub fn stored(self, n: usize, k: usize) -> [usize; 2] {
        match self {
            Self::Generic => [n.next_multiple_of(4), k.next_multiple_of(GROUP_INPUTS)],
            Self::Aarch64 => [
                n.next_multiple_of(aarch64::BLOCK_CHANNELS),
                k.next_multiple_of(aarch64::GROUP_INPUTS),
            ],
        }
    }
}

/// Output channels of a full block, layout `generic` and floats.
pub const BLOCK_CHANNELS: usize = 16;
/// Inputs that stand together in an integer block, layout `generic`.
pub const GROUP_INPUTS: usize = 4;

/// Channels that the `generic` block beginning at `channel` stores: 16, or what is left of `n`, rounded up to 4.
pub fn block_width_s8(n: usize, channel: usize) -> usize {
    (n - channel).min(BLOCK_CHANNELS).next_multiple_of(4)
}

/// Bytes of packed integer weights of an (n, k) matrix, layout `generic`; `None` when that overflows.
pub fn packed_bytes_s8(n: usize, k: usize) -> Option<usize> {
    let k = k.checked_next_multiple_of(GROUP_INPUTS)?;
    n.checked_next_multiple_of(4)?.checked_mul(k)
}

/// Where weight (channel, input) lies, layout `generic`.
pub fn offset_s8(n: usize, k: usize, channel: usize, input: usize) -> usize {
    let block = channel / BLOCK_CHANNELS * BLOCK_CHANNELS;
    let width = block_width_s8(n, block);
    let k_padded = k.next_multiple_of(GROUP_INPUTS);
    block * k_padded
        + (input / GROUP_INPUTS * width + channel - block) * GROUP_INPUTS
        + input % GROUP_INPUTS
}

/// Where float weight (channel, input) lies, in elements.
pub fn offset_float(n: usize, k: usize, channel: usize, input: usize) -> usize {
    let block = channel / BLOCK_CHANNELS * BLOCK_CHANNELS;
    let width = (n - block).min(BLOCK_CHANNELS);
    block * k + input * width + channel - block
}

/// Sizes and offsets of the layout `aarch64`.
pub mod aarch64 {
    /// Output channels of a block.
    pub const BLOCK_CHANNELS: usize = 8;
    /// Inputs that stand together.
    pub const GROUP_INPUTS: usize = 8;

    /// Where weight (channel, input) lies.
    pub fn offset_s8(k: usize, channel: usize, input: usize) -> usize {
        let block = channel / BLOCK_CHANNELS * BLOCK_CHANNELS;
        block * k.next_multiple_of(GROUP_INPUTS)
            + input / GROUP_INPUTS * (BLOCK_CHANNELS * GROUP_INPUTS)
            + (channel - block) * GROUP_INPUTS
            + input % GROUP_INPUTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_weight_has_a_place_of_its_own() {
        for layout in WeightLayout::ALL {
            for (n, k) in [(1, 1), (3, 5), (8, 8), (17, 9), (36, 27), (40, 64)] {
                let bytes = layout.packed_bytes_s8(n, k).unwrap();
                let [channels, inputs] = layout.stored(n, k);
                assert_eq!(bytes, channels * inputs, "{}", layout.name());
                let mut taken = vec![false; bytes];
                for (channel, input) in
                    (0..channels).flat_map(|channel| (0..inputs).map(move |input| (channel, input)))
                {
                    let place = &mut taken[layout.offset_s8(n, k, channel, input)];
                    assert!(!*place, "{}: {channel}, {input} of {n}, {k}", layout.name());
                    *place = true;
                }
            }
        }
    }

    #[test]
    fn layouts_are_found_by_their_codes() {
        for (code, layout) in (0..).zip(WeightLayout::ALL) {
            assert_eq!(WeightLayout::from_u8(code), Some(layout));
        }
        assert_eq!(WeightLayout::from_u8(WeightLayout::ALL.len() as u8), None);
    }
}
