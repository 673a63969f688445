//! Nodes whose inputs are all known: computed at import.
//!
//! Exporters compute shapes, positions and masks with nodes; here they become constants. What is not handled here falls
//! through to the graph, whose own constant folding has the operators on floats.

use std::path::Path;

use tract_onnx::pb::tensor_proto::DataType;

use super::attributes::axis;
use super::constant::{
    Constant, Elements, Walk, broadcast_shape, broadcast_strides, checked_len, strides,
};
use super::lower::Call;
use super::{Known, Refusal, refuse, resize, tensor};

/// Operators that exist at import only.
pub(super) const ONLY_FOLDED: &[&str] = &[
    "And",
    "Ceil",
    "Equal",
    "Floor",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Mod",
    "Not",
    "Or",
    "Range",
    "ReduceMin",
    "ReduceProd",
    "Round",
    "Tile",
];

pub(super) fn only_folded(op: &str) -> bool {
    ONLY_FOLDED.contains(&op)
}

/// `Mod` with the sign of the dividend; without it the result has that of the divisor.
const TRUNCATED_MOD: &str = "fmod";

/// The outputs, or `None` when the node is to become one of the graph.
pub(super) fn fold(path: &Path, call: &Call<'_>) -> Result<Option<Vec<Constant>>, Refusal> {
    if call.op == "Constant" {
        return constant_node(path, call).map(|constant| Some(vec![constant]));
    }
    let inputs: Option<Vec<Option<&Constant>>> = call
        .inputs
        .iter()
        .map(|input| match input {
            None => Some(None),
            Some(known) => known.constant().map(Some),
        })
        .collect();
    let Some(inputs) = inputs else {
        if only_folded(call.op) {
            return Err(refuse(
                "it is computed while the network runs, and is supported on constants and shapes alone",
                "export the model with fixed sizes and no data-dependent steps",
            ));
        }
        return Ok(None);
    };
    let Some(Some(x)) = inputs.first().copied() else {
        return Ok(None);
    };
    let y = inputs.get(1).copied().flatten();
    let one = |constant: Constant| Ok(Some(vec![constant]));
    match call.op {
        "Shape" => one(shape_of(call)?),
        "Cast" => one(cast(x, call.attributes.int("to", 1))?),
        "Gather" => one(gather(
            x,
            call.constant(1, "indices")?,
            axis(call.attributes.int("axis", 0), x.shape.len())?,
        )?),
        "GatherND" => one(gather_nd(call, x, call.constant(1, "indices")?)?),
        "Where" => one(select(
            x,
            call.constant(1, "choices")?,
            call.constant(2, "choices")?,
        )?),
        "Range" => one(range(
            x,
            call.constant(1, "limit")?,
            call.constant(2, "step")?,
        )?),
        "Expand" => {
            let wanted = sizes(call.constant(1, "sizes")?)?;
            let shape = broadcast_shape(&x.shape, &wanted);
            let shape = shape.ok_or_else(|| misfit(&[&x.shape, &wanted]))?;
            checked_len(&shape)?;
            one(x.broadcast(&shape))
        }
        "ConstantOfShape" => {
            let shape = sizes(x)?;
            let len = checked_len(&shape)?;
            let value = match call.attributes.find("value").and_then(|a| a.t.as_ref()) {
                None => Constant::float(&[1], vec![0.0]),
                Some(value) => {
                    tensor::constant(path, value).map_err(|what| refuse(what, "check the file"))?
                }
            };
            if value.len() != 1 {
                return Err(refuse(
                    format!("a value of shape {:?}, expected one element", value.shape),
                    "check the file with onnx.checker",
                ));
            }
            one(value.picked(&shape, std::iter::repeat_n(0, len)))
        }
        "Tile" => one(tile(x, &sizes(call.constant(1, "repeats")?)?)?),
        "ReduceProd" | "ReduceMin" | "ReduceMax" | "ReduceSum" | "ReduceMean" => {
            one(reduce(call, x)?)
        }
        "Concat" => one(concat(call, &inputs)?),
        "Slice" => one(slice(call, x)?),
        "Transpose" => {
            let reversed = || (0..x.shape.len()).rev().collect();
            let permutation = call.attributes.ints("perm").map_or_else(
                || Ok(reversed()),
                |perm| perm.iter().map(|&d| axis(d, x.shape.len())).collect(),
            )?;
            one(transpose(x, permutation)?)
        }
        "Resize" => one(resize::resize(call, x)?),
        "Clip" if call.opset >= 11 => one(clip(call, x)?),
        "Not" | "Floor" | "Ceil" | "Round" | "Neg" | "Sqrt" | "Abs" | "Exp" | "Reciprocal"
        | "IsNaN" => Ok(unary(call.op, x).map(|constant| vec![constant])),
        op => match y {
            Some(y) if inputs.len() == 2 => {
                let truncated = op == "Mod" && call.attributes.int("fmod", 0) != 0;
                let op = if truncated { TRUNCATED_MOD } else { op };
                Ok(binary(op, x, y)?.map(|constant| vec![constant]))
            }
            _ => Ok(None),
        },
    }
}

