//! Messages of the ONNX schema from the numbers and names that they hold.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use crate::{Tensor, TensorData, Value};

/// What a dimension of tokens is called.
const TOKENS: &str = "tokens";

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.iter().map(|&value| value as i64).collect(),
        ..AttributeProto::default()
    }
}

pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Float as i32,
        f: value,
        ..AttributeProto::default()
    }
}

pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::String as i32,
        s: value.into(),
        ..AttributeProto::default()
    }
}

pub(super) fn node(
    op: &str,
    inputs: &[&str],
    output: &str,
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

/// A list of i64.
pub(super) fn list(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        ..TensorProto::default()
    }
}

/// Biases: i32, which `tensor` would widen.
pub(super) fn biases(name: &str, values: &[i32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int32 as i32,
        raw_data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        ..TensorProto::default()
    }
}

/// Zero points, of 16 bits or of 8; one alone is a scalar.
pub(super) fn zero_points(name: &str, wide: bool, value: i32, count: usize) -> TensorProto {
    let (data_type, bytes) = match wide {
        true => (DataType::Int16, (value as i16).to_le_bytes().to_vec()),
        false => (DataType::Int8, (value as i8).to_le_bytes().to_vec()),
    };
    TensorProto {
        name: name.into(),
        dims: if count == 1 {
            vec![]
        } else {
            vec![count as i64]
        },
        data_type: data_type as i32,
        raw_data: bytes.repeat(count),
        ..TensorProto::default()
    }
}

/// A constant; integers of 32 bits become i64, which ONNX indexes with.
pub(super) fn tensor(name: &str, tensor: &Tensor) -> TensorProto {
    let (data_type, raw_data) = match &tensor.data {
        TensorData::F32(data) => {
            let bytes = data.iter().flat_map(|value| value.to_le_bytes());
            (DataType::Float, bytes.collect())
        }
        TensorData::I32(data) => {
            let bytes = data
                .iter()
                .flat_map(|&value| i64::from(value).to_le_bytes());
            (DataType::Int64, bytes.collect())
        }
        TensorData::I8(data) => {
            let bytes = data.iter().flat_map(|value| value.to_le_bytes());
            (DataType::Int8, bytes.collect())
        }
    };
    TensorProto {
        name: name.into(),
        dims: tensor.shape.iter().map(|&size| size as i64).collect(),
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// An input or output; token ids are one sequence, (1, tokens).
pub(super) fn value_info(value: &Value) -> ValueInfoProto {
    let sized = |size: usize| dimension::Value::DimValue(size as i64);
    let mut dimensions: Vec<dimension::Value> =
        value.shape.iter().map(|&size| sized(size)).collect();
    if let (true, Some(first)) = (value.dynamic, dimensions.first_mut()) {
        *first = dimension::Value::DimParam(TOKENS.into());
    }
    if value.is_ids {
        dimensions.insert(0, sized(1));
    }
    let dim = dimensions.into_iter().map(|value| Dimension {
        value: Some(value),
        ..Dimension::default()
    });
    let elem_type = if value.is_ids {
        DataType::Int64
    } else {
        DataType::Float
    };
    let tensor = type_proto::Tensor {
        elem_type: elem_type as i32,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: value.name.clone(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
