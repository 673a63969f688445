//! Lays out `model.phm` and has the runtime load it.

use std::collections::HashMap;

use pinhole_graph::{Graph, ModelKind};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::model::format::{
    self, ALIGN_BYTES, DataRef, GeometryRecord, Header, MAGIC, MAX_OPS, MAX_VALUES, NO_VALUE,
    OpRecord, PARAMS_BYTES, PLACE_ARENA, PLACE_DATA, Section, VERSION, ValueRecord,
};
use pinhole_runtime::model::{LoadError, Model, OpFault};
use zerocopy::{FromZeros, IntoBytes};

use crate::error::Refused;
use crate::lower::{Lowered, LoweredOp, LoweredValue, Place};
use crate::plan::Plan;
use crate::{PackError, PackOptions, PackReport, Packed, Patched};

/// Writes the file.
pub(crate) fn write(
    graph: &Graph,
    lowered: &Lowered,
    plan: &Plan,
    stem: Patched,
    options: &PackOptions,
) -> Result<Packed, PackError> {
    limit("values", lowered.values.len(), MAX_VALUES)?;
    limit("operators", lowered.ops.len(), MAX_OPS)?;
    limit("inputs", lowered.inputs.len(), 4)?;
    limit("outputs", lowered.outputs.len(), 4)?;
    let mut file = File {
        bytes: vec![0; size_of::<Header>()],
        stretches: HashMap::new(),
    };
    let values_section = file.reserve(lowered.values.len() * size_of::<ValueRecord>());
    let ops_section = file.reserve(lowered.ops.len() * size_of::<OpRecord>());

    file.align();
    let data_start = file.bytes.len();
    let data_offsets: Vec<usize> = lowered
        .values
        .iter()
        .map(|value| file.constant(value))
        .collect();
    let ops: Vec<OpRecord> = lowered
        .ops
        .iter()
        .enumerate()
        .map(|(i, op)| file.op(op, plan.scratch_offsets[i], plan.scratch_bytes[i]))
        .collect();
    file.align();
    let data_section = section(data_start, file.bytes.len() - data_start);
    let values: Vec<ValueRecord> = (0..lowered.values.len())
        .map(|index| value_record(lowered, index, plan.value_offsets[index], &data_offsets))
        .collect();
    file.put(values_section, values.as_bytes());
    file.put(ops_section, ops.as_bytes());

    let vocabulary = file.append(
        graph
            .meta
            .vocabulary
            .as_deref()
            .unwrap_or_default()
            .as_bytes(),
    );
    let names = if options.names {
        names(lowered)
    } else {
        String::new()
    };
    let names = file.append(names.as_bytes());

    let file_bytes = u32::try_from(file.bytes.len()).map_err(|_| PackError::TooLarge {
        what: "bytes",
        found: file.bytes.len(),
        limit: u32::MAX as usize,
    })?;
    let macs = lowered.ops.iter().map(|op| op.macs).sum();
    let mut header = header(graph, lowered, plan);
    header.weight_layout = options.layout as u8;
    header.file_bytes = file_bytes.into();
    header.macs = u64::into(macs);
    (header.values, header.ops, header.data) = (values_section, ops_section, data_section);
    (header.vocabulary, header.names) = (vocabulary, names);
    file.bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    header.crc32 = pinhole_runtime::model::checksum(&file.bytes).into();
    file.bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());

    Model::load(&AlignedBytes::from_slice(&file.bytes))
        .map_err(|error| refusal(lowered, &error))?;
    let report = PackReport {
        file_bytes: file.bytes.len(),
        data_bytes: data_section.bytes.get() as usize,
        golden_bytes: 0,
        arena_bytes: plan.arena_bytes,
        arena_lower_bound_bytes: plan.lower_bound_bytes,
        arena_ratio: plan.arena_bytes as f64 / plan.lower_bound_bytes.max(1) as f64,
        macs,
        ops: ops.len(),
        replacing_ops: plan.replacing_ops,
        stem,
    };
    Ok(Packed {
        bytes: file.bytes,
        value_map: lowered.value_map.clone(),
        report,
    })
}

