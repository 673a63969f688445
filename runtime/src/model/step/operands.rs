//! The operands of one record: its values, its data and its parameters, each checked as far as every kind needs it.

use super::super::format::{ALIGN_BYTES, DType, MAX_INPUTS, NO_VALUE, OpRecord, WeightLayout};
use super::super::op::{FloatWeights, WindowRecord};
use super::super::op_fault::{OUTPUT, OpFault};
use super::super::{Model, ValueView, view};
use super::expect;
use crate::kernel::{WeightsF32, Window};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Longest sum of an integer product, so that 128 · 128 · k leaves room for a bias in 32 bits.
pub(super) const MAX_K: usize = 65_536;
/// Most output channels of an integer product: what is checked of each must not add up over many operators.
pub(super) const MAX_N: usize = 65_536;
/// Multipliers are 0 or in `SMALLEST_MULTIPLIER..=i32::MAX`.
pub(super) const SMALLEST_MULTIPLIER: i32 = 1 << 30;

/// The operands of one record.
pub(super) struct Operands<'m> {
    model: Model<'m>,
    op: &'m OpRecord,
    inputs: [Option<ValueView>; MAX_INPUTS],
    output: ValueView,
}

impl<'m> Operands<'m> {
    /// Checks that the slots in use are those that the kind has, and decodes their values at `tokens`.
    pub(super) fn collect(
        model: &Model<'m>,
        op: &'m OpRecord,
        tokens: usize,
        (fewest, most, most_data): (usize, usize, usize),
    ) -> Result<Self, OpFault> {
        if op.reserved.get() != 0 || op.reserved2.get() != 0 {
            return Err(OpFault::Reserved);
        }
        let fetch = |operand: u8, index: u16| -> Result<ValueView, OpFault> {
            let count = model.values.len();
            let record = model.values.get(index as usize);
            let value = record.map(view).ok_or(OpFault::NoSuchValue {
                operand,
                found: index,
                count,
            })?;
            Ok(value.live(tokens))
        };
        let mut inputs = [None; MAX_INPUTS];
        let mut ended = false;
        for ((operand, slot), input) in (0u8..).zip(&op.inputs).zip(&mut inputs) {
            if slot.get() == NO_VALUE {
                if (operand as usize) < fewest {
                    return Err(OpFault::MissingOperand { operand });
                }
                ended = true;
                continue;
            }
            if operand as usize >= most || ended {
                return Err(OpFault::ExtraInput { operand });
            }
            *input = Some(fetch(operand, slot.get())?);
        }
        if op.output.get() == NO_VALUE {
            return Err(OpFault::MissingOperand { operand: OUTPUT });
        }
        let output = fetch(OUTPUT, op.output.get())?;
        if output.constant {
            return Err(OpFault::OutputIsConstant);
        }
        for (role, data) in (0u8..).zip(&op.data).skip(most_data) {
            if data.offset.get() != 0 || data.bytes.get() != 0 {
                return Err(OpFault::ExtraData { role });
            }
        }
        Ok(Self {
            model: *model,
            op,
            inputs,
            output,
        })
    }

    /// Input `operand` of type `dtype`.
    pub(super) fn input(&self, operand: u8, dtype: DType) -> Result<ValueView, OpFault> {
        let value = self.any_input(operand)?;
        typed(value, operand, dtype)
    }

    /// Input `operand` of whatever type.
    pub(super) fn any_input(&self, operand: u8) -> Result<ValueView, OpFault> {
        self.inputs
            .get(operand as usize)
            .copied()
            .flatten()
            .ok_or(OpFault::MissingOperand { operand })
    }

