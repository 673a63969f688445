//! Matrix products, layer normalisation, softmax and table lookups.

use super::attributes::axis;
use super::constant::{Constant, broadcast_shape};
use super::lower::Call;
use super::view::{Pattern, View};
use super::{Builder, Known, Refusal, refuse};
use crate::Op;
use crate::op::{Activation, Binary, Reduce, Unary};

impl Builder<'_> {
    /// `alpha · A · B + beta · C` with constant B and C.
    pub(super) fn gemm(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let attributes = call.attributes;
        let (alpha, beta) = (
            attributes.float("alpha", 1.0),
            attributes.float("beta", 1.0),
        );
        let weight = call.constant(1, "weights")?;
        let mut x = self.view(call.name(0), call.input(0)?)?;
        if x.rank() != 2 || weight.shape.len() != 2 {
            return Err(refuse("inputs that are no matrices", "check the file"));
        }
        if attributes.int("transA", 0) != 0 {
            x = x.renumbered(&[Some(1), Some(0)], vec![x.shape[1], x.shape[0]]);
        }
        let turned = attributes.int("transB", 0) == 0;
        let weight = match turned {
            true => weight.transposed(&[1, 0]),
            false => weight.clone(),
        };
        let weight = scaled(&weight, alpha);
        let bias = call
            .optional_constant(2, "biases")?
            .map(|bias| scaled(bias, beta));
        let (n, of_channels) = (weight.shape[0], bias.as_ref());
        let vector = of_channels.and_then(|bias| per_channel(bias, n));
        let y = self.linear(&x, &weight, call.name(1), vector.as_ref(), call.name(2))?;
        if alpha == 1.0 && beta == 1.0 {
            self.keep_linear(call, turned)?;
        }
        match (bias, vector) {
            (Some(bias), None) => {
                let (y, bias) = (Known::Computed(y), Known::Constant(bias));
                self.binary_of(Binary::Add, &y, &bias, ["", call.name(2)])
            }
            _ => Ok(y),
        }
    }

    /// Keeps the integers of the linear layer that was just added.
    fn keep_linear(&mut self, call: &Call<'_>, turned: bool) -> Result<(), Refusal> {
        let Some(node) = self.graph.nodes.last() else {
            return Ok(());
        };
        let (weight, bias) = (node.inputs[1], node.inputs.get(2).copied());
        self.keep_weights(call.name(1), weight, turned.into(), |steps| match turned {
            true => steps.transposed(&[1, 0]),
            false => steps.clone(),
        })?;
        if let Some(bias) = bias {
            self.keep_biases(call.name(2), bias);
        }
        Ok(())
    }

    /// x · weightᵀ + bias over the last dimension; weight (n, k).
    fn linear(
        &mut self,
        x: &View,
        weight: &Constant,
        weight_name: &str,
        bias: Option<&Constant>,
        bias_name: &str,
    ) -> Result<View, Refusal> {
        let last = x
            .rank()
            .checked_sub(1)
            .ok_or_else(|| refuse("a scalar input", "check the file"))?;
        let x = self.with_last(x, last)?;
        let n = weight.shape[0];
        let mut inputs = vec![
            x.id,
            self.constant_as(weight_name, weight, &[Some(0), Some(1)], 2),
        ];
        if let Some(bias) = bias {
            inputs.push(self.vector(bias_name, bias, n)?);
        }
        let op = Op::Linear {
            activation: Activation::None,
        };
        let id = self.emit(op, &inputs, &[])?;
        let mut shape = x.shape.clone();
        shape[last] = n;
        Ok(View { id, shape, ..x })
    }

    pub(super) fn matmul(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let (a, b) = (call.input(0)?, call.input(1)?);
        if let (Known::Computed(x), Known::Constant(weight)) = (a, b)
            && weight.shape.len() == 2
        {
            if x.shape.last() != weight.shape.first() {
                return Err(misfit(&x.shape, &weight.shape));
            }
            let weight = weight.transposed(&[1, 0]);
            let x = x.clone();
            let y = self.linear(&x, &weight, call.name(1), None, "")?;
            self.keep_linear(call, true)?;
            return Ok(y);
        }
        let (a, b) = (self.view(call.name(0), a)?, self.view(call.name(1), b)?);
        // A vector is a row on the left and a column on the right, and its dimension of 1 leaves the result.
        let (row, column) = (a.rank() == 1, b.rank() == 1);
        let a = if row { a.with_rank(2) } else { a };
        let b = if column {
            let shape = vec![b.shape[0], 1];
            b.renumbered(&[Some(0)], shape)
        } else {
            b
        };
        let product = self.product(a, b)?;
        let rank = product.rank();
        let dropped = [(row, rank - 2), (column, rank - 1)];
        let dropped: Vec<usize> = dropped
            .into_iter()
            .filter_map(|(drop, d)| drop.then_some(d))
            .collect();
        Ok(super::shape::without(&product, &dropped))
    }

    /// a · b of matrices, any number of them.
    fn product(&mut self, a: View, b: View) -> Result<View, Refusal> {
        if a.rank() < 2 || b.rank() < 2 {
            return Err(misfit(&a.shape, &b.shape));
        }
        let rank = a.rank().max(b.rank());
        let (a, b) = (a.with_rank(rank), b.with_rank(rank));
        let lead = broadcast_shape(&a.shape[..rank - 2], &b.shape[..rank - 2])
            .filter(|_| a.shape[rank - 1] == b.shape[rank - 2])
            .ok_or_else(|| misfit(&a.shape, &b.shape))?;
        let batch: Pattern = (0..rank - 2).filter(|&d| lead[d] > 1).map(Some).collect();
        let with = |dimensions: [usize; 2]| -> Pattern {
            batch.iter().copied().chain(dimensions.map(Some)).collect()
        };
        let transpose_b = b.place(rank - 1) < b.place(rank - 2);
        let right = if transpose_b {
            [rank - 1, rank - 2]
        } else {
            [rank - 2, rank - 1]
        };
        let inputs = [
            self.arrange(&a, &with([rank - 2, rank - 1]))?,
            self.arrange(&b, &with(right))?,
        ];
        let id = self.emit(Op::MatMul { transpose_b }, &inputs, &[])?;
        let mut shape = lead;
        shape.extend([a.shape[rank - 2], b.shape[rank - 1]]);
        Ok(View {
            id,
            pattern: with([rank - 2, rank - 1]),
            shape,
        })
    }

    /// Over all dimensions from `axis` on; mean and reciprocal deviation too where they are outputs.
    pub(super) fn layer_norm(&mut self, call: &Call<'_>) -> Result<Vec<Known>, Refusal> {
        let given = self.view(call.name(0), call.input(0)?)?;
        let from = axis(call.attributes.int("axis", -1), given.rank())?;
        let c: usize = given.shape[from..].iter().product();
        let flat = [&given.shape[..from], &[c]].concat();
        let several = from + 1 != given.rank();
        let x = match several {
            true => self.reshape(&given, &flat)?,
            false => given.clone(),
        };
        let x = self.with_last(&x, from)?;
        let parameter = |index: usize| -> Result<Option<Constant>, Refusal> {
            let constant = call.optional_constant(index, "parameters")?;
            Ok(constant.map(|constant| match constant.len() == c {
                true => constant.reshaped(&[c]),
                false => constant.clone(),
            }))
        };
        let gamma = parameter(1)?.unwrap_or_else(|| Constant::float(&[c], vec![1.0; c]));
        let gamma = self.vector(call.name(1), &gamma, c)?;
        let beta = parameter(2)?.unwrap_or_else(|| Constant::float(&[c], vec![0.0; c]));
        let name = format!("{}.beta", self.node);
        let name = if call.name(2).is_empty() {
            &name
        } else {
            call.name(2)
        };
        let beta = self.vector(name, &beta, c)?;
        let epsilon = call.attributes.float("epsilon", 1e-5);
        let id = self.emit(Op::LayerNorm { epsilon }, &[x.id, gamma, beta], &[])?;
        let mut y = View { id, ..x.clone() };
        if several {
            y = self.reshape(&y, &given.shape)?;
        }
        let mut outputs = vec![Known::Computed(y)];
        if call.output_count > 1 {
            let shape: Vec<usize> = (0..given.rank())
                .map(|d| if d < from { given.shape[d] } else { 1 })
                .collect();
            for view in self.statistics(&x, from, epsilon)? {
                outputs.push(Known::Computed(self.reshape(&view, &shape)?));
            }
        }
        Ok(outputs)
    }

    /// Mean and reciprocal deviation over dimension `d`.
    fn statistics(&mut self, x: &View, d: usize, epsilon: f32) -> Result<[View; 2], Refusal> {
        let mean = self.reduced(x, Reduce::Mean, &[d])?;
        let names = ["", ""];
        let parts = [x, &mean].map(|view| Known::Computed(view.clone()));
        let centred = self.binary_of(Binary::Sub, &parts[0], &parts[1], names)?;
        let squares = self.apply(&centred, Unary::Square)?;
        let variance = self.reduced(&squares, Reduce::Mean, &[d])?;
        let (alpha, beta) = (1.0, epsilon);
        let variance = self.apply(&variance, Unary::Affine { alpha, beta })?;
        let deviation = self.apply(&variance, Unary::Sqrt)?;
        Ok([mean, self.apply(&deviation, Unary::Reciprocal)?])
    }

    /// Before opset 13 all dimensions from `axis` on were one.
    pub(super) fn softmax(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let x = self.view(call.name(0), call.input(0)?)?;
        let default = if call.opset < 13 { 1 } else { -1 };
        let d = axis(call.attributes.int("axis", default), x.rank())?;
        let rest: usize = x.shape[d + 1..].iter().product();
        if call.opset < 13 && rest != 1 {
            let flat = [
                x.shape[..d].iter().product::<usize>(),
                x.shape[d..].iter().product(),
            ];
            let flat_x = self.reshape(&x, &flat)?;
            let y = self.softmax_over(&flat_x, 1)?;
            return self.reshape(&y, &x.shape);
        }
        self.softmax_over(&x, d)
    }

    fn softmax_over(&mut self, x: &View, d: usize) -> Result<View, Refusal> {
        let x = self.with_last(x, d)?;
        let axis = self.graph.values[x.id].shape.len() - 1;
        let id = self.emit(Op::Softmax { axis }, &[x.id], &[])?;
        Ok(View { id, ..x })
    }

    /// A lookup of token ids in a table, or a cut at fixed places.
    pub(super) fn gather(&mut self, call: &Call<'_>) -> Result<Known, Refusal> {
        let (x, indices) = (call.input(0)?, call.input(1)?);
        let d = axis(call.attributes.int("axis", 0), x.shape().len())?;
        match (x, indices) {
            (Known::Constant(table), Known::Ids { id, shape }) => {
                let &[_, width] = table.shape.as_slice() else {
                    return Err(refuse(
                        format!(
                            "a table of shape {:?}, expected (vocabulary, width)",
                            table.shape
                        ),
                        "check the file",
                    ));
                };
                if d != 0 {
                    return Err(refuse(
                        "a lookup along the width of a table",
                        "check the file",
                    ));
                }
                let (id, mut shape) = (*id, shape.clone());
                let table = self.constant_as(call.name(0), table, &[Some(0), Some(1)], 2);
                let id = self.emit(Op::Embedding, &[id, table], &[])?;
                shape.push(width);
                // (tokens, width), however many dimensions of 1 the ids have.
                let tokens = (0..shape.len() - 1).find(|&d| shape[d] > 1);
                let pattern = vec![tokens, Some(shape.len() - 1)];
                Ok(Known::Computed(View { id, pattern, shape }))
            }
            (Known::Computed(x), Known::Constant(indices)) => {
                let x = x.clone();
                self.picked(&x, indices, d).map(Known::Computed)
            }
            _ => Err(refuse(
                "indices that are computed while the network runs, and are not token ids",
                "export the model with fixed indices",
            )),
        }
    }

    /// One row, or rows at equal distances.
    fn picked(&mut self, x: &View, indices: &Constant, d: usize) -> Result<View, Refusal> {
        let rows: Vec<usize> = indices
            .ints()?
            .iter()
            .map(|&index| axis(index, x.shape[d]))
            .collect::<Result<_, _>>()?;
        let step = match rows.as_slice() {
            [] => 0,
            [_] => 1,
            [first, second, ..] => second.saturating_sub(*first),
        };
        let even = rows.windows(2).all(|pair| pair[0] + step == pair[1]);
        if step == 0 || !even || indices.shape.len() > 1 {
            return Err(refuse(
                format!("rows {rows:?}, expected ascending ones at equal distances"),
                "reorder the weights instead",
            ));
        }
        let cut = self.cut(x, d, rows[0], step, rows.len())?;
        if indices.shape.is_empty() {
            return Ok(super::shape::without(&cut, &[d]));
        }
        Ok(cut)
    }

    /// `Reshape` and its kin, of token ids too.
    pub(super) fn reshaping(&mut self, call: &Call<'_>) -> Result<Known, Refusal> {
        let known = call.input(0)?;
        let shape = super::shape::target(call, known.shape())?;
        match known {
            Known::Ids { id, .. } if shape.iter().product::<usize>() == self.tokens_of(*id) => {
                Ok(Known::Ids { id: *id, shape })
            }
            Known::Computed(view) => {
                let view = view.clone();
                self.reshape(&view, &shape).map(Known::Computed)
            }
            Known::Constant(constant) => {
                if shape.iter().product::<usize>() != constant.len() {
                    return Err(refuse(
                        format!("reshape of {:?} to {shape:?}", constant.shape),
                        "check the fixed sizes of the inputs",
                    ));
                }
                Ok(Known::Constant(constant.reshaped(&shape)))
            }
            _ => Err(refuse(
                format!("reshape of {:?} to {shape:?}", known.shape()),
                "check the fixed sizes of the inputs",
            )),
        }
    }

    fn tokens_of(&self, id: crate::ValueId) -> usize {
        self.graph.values[id].shape.iter().product()
    }
}

fn misfit(a: &[usize], b: &[usize]) -> Refusal {
    refuse(
        format!("matrices {a:?} and {b:?} do not fit"),
        "check the fixed sizes of the inputs",
    )
}

/// C of `Gemm` as (n), unless it differs from row to row.
fn per_channel(bias: &Constant, n: usize) -> Option<Constant> {
    let shape = broadcast_shape(&bias.shape, &[1, n]).filter(|shape| shape == &[1, n])?;
    Some(bias.broadcast(&shape).reshaped(&[n]))
}

fn scaled(constant: &Constant, factor: f32) -> Constant {
    if factor == 1.0 {
        return constant.clone();
    }
    let data = constant.to_floats().iter().map(|&v| v * factor).collect();
    Constant::float(&constant.shape, data)
}