/// The runtime's refusal. A number that is out of range is that of a node; with it, a sum of integers could leave 32 bits.
fn refusal(lowered: &Lowered, error: &LoadError) -> PackError {
    match *error {
        LoadError::Op {
            index,
            reason: reason @ (OpFault::Parameter { .. } | OpFault::Channel { .. }),
            ..
        } if let Some(op) = lowered.ops.get(index) => {
            let (node, kind) = (op.name.clone(), op.kind.name());
            let reason = match kind.ends_with("_s8") || kind.ends_with("_s16") {
                true => format!(
                    "{reason}, so that no sum overflows; pinhole quantize --keep-float {node} leaves it in floats"
                ),
                false => reason.to_string(),
            };
            PackError::Refused(vec![Refused {
                node,
                op: kind.to_owned(),
                reason,
            }])
        }
        _ => PackError::SelfCheck(error.to_string()),
    }
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), PackError> {
    if found > limit {
        Err(PackError::TooLarge { what, found, limit })
    } else {
        Ok(())
    }
}

fn section(offset: usize, bytes: usize) -> Section {
    if bytes == 0 {
        return Section::default();
    }
    Section {
        offset: (offset as u32).into(),
        bytes: (bytes as u32).into(),
    }
}

fn header(graph: &Graph, lowered: &Lowered, plan: &Plan) -> Header {
    let mut header = Header::new_zeroed();
    header.magic = MAGIC;
    header.version = VERSION.into();
    header.model_kind = match graph.meta.kind {
        ModelKind::Other => format::ModelKind::Other,
        ModelKind::ImageEncoder => format::ModelKind::ImageEncoder,
        ModelKind::TextEncoder => format::ModelKind::TextEncoder,
    } as u8;
    header.embedding_space = graph.meta.embedding_space.unwrap_or_default();
    header.arena_bytes = (plan.arena_bytes as u32).into();
    header.arena_lower_bound_bytes = (plan.lower_bound_bytes as u32).into();
    header.logit_scale = graph.meta.logit_scale.unwrap_or(0.0).into();
    header.logit_bias = graph.meta.logit_bias.unwrap_or(0.0).into();
    let dynamic = lowered
        .values
        .iter()
        .filter(|value| value.dynamic)
        .map(|value| value.shape[0])
        .max();
    header.max_tokens = (dynamic.unwrap_or(0) as u32).into();
    header.padding_tokens = graph.meta.padding_tokens;
    let slots = |values: &[usize]| {
        std::array::from_fn(|i| values.get(i).map_or(NO_VALUE, |&value| value as u16).into())
    };
    header.inputs = slots(&lowered.inputs);
    header.outputs = slots(&lowered.outputs);
    if let Some(geometry) = &graph.meta.geometry {
        header.geometry = GeometryRecord {
            width: (geometry.width as u16).into(),
            height: (geometry.height as u16).into(),
            resize_shorter: (geometry.resize_shorter as u16).into(),
            reserved: 0.into(),
            mean: geometry.mean.map(Into::into),
            std: geometry.std.map(Into::into),
        };
    }
    header
}

fn value_record(
    lowered: &Lowered,
    index: usize,
    arena_offset: usize,
    data_offsets: &[usize],
) -> ValueRecord {
    let value = &lowered.values[index];
    let (place, offset) = match value.place {
        Place::Arena => (PLACE_ARENA, arena_offset),
        Place::Data(_) => (PLACE_DATA, data_offsets[value.storage]),
    };
    ValueRecord {
        dtype: value.dtype as u8,
        rank: value.shape.len() as u8,
        place,
        dynamic: value.dynamic.into(),
        shape: std::array::from_fn(|d| (value.shape.get(d).copied().unwrap_or(1) as u32).into()),
        storage: (value.storage as u16).into(),
        reserved: 0.into(),
        offset: (offset as u32).into(),
        scale: value.scale.into(),
        zero_point: value.zero_point.into(),
    }
}