fn misfit(shapes: &[&[usize]]) -> Refusal {
    refuse(
        format!("shapes {shapes:?}, which do not fit"),
        "check the file with onnx.checker",
    )
}

/// Sizes from a list of integers.
pub(super) fn sizes(constant: &Constant) -> Result<Vec<usize>, Refusal> {
    let sizes: Option<Vec<usize>> = constant
        .ints()?
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect();
    sizes.ok_or_else(|| refuse("a negative size", "check the fixed sizes of the inputs"))
}

fn constant_node(path: &Path, call: &Call<'_>) -> Result<Constant, Refusal> {
    let attributes = call.attributes;
    let find = |name: &str| attributes.find(name);
    if let Some(value) = find("value").and_then(|attribute| attribute.t.as_ref()) {
        return tensor::constant(path, value).map_err(|what| refuse(what, "check the file"));
    }
    if let Some(value) = find("value_int") {
        return Ok(Constant::int(&[], vec![value.i]));
    }
    if let Some(value) = find("value_float") {
        return Ok(Constant::float(&[], vec![value.f]));
    }
    if let Some(value) = find("value_ints") {
        return Ok(Constant::int(&[value.ints.len()], value.ints.clone()));
    }
    if let Some(value) = find("value_floats") {
        return Ok(Constant::float(&[value.floats.len()], value.floats.clone()));
    }
    Err(refuse(
        "a constant that is text or sparse",
        "use a dense tensor",
    ))
}

/// The shape of its input, or a part of it.
pub(super) fn shape_of(call: &Call<'_>) -> Result<Constant, Refusal> {
    let shape = call.input(0)?.shape();
    let rank = shape.len() as i64;
    let place = |value: i64| (if value < 0 { value + rank } else { value }).clamp(0, rank) as usize;
    let start = place(call.attributes.int("start", 0));
    let end = place(call.attributes.int("end", rank)).max(start);
    Ok(Constant::sizes(&shape[start..end]))
}

/// To a type of the file: floats are f32 whatever their width, integers wrap to theirs, booleans are 0 and 1.
fn cast(x: &Constant, to: i64) -> Result<Constant, Refusal> {
    let kind = i32::try_from(to)
        .ok()
        .and_then(|to| DataType::try_from(to).ok());
    let of = |convert: fn(i64) -> i64| {
        let ints = match &x.elements {
            // Towards zero.
            Elements::Float(data) => data.iter().map(|&value| convert(value as i64)).collect(),
            Elements::Int(data) => data.iter().map(|&value| convert(value)).collect(),
        };
        Ok(Constant::int(&x.shape, ints))
    };
    match kind {
        Some(DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double) => {
            Ok(Constant {
                shape: x.shape.clone(),
                elements: Elements::Float(x.to_floats()),
            })
        }
        Some(DataType::Bool) => {
            let data = x.to_floats();
            let ints = data.iter().map(|&value| i64::from(value != 0.0)).collect();
            Ok(Constant::int(&x.shape, ints))
        }
        Some(DataType::Int64 | DataType::Uint64) => of(|value| value),
        Some(DataType::Int32) => of(|value| (value as i32).into()),
        Some(DataType::Uint32) => of(|value| (value as u32).into()),
        Some(DataType::Int16) => of(|value| (value as i16).into()),
        Some(DataType::Uint16) => of(|value| (value as u16).into()),
        Some(DataType::Int8) => of(|value| (value as i8).into()),
        Some(DataType::Uint8) => of(|value| (value as u8).into()),
        _ => Err(type_refusal(to)),
    }
}

