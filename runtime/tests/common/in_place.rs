//! Plans in which outputs replace inputs.

use super::Builder;
use pinhole_runtime::model::format::{MAX_INPUTS, NO_VALUE, OpRecord};
use pinhole_runtime::model::op::OpKind;
use pinhole_runtime::model::{Model, ValueView, stage_bytes};

/// A stage and an output that grows need more room than the plain plan leaves.
const ROOM: u32 = 8;

/// The same model, where every operator that may write over an input does so.
pub fn overwriting(plain: &Builder) -> Builder {
    let mut b = plain.clone();
    let file = plain.build();
    let model = Model::load(&file).unwrap();
    b.spread(ROOM);
    for (number, op) in model.ops().iter().enumerate() {
        let Some((operand, bytes)) = replaceable(&model, number, op) else {
            continue;
        };
        let replaced = usize::from(op.inputs[operand].get());
        let (offset, storage) = (
            b.values[replaced].offset,
            b.values[op.output.get() as usize].storage,
        );
        for value in b.values.iter_mut().filter(|value| value.storage == storage) {
            value.offset = offset;
        }
        b.stage(number, bytes);
    }
    b
}

/// The first input that `op` may write over, and the bytes of the stage.
fn replaceable(model: &Model<'_>, number: usize, op: &OpRecord) -> Option<(usize, usize)> {
    let storage = |value: usize| model.value(value).storage;
    let needed_later = |owner: usize| {
        let later = model.ops()[number + 1..].iter().any(|op| {
            let mut used = op.inputs.iter().filter(|slot| slot.get() != NO_VALUE);
            used.any(|slot| storage(slot.get().into()) == owner)
        });
        later || model.outputs().any(|output| storage(output) == owner)
    };
    let inputs: [Option<ValueView>; MAX_INPUTS] = op
        .inputs
        .map(|slot| (slot.get() != NO_VALUE).then(|| model.value(slot.get().into())));
    let output = model.value(op.output.get().into());
    let kind = OpKind::from_u16(op.kind.get()).unwrap();
    (0..MAX_INPUTS).find_map(|operand| {
        let input =
            inputs[operand].filter(|input| !input.constant && !needed_later(input.storage))?;
        let twice = inputs
            .iter()
            .flatten()
            .filter(|other| other.storage == input.storage)
            .count()
            > 1;
        let bytes = stage_bytes(kind, operand, &inputs, &output)?;
        (!twice).then_some((operand, bytes))
    })
}
