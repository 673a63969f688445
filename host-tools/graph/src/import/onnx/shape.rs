//! Operators that move elements: reshape, transpose, cut, join, border.

use super::attributes::axis;
use super::constant::Constant;
use super::lower::Call;
use super::view::{Pattern, View, full_pattern};
use super::{Builder, Known, Refusal, fold, refuse};
use crate::Op;

/// A view without dimensions of size 1.
pub(super) fn without(view: &View, axes: &[usize]) -> View {
    let mut to = Vec::with_capacity(view.rank());
    let mut shape = Vec::new();
    for d in 0..view.rank() {
        if axes.contains(&d) {
            to.push(None);
        } else {
            to.push(Some(shape.len()));
            shape.push(view.shape[d]);
        }
    }
    view.renumbered(&to, shape)
}

/// The shape that `Flatten`, `Reshape`, `Squeeze` or `Unsqueeze` gives to one of `shape`.
pub(super) fn target(call: &Call<'_>, shape: &[usize]) -> Result<Vec<usize>, Refusal> {
    let rank = shape.len();
    match call.op {
        "Flatten" => {
            let at = call.attributes.int("axis", 1);
            let at = if at == rank as i64 {
                rank
            } else {
                axis(at, rank)?
            };
            let (rows, columns) = shape.split_at(at);
            Ok(vec![rows.iter().product(), columns.iter().product()])
        }
        "Reshape" => {
            let sizes = match call.optional_constant(1, "sizes")? {
                Some(sizes) => sizes.ints()?.to_vec(),
                None => call.attributes.ints("shape").unwrap_or_default().to_vec(),
            };
            resolved(&sizes, shape, call.attributes.int("allowzero", 0) != 0)
        }
        _ => {
            let axes = match call.optional_constant(1, "dimensions")? {
                Some(axes) => Some(axes.ints()?.to_vec()),
                None => call.attributes.ints("axes").map(<[i64]>::to_vec),
            };
            if call.op == "Squeeze" {
                squeezed(shape, axes.as_deref())
            } else {
                unsqueezed(shape, axes.as_deref().unwrap_or_default())
            }
        }
    }
}

/// 0 keeps a size, −1 is what is left.
fn resolved(sizes: &[i64], shape: &[usize], allow_zero: bool) -> Result<Vec<usize>, Refusal> {
    let wrong = || {
        refuse(
            format!("reshape of {shape:?} to {sizes:?}"),
            "check the fixed sizes of the inputs",
        )
    };
    let mut target = Vec::with_capacity(sizes.len());
    let mut open = None;
    for (d, &size) in sizes.iter().enumerate() {
        target.push(match size {
            -1 if open.is_none() => {
                open = Some(d);
                1
            }
            0 if !allow_zero => *shape.get(d).ok_or_else(wrong)?,
            size => usize::try_from(size).map_err(|_| wrong())?,
        });
    }
    let product = |sizes: &[usize]| {
        sizes
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size))
            .ok_or_else(wrong)
    };
    let (wanted, given) = (product(shape)?, product(&target)?);
    if let Some(d) = open {
        if given == 0 || wanted % given != 0 {
            return Err(wrong());
        }
        target[d] = wanted / given;
    } else if wanted != given {
        return Err(wrong());
    }
    Ok(target)
}