/// Of a cast to a type that no value has here.
pub(super) fn type_refusal(to: i64) -> Refusal {
    let name = i32::try_from(to)
        .ok()
        .and_then(|to| DataType::try_from(to).ok())
        .map_or("not defined", |kind| kind.as_str_name());
    refuse(
        format!(
            "a cast to type {to} ({name}), expected floats of 16 bits and more, integers or booleans"
        ),
        "export the model in floats; quantising is done here",
    )
}

/// Rows along a dimension.
pub(super) fn gather(x: &Constant, indices: &Constant, axis: usize) -> Result<Constant, Refusal> {
    let size = x.shape[axis];
    let rows: Vec<usize> = indices
        .ints()?
        .iter()
        .map(|&index| super::attributes::axis(index, size))
        .collect::<Result<_, _>>()?;
    let (before, after) = (&x.shape[..axis], &x.shape[axis + 1..]);
    let shape = [before, &indices.shape, after].concat();
    checked_len(&shape)?;
    let inner: usize = after.iter().product();
    let outer: usize = before.iter().product();
    let from = (0..outer).flat_map(|o| {
        rows.iter()
            .flat_map(move |&row| (0..inner).map(move |i| (o * size + row) * inner + i))
    });
    Ok(x.picked(&shape, from))
}

fn gather_nd(call: &Call<'_>, x: &Constant, indices: &Constant) -> Result<Constant, Refusal> {
    let depth = indices.shape.last().copied().unwrap_or(0);
    let batch = call.attributes.int("batch_dims", 0);
    if batch != 0 || depth == 0 || depth > x.shape.len() {
        return Err(refuse(
            format!(
                "indices of shape {:?} into {:?} with batch_dims {batch}, expected 0",
                indices.shape, x.shape
            ),
            "export the model for one picture or one sequence at a time",
        ));
    }
    let steps = strides(&x.shape);
    let inner: usize = x.shape[depth..].iter().product();
    let shape = [&indices.shape[..indices.shape.len() - 1], &x.shape[depth..]].concat();
    checked_len(&shape)?;
    let mut starts = Vec::with_capacity(indices.len() / depth);
    for index in indices.ints()?.chunks_exact(depth) {
        let mut start = 0;
        for (d, &at) in index.iter().enumerate() {
            start += axis(at, x.shape[d])? * steps[d];
        }
        starts.push(start);
    }
    Ok(x.picked(
        &shape,
        starts.iter().flat_map(|&start| start..start + inner),
    ))
}

fn select(condition: &Constant, yes: &Constant, no: &Constant) -> Result<Constant, Refusal> {
    let shape = broadcast_shape(&condition.shape, &yes.shape)
        .and_then(|shape| broadcast_shape(&shape, &no.shape))
        .ok_or_else(|| misfit(&[&condition.shape, &yes.shape, &no.shape]))?;
    checked_len(&shape)?;
    let (condition, yes, no) = (
        condition.broadcast(&shape),
        yes.broadcast(&shape),
        no.broadcast(&shape),
    );
    let condition = condition.ints()?;
    Ok(match (&yes.elements, &no.elements) {
        (Elements::Int(yes), Elements::Int(no)) => Constant::int(
            &shape,
            (0..condition.len())
                .map(|i| if condition[i] != 0 { yes[i] } else { no[i] })
                .collect(),
        ),
        _ => {
            let (yes, no) = (yes.to_floats(), no.to_floats());
            Constant::float(
                &shape,
                (0..condition.len())
                    .map(|i| if condition[i] != 0 { yes[i] } else { no[i] })
                    .collect(),
            )
        }
    })
}