    /// The inputs in use.
    pub(super) fn inputs(&self) -> impl Iterator<Item = (u8, ValueView)> + '_ {
        (0u8..)
            .zip(&self.inputs)
            .filter_map(|(operand, input)| Some((operand, (*input)?)))
    }

    /// The output of type `dtype`.
    pub(super) fn output(&self, dtype: DType) -> Result<ValueView, OpFault> {
        typed(self.output, OUTPUT, dtype)
    }

    /// The output of whatever type.
    pub(super) fn any_output(&self) -> ValueView {
        self.output
    }

    /// How the weights of integer products lie.
    pub(super) fn weight_layout(&self) -> WeightLayout {
        self.model.weight_layout()
    }

    /// Largest number of tokens.
    pub(super) fn max_tokens(&self) -> usize {
        self.model.max_tokens()
    }

    /// The parameters; what follows them must be zero.
    pub(super) fn params<T>(&self) -> Result<&'m T, OpFault>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let (params, rest) = T::ref_from_prefix(&self.op.params).map_err(|_| OpFault::Reserved)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(OpFault::Reserved);
        }
        Ok(params)
    }

    /// The kind has no parameters.
    pub(super) fn no_params(&self) -> Result<(), OpFault> {
        zeros(&self.op.params)
    }

    /// Data stretch `role` as exactly `count` elements.
    pub(super) fn data<T>(&self, role: u8, count: usize) -> Result<&'m [T], OpFault>
    where
        T: FromBytes + Immutable,
    {
        let reference = self.op.data.get(role as usize).copied().unwrap_or_default();
        let (offset, found) = (
            reference.offset.get() as usize,
            reference.bytes.get() as usize,
        );
        let expected = count.checked_mul(size_of::<T>()).ok_or(OpFault::Overflow)?;
        if found != expected {
            return Err(OpFault::DataLength {
                role,
                expected,
                found,
            });
        }
        let bounds = OpFault::DataBounds {
            role,
            offset: reference.offset.get(),
        };
        let section = self.model.header.data;
        let start = section.offset.get() as usize;
        let end = offset.checked_add(found).ok_or(bounds)?;
        let section_end = start.saturating_add(section.bytes.get() as usize);
        if !offset.is_multiple_of(ALIGN_BYTES) || offset < start || end > section_end {
            return Err(bounds);
        }
        let bytes = self.model.bytes.get(offset..end).ok_or(bounds)?;
        <[T]>::ref_from_bytes_with_elems(bytes, count).map_err(|_| bounds)
    }

    /// Data stretch `role` as `count` elements, or empty when it is absent.
    pub(super) fn optional_data<T>(&self, role: u8, count: usize) -> Result<&'m [T], OpFault>
    where
        T: FromBytes + Immutable,
    {
        let reference = self.op.data.get(role as usize).copied().unwrap_or_default();
        if reference == Default::default() {
            Ok(&[])
        } else {
            self.data(role, count)
        }
    }

    /// Data stretch `role` must be absent.
    pub(super) fn no_data(&self, role: u8) -> Result<(), OpFault> {
        let reference = self.op.data.get(role as usize).copied().unwrap_or_default();
        if reference == Default::default() {
            Ok(())
        } else {
            Err(OpFault::ExtraData { role })
        }
    }

    /// Float weights of `count` elements in stretch `role`, with `channels` scales in stretch `scales_role` when i8.
    pub(super) fn float_weights(
        &self,
        storage: u8,
        count: usize,
        channels: usize,
        (role, scales_role): (u8, u8),
    ) -> Result<WeightsF32<'m>, OpFault> {
        let fault = OpFault::Parameter {
            what: "weights",
            found: storage.into(),
            min: 0,
            max: 2,
        };
        let storage = FloatWeights::from_u8(storage).ok_or(fault)?;
        if storage != FloatWeights::I8 {
            self.no_data(scales_role)?;
        }
        Ok(match storage {
            FloatWeights::F32 => WeightsF32::F32(self.data(role, count)?),
            FloatWeights::F16 => WeightsF32::F16(self.data(role, count)?),
            FloatWeights::I8 => WeightsF32::I8 {
                data: self.data(role, count)?,
                scales: self.data(scales_role, channels)?,
            },
        })
    }

    /// Nothing here may depend on the number of tokens.
    pub(super) fn all_static(&self) -> Result<(), OpFault> {
        self.all_rows(false)
    }

    /// Each row is computed by itself: inputs and output are dynamic together, or none is.
    pub(super) fn row_wise(&self) -> Result<(), OpFault> {
        self.all_rows(self.output.dynamic)
    }

    /// Of three inputs, the first is dynamic as the output is, and the others as each other.
    pub(super) fn queries_and_keys(&self) -> Result<(), OpFault> {
        let [q, k, v] = [0, 1, 2].map(|operand| Ok(self.any_input(operand)?.dynamic));
        if q? != self.output.dynamic {
            return Err(OpFault::Dynamic { operand: OUTPUT });
        }
        if k? != v? {
            return Err(OpFault::Dynamic { operand: 2 });
        }
        Ok(())
    }

    fn all_rows(&self, dynamic: bool) -> Result<(), OpFault> {
        if self.output.dynamic != dynamic {
            return Err(OpFault::Dynamic { operand: OUTPUT });
        }
        match self.inputs().find(|(_, input)| input.dynamic != dynamic) {
            Some((operand, _)) => Err(OpFault::Dynamic { operand }),
            None => Ok(()),
        }
    }

    /// The last dimension of `value` is not the one that is dynamic.
    pub(super) fn has_columns(&self, operand: u8, value: &ValueView) -> Result<(), OpFault> {
        if value.dynamic && value.rank < 2 {
            Err(OpFault::Dynamic { operand })
        } else {
            Ok(())
        }
    }

    /// Input `operand` has the output's shape, leading ones aside, and the whole is row-wise.
    pub(super) fn element_wise(&self, operand: u8) -> Result<(), OpFault> {
        self.row_wise()?;
        let input = self.any_input(operand)?;
        expect_same_shape(operand, &input, &self.output)
    }

    /// Input `operand` has the output's shape, as [`Self::element_wise`]; or the output is dynamic and it is a constant of as many
    /// rows as a run may have, of which the first count.
    pub(super) fn added(&self, operand: u8) -> Result<(), OpFault> {
        let input = self.any_input(operand)?;
        if !(input.constant && self.output.dynamic) {
            if input.dynamic != self.output.dynamic {
                return Err(OpFault::Dynamic { operand });
            }
            return expect_same_shape(operand, &input, &self.output);
        }
        expect(operand, "rank", self.output.rank, input.rank)?;
        expect(operand, "rows", self.max_tokens(), input.shape[0])?;
        (1..4).try_for_each(|d| expect(operand, "dimension", self.output.shape[d], input.shape[d]))
    }

    /// Input `operand` has the output's scale and zero point.
    pub(super) fn same_quantisation(&self, operand: u8) -> Result<(), OpFault> {
        let input = self.any_input(operand)?;
        if input.scale == self.output.scale && input.zero_point == self.output.zero_point {
            Ok(())
        } else {
            Err(OpFault::Quantisation { operand })
        }
    }

    /// A sliding window from input 0 to the output; gives it with the channels of input and output.
    pub(super) fn window(
        &self,
        record: &WindowRecord,
        dtype: DType,
    ) -> Result<(Window, usize, usize), OpFault> {
        self.output(dtype)?;
        self.window_to_any(record, dtype)
    }

    /// As [`Self::window`], whatever the type of the output.
    pub(super) fn window_to_any(
        &self,
        record: &WindowRecord,
        dtype: DType,
    ) -> Result<(Window, usize, usize), OpFault> {
        self.all_static()?;
        let (input, output) = (self.input(0, dtype)?, self.any_output());
        expect(0, "rank", 4, input.rank)?;
        expect(OUTPUT, "rank", 4, output.rank)?;
        expect(0, "batch", 1, input.shape[0])?;
        expect(OUTPUT, "batch", 1, output.shape[0])?;
        zeros(&record.reserved)?;
        let [top, left, bottom, right] = record.padding;
        let (rows, columns) = (axis(0, record, top, bottom)?, axis(1, record, left, right)?);
        expect(
            OUTPUT,
            "height",
            rows.output(input.shape[1])?,
            output.shape[1],
        )?;
        expect(
            OUTPUT,
            "width",
            columns.output(input.shape[2])?,
            output.shape[2],
        )?;
        let window = Window {
            input: [input.shape[1], input.shape[2]],
            output: [output.shape[1], output.shape[2]],
            kernel: record.kernel.map(usize::from),
            stride: record.stride.map(usize::from),
            padding: [top.into(), left.into()],
            dilation: record.dilation.map(usize::from),
        };
        Ok((window, input.shape[3], output.shape[3]))
    }

    /// Smallest and largest float output; NaN is neither.
    pub(super) fn float_clamp(&self, min: f32, max: f32) -> Result<[f32; 2], OpFault> {
        if min <= max {
            return Ok([min, max]);
        }
        Err(OpFault::FloatParameter {
            what: "clamp",
            found: if min.is_nan() { min } else { max },
        })
    }
}

