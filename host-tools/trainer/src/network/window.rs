//! Windows that slide over pictures with channels last: depthwise convolutions, patches, and what their gradients are.
//!
//! Burn convolves channels first, by a product of matrices for each channel where one has a window of its own. Pictures
//! stay as the graph has them here, and neighbours in memory are channels, which do not meet: they fill vector registers.
//! Sums run in an order that neither the CPU nor the number of threads changes: window positions in theirs, then output
//! pixels, then pictures.

use rayon::prelude::*;

/// Channels that are summed side by side.
const LANES: usize = 16;

/// Geometry of a window over pictures `[h, w, channels]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Rows and columns, as all pairs here.
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Top, left, bottom, right.
    pub(super) padding: [usize; 4],
    pub(super) dilation: [usize; 2],
}

/// For each position along an axis: which positions of the window meet which positions of the other side, in order.
type Meetings = Vec<Vec<(usize, usize)>>;

impl Window {
    /// Rows and columns of what comes of pictures of `input` rows and columns.
    ///
    /// # Panics
    /// When the window is larger than a padded picture.
    pub(super) fn output(&self, input: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let padded = input[axis] + self.padding[axis] + self.padding[axis + 2];
            let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            (padded - reach) / self.stride[axis] + 1
        })
    }

    /// Positions of the window.
    pub(super) fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// For each output position: window position, input position; padding is left out.
    fn reads(&self, axis: usize, input: usize, output: usize) -> Meetings {
        let read = |out: usize, tap: usize| {
            let at = out * self.stride[axis] + tap * self.dilation[axis];
            let at = at.checked_sub(self.padding[axis])?;
            (at < input).then_some((tap, at))
        };
        let taps = 0..self.kernel[axis];
        (0..output)
            .map(|out| taps.clone().filter_map(|tap| read(out, tap)).collect())
            .collect()
    }
}

/// The same meetings from the other side: for each of `count` input positions, window position and output position.
fn turned(reads: &Meetings, count: usize) -> Meetings {
    let mut turned = vec![Vec::new(); count];
    for (out, read) in reads.iter().enumerate() {
        read.iter()
            .for_each(|&(tap, at)| turned[at].push((tap, out)));
    }
    turned
}

/// A window over a batch of pictures of one size.
pub(super) struct Slide {
    window: Window,
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    /// By rows and by columns.
    reads: [Meetings; 2],
}

impl Slide {
    /// # Panics
    /// As [`Window::output`].
    pub(super) fn new(window: Window, input: [usize; 2], channels: usize) -> Self {
        let output = window.output(input);
        let reads = [0, 1].map(|axis| window.reads(axis, input[axis], output[axis]));
        Self {
            window,
            input,
            output,
            channels,
            reads,
        }
    }

    /// Rows and columns of the output.
    pub(super) fn output(&self) -> [usize; 2] {
        self.output
    }