fn range(start: &Constant, limit: &Constant, step: &Constant) -> Result<Constant, Refusal> {
    let shapes = || misfit(&[&start.shape, &limit.shape, &step.shape]);
    if let (Ok(start), Ok(limit), Ok(step)) = (start.ints(), limit.ints(), step.ints()) {
        let (&[start], &[limit], &[step]) = (start, limit, step) else {
            return Err(shapes());
        };
        let (start, limit, step) = (i128::from(start), i128::from(limit), i128::from(step));
        let reach = limit - start + step - step.signum();
        let count = reach.checked_div(step).ok_or_else(no_step)?.max(0);
        let count = usize::try_from(count).map_err(|_| no_step())?;
        checked_len(&[count])?;
        let at = |i: i128| (start + i * step) as i64;
        return Ok(Constant::int(
            &[count],
            (0..count as i128).map(at).collect(),
        ));
    }
    let one = |constant: &Constant| constant.scalar().map(f64::from).ok_or_else(shapes);
    let (start, limit, step) = (one(start)?, one(limit)?, one(step)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if step == 0.0 || !count.is_finite() {
        return Err(no_step());
    }
    checked_len(&[count as usize])?;
    let at = |i: usize| (start + i as f64 * step) as f32;
    Ok(Constant::float(
        &[count as usize],
        (0..count as usize).map(at).collect(),
    ))
}

fn no_step() -> Refusal {
    refuse("a range that never ends", "check the file")
}

fn tile(x: &Constant, repeats: &[usize]) -> Result<Constant, Refusal> {
    if repeats.len() != x.shape.len() {
        return Err(misfit(&[&x.shape, repeats]));
    }
    let shape: Option<Vec<usize>> = x
        .shape
        .iter()
        .zip(repeats)
        .map(|(&size, &count)| size.checked_mul(count))
        .collect();
    let shape = shape.ok_or_else(|| misfit(&[&x.shape, repeats]))?;
    checked_len(&shape)?;
    // (repeats, size) of each dimension side by side: a repeat steps by 0.
    let paired: Vec<usize> = x
        .shape
        .iter()
        .zip(repeats)
        .flat_map(|(&s, &r)| [r, s])
        .collect();
    let steps: Vec<usize> = strides(&x.shape)
        .iter()
        .flat_map(|&step| [0, step])
        .collect();
    Ok(x.picked(&shape, Walk::new(&paired, &steps, 0)))
}

fn transpose(x: &Constant, permutation: Vec<usize>) -> Result<Constant, Refusal> {
    let mut sorted = permutation.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.shape.len()) {
        return Err(refuse(
            format!("permutation {permutation:?} of shape {:?}", x.shape),
            "check the file with onnx.checker",
        ));
    }
    Ok(x.transposed(&permutation))
}