fn squeezed(shape: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, Refusal> {
    let axes: Vec<usize> = match axes {
        None => (0..shape.len()).filter(|&d| shape[d] == 1).collect(),
        Some(axes) => axes
            .iter()
            .map(|&value| axis(value, shape.len()))
            .collect::<Result<_, _>>()?,
    };
    if let Some(&d) = axes.iter().find(|&&d| shape[d] != 1) {
        return Err(refuse(
            format!("dimension {d} of {shape:?} is squeezed, expected size 1"),
            "check the fixed sizes of the inputs",
        ));
    }
    Ok((0..shape.len())
        .filter(|d| !axes.contains(d))
        .map(|d| shape[d])
        .collect())
}

fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>, Refusal> {
    let rank = shape.len() + axes.len();
    let axes: Vec<usize> = axes
        .iter()
        .map(|&value| axis(value, rank))
        .collect::<Result<_, _>>()?;
    let mut left = shape.iter().copied();
    let target: Vec<usize> = (0..rank)
        .map(|d| {
            if axes.contains(&d) {
                1
            } else {
                left.next().unwrap_or(1)
            }
        })
        .collect();
    if left.next().is_some() {
        return Err(refuse("a dimension is inserted twice", "check the file"));
    }
    Ok(target)
}

impl Builder<'_> {
    /// A change of the view alone.
    pub(super) fn transpose(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let x = self.view(call.name(0), call.input(0)?)?;
        let rank = x.rank();
        let permutation: Vec<usize> = match call.attributes.ints("perm") {
            Some(permutation) => permutation
                .iter()
                .map(|&value| axis(value, rank))
                .collect::<Result<_, _>>()?,
            None => (0..rank).rev().collect(),
        };
        let mut to = vec![None; rank];
        permutation
            .iter()
            .enumerate()
            .for_each(|(new, &old)| to[old] = Some(new));
        if permutation.len() != rank || to.contains(&None) {
            return Err(refuse(
                format!("permutation {permutation:?} of {rank} dimensions"),
                "check the file",
            ));
        }
        let shape = permutation.iter().map(|&d| x.shape[d]).collect();
        Ok(x.renumbered(&to, shape))
    }

    /// `count` elements of dimension `d` from `start` in steps.
    pub(super) fn cut(
        &mut self,
        x: &View,
        d: usize,
        start: usize,
        step: usize,
        count: usize,
    ) -> Result<View, Refusal> {
        if start == 0 && count == x.shape[d] {
            return Ok(x.clone());
        }
        let Some(place) = x.place(d) else {
            return Err(refuse("a cut of a dimension of size 1", "check the file"));
        };
        let mut held = self.graph.values[x.id].shape.clone();
        let (mut starts, mut steps) = (vec![0; held.len()], vec![1; held.len()]);
        (held[place], starts[place], steps[place]) = (count, start, step);
        let id = self.emit_part("cut", Op::Slice { starts, steps }, &[x.id], &held)?;
        let mut shape = x.shape.clone();
        shape[d] = count;
        Ok(View {
            id,
            pattern: x.pattern.clone(),
            shape,
        })
    }

    pub(super) fn slice(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let mut x = self.view(call.name(0), call.input(0)?)?;
        for Cut {
            d,
            start,
            step,
            count,
        } in cuts(call, &x.shape)?
        {
            let step = usize::try_from(step).map_err(|_| {
                refuse(
                    format!("a cut in steps of {step}, expected from 1"),
                    "reorder the weights instead of reversing activations",
                )
            })?;
            if count == 0 {
                return Err(refuse(
                    format!("a cut of nothing, from {start} of size {}", x.shape[d]),
                    "check the fixed sizes of the inputs",
                ));
            }
            x = self.cut(&x, d, start, step, count)?;
        }
        Ok(x)
    }

    pub(super) fn split(&mut self, call: &Call<'_>) -> Result<Vec<Known>, Refusal> {
        let x = self.view(call.name(0), call.input(0)?)?;
        let d = axis(call.attributes.int("axis", 0), x.rank())?;
        let sizes = match call.optional_constant(1, "sizes")? {
            Some(sizes) => fold::sizes(sizes)?,
            None => match call.attributes.ints("split") {
                Some(_) => call.attributes.sizes("split", call.output_count, 0)?,
                None => {
                    let size = x.shape[d].div_ceil(call.output_count.max(1));
                    (0..call.output_count)
                        .map(|part| x.shape[d].saturating_sub(part * size).min(size))
                        .collect()
                }
            },
        };
        if sizes.iter().sum::<usize>() != x.shape[d] {
            return Err(refuse(
                format!("parts {sizes:?} of size {}", x.shape[d]),
                "check the fixed sizes of the inputs",
            ));
        }
        let mut start = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            parts.push(match size {
                0 => {
                    let mut shape = x.shape.clone();
                    shape[d] = 0;
                    Known::Constant(Constant::float(&shape, Vec::new()))
                }
                _ => Known::Computed(self.cut(&x, d, start, 1, size)?),
            });
            start += size;
        }
        Ok(parts)
    }

    pub(super) fn concat(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let first = call.inputs.iter().flatten().find_map(|known| match known {
            Known::Computed(view) => Some(view.clone()),
            _ => None,
        });
        let rank = call.input(0)?.shape().len();
        let d = axis(call.attributes.int("axis", 1), rank)?;
        let mut shape = call.input(0)?.shape().to_vec();
        shape[d] = 0;
        for known in call.inputs.iter().flatten() {
            let own = known.shape();
            let fits = own.len() == rank && (0..rank).all(|o| o == d || own[o] == shape[o]);
            if !fits {
                return Err(refuse(
                    format!("{own:?} beside {:?}", call.input(0)?.shape()),
                    "check the fixed sizes of the inputs",
                ));
            }
            shape[d] += own[d];
        }
        // As the first computed value lies, when that has every dimension that the result needs.
        let pattern: Pattern = match first {
            Some(view) if (0..rank).all(|o| shape[o] == 1 || view.place(o).is_some()) => {
                view.pattern
            }
            _ => full_pattern(rank),
        };
        let mut inputs = Vec::with_capacity(call.inputs.len());
        for (index, known) in call.inputs.iter().enumerate() {
            let known = known
                .as_ref()
                .ok_or_else(|| refuse("a part is missing", "check the file"))?;
            if known.shape()[d] == 0 {
                continue;
            }
            inputs.push(match known {
                Known::Constant(constant) => {
                    self.constant_as(call.name(index), constant, &pattern, rank)
                }
                other => {
                    let view = self.view(call.name(index), other)?;
                    self.arrange(&view, &pattern)?
                }
            });
        }
        if let &[id] = inputs.as_slice() {
            return Ok(View { id, pattern, shape });
        }
        let place = pattern.iter().position(|&o| o == Some(d)).unwrap_or(0);
        let id = self.emit(Op::Concat { axis: place }, &inputs, &[])?;
        Ok(View { id, pattern, shape })
    }

    /// With one value all around; sizes are attributes before opset 11 and inputs since.
    pub(super) fn pad(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let mut x = self.view(call.name(0), call.input(0)?)?;
        let mode = call.attributes.text("mode", "constant");
        let (pads, value) = if call.opset < 11 {
            let pads = call.attributes.ints("pads").unwrap_or_default().to_vec();
            (pads, call.attributes.float("value", 0.0))
        } else {
            let value = call.optional_constant(2, "value")?;
            let value = value.and_then(|value| value.scalar()).unwrap_or(0.0);
            (call.constant(1, "sizes")?.ints()?.to_vec(), value)
        };
        if pads.iter().all(|&size| size == 0) {
            return Ok(x);
        }
        if mode != "constant" {
            return Err(refuse(
                format!("padding by {mode}"),
                "only padding with one value is supported",
            ));
        }
        let axes: Vec<usize> = match call.optional_constant(3, "dimensions")? {
            Some(axes) => axes
                .ints()?
                .iter()
                .map(|&value| axis(value, x.rank()))
                .collect::<Result<_, _>>()?,
            None => (0..x.rank()).collect(),
        };
        let sizes: Option<Vec<usize>> = pads.iter().map(|&p| usize::try_from(p).ok()).collect();
        let sizes = sizes
            .filter(|sizes| sizes.len() == 2 * axes.len())
            .ok_or_else(|| {
                refuse(
                    format!(
                        "padding {pads:?}, expected numbers from 0 for {} dimensions",
                        axes.len()
                    ),
                    "cut with Slice instead of padding by less than nothing",
                )
            })?;
        if (0..axes.len())
            .any(|i| x.place(axes[i]).is_none() && sizes[i] + sizes[i + axes.len()] > 0)
        {
            x = self.arranged(&x, full_pattern(x.rank()))?;
        }
        let held = self.graph.values[x.id].shape.len();
        let (mut before, mut after) = (vec![0; held], vec![0; held]);
        let mut shape = x.shape.clone();
        for (index, &d) in axes.iter().enumerate() {
            let (front, back) = (sizes[index], sizes[index + axes.len()]);
            if let Some(place) = x.place(d) {
                (before[place], after[place]) = (front, back);
                shape[d] = shape[d].saturating_add(front).saturating_add(back);
            }
        }
        let op = Op::Pad {
            before,
            after,
            value,
        };
        let id = self.emit(op, &[x.id], &[])?;
        Ok(View {
            id,
            pattern: x.pattern,
            shape,
        })
    }
}

