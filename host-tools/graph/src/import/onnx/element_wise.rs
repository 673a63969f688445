//! Operators that compute each element alone, and reductions.

use super::constant::{Constant, broadcast_shape};
use super::fold;
use super::lower::Call;
use super::view::{Pattern, View, arrange_constant, full_pattern};
use super::{Builder, Known, Refusal, constant, refuse};
use crate::Op;
use crate::op::{Activation, Binary, Reduce, Unary};

impl Builder<'_> {
    /// An operator of one input.
    pub(super) fn unary(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let attributes = call.attributes;
        let function = match call.op {
            "Relu" => Unary::Clip {
                min: 0.0,
                max: f32::INFINITY,
            },
            "Clip" => clip(call)?,
            "HardSwish" => Unary::HardSwish,
            "HardSigmoid" => Unary::HardSigmoid {
                alpha: attributes.float("alpha", 0.2),
                beta: attributes.float("beta", 0.5),
            },
            "Sigmoid" => Unary::Sigmoid,
            "Tanh" => Unary::Tanh,
            "Gelu" if attributes.text("approximate", "none") == "tanh" => Unary::GeluTanh,
            "Gelu" => Unary::Gelu,
            "Erf" => Unary::Erf,
            "Exp" => Unary::Exp,
            "Log" => Unary::Log,
            "Sqrt" => Unary::Sqrt,
            "Reciprocal" => Unary::Reciprocal,
            "Neg" => Unary::Neg,
            "Abs" => Unary::Abs,
            "LeakyRelu" => Unary::LeakyRelu {
                alpha: attributes.float("alpha", 0.01),
            },
            other => {
                return Err(refuse(
                    format!("{other} of values that are computed while the network runs"),
                    "export the model with fixed sizes",
                ));
            }
        };
        let x = self.view(call.name(0), call.input(0)?)?;
        self.apply(&x, function)
    }

    pub(super) fn apply(&mut self, x: &View, function: Unary) -> Result<View, Refusal> {
        let id = self.emit(Op::Unary { function }, &[x.id], &[])?;
        Ok(View { id, ..x.clone() })
    }

    /// Floats are floats here, whatever their width.
    pub(super) fn cast(&mut self, call: &Call<'_>) -> Result<Known, Refusal> {
        const FLOATS: [i64; 4] = [1, 10, 11, 16];
        let known = call.input(0)?.clone();
        let to_float = match (call.op, call.optional(1)) {
            ("CastLike", Some(Known::Constant(like))) => like.ints().is_err(),
            ("CastLike", like) => !matches!(like, Some(Known::Ids { .. })),
            _ => FLOATS.contains(&call.attributes.int("to", 1)),
        };
        match (&known, to_float) {
            (Known::Computed(_), true) | (Known::Ids { .. }, false) => Ok(known),
            (Known::Constant(x), true) => Ok(Known::Constant(Constant::float(
                &x.shape,
                x.to_floats().to_vec(),
            ))),
            (Known::Constant(x), false) if x.ints().is_ok() => Ok(known),
            (Known::Constant(_) | Known::Computed(_), false) => Err(refuse(
                "floats become integers",
                "export the model without integer arithmetic on activations",
            )),
            _ => Err(refuse(
                "token ids become floats",
                "only a lookup in a table (Gather) reads token ids",
            )),
        }
    }

    /// An operator of two inputs or, folded from the left, more.
    pub(super) fn binary(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let function = match call.op {
            "Add" | "Sum" => Binary::Add,
            "Sub" => Binary::Sub,
            "Mul" => Binary::Mul,
            "Div" => Binary::Div,
            "Pow" => Binary::Pow,
            "Max" => Binary::Max,
            _ => Binary::Min,
        };
        let mut left = call.input(0)?.clone();
        for index in 1..call.inputs.len() {
            let right = call.input(index)?;
            let names = [call.name(index - 1), call.name(index)];
            left = Known::Computed(self.binary_of(function, &left, right, names)?);
        }
        self.view(call.name(0), &left)
    }

    pub(super) fn binary_of(
        &mut self,
        function: Binary,
        a: &Known,
        b: &Known,
        names: [&str; 2],
    ) -> Result<View, Refusal> {
        let shape = broadcast_shape(a.shape(), b.shape()).ok_or_else(|| {
            refuse(
                format!(
                    "shapes {:?} and {:?} do not broadcast",
                    a.shape(),
                    b.shape()
                ),
                "check the fixed sizes of the inputs",
            )
        })?;
        match (a, b) {
            (Known::Computed(x), Known::Constant(c)) => {
                self.with_constant(function, x, c, false, &shape, names[1])
            }
            (Known::Constant(c), Known::Computed(x)) => {
                self.with_constant(function, x, c, true, &shape, names[0])
            }
            _ => {
                let (a, b) = (self.view(names[0], a)?, self.view(names[1], b)?);
                self.of_views(function, &a, &b, &shape)
            }
        }
    }

    fn of_views(
        &mut self,
        function: Binary,
        a: &View,
        b: &View,
        shape: &[usize],
    ) -> Result<View, Refusal> {
        let rank = shape.len();
        let (a, b) = (a.clone().with_rank(rank), b.clone().with_rank(rank));
        let elements = |view: &View| view.shape.iter().product::<usize>();
        let main = if elements(&b) > elements(&a) { &b } else { &a };
        let pattern = covering(main, shape);
        let inputs = [self.arrange(&a, &pattern)?, self.arrange(&b, &pattern)?];
        let id = self.emit(binary_op(function), &inputs, &[])?;
        Ok(View {
            id,
            pattern,
            shape: shape.to_vec(),
        })
    }

    /// With one number it is a function of one input; `reversed` when the constant comes first.
    fn with_constant(
        &mut self,
        function: Binary,
        x: &View,
        c: &Constant,
        reversed: bool,
        shape: &[usize],
        name: &str,
    ) -> Result<View, Refusal> {
        let rank = shape.len();
        let x = x.clone().with_rank(rank);
        let same = x.shape == shape;
        let uniform = fold::uniform(&Known::Constant(c.clone())).filter(|_| same);
        if let Some(simple) = uniform.and_then(|value| scalar_function(function, value, reversed)) {
            return match simple {
                Unary::Affine {
                    alpha: 1.0,
                    beta: 0.0,
                } => Ok(x),
                function => self.apply(&x, function),
            };
        }
        let pattern = covering(&x, shape);
        let id = self.arrange(&x, &pattern)?;
        // Leading 1s say nothing, and (c) is what a bias looks like.
        let arranged = arrange_constant(c, &pattern, rank);
        let ones = arranged.shape.iter().take_while(|&&size| size == 1).count();
        let arranged = arranged.reshaped(&arranged.shape[ones..]);
        let name = self.unique(name);
        let c = constant::add_to(&mut self.graph, name, &arranged);
        let inputs = if reversed { [c, id] } else { [id, c] };
        let id = self.emit(binary_op(function), &inputs, &[])?;
        Ok(View {
            id,
            pattern,
            shape: shape.to_vec(),
        })
    }

    /// `Where` with a condition known at import that always chooses one side.
    pub(super) fn select(&mut self, call: &Call<'_>) -> Result<Known, Refusal> {
        let advice = "export the model without data-dependent masks";
        let condition = fold::uniform(call.input(0)?)
            .ok_or_else(|| refuse("a condition that differs from element to element", advice))?;
        let chosen = call.input(if condition != 0.0 { 1 } else { 2 })?;
        let shape = (0..3).try_fold(Vec::new(), |shape: Vec<usize>, index| {
            broadcast_shape(&shape, call.input(index)?.shape())
                .ok_or_else(|| refuse("its shapes do not broadcast", "check the file"))
        })?;
        if chosen.shape() == shape {
            return Ok(chosen.clone());
        }
        Err(refuse("a choice that is repeated", advice))
    }

    /// `Expand` of a computed value, when it repeats nothing.
    pub(super) fn expand(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let sizes = fold::sizes(call.constant(1, "sizes")?)?;
        let x = self.view(call.name(0), call.input(0)?)?;
        let shape = broadcast_shape(&x.shape, &sizes)
            .ok_or_else(|| refuse("its shapes do not broadcast", "check the file"))?;
        let x = x.with_rank(shape.len());
        if x.shape == shape {
            return Ok(x);
        }
        // Adding zeros repeats it.
        let zeros = Constant::float(&shape, vec![0.0; constant::checked_len(&shape)?]);
        let name = format!("{}.zeros", self.node);
        let pattern = covering(&x, &shape);
        let id = self.arrange(&x, &pattern)?;
        let zeros = self.constant_as(&name, &zeros, &pattern, shape.len());
        let id = self.emit(binary_op(Binary::Add), &[id, zeros], &[])?;
        Ok(View { id, pattern, shape })
    }

    /// `ReduceMean` and its kin.
    pub(super) fn reduce(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let function = match call.op {
            "ReduceMean" => Reduce::Mean,
            "ReduceSum" => Reduce::Sum,
            "ReduceMax" => Reduce::Max,
            _ => Reduce::L2,
        };
        let x = self.view(call.name(0), call.input(0)?)?;
        let Some(axes) = fold::reduced_axes(call, x.rank())? else {
            return Ok(x);
        };
        let reduced = self.reduced(&x, function, &axes)?;
        if call.attributes.int("keepdims", 1) != 0 {
            return Ok(reduced);
        }
        Ok(super::shape::without(&reduced, &axes))
    }

    /// Over dimensions of the file, which stay as 1.
    pub(super) fn reduced(
        &mut self,
        x: &View,
        function: Reduce,
        axes: &[usize],
    ) -> Result<View, Refusal> {
        let mut shape = x.shape.clone();
        axes.iter().for_each(|&d| shape[d] = 1);
        let mut places: Vec<usize> = axes.iter().filter_map(|&d| x.place(d)).collect();
        places.sort_unstable();
        places.dedup();
        let held = &self.graph.values[x.id].shape;
        let op = if function == Reduce::Mean && held.len() == 4 && places == [1, 2] {
            Op::GlobalAvgPool
        } else if places.is_empty() {
            match function {
                Reduce::L2 => Op::Unary {
                    function: Unary::Abs,
                },
                _ => return Ok(View { shape, ..x.clone() }),
            }
        } else {
            Op::Reduce {
                function,
                axes: places,
                keep_dims: true,
            }
        };
        let id = self.emit(op, &[x.id], &[])?;
        Ok(View {
            id,
            pattern: x.pattern.clone(),
            shape,
        })
    }
}