fn concat(call: &Call<'_>, parts: &[Option<&Constant>]) -> Result<Constant, Refusal> {
    let parts: Vec<&Constant> = parts.iter().copied().flatten().collect();
    let first = parts[0];
    let d = axis(call.attributes.int("axis", 0), first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[d] = 0;
    for part in &parts {
        let fits = part.shape.len() == shape.len()
            && (0..shape.len()).all(|o| o == d || part.shape[o] == shape[o]);
        if !fits {
            return Err(misfit(&[&first.shape, &part.shape]));
        }
        shape[d] = shape[d].saturating_add(part.shape[d]);
    }
    checked_len(&shape)?;
    let outer: usize = shape[..d].iter().product();
    let inner: usize = shape[d + 1..].iter().product();
    let whole = parts.iter().all(|part| part.ints().is_ok());
    if whole {
        let mut data = Vec::new();
        for o in 0..outer {
            for part in &parts {
                let run = part.shape[d] * inner;
                data.extend_from_slice(&part.ints()?[o * run..][..run]);
            }
        }
        return Ok(Constant::int(&shape, data));
    }
    let floats: Vec<_> = parts.iter().map(|part| part.to_floats()).collect();
    let mut data = Vec::new();
    for o in 0..outer {
        for (part, floats) in parts.iter().zip(&floats) {
            let run = part.shape[d] * inner;
            data.extend_from_slice(&floats[o * run..][..run]);
        }
    }
    Ok(Constant::float(&shape, data))
}

fn slice(call: &Call<'_>, x: &Constant) -> Result<Constant, Refusal> {
    let mut x = x.clone();
    for cut in super::shape::cuts(call, &x.shape)? {
        let rows = (0..cut.count as i64).map(|row| cut.start as i64 + row * cut.step);
        x = gather(&x, &Constant::int(&[cut.count], rows.collect()), cut.d)?;
    }
    Ok(x)
}

fn clip(call: &Call<'_>, x: &Constant) -> Result<Constant, Refusal> {
    let limit = |index: usize, name: &str| -> Result<Option<Constant>, Refusal> {
        Ok(call.optional_constant(index, name)?.cloned())
    };
    let mut x = x.clone();
    for (op, limit) in [("Max", limit(1, "limits")?), ("Min", limit(2, "limits")?)] {
        if let Some(limit) = limit {
            x = binary(op, &x, &limit)?.ok_or_else(|| misfit(&[&x.shape, &limit.shape]))?;
        }
    }
    Ok(x)
}

/// The dimensions of a reduction, from input 1 or an attribute; `None` when it reduces nothing.
pub(super) fn reduced_axes(call: &Call<'_>, rank: usize) -> Result<Option<Vec<usize>>, Refusal> {
    let given = match call.optional_constant(1, "dimensions")? {
        Some(axes) => Some(axes.ints()?.to_vec()),
        None => call.attributes.ints("axes").map(<[i64]>::to_vec),
    };
    match given.filter(|axes| !axes.is_empty()) {
        Some(axes) => {
            let mut axes: Vec<usize> = axes
                .iter()
                .map(|&value| axis(value, rank))
                .collect::<Result<_, _>>()?;
            axes.sort_unstable();
            axes.dedup();
            Ok(Some(axes))
        }
        None if call.attributes.int("noop_with_empty_axes", 0) != 0 => Ok(None),
        None => Ok(Some((0..rank).collect())),
    }
}

fn reduce(call: &Call<'_>, x: &Constant) -> Result<Constant, Refusal> {
    let rank = x.shape.len();
    let Some(axes) = reduced_axes(call, rank)? else {
        return Ok(x.clone());
    };
    // The reduced dimensions behind the others, so that each run of them becomes one element.
    let kept: Vec<usize> = (0..rank).filter(|d| !axes.contains(d)).collect();
    let run: usize = axes.iter().map(|&d| x.shape[d]).product();
    let moved = x.transposed(&[kept.as_slice(), axes.as_slice()].concat());
    let shape: Vec<usize> = match call.attributes.int("keepdims", 1) {
        0 => kept.iter().map(|&d| x.shape[d]).collect(),
        _ => (0..rank)
            .map(|d| if axes.contains(&d) { 1 } else { x.shape[d] })
            .collect(),
    };
    if run == 0 {
        return of_nothing(call.op, &shape);
    }
    Ok(match &moved.elements {
        Elements::Int(data) => {
            let of = |run: &[i64]| -> i64 {
                let values = run.iter().copied();
                match call.op {
                    "ReduceProd" => values.fold(1, i64::wrapping_mul),
                    "ReduceMin" => values.min().unwrap_or(0),
                    "ReduceMax" => values.max().unwrap_or(0),
                    "ReduceSum" => values.fold(0, i64::wrapping_add),
                    _ => values.fold(0, i64::wrapping_add) / run.len() as i64,
                }
            };
            Constant::int(&shape, data.chunks_exact(run).map(of).collect())
        }
        Elements::Float(data) => {
            let of = |run: &[f32]| -> f32 {
                let values = run.iter().map(|&value| f64::from(value));
                let value = match call.op {
                    "ReduceProd" => values.product(),
                    "ReduceMin" => values.fold(f64::INFINITY, f64::min),
                    "ReduceMax" => values.fold(f64::NEG_INFINITY, f64::max),
                    "ReduceSum" => values.sum::<f64>(),
                    _ => values.sum::<f64>() / run.len() as f64,
                };
                value as f32
            };
            Constant::float(&shape, data.chunks_exact(run).map(of).collect())
        }
    })
}

/// What is left of a reduction over no elements: what changes nothing.
fn of_nothing(op: &str, shape: &[usize]) -> Result<Constant, Refusal> {
    let value = match op {
        "ReduceProd" => 1.0,
        "ReduceMin" => f32::INFINITY,
        "ReduceMax" => f32::NEG_INFINITY,
        "ReduceSum" => 0.0,
        _ => f32::NAN,
    };
    Ok(Constant::float(shape, vec![value; checked_len(shape)?]))
}

fn unary(op: &str, x: &Constant) -> Option<Constant> {
    match &x.elements {
        Elements::Float(data) => {
            let function: fn(f32) -> f32 = match op {
                "Floor" => f32::floor,
                "Ceil" => f32::ceil,
                "Round" => f32::round_ties_even,
                "Neg" => |value| -value,
                "Sqrt" => f32::sqrt,
                "Abs" => f32::abs,
                "Exp" => f32::exp,
                "Reciprocal" => f32::recip,
                "IsNaN" => {
                    let found = data.iter().map(|value| i64::from(value.is_nan()));
                    return Some(Constant::int(&x.shape, found.collect()));
                }
                _ => return None,
            };
            Some(Constant::float(
                &x.shape,
                data.iter().map(|&value| function(value)).collect(),
            ))
        }
        Elements::Int(data) => {
            let function: fn(i64) -> i64 = match op {
                "Not" => |value| i64::from(value == 0),
                "Neg" => i64::wrapping_neg,
                "Abs" => i64::wrapping_abs,
                _ => return None,
            };
            Some(Constant::int(
                &x.shape,
                data.iter().map(|&value| function(value)).collect(),
            ))
        }
    }
}

fn binary(op: &str, x: &Constant, y: &Constant) -> Result<Option<Constant>, Refusal> {
    const KNOWN: &[&str] = &[
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        TRUNCATED_MOD,
        "Mul",
        "Or",
        "Pow",
        "Sub",
    ];
    if !KNOWN.contains(&op) {
        return Ok(None);
    }
    let shape = broadcast_shape(&x.shape, &y.shape).ok_or_else(|| misfit(&[&x.shape, &y.shape]))?;
    let len = checked_len(&shape)?;
    let walk =
        |constant: &Constant| Walk::new(&shape, &broadcast_strides(&constant.shape, &shape), 0);
    let pairs = walk(x).zip(walk(y));
    if let (Elements::Int(a), Elements::Int(b)) = (&x.elements, &y.elements) {
        let mut result = Vec::with_capacity(len);
        for (i, j) in pairs {
            let value = integer(op, a[i], b[j]).ok_or_else(|| {
                refuse("a division by zero", "check the fixed sizes of the inputs")
            })?;
            result.push(value);
        }
        return Ok(Some(Constant::int(&shape, result)));
    }
    let (a, b) = (x.to_floats(), y.to_floats());
    if let Some(compare) = comparison(op) {
        let data = pairs.map(|(i, j)| i64::from(compare(a[i], b[j]))).collect();
        return Ok(Some(Constant::int(&shape, data)));
    }
    let function: fn(f32, f32) -> f32 = match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Max" => f32::max,
        "Min" => f32::min,
        "Pow" => f32::powf,
        "Mod" => |a, b| a - b * (a / b).floor(),
        TRUNCATED_MOD => |a, b| a % b,
        _ => return Ok(None),
    };
    let data = pairs.map(|(i, j)| function(a[i], b[j])).collect();
    Ok(Some(Constant::float(&shape, data)))
}