/// What a `Slice` takes of one dimension.
pub(super) struct Cut {
    pub(super) d: usize,
    pub(super) start: usize,
    pub(super) step: i64,
    pub(super) count: usize,
}

/// Bounds are attributes before opset 10 and inputs since.
pub(super) fn cuts(call: &Call<'_>, shape: &[usize]) -> Result<Vec<Cut>, Refusal> {
    let list = |index: usize, name: &str| -> Result<Option<Vec<i64>>, Refusal> {
        if call.opset < 10 {
            return Ok(call.attributes.ints(name).map(<[i64]>::to_vec));
        }
        call.optional_constant(index, "bounds")?
            .map(|bounds| bounds.ints().map(<[i64]>::to_vec))
            .transpose()
    };
    let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
    let (starts, ends) = (starts.unwrap_or_default(), ends.unwrap_or_default());
    let count = starts.len();
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..count as i64).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; count]);
    if [ends.len(), axes.len(), steps.len()] != [count; 3] {
        return Err(refuse("bounds of different numbers", "check the file"));
    }
    (0..count)
        .map(|index| {
            let d = axis(axes[index], shape.len())?;
            let (start, step, count) = bounds(starts[index], ends[index], steps[index], shape[d])?;
            Ok(Cut {
                d,
                start,
                step,
                count,
            })
        })
        .collect()
}

/// First index, step and count of a cut; a negative step walks back from the first index.
fn bounds(start: i64, end: i64, step: i64, size: usize) -> Result<(usize, i64, usize), Refusal> {
    let size = size as i64;
    if step == 0 || step == i64::MIN {
        return Err(refuse(
            format!("a cut in steps of {step}"),
            "check the file",
        ));
    }
    // Where a walk may begin and end: one before the first element when it goes back.
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let place = |value: i64| {
        let own = if value < 0 {
            value.saturating_add(size)
        } else {
            value
        };
        own.clamp(low, high)
    };
    let (start, end) = (place(start), place(end));
    let reach = if step > 0 { end - start } else { start - end };
    let count = reach.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    Ok((start.max(0) as usize, step, count as usize))
}
