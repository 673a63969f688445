//! Which pixel a tap of a sliding window reads.

use super::Window;

impl Window {
    /// Whether the window is one tap that visits every pixel.
    #[cfg(any(
        target_arch = "x86_64",
        cortex_m_dsp,
        all(target_arch = "aarch64", target_feature = "neon")
    ))]
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && self.input == self.output
    }

    /// Index of the input pixel that `tap` (down, across) of the output pixel at `position` reads; `None` outside.
    pub(crate) fn pixel(&self, position: [usize; 2], tap: [usize; 2]) -> Option<usize> {
        let y = self.coordinate(0, position[0], tap[0])?;
        let x = self.coordinate(1, position[1], tap[1])?;
        Some(y * self.input[1] + x)
    }

    /// Input coordinate along `axis` (0 down, 1 across) that `tap` of the output at `position` reads; `None` outside.
    pub(crate) fn coordinate(&self, axis: usize, position: usize, tap: usize) -> Option<usize> {
        let coordinate = position * self.stride[axis] + tap * self.dilation[axis];
        coordinate
            .checked_sub(self.padding[axis])
            .filter(|&coordinate| coordinate < self.input[axis])
    }
}