fn binary_op(function: Binary) -> Op {
    Op::Binary {
        function,
        activation: Activation::None,
    }
}

/// The pattern of `x`, when it has every dimension in which the result is larger than 1, else all of them in order.
fn covering(x: &View, shape: &[usize]) -> Pattern {
    let covers = (0..shape.len()).all(|d| shape[d] == 1 || x.place(d).is_some());
    if covers {
        x.pattern.clone()
    } else {
        full_pattern(shape.len())
    }
}

/// An operator with one number as a function of the other input.
fn scalar_function(function: Binary, value: f32, reversed: bool) -> Option<Unary> {
    let affine = |alpha: f32, beta: f32| Some(Unary::Affine { alpha, beta });
    match (function, reversed) {
        (Binary::Add, _) => affine(1.0, value),
        (Binary::Sub, false) => affine(1.0, -value),
        (Binary::Sub, true) => affine(-1.0, value),
        (Binary::Mul, _) => affine(value, 0.0),
        (Binary::Div, false) if value != 0.0 => affine(1.0 / value, 0.0),
        (Binary::Div, true) if value == 1.0 => Some(Unary::Reciprocal),
        (Binary::Max, _) => Some(Unary::Clip {
            min: value,
            max: f32::INFINITY,
        }),
        (Binary::Min, _) => Some(Unary::Clip {
            min: f32::NEG_INFINITY,
            max: value,
        }),
        (Binary::Pow, false) => match value {
            1.0 => affine(1.0, 0.0),
            2.0 => Some(Unary::Square),
            0.5 => Some(Unary::Sqrt),
            -1.0 => Some(Unary::Reciprocal),
            _ => None,
        },
        _ => None,
    }
}

/// Limits are attributes before opset 11 and inputs since.
fn clip(call: &Call<'_>) -> Result<Unary, Refusal> {
    let limit = |index: usize, name: &str, default: f32| -> Result<f32, Refusal> {
        if call.opset < 11 {
            return Ok(call.attributes.float(name, default));
        }
        match call.optional_constant(index, "limits")? {
            None => Ok(default),
            Some(limit) => limit
                .scalar()
                .ok_or_else(|| refuse("a limit for each element", "use one number for all")),
        }
    };
    let (min, max) = (
        limit(1, "min", f32::NEG_INFINITY)?,
        limit(2, "max", f32::INFINITY)?,
    );
    if min.is_nan() || max.is_nan() || min > max {
        return Err(refuse(
            format!("limits {min} to {max}, expected a range"),
            "check the file",
        ));
    }
    Ok(Unary::Clip {
        // f32::MIN and MAX stand for no limit in old files.
        min: if min == f32::MIN {
            f32::NEG_INFINITY
        } else {
            min
        },
        max: if max == f32::MAX { f32::INFINITY } else { max },
    })
}
