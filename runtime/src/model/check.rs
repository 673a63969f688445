//! The proof over a whole file, part by part: header, sections, values, operators, plan, and what names and self-check
//! hold. The order matters: each part may rely on those before it.

use super::checksum::checksum;
use super::error::{HeaderField, LoadError, SectionFault, SectionName, ValueFault};
use super::format::{
    ALIGN_BYTES, DType, GeometryRecord, Header, MAGIC, MAX_OPS, MAX_RANK, MAX_VALUES, ModelKind,
    NO_VALUE, OpRecord, PLACE_ARENA, PLACE_DATA, Section, VERSION, ValueRecord, WeightLayout,
};
use super::{Model, Totals, golden, plan, view};
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// See [`Model::load`].
pub(super) fn load(given: &[u8]) -> Result<Model<'_>, LoadError> {
    let header = start(given)?;
    // The header proved that the file is not longer than what is given.
    let bytes = given
        .get(..header.file_bytes.get() as usize)
        .unwrap_or(given);
    let (stored, computed) = (header.crc32.get(), checksum(bytes));
    if computed != stored {
        return Err(LoadError::BadChecksum { stored, computed });
    }
    let model = contents(bytes, header)?;
    plan::expect_totals(&model)?;
    Ok(model)
}

/// See [`super::measure`].
pub(super) fn measure(bytes: &[u8]) -> Result<Totals, LoadError> {
    let header = start(bytes)?;
    let model = contents(bytes, header)?;
    Ok(plan::totals(&model))
}

fn start(given: &[u8]) -> Result<&Header, LoadError> {
    let remainder = given.as_ptr().addr() % ALIGN_BYTES;
    if remainder != 0 {
        return Err(LoadError::Misaligned { remainder });
    }
    header(given)
}

/// Everything but the checksum and the totals.
fn contents<'a>(bytes: &'a [u8], header: &'a Header) -> Result<Model<'a>, LoadError> {
    sections(header)?;
    let values: &[ValueRecord] = records(bytes, header.values, SectionName::Values, MAX_VALUES)?;
    let ops: &[OpRecord] = records(bytes, header.ops, SectionName::Ops, MAX_OPS)?;
    for (index, record) in values.iter().enumerate() {
        value(header, values, index, record)
            .map_err(|reason| LoadError::Value { index, reason })?;
    }
    let model = Model {
        bytes,
        header,
        values,
        ops,
    };
    ports(&model)?;
    geometry(&model)?;
    plan::check(&model)?;
    names(&model)?;
    golden::split(&model)?;
    Ok(model)
}

/// The fields that say whether the rest can be read at all, then those that stand for themselves.
fn header(given: &[u8]) -> Result<&Header, LoadError> {
    let truncated = |needed| LoadError::Truncated {
        needed,
        given: given.len(),
    };
    let (header, _) = Header::ref_from_prefix(given).map_err(|_| truncated(size_of::<Header>()))?;
    if header.magic != MAGIC {
        return Err(LoadError::BadMagic {
            found: header.magic,
        });
    }
    if header.version.get() != VERSION {
        return Err(LoadError::NewerVersion {
            found: header.version.get(),
            supported: VERSION,
        });
    }
    WeightLayout::from_u8(header.weight_layout).ok_or(LoadError::Layout {
        found: header.weight_layout,
    })?;
    ModelKind::from_u8(header.model_kind).ok_or(LoadError::Kind {
        found: header.model_kind,
    })?;
    let needed = (header.file_bytes.get() as usize).max(size_of::<Header>());
    if needed > given.len() {
        return Err(truncated(needed));
    }
    let fault = |field| Err(LoadError::Header { field });
    if header.reserved.iter().any(|&byte| byte != 0) {
        return fault(HeaderField::Reserved);
    }
    if !(header.logit_scale.get().is_finite() && header.logit_scale.get() >= 0.0) {
        return fault(HeaderField::LogitScale);
    }
    if !header.logit_bias.get().is_finite() {
        return fault(HeaderField::LogitBias);
    }
    Ok(header)
}