/// One direction of a sliding window.
struct Axis {
    stride: usize,
    /// From the first tap to the last one, both included.
    extent: usize,
    padding: usize,
}

impl Axis {
    /// Output size; every window begins and ends so that it holds a tap of the picture.
    fn output(&self, input: usize) -> Result<usize, OpFault> {
        let padded = input.checked_add(self.padding).ok_or(OpFault::Overflow)?;
        let room = padded.checked_sub(self.extent);
        let room = room.ok_or(OpFault::Extent {
            operand: 0,
            what: "side",
            expected: self.extent,
            found: padded,
        })?;
        Ok(room / self.stride + 1)
    }
}

/// Direction `d` of a record: 0 down, 1 across.
fn axis(d: usize, record: &WindowRecord, before: u8, after: u8) -> Result<Axis, OpFault> {
    let at_least_one = |what: &'static str, found: u8| {
        let fault = OpFault::Parameter {
            what,
            found: found.into(),
            min: 1,
            max: 255,
        };
        if found == 0 {
            Err(fault)
        } else {
            Ok(usize::from(found))
        }
    };
    let kernel = at_least_one("kernel", record.kernel[d])?;
    let stride = at_least_one("stride", record.stride[d])?;
    let extent = at_least_one("dilation", record.dilation[d])? * (kernel - 1) + 1;
    for padding in [before, after] {
        in_range("padding", padding.into(), 0, extent as i64 - 1)?;
    }
    Ok(Axis {
        stride,
        extent,
        padding: usize::from(before) + usize::from(after),
    })
}

