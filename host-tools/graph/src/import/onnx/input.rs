//! Initializers, inputs and outputs of a file.

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;

use super::constant::Constant;
use super::view::{View, full_pattern, picture_pattern};
use super::{Builder, ImportError, Known, tensor};
use crate::op::Unary;
use crate::{ModelKind, Op, PictureGeometry, Value};

/// Most channels that make a four-dimensional input a picture.
const MAX_PICTURE_CHANNELS: usize = 4;
/// Mean and deviation of ImageNet, which most published networks were trained with.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

impl Builder<'_> {
    /// Every weight becomes known.
    pub(super) fn initializers(&mut self, source: &pb::GraphProto) -> Result<(), ImportError> {
        if let Some(sparse) = source.sparse_initializer.first() {
            let name = sparse
                .values
                .as_ref()
                .map_or("", |values| values.name.as_str());
            return Err(self.malformed(format!("{name} is a sparse tensor, expected dense ones")));
        }
        for initializer in &source.initializer {
            let constant = tensor::constant(self.path, initializer)
                .map_err(|what| self.malformed(format!("tensor {}: {what}", initializer.name)))?;
            self.known
                .insert(initializer.name.clone(), Known::Constant(constant));
        }
        Ok(())
    }

    /// Pictures and other floats become inputs, and so do token ids; the rest of what a text encoder reads is fixed.
    pub(super) fn inputs(&mut self, source: &pb::GraphProto) -> Result<(), ImportError> {
        for input in &source.input {
            // Before version 4 of the format, initializers were inputs too.
            if self.known.contains_key(&input.name) {
                continue;
            }
            let (is_float, dimensions) = self.tensor_type(input)?;
            let shape = self.fixed_shape(&input.name, dimensions, is_float)?;
            let known = match self.fixed_value(&input.name, &shape, is_float)? {
                Some(constant) => Known::Constant(constant),
                None if is_float => self.float_input(&input.name, &shape),
                None => self.ids_input(&input.name, shape)?,
            };
            self.known.insert(input.name.clone(), known);
        }
        if self.graph.inputs.is_empty() {
            return Err(self.malformed("no input, expected a picture or token ids"));
        }
        self.describe(source);
        Ok(())
    }

    /// The values that the file names as outputs; pictures stay NHWC.
    pub(super) fn outputs(&mut self, source: &pb::GraphProto) -> Result<(), ImportError> {
        for output in &source.output {
            let Some(known) = self.known.get(&output.name).cloned() else {
                return Err(self.malformed(format!("output {} is never computed", output.name)));
            };
            self.node.clone_from(&output.name);
            let view = match known {
                Known::Computed(view) => view,
                Known::Rounded { .. } => {
                    let what = "holds integers, expected DequantizeLinear before it";
                    return Err(self.malformed(format!("output {} {what}", output.name)));
                }
                Known::Pending(pending) => {
                    let what = pending.described();
                    return Err(self.malformed(format!("output {} holds {what}", output.name)));
                }
                _ => return Err(self.malformed(format!("output {} is a constant", output.name))),
            };
            let path = self.path;
            let picture = picture_pattern();
            let pattern = if view.rank() == 4 && view.pattern == picture {
                picture
            } else {
                full_pattern(view.rank())
            };
            let id = self.arrange(&view, &pattern).map_err(|refusal| {
                ImportError::malformed(path, format!("output {}: {}", output.name, refusal.reason))
            })?;
            self.graph.outputs.push(id);
        }
        self.embedding();
        Ok(())
    }

    /// A picture becomes an embedding, of which the direction counts alone, unless it becomes probabilities.
    fn embedding(&mut self) {
        let &[output] = self.graph.outputs.as_slice() else {
            return;
        };
        let probabilities = self.graph.nodes.iter().any(|node| {
            let function = matches!(
                node.op,
                Op::Softmax { .. }
                    | Op::Unary {
                        function: Unary::Sigmoid
                    }
            );
            node.output == output && function
        });
        if self.graph.meta.kind == ModelKind::ImageEncoder && !probabilities {
            // It keeps the shape of whatever it reads, so that nothing can be refused here.
            if let Ok(id) = self.emit_part("embedding", Op::NormalizeEmbedding, &[output], &[]) {
                self.graph.outputs = vec![id];
            }
        }
    }

    fn malformed(&self, what: impl Into<String>) -> ImportError {
        ImportError::malformed(self.path, what)
    }

    /// Whether it holds floats, and its dimensions.
    fn tensor_type<'p>(
        &self,
        input: &'p pb::ValueInfoProto,
    ) -> Result<(bool, &'p [pb::tensor_shape_proto::Dimension]), ImportError> {
        let tensor = input
            .r#type
            .as_ref()
            .and_then(|held| held.value.as_ref())
            .map(|pb::type_proto::Value::TensorType(tensor)| tensor);
        let fault = |what: &str| self.malformed(format!("input {}: {what}", input.name));
        let tensor = tensor.ok_or_else(|| fault("not a tensor"))?;
        let shape = tensor
            .shape
            .as_ref()
            .ok_or_else(|| fault("no number of dimensions is declared"))?;
        let is_float = match DataType::try_from(tensor.elem_type) {
            Ok(DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16) => true,
            Ok(DataType::Int64 | DataType::Int32 | DataType::Bool) => false,
            _ => {
                return Err(fault(
                    "its type is not supported, expected floats or token ids (i64, i32)",
                ));
            }
        };
        Ok((is_float, &shape.dim))
    }

    fn fixed_shape(
        &self,
        name: &str,
        dimensions: &[pb::tensor_shape_proto::Dimension],
        is_float: bool,
    ) -> Result<Vec<usize>, ImportError> {
        let mut shape = Vec::with_capacity(dimensions.len());
        for (d, dimension) in dimensions.iter().enumerate() {
            let named = match &dimension.value {
                Some(Size::DimParam(symbol)) => self.options.dimensions.get(symbol).copied(),
                _ => None,
            };
            let size = match (&dimension.value, named) {
                (_, Some(size)) => size,
                (Some(Size::DimValue(size)), _) if *size > 0 => *size as usize,
                _ if d == 0 => 1,
                _ if d == 1 && !is_float => self.options.tokens,
                (value, _) => {
                    let symbol = match value {
                        Some(Size::DimParam(symbol)) => symbol.as_str(),
                        _ => "?",
                    };
                    return Err(self.malformed(format!(
                        "input {name}: dimension {d} ({symbol}) is open; say how large it is"
                    )));
                }
            };
            shape.push(size);
        }
        let small = shape
            .iter()
            .try_fold(1_usize, |len, &size| len.checked_mul(size))
            .is_some_and(|len| (1..=super::constant::MAX_ELEMENTS).contains(&len));
        let batch = !shape.is_empty() && shape[0] == 1 || shape.len() == 1;
        if !small || !batch {
            return Err(self.malformed(format!(
                "input {name} has shape {shape:?}, expected one picture or one sequence: 1 first, and sizes from 1"
            )));
        }
        Ok(shape)
    }

    /// The value of an input that is fixed.
    fn fixed_value(
        &self,
        name: &str,
        shape: &[usize],
        is_float: bool,
    ) -> Result<Option<Constant>, ImportError> {
        let len = shape.iter().product::<usize>();
        let fill = |value: i64| match is_float {
            true => Constant::float(shape, vec![value as f32; len]),
            false => Constant::int(shape, vec![value; len]),
        };
        if let Some(&value) = self.options.constants.get(name) {
            return Ok(Some(fill(value)));
        }
        let lower = name.to_ascii_lowercase();
        if lower.contains("mask") {
            return Ok(Some(fill(1)));
        }
        if is_float {
            return Ok(None);
        }
        Ok(
            if lower.contains("token_type") || lower.contains("segment") {
                Some(fill(0))
            } else if lower.contains("position") {
                Some(Constant::int(shape, (0..len as i64).collect()))
            } else {
                None
            },
        )
    }

    /// A picture lies NHWC whatever the file says; other floats lie as the file says.
    fn float_input(&mut self, name: &str, shape: &[usize]) -> Known {
        let channels_first = shape.len() == 4
            && !(shape[3] <= MAX_PICTURE_CHANNELS && shape[1] > MAX_PICTURE_CHANNELS);
        let pattern = if channels_first {
            picture_pattern()
        } else {
            full_pattern(shape.len())
        };
        let mut view = View {
            id: 0,
            pattern,
            shape: shape.to_vec(),
        };
        let sizes = view.sizes(&view.pattern);
        let name = self.unique(name);
        view.id = self.graph.add_value(name, &sizes);
        self.graph.inputs.push(view.id);
        Known::Computed(view)
    }

    fn ids_input(&mut self, name: &str, shape: Vec<usize>) -> Result<Known, ImportError> {
        if self
            .graph
            .inputs
            .iter()
            .any(|&id| self.graph.values[id].is_ids)
        {
            return Err(self.malformed(format!(
                "input {name} is a second one of integers; fix it with a constant"
            )));
        }
        let tokens = shape.iter().product();
        let unique = self.unique(name);
        let id = self.graph.add_value(unique, &[tokens]);
        self.graph.values[id].is_ids = true;
        self.graph.inputs.push(id);
        Ok(Known::Ids { id, shape })
    }

    /// What the graph is for, and how a picture becomes its input.
    fn describe(&mut self, source: &pb::GraphProto) {
        let inputs = &self.graph.inputs;
        if inputs.iter().any(|&id| self.graph.values[id].is_ids) {
            self.graph.meta.kind = ModelKind::TextEncoder;
            self.graph.meta.max_tokens = inputs
                .iter()
                .map(|&id| &self.graph.values[id])
                .find(|value| value.is_ids)
                .map(|value| value.shape[0]);
            return;
        }
        let &[input] = inputs.as_slice() else {
            return;
        };
        let Value { name, shape, .. } = &self.graph.values[input];
        let &[1, height, width, 3] = shape.as_slice() else {
            return;
        };
        self.graph.meta.kind = ModelKind::ImageEncoder;
        if self.options.geometry.is_some() {
            self.graph.meta.geometry = self.options.geometry;
            return;
        }
        let normalises = source
            .node
            .iter()
            .find(|node| node.input.contains(name))
            .is_some_and(|node| matches!(node.op_type.as_str(), "Mul" | "Sub" | "Add" | "Div"));
        let (mean, std) = if normalises {
            ([0.0; 3], [1.0; 3])
        } else {
            IMAGENET
        };
        self.graph.meta.geometry = Some(PictureGeometry {
            width,
            height,
            // 256 for 224, as the published evaluations do.
            resize_shorter: (width.min(height) * 256).div_ceil(224),
            mean,
            std,
        });
        let assumed = if normalises {
            "channels in [0, 1], since the graph begins with a normalisation"
        } else {
            "mean and deviation of ImageNet"
        };
        self.graph
            .meta
            .source
            .insert("assumed".into(), assumed.into());
    }
}