/// Sections lie in the order of the header, behind it and behind one another.
fn sections(header: &Header) -> Result<(), LoadError> {
    let file_bytes = u64::from(header.file_bytes.get());
    let mut free = size_of::<Header>() as u64;
    let all = [
        (SectionName::Values, header.values),
        (SectionName::Ops, header.ops),
        (SectionName::Data, header.data),
        (SectionName::Vocabulary, header.vocabulary),
        (SectionName::Names, header.names),
        (SectionName::Golden, header.golden),
        (SectionName::Signature, header.signature),
    ];
    for (section, place) in all {
        let fault = |reason| Err(LoadError::Section { section, reason });
        let (offset, bytes) = (place.offset.get(), place.bytes.get());
        if bytes == 0 {
            if offset != 0 {
                return fault(SectionFault::Offset { found: offset });
            }
            continue;
        }
        if !u64::from(offset).is_multiple_of(ALIGN_BYTES as u64) {
            return fault(SectionFault::Offset { found: offset });
        }
        if u64::from(offset) < free {
            return fault(SectionFault::Overlap {
                expected: free as u32,
                found: offset,
            });
        }
        free = u64::from(offset) + u64::from(bytes);
        if free > file_bytes {
            return fault(SectionFault::End {
                found: free,
                file_bytes,
            });
        }
    }
    if header.signature.bytes.get() != 0 {
        let reason = SectionFault::Length {
            expected: 0,
            found: header.signature.bytes.get().into(),
        };
        return Err(LoadError::Section {
            section: SectionName::Signature,
            reason,
        });
    }
    Ok(())
}

/// The records of a section that `sections` proved to lie inside the file.
fn records<T>(
    file: &[u8],
    place: Section,
    section: SectionName,
    limit: usize,
) -> Result<&[T], LoadError>
where
    T: FromBytes + Immutable,
{
    let (offset, bytes) = (place.offset.get() as usize, place.bytes.get() as usize);
    let found = bytes / size_of::<T>();
    let fault = |reason| LoadError::Section { section, reason };
    if found == 0 || found > limit {
        return Err(fault(SectionFault::Count { found, limit }));
    }
    let length = SectionFault::Length {
        expected: (found * size_of::<T>()) as u64,
        found: bytes as u64,
    };
    let stretch = offset
        .checked_add(bytes)
        .and_then(|end| file.get(offset..end))
        .ok_or(fault(length))?;
    <[T]>::ref_from_bytes(stretch).map_err(|_| fault(length))
}

fn value(
    header: &Header,
    all: &[ValueRecord],
    index: usize,
    record: &ValueRecord,
) -> Result<(), ValueFault> {
    let dtype = DType::from_u8(record.dtype).ok_or(ValueFault::DType {
        found: record.dtype,
    })?;
    if record.reserved.get() != 0 {
        return Err(ValueFault::Reserved);
    }
    let bytes = shape_bytes(record, dtype)?;
    dynamic(header, record)?;
    let offset = record.offset.get();
    if !(offset as usize).is_multiple_of(ALIGN_BYTES) {
        return Err(ValueFault::Offset { found: offset });
    }
    let (start, limit) = match record.place {
        PLACE_ARENA => (0, u64::from(header.arena_bytes.get())),
        PLACE_DATA => {
            let start = u64::from(header.data.offset.get());
            (start, start + u64::from(header.data.bytes.get()))
        }
        found => return Err(ValueFault::Place { found }),
    };
    let end = u64::from(offset) + bytes;
    if u64::from(offset) < start || end > limit {
        return Err(ValueFault::Bounds { end, limit });
    }
    quantisation(record, dtype)?;
    storage(all, index, record)
}

