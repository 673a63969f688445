//! How weights lie in a model file, and the arithmetic of their offsets.
//!
//! Integer weights, layout `generic`: the matrix (n, k) of output channels by inputs is cut into blocks of 16 channels; the
//! last block is as wide as what is left, rounded up to 4. Inside a block, groups of 4 consecutive inputs: for each group,
//! 4 bytes of channel 0, 4 bytes of channel 1, and so on. Missing channels and inputs are zeros. So 64 bytes are what one
//! 512-bit dot product of bytes takes, and 16 bytes what one 128-bit one takes; a scalar loop reads 4 inputs of a channel
//! at once. The packer writes it, kernels read it in place.
//!
//! Float weights: blocks of 16 output channels, in a block k rows of `width` channels, no padding.

/// Output channels of a full block.
pub const BLOCK_CHANNELS: usize = 16;
/// Inputs that stand together in an integer block.
pub const GROUP_INPUTS: usize = 4;

/// Channels that the block beginning at `channel` stores: 16, or what is left of `n`, rounded up to 4.
pub fn block_width_s8(n: usize, channel: usize) -> usize {
    (n - channel).min(BLOCK_CHANNELS).next_multiple_of(4)
}

/// Bytes of packed integer weights of an (n, k) matrix; `None` when that overflows.
pub fn packed_bytes_s8(n: usize, k: usize) -> Option<usize> {
    let k = k.checked_next_multiple_of(GROUP_INPUTS)?;
    n.checked_next_multiple_of(4)?.checked_mul(k)
}

/// Where weight (channel, input) lies.
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