/// Names of values, then of operators, one a line.
fn names(lowered: &Lowered) -> String {
    let values = lowered.values.iter().map(|value| &value.name);
    let ops = lowered.ops.iter().map(|op| &op.name);
    values
        .chain(ops)
        .flat_map(|name| [name.replace(['\n', '\r'], " "), "\n".into()])
        .collect()
}

/// The growing file.
struct File<'a> {
    bytes: Vec<u8>,
    /// Where operators' data lie; operators with equal data, such as the bands of a stem, share it.
    stretches: HashMap<&'a [u8], Section>,
}

impl<'a> File<'a> {
    fn align(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGN_BYTES), 0);
    }

    fn reserve(&mut self, bytes: usize) -> Section {
        self.align();
        let offset = self.bytes.len();
        self.bytes.resize(offset + bytes, 0);
        section(offset, bytes)
    }

    fn put(&mut self, section: Section, bytes: &[u8]) {
        let offset = section.offset.get() as usize;
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn append(&mut self, bytes: &[u8]) -> Section {
        let section = self.reserve(bytes.len());
        self.put(section, bytes);
        section
    }

    /// Appends a constant value; its offset, or 0 for others.
    fn constant(&mut self, value: &LoweredValue) -> usize {
        match &value.place {
            Place::Data(bytes) => {
                self.align();
                let offset = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                offset
            }
            Place::Arena => 0,
        }
    }

    /// Appends an operator's data, unless an equal stretch is there; its record.
    fn op(&mut self, op: &'a LoweredOp, scratch_offset: usize, scratch_bytes: usize) -> OpRecord {
        let mut record = OpRecord::new_zeroed();
        record.kind = (op.kind as u16).into();
        record.inputs = std::array::from_fn(|i| {
            op.inputs
                .get(i)
                .map_or(NO_VALUE, |&value| value as u16)
                .into()
        });
        record.output = (op.output as u16).into();
        record.scratch_bytes = (scratch_bytes as u32).into();
        record.scratch_offset = (scratch_offset as u32).into();
        for (slot, bytes) in record.data.iter_mut().zip(&op.data) {
            if let Some(bytes) = bytes.as_deref().filter(|bytes| !bytes.is_empty()) {
                let known = self.stretches.get(bytes).copied();
                let stretch = known.unwrap_or_else(|| self.append(bytes));
                self.stretches.insert(bytes, stretch);
                let Section { offset, bytes } = stretch;
                *slot = DataRef { offset, bytes };
            }
        }
        debug_assert!(op.params.len() <= PARAMS_BYTES);
        record.params[..op.params.len()].copy_from_slice(&op.params);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinhole_runtime::model::op::OpKind;

    fn message(kind: OpKind) -> String {
        let op = LoweredOp {
            name: "block.3".into(),
            kind,
            inputs: vec![],
            output: 0,
            data: vec![],
            params: vec![],
            scratch_bytes: 0,
            macs: 0,
        };
        let lowered = Lowered {
            ops: vec![op],
            ..Lowered::default()
        };
        let error = LoadError::Op {
            index: 0,
            kind: kind as u16,
            reason: OpFault::Parameter {
                what: "k",
                found: 9,
                min: 1,
                max: 8,
            },
        };
        refusal(&lowered, &error).to_string()
    }

    #[test]
    fn only_integer_operators_are_refused_for_their_sums() {
        for kind in [OpKind::GemmS8, OpKind::DepthwiseConvS16] {
            let message = message(kind);
            assert!(message.contains("k is 9, expected 1 to 8"), "{message}");
            assert!(message.contains("--keep-float block.3"), "{message}");
        }
        for kind in [OpKind::GemmF32, OpKind::SoftmaxF16] {
            let message = message(kind);
            assert!(message.ends_with("k is 9, expected 1 to 8"), "{message}");
        }
    }
}