/// Bytes of a value; `shape` and `rank` in range, so that all later products of its dimensions fit 32 bits.
fn shape_bytes(record: &ValueRecord, dtype: DType) -> Result<u64, ValueFault> {
    let rank = record.rank as usize;
    if !(1..=MAX_RANK).contains(&rank) {
        return Err(ValueFault::Rank { found: record.rank });
    }
    let mut bytes = dtype.bytes() as u64;
    for (dimension, size) in record.shape.iter().enumerate() {
        let fault = ValueFault::Shape {
            dimension,
            found: size.get(),
        };
        if size.get() == 0 || (dimension >= rank && size.get() != 1) {
            return Err(fault);
        }
        bytes = bytes.saturating_mul(size.get().into());
        if bytes > u64::from(u32::MAX) {
            return Err(fault);
        }
    }
    Ok(bytes)
}

fn dynamic(header: &Header, record: &ValueRecord) -> Result<(), ValueFault> {
    match (record.dynamic, record.place) {
        (0, _) => Ok(()),
        (1, PLACE_ARENA) => {
            let (expected, found) = (header.max_tokens.get(), record.shape[0].get());
            if expected == found {
                Ok(())
            } else {
                Err(ValueFault::Tokens { expected, found })
            }
        }
        (found, _) => Err(ValueFault::Dynamic { found }),
    }
}

fn quantisation(record: &ValueRecord, dtype: DType) -> Result<(), ValueFault> {
    let (scale, zero_point) = (record.scale.get(), record.zero_point.get());
    let quantised = matches!(dtype, DType::I8 | DType::I16);
    if !(scale.is_finite() && scale >= 0.0) || (!quantised && scale != 0.0) {
        return Err(ValueFault::Scale { found: scale });
    }
    let range = if dtype == DType::I8 {
        -128..=127
    } else {
        0..=0
    };
    if range.contains(&zero_point) {
        Ok(())
    } else {
        Err(ValueFault::ZeroPoint { found: zero_point })
    }
}

/// A value owns its bytes, or has those of an owner: same place, same type, same length, the same share of the tokens.
fn storage(all: &[ValueRecord], index: usize, record: &ValueRecord) -> Result<(), ValueFault> {
    let found = record.storage.get();
    if found as usize == index {
        return Ok(());
    }
    let owner = all
        .get(found as usize)
        .ok_or(ValueFault::Storage { found })?;
    let same = owner.storage.get() == found
        && owner.place == record.place
        && owner.offset == record.offset
        && owner.dtype == record.dtype
        && owner.dynamic == record.dynamic
        && view(owner).bytes == view(record).bytes;
    if same {
        Ok(())
    } else {
        Err(ValueFault::Storage { found })
    }
}

/// Inputs and outputs of the model, and whether it is dynamic.
fn ports(model: &Model<'_>) -> Result<(), LoadError> {
    let fault = |field| LoadError::Header { field };
    let any_dynamic = model.values.iter().any(|value| value.dynamic != 0);
    if any_dynamic != (model.max_tokens() != 0) {
        return Err(fault(HeaderField::MaxTokens));
    }
    if model.padding_tokens() > 0 && model.padding_tokens() >= model.max_tokens() {
        return Err(fault(HeaderField::PaddingTokens));
    }
    slots(&model.header.inputs, model).ok_or(fault(HeaderField::Inputs))?;
    slots(&model.header.outputs, model).ok_or(fault(HeaderField::Outputs))?;
    for (slot, index) in model.inputs().enumerate() {
        let input = model.value(index);
        if input.storage != index || model.inputs().take(slot).any(|other| other == index) {
            return Err(fault(HeaderField::Inputs));
        }
        // A picture is quantised, and an embedding scored, by the scale of its value.
        if input.dtype == DType::I8 && input.scale == 0.0 {
            return Err(LoadError::Value {
                index,
                reason: ValueFault::Scale { found: 0.0 },
            });
        }
    }
    Ok(())
}