    /// Elements of an input picture.
    fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.channels
    }

    /// Elements of an output picture of as many channels.
    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.channels
    }

    /// Depthwise convolution: pictures `[batch, h, w, channels]`, weight `[window, channels]` → `[batch, oh, ow, channels]`.
    pub(super) fn depthwise(&self, pictures: &[f32], weight: &[f32]) -> Vec<f32> {
        let batch = pictures.len() / self.input_len();
        let mut found = vec![0.0; batch * self.output_len()];
        let [rows, columns] = &self.reads;
        self.weighted((pictures, self.input), weight, &mut found, (rows, columns));
        found
    }

    /// The gradient of the pictures, from that of the output.
    pub(super) fn depthwise_pictures(&self, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
        let batch = gradient.len() / self.output_len();
        let mut found = vec![0.0; batch * self.input_len()];
        let [rows, columns] = [0, 1].map(|axis| turned(&self.reads[axis], self.input[axis]));
        self.weighted(
            (gradient, self.output),
            weight,
            &mut found,
            (&rows, &columns),
        );
        found
    }

    /// What each position of `to` meets in `from` (pictures of `size` rows and columns), times the weight where they meet.
    fn weighted(
        &self,
        (from, size): (&[f32], [usize; 2]),
        weight: &[f32],
        to: &mut [f32],
        (rows, columns): (&Meetings, &Meetings),
    ) {
        let channels = self.channels;
        let picture = size[0] * size[1] * channels;
        let lines = to.par_chunks_exact_mut(columns.len() * channels);
        lines.enumerate().for_each(|(line, to)| {
            let from = &from[line / rows.len() * picture..][..picture];
            let rows = &rows[line % rows.len()];
            let mut met = Vec::with_capacity(self.window.area());
            for (to, columns) in to.chunks_exact_mut(channels).zip(columns) {
                met.clear();
                for &(row, y) in rows {
                    met.extend(columns.iter().map(|&(column, x)| {
                        let tap = row * self.window.kernel[1] + column;
                        (tap * channels, (y * size[1] + x) * channels)
                    }));
                }
                sum_of_products(to, &met, weight, from);
            }
        });
    }

    /// The gradient of the weight, `[window, channels]`.
    pub(super) fn depthwise_weight(&self, pictures: &[f32], gradient: &[f32]) -> Vec<f32> {
        let each = pictures.par_chunks_exact(self.input_len());
        let each = each.zip(gradient.par_chunks_exact(self.output_len()));
        let of_pictures: Vec<Vec<f32>> = each
            .map(|(picture, gradient)| self.weight_of_picture(picture, gradient))
            .collect();
        let mut sum = vec![0.0; self.window.area() * self.channels];
        for of_picture in of_pictures {
            sum.iter_mut().zip(of_picture).for_each(|(x, y)| *x += y);
        }
        sum
    }

    fn weight_of_picture(&self, picture: &[f32], gradient: &[f32]) -> Vec<f32> {
        let channels = self.channels;
        let [_, kernel_columns] = self.window.kernel;
        let mut found = vec![0.0; self.window.area() * channels];
        // For each column of the window, the pixels of an output row and an input row that meet there.
        let mut pairs = vec![Vec::new(); kernel_columns];
        for (out, read) in self.reads[1].iter().enumerate() {
            read.iter()
                .for_each(|&(column, at)| pairs[column].push((out * channels, at * channels)));
        }
        let [output_line, input_line] = [self.output[1], self.input[1]].map(|w| w * channels);
        let lines = gradient.chunks_exact(output_line).zip(&self.reads[0]);
        for (gradient, rows) in lines {
            for &(row, y) in rows {
                let picture = &picture[y * input_line..][..input_line];
                let taps = row * kernel_columns * channels;
                for (column, pairs) in pairs.iter().enumerate() {
                    let to = &mut found[taps + column * channels..][..channels];
                    sum_of_products(to, pairs, gradient, picture);
                }
            }
        }
        found
    }

    /// Patches: pictures `[batch, h, w, channels]` → `[batch · oh · ow, window · channels]`, zeros where there is padding.
    pub(super) fn patches(&self, pictures: &[f32]) -> Vec<f32> {
        let batch = pictures.len() / self.input_len();
        let mut found = vec![0.0; batch * self.output_len() * self.window.area()];
        let line = self.output[1] * self.channels * self.window.area();
        let lines = found.par_chunks_exact_mut(line);
        lines.enumerate().for_each(|(line, to)| {
            let picture = line / self.output[0] * self.input_len();
            let picture = &pictures[picture..][..self.input_len()];
            self.in_line(line % self.output[0], |patch, pixel| {
                to[patch..][..self.channels].copy_from_slice(&picture[pixel..][..self.channels]);
            });
        });
        found
    }

    /// The gradient of the pictures, from that of their patches.
    pub(super) fn patches_pictures(&self, gradient: &[f32]) -> Vec<f32> {
        let patches = self.output_len() * self.window.area();
        let mut found = vec![0.0; gradient.len() / patches * self.input_len()];
        let each = found.par_chunks_exact_mut(self.input_len());
        let each = each.zip(gradient.par_chunks_exact(patches));
        each.for_each(|(to, gradient)| {
            let lines = gradient.chunks_exact(patches / self.output[0]);
            for (line, gradient) in lines.enumerate() {
                self.in_line(line, |patch, pixel| {
                    let from = &gradient[patch..][..self.channels];
                    let to = &mut to[pixel..][..self.channels];
                    to.iter_mut().zip(from).for_each(|(x, y)| *x += y);
                });
            }
        });
        found
    }

    /// Calls `meet` for each position of each window of an output row: where it begins in the row's patches, and in the
    /// picture.
    fn in_line(&self, line: usize, mut meet: impl FnMut(usize, usize)) {
        let [_, kernel_columns] = self.window.kernel;
        for (column, columns) in self.reads[1].iter().enumerate() {
            for &(row, y) in &self.reads[0][line] {
                for &(tap, x) in columns {
                    let patch = column * self.window.area() + row * kernel_columns + tap;
                    let pixel = y * self.input[1] + x;
                    meet(patch * self.channels, pixel * self.channels);
                }
            }
        }
    }
}

/// Adds to each element of `to` the products of `a` and `b` as far behind the places `at` as it is behind its own begin.
fn sum_of_products(to: &mut [f32], at: &[(usize, usize)], a: &[f32], b: &[f32]) {
    let (blocks, rest) = to.as_chunks_mut::<LANES>();
    let done = blocks.len() * LANES;
    for (block, to) in blocks.iter_mut().enumerate() {
        let mut sum = *to;
        for &(a_at, b_at) in at {
            let a = &a[a_at + block * LANES..][..LANES];
            let b = &b[b_at + block * LANES..][..LANES];
            for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
        *to = sum;
    }
    for (index, to) in rest.iter_mut().enumerate() {
        for &(a_at, b_at) in at {
            *to += a[a_at + done + index] * b[b_at + done + index];
        }
    }
}