fn comparison(op: &str) -> Option<fn(f32, f32) -> bool> {
    Some(match op {
        "Equal" => |a, b| a == b,
        "Greater" => |a, b| a > b,
        "GreaterOrEqual" => |a, b| a >= b,
        "Less" => |a, b| a < b,
        "LessOrEqual" => |a, b| a <= b,
        _ => return None,
    })
}

fn integer(op: &str, a: i64, b: i64) -> Option<i64> {
    Some(match op {
        "Add" => a.wrapping_add(b),
        "Sub" => a.wrapping_sub(b),
        "Mul" => a.wrapping_mul(b),
        "Div" => a.checked_div(b)?,
        "Mod" => a.checked_rem(b)?.wrapping_add(b).checked_rem(b)?,
        TRUNCATED_MOD => a.checked_rem(b)?,
        "Pow" => a.wrapping_pow(u32::try_from(b).ok()?),
        "Max" => a.max(b),
        "Min" => a.min(b),
        "And" => i64::from(a != 0 && b != 0),
        "Or" => i64::from(a != 0 || b != 0),
        "Equal" => i64::from(a == b),
        "Greater" => i64::from(a > b),
        "GreaterOrEqual" => i64::from(a >= b),
        "Less" => i64::from(a < b),
        _ => i64::from(a <= b),
    })
}

/// Whether a constant holds one value throughout, and which.
pub(super) fn uniform(known: &Known) -> Option<f32> {
    let data = known.constant()?.to_floats();
    let &first = data.first()?;
    data.iter().all(|&value| value == first).then_some(first)
}