/// At least one slot is used, used ones come first, each names a value in the arena.
fn slots(slots: &[U16; 4], model: &Model<'_>) -> Option<()> {
    let count = slots
        .iter()
        .take_while(|slot| slot.get() != NO_VALUE)
        .count();
    let (used, unused) = slots.split_at(count);
    let sound = |slot: &U16| {
        model
            .values
            .get(slot.get() as usize)
            .is_some_and(|value| value.place == PLACE_ARENA)
    };
    (count > 0 && used.iter().all(sound) && unused.iter().all(|slot| slot.get() == NO_VALUE))
        .then_some(())
}

/// A picture's geometry is that of the first input; a text encoder has none and reads ids.
fn geometry(model: &Model<'_>) -> Result<(), LoadError> {
    let fault = Err(LoadError::Header {
        field: HeaderField::Geometry,
    });
    let record: &GeometryRecord = &model.header.geometry;
    let absent = record.as_bytes().iter().all(|&byte| byte == 0);
    let Some(first) = model.inputs().next().map(|index| model.value(index)) else {
        return fault;
    };
    let sound = match (model.kind(), model.geometry()) {
        (ModelKind::TextEncoder, _) => absent && first.dtype == DType::I32,
        (ModelKind::Other, _) if absent => true,
        (ModelKind::Other | ModelKind::ImageEncoder, Some(geometry)) => {
            let shape = [
                1,
                usize::from(geometry.height),
                usize::from(geometry.width),
                3,
            ];
            let picture = first.rank == 4
                && first.shape == shape
                && matches!(first.dtype, DType::I8 | DType::F32);
            picture && geometry.check().is_ok() && record.reserved.get() == 0
        }
        _ => false,
    };
    if sound { Ok(()) } else { fault }
}

/// One line for each value and each operator.
fn names(model: &Model<'_>) -> Result<(), LoadError> {
    let bytes = model.section(model.header.names);
    let fault = Err(LoadError::Section {
        section: SectionName::Names,
        reason: SectionFault::Text,
    });
    if bytes.is_empty() {
        return Ok(());
    }
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let whole = bytes.last() == Some(&b'\n') && lines == model.values.len() + model.ops.len();
    if whole && core::str::from_utf8(bytes).is_ok() {
        Ok(())
    } else {
        fault
    }
}

/// Where the stored inputs of the self-check end, and the number of its tokens (0 when nothing is dynamic), which follows
/// from the length.
pub(super) fn golden_split(model: &Model<'_>) -> Result<(usize, usize), LoadError> {
    let found = u64::from(model.header.golden.bytes.get());
    let [
        mut fixed,
        mut per_token,
        mut fixed_inputs,
        mut per_token_inputs,
    ] = [0u64; 4];
    let (inputs, outputs) = (
        model.inputs().map(|index| (index, true)),
        model.outputs().map(|index| (index, false)),
    );
    for (index, is_input) in inputs.chain(outputs) {
        let value = model.value(index);
        let share = if value.dynamic {
            value.bytes / value.shape[0]
        } else {
            value.bytes
        } as u64;
        let (sum, input_sum) = if value.dynamic {
            (&mut per_token, &mut per_token_inputs)
        } else {
            (&mut fixed, &mut fixed_inputs)
        };
        *sum += share;
        *input_sum += if is_input { share } else { 0 };
    }
    let tokens = found
        .saturating_sub(fixed)
        .checked_div(per_token)
        .unwrap_or(0);
    let expected = fixed + tokens * per_token;
    let in_range = per_token == 0 || (1..=model.max_tokens() as u64).contains(&tokens);
    if expected != found || !in_range {
        let reason = SectionFault::Length { expected, found };
        return Err(LoadError::Section {
            section: SectionName::Golden,
            reason,
        });
    }
    let inputs = fixed_inputs + tokens * per_token_inputs;
    Ok((inputs as usize, tokens as usize))
}