/// A parameter between two limits, both allowed.
pub(super) fn in_range(what: &'static str, found: i64, min: i64, max: i64) -> Result<(), OpFault> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(OpFault::Parameter {
            what,
            found,
            min,
            max,
        })
    }
}

/// Smallest and largest integer output, inside `lowest..=highest`.
pub(super) fn clamp_range(
    min: i32,
    max: i32,
    lowest: i32,
    highest: i32,
) -> Result<[i32; 2], OpFault> {
    in_range("clamp_min", min.into(), lowest.into(), highest.into())?;
    in_range("clamp_max", max.into(), min.into(), highest.into())?;
    Ok([min, max])
}

/// Reserved bytes.
pub(super) fn zeros(bytes: &[u8]) -> Result<(), OpFault> {
    if bytes.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(OpFault::Reserved)
    }
}

/// Equal dimensions, where leading ones do not count.
pub(super) fn expect_same_shape(
    operand: u8,
    input: &ValueView,
    output: &ValueView,
) -> Result<(), OpFault> {
    let (found, expected) = (right_aligned(input), right_aligned(output));
    (0..4).try_for_each(|d| expect(operand, "dimension", expected[d], found[d]))
}

/// The dimensions, with ones in front instead of behind.
pub(super) fn right_aligned(value: &ValueView) -> [usize; 4] {
    let mut shape = value.shape;
    shape.rotate_left(value.rank.min(4));
    shape
}

fn typed(value: ValueView, operand: u8, expected: DType) -> Result<ValueView, OpFault> {
    if value.dtype == expected {
        Ok(value)
    } else {
        Err(OpFault::DType {
            operand,
            expected,
            found: value.dtype,
        })
    }
}
