//! `Model::load` over sound, damaged and hostile files.

mod common;

use common::run::{run, run_on_all};
use common::{Aligned, Builder, Parts, samples, seal};
use pinhole_runtime::interpreter::{InputError, Interpreter};
use pinhole_runtime::kernel::Scalar;
use pinhole_runtime::model::format::{
    DType, Header, MAX_OPS, ModelKind, NO_VALUE, OpRecord, ValueRecord,
};
use pinhole_runtime::model::op::OpKind;
use pinhole_runtime::model::{
    HeaderField, LoadError, Model, OpFault, SectionFault, SectionName, ValueFault,
};
use zerocopy::{FromBytes, IntoBytes};

fn header_mut(file: &mut [u8]) -> &mut Header {
    Header::mut_from_prefix(file).unwrap().0
}

fn load_error(builder: &Builder) -> LoadError {
    Model::load(&builder.build()).unwrap_err()
}

#[test]
fn sound_models_load_and_run() {
    for builder in samples::all() {
        let file = builder.build();
        let model = Model::load(&file).unwrap();
        assert_eq!(model.kind(), builder.kind);
        assert_eq!(model.embedding_space(), [7; 16]);
        assert_eq!(
            model.geometry().is_some(),
            builder.kind == ModelKind::ImageEncoder
        );
        assert!(model.header().arena_lower_bound_bytes.get() as usize <= model.arena_bytes());
        run_on_all(&model, 0);
    }
}

#[test]
fn the_samples_hold_every_kind_of_operator() {
    let samples = samples::all();
    let used: Vec<u16> = samples
        .iter()
        .flat_map(|b| &b.ops)
        .map(|op| op.kind.get())
        .collect();
    for kind in OpKind::ALL {
        assert!(used.contains(&(*kind as u16)), "{}", kind.name());
    }
}

#[test]
fn names_are_those_of_values_and_operators() {
    let builder = samples::image_s8();
    let file = builder.build();
    let model = Model::load(&file).unwrap();
    assert_eq!(model.value_name(2), Some("value2"));
    assert_eq!(model.op_name(0), Some("op0"));
    assert_eq!(model.value_name(builder.values.len()), None);
    assert_eq!(model.op_name(builder.ops.len()), None);
}

#[test]
fn every_flipped_bit_is_refused() {
    for builder in samples::all() {
        let mut file = builder.build();
        for byte in 0..file.len() {
            for bit in 0..8 {
                file[byte] ^= 1 << bit;
                assert!(Model::load(&file).is_err(), "byte {byte} bit {bit}");
                file[byte] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for builder in samples::all() {
        let file = builder.build();
        for len in 0..file.len() {
            match Model::load(&file[..len]) {
                Err(LoadError::Truncated { needed, given }) => {
                    assert!(given == len && needed > len)
                }
                other => panic!("{len} bytes: {other:?}"),
            }
        }
    }
}

#[test]
fn bytes_behind_the_file_do_not_matter() {
    let file = samples::image_s8().build();
    let mut partition = Aligned::zeroed(file.len() + 1000);
    partition[..file.len()].copy_from_slice(&file);
    partition[file.len()..].fill(0xff);
    assert_eq!(Model::load(&partition).unwrap().bytes().len(), file.len());
}

#[test]
fn a_file_at_an_odd_address_is_refused() {
    let file = samples::image_s8().build();
    let mut shifted = Aligned::zeroed(file.len() + 16);
    for remainder in 1..16 {
        shifted[remainder..remainder + file.len()].copy_from_slice(&file);
        assert_eq!(
            Model::load(&shifted[remainder..]).unwrap_err(),
            LoadError::Misaligned { remainder }
        );
    }
}

#[test]
fn a_foreign_file_and_a_newer_version_are_named() {
    let mut file = samples::image_s8().build();
    header_mut(&mut file).version = 2.into();
    seal(&mut file);
    let error = Model::load(&file).unwrap_err();
    assert_eq!(
        error,
        LoadError::NewerVersion {
            found: 2,
            supported: 1
        }
    );
    assert_eq!(
        error.to_string(),
        "model format version 2, this runtime reads version 1"
    );
    file[..4].copy_from_slice(b"PK\x03\x04");
    let error = Model::load(&file).unwrap_err();
    assert_eq!(
        error,
        LoadError::BadMagic {
            found: *b"PK\x03\x04"
        }
    );
    assert_eq!(
        error.to_string(),
        "not a model file: it begins with \"PK\\x03\\x04\", expected \"PHM1\""
    );
}

#[test]
fn totals_that_are_not_those_of_the_operators_are_refused() {
    for builder in samples::all() {
        for (field, delta) in [(0, 16u32), (1, 16), (1, 1), (2, 1)] {
            let mut file = builder.build();
            let header = header_mut(&mut file);
            match field {
                0 => header.arena_bytes = (header.arena_bytes.get() + delta).into(),
                1 => {
                    header.arena_lower_bound_bytes =
                        (header.arena_lower_bound_bytes.get() - delta).into()
                }
                _ => header.macs = (header.macs.get() + u64::from(delta)).into(),
            }
            seal(&mut file);
            let error = Model::load(&file).unwrap_err();
            match field {
                0 => assert!(matches!(error, LoadError::Arena { .. }), "{error}"),
                1 => assert!(matches!(error, LoadError::LowerBound { .. }), "{error}"),
                _ => assert!(matches!(error, LoadError::Macs { .. }), "{error}"),
            }
        }
    }
}

/// Two values of 16 bytes in a row, each the LUT of the one before.
fn chain(length: usize) -> Builder {
    let mut b = Builder::new(ModelKind::Other);
    let mut last = b.value(DType::I8, &[16]);
    b.input(last);
    for _ in 0..length {
        let next = b.value(DType::I8, &[16]);
        b.op(
            OpKind::LutS8,
            &[last],
            next,
            Parts::default().data(&[1i8; 256]),
        );
        last = next;
    }
    b.output(last);
    b
}

#[test]
fn memory_is_shared_by_what_is_not_live_together() {
    let mut b = chain(4);
    for (index, value) in b.values.iter_mut().enumerate() {
        value.offset = (index as u32 % 2 * 16).into();
    }
    let file = b.build();
    let model = Model::load(&file).unwrap();
    assert_eq!(
        (
            model.arena_bytes(),
            model.header().arena_lower_bound_bytes.get()
        ),
        (32, 32)
    );
}

#[test]
fn a_write_over_a_live_value_is_refused() {
    let mut b = chain(4);
    // Value 3 is written by operator 2 over value 1, which operator 3 reads again.
    b.values[3].offset = b.values[1].offset;
    b.build();
    b.ops[3].inputs[0] = 1.into();
    b.ops[3].kind = (OpKind::AddS8 as u16).into();
    b.ops[3].inputs[1] = 3.into();
    let add = pinhole_runtime::model::op::AddParams {
        left_shift: 20.into(),
        input_multiplier: [0.into(); 2],
        input_shift: [0.into(); 2],
        output_multiplier: 0.into(),
        output_shift: 0.into(),
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    };
    b.ops[3].data = Default::default();
    b.ops[3].params[..36].copy_from_slice(add.as_bytes());
    assert_eq!(load_error(&b), LoadError::Liveness { op: 2, value: 1 });
}

#[test]
fn a_product_over_its_own_input_is_refused() {
    let mut b = samples::image_s8();
    let conv = usize::from(b.ops[0].output.get());
    b.values[conv].offset = b.values[0].offset;
    assert_eq!(load_error(&b), LoadError::Liveness { op: 0, value: 0 });
}

#[test]
fn a_write_over_a_model_output_is_refused() {
    let mut b = chain(3);
    b.output(1);
    b.values[3].offset = b.values[1].offset;
    assert_eq!(load_error(&b), LoadError::Liveness { op: 2, value: 1 });
}

#[test]
fn scratch_over_a_live_value_is_refused() {
    let mut b = samples::image_s8();
    b.values[0].offset = b.ops[0].scratch_offset;
    assert!(matches!(load_error(&b), LoadError::Liveness { op: 0, .. }));
}

#[test]
fn a_value_is_written_once_and_before_it_is_read() {
    let mut b = chain(3);
    b.ops.swap(0, 1);
    let reason = OpFault::ReadBeforeWrite { operand: 0 };
    assert_eq!(
        load_error(&b),
        LoadError::Op {
            index: 0,
            kind: OpKind::LutS8 as u16,
            reason
        }
    );
    let mut b = chain(3);
    b.ops[2].output = 1.into();
    b.outputs = vec![1];
    assert_eq!(
        load_error(&b),
        LoadError::Value {
            index: 1,
            reason: ValueFault::WrittenTwice { op: 2 }
        }
    );
    let mut b = chain(3);
    b.ops.pop();
    assert_eq!(
        load_error(&b),
        LoadError::Value {
            index: 3,
            reason: ValueFault::NeverWritten
        }
    );
    let mut b = chain(3);
    b.ops[2].output = 0.into();
    b.outputs = vec![0];
    assert_eq!(
        load_error(&b),
        LoadError::Value {
            index: 0,
            reason: ValueFault::WrittenTwice { op: 2 }
        }
    );
}

#[test]
fn every_input_slot_is_checked() {
    let mut b = chain(2);
    b.ops[0].inputs[0] = NO_VALUE.into();
    assert!(matches!(
        load_error(&b),
        LoadError::Op {
            index: 0,
            reason: OpFault::MissingOperand { operand: 0 },
            ..
        }
    ));
    let mut b = chain(2);
    b.ops[1].inputs[2] = 0.into();
    assert!(matches!(
        load_error(&b),
        LoadError::Op {
            index: 1,
            reason: OpFault::ExtraInput { operand: 2 },
            ..
        }
    ));
    let mut b = chain(2);
    b.ops[1].inputs[0] = 77.into();
    let error = load_error(&b);
    assert_eq!(
        error.to_string(),
        "operator 1 (lut_s8): input 0 is value 77 of 3"
    );
    let mut b = chain(2);
    b.inputs = vec![0, 0];
    assert_eq!(
        load_error(&b),
        LoadError::Header {
            field: HeaderField::Inputs
        }
    );
}

#[test]
fn numbers_that_could_overflow_are_refused() {
    let b = samples::image_s8();
    let bias_at = b.ops[0].data[1].offset.get() as usize;
    let multiplier_at = b.ops[0].data[2].offset.get() as usize;
    let shift_at = b.ops[0].data[3].offset.get() as usize;
    let with = |at: usize, bytes: &[u8]| {
        let mut b = b.clone();
        b.data[at..at + bytes.len()].copy_from_slice(bytes);
        load_error(&b)
    };
    let room = i64::from(i32::MAX) - 27 * 128 * 128;
    for (error, name) in [
        (with(bias_at, &(room as i32 + 1).to_le_bytes()), "bias"),
        (with(bias_at + 4, &i32::MIN.to_le_bytes()), "bias"),
        (
            with(multiplier_at, &((1i32 << 30) - 1).to_le_bytes()),
            "multiplier",
        ),
        (with(multiplier_at, &(-1i32).to_le_bytes()), "multiplier"),
        (with(shift_at, &[31]), "shift"),
        (with(shift_at, &[-32i8 as u8]), "shift"),
    ] {
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut sound = b.clone();
    sound.data[bias_at..bias_at + 4].copy_from_slice(&(room as i32).to_le_bytes());
    assert!(Model::load(&sound.build()).is_ok());
}

#[test]
fn weights_that_no_channel_has_must_be_zero() {
    let mut b = samples::image_s8();
    // The convolution has 27 inputs: byte 3 of the seventh group is padding.
    let at = b.ops[0].data[0].offset.get() as usize + 6 * 16 * 4 + 3;
    assert_eq!(b.data[at], 0);
    b.data[at] = 1;
    let reason = OpFault::Padding {
        channel: 0,
        input: 27,
    };
    assert_eq!(
        load_error(&b),
        LoadError::Op {
            index: 0,
            kind: OpKind::ConvS8 as u16,
            reason
        }
    );
}

#[test]
fn a_window_that_holds_no_pixel_is_refused() {
    let mut b = samples::image_s8();
    let pool = b
        .ops
        .iter()
        .position(|op| op.kind.get() == OpKind::AvgPoolS8 as u16)
        .unwrap();
    // Kernel 1 with padding 1 gives the shape of kernel 3 with padding 1 when the picture is one pixel larger.
    b.ops[pool].params[0] = 1;
    assert!(
        load_error(&b).to_string().contains("padding"),
        "{}",
        load_error(&b)
    );
}

#[test]
fn dynamic_values_are_refused_where_they_cannot_be_followed() {
    let mut b = samples::text_f32(5);
    let softmax = b
        .ops
        .iter()
        .position(|op| op.kind.get() == OpKind::SoftmaxF32 as u16)
        .unwrap();
    let output = b.ops[softmax].output.get() as usize;
    b.values[output].dynamic = 0;
    assert!(
        matches!(load_error(&b), LoadError::Op { index, reason: OpFault::Dynamic { .. }, .. } if index == softmax)
    );
    let mut b = samples::text_f32(5);
    b.max_tokens = 4;
    assert!(matches!(
        load_error(&b),
        LoadError::Value {
            index: 0,
            reason: ValueFault::Tokens {
                expected: 4,
                found: 5
            }
        }
    ));
}

#[test]
fn aliases_share_everything_but_the_shape() {
    let b = samples::image_s8();
    let alias = (0..b.values.len())
        .find(|&i| b.values[i].storage.get() as usize != i)
        .unwrap();
    let with = |change: fn(&mut ValueRecord)| {
        let mut b = b.clone();
        change(&mut b.values[alias]);
        load_error(&b)
    };
    let fault = |error: LoadError| {
        matches!(
            error,
            LoadError::Value {
                reason: ValueFault::Storage { .. },
                ..
            }
        )
    };
    assert!(fault(with(
        |value| value.offset = (value.offset.get() - 16).into()
    )));
    assert!(fault(with(|value| value.shape[1] = 17.into())));
    assert!(fault(with(|value| value.storage = 999.into())));
    assert!(fault(with(|value| value.storage = 0.into())));
}

#[test]
fn sections_out_of_place_are_named() {
    let b = samples::image_s8();
    let with = |change: fn(&mut Header)| {
        let mut file = b.build();
        change(header_mut(&mut file));
        seal(&mut file);
        Model::load(&file).unwrap_err()
    };
    let named = |section, reason| LoadError::Section { section, reason };
    assert_eq!(
        with(|h| h.values.offset = 193.into()),
        named(SectionName::Values, SectionFault::Offset { found: 193 })
    );
    assert_eq!(
        with(|h| h.values.offset = 176.into()),
        named(
            SectionName::Values,
            SectionFault::Overlap {
                expected: 184,
                found: 176
            }
        )
    );
    assert!(matches!(
        with(|h| h.names.bytes = 9999.into()),
        LoadError::Section {
            section: SectionName::Names,
            reason: SectionFault::End { .. }
        }
    ));
    assert!(matches!(
        with(|h| h.ops.bytes = (h.ops.bytes.get() - 1).into()),
        LoadError::Section {
            section: SectionName::Ops,
            reason: SectionFault::Length { .. }
        }
    ));
    assert_eq!(
        with(|h| h.names.bytes = (h.names.bytes.get() - 1).into()),
        named(SectionName::Names, SectionFault::Text)
    );
}

#[test]
fn an_arena_that_does_not_fit_is_refused() {
    let file = samples::image_s8().build();
    let model = Model::load(&file).unwrap();
    let needed = model.arena_bytes();
    let mut arena = Aligned::zeroed(needed + 16);
    for given in [0, 1, needed - 1] {
        let refused = Interpreter::new(&model, &mut arena[..given], &Scalar).err();
        assert_eq!(refused, Some(InputError::ArenaTooSmall { needed, given }));
    }
    assert_eq!(
        Interpreter::new(&model, &mut arena[1..], &Scalar).err(),
        Some(InputError::ArenaMisaligned)
    );
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    assert_eq!(
        interpreter.input_f32_mut(0).unwrap_err(),
        InputError::WrongType {
            expected: DType::F32,
            found: DType::I8
        }
    );
    assert_eq!(
        interpreter.output_s8(1).unwrap_err(),
        InputError::NoSuchPort { index: 1, count: 1 }
    );
    assert_eq!(
        interpreter.set_tokens(1).unwrap_err(),
        InputError::Tokens { given: 1, max: 0 }
    );
}

#[test]
fn the_largest_model_is_checked_in_bounded_time() {
    let mut b = chain(MAX_OPS);
    let table = b.ops[0].data;
    b.data.truncate(256);
    b.ops.iter_mut().for_each(|op| op.data = table);
    // Every value is read by the last operator, as far as slots go, and none may be overwritten: the slowest kind of plan.
    b.outputs = vec![1, 2, 3, MAX_OPS];
    let file = b.build();
    let start = std::time::Instant::now();
    Model::load(&file).unwrap();
    println!("{} operators: {:?}", MAX_OPS, start.elapsed());
    assert!(start.elapsed().as_secs() < 20);
    let too_many = chain(MAX_OPS + 1);
    assert!(matches!(
        load_error(&too_many),
        LoadError::Section {
            section: SectionName::Ops,
            ..
        }
    ));
}

/// The offsets that `docs/model-format.md` states.
#[test]
fn records_lie_as_the_specification_says() {
    use std::mem::offset_of;
    let header = [
        offset_of!(Header, file_bytes),
        offset_of!(Header, crc32),
        offset_of!(Header, embedding_space),
        offset_of!(Header, arena_bytes),
        offset_of!(Header, macs),
        offset_of!(Header, logit_scale),
        offset_of!(Header, max_tokens),
        offset_of!(Header, inputs),
        offset_of!(Header, outputs),
        offset_of!(Header, geometry),
        offset_of!(Header, values),
        offset_of!(Header, signature),
        offset_of!(Header, padding_tokens),
        offset_of!(Header, golden_input),
        offset_of!(Header, reserved),
        size_of::<Header>(),
    ];
    assert_eq!(
        header,
        [
            8, 12, 16, 32, 40, 48, 56, 60, 68, 76, 108, 156, 164, 165, 166, 184
        ]
    );
    let value = [
        offset_of!(ValueRecord, shape),
        offset_of!(ValueRecord, storage),
        offset_of!(ValueRecord, offset),
        offset_of!(ValueRecord, scale),
        offset_of!(ValueRecord, zero_point),
        size_of::<ValueRecord>(),
    ];
    assert_eq!(value, [4, 20, 24, 28, 32, 36]);
    let op = [
        offset_of!(OpRecord, inputs),
        offset_of!(OpRecord, output),
        offset_of!(OpRecord, scratch_offset),
        offset_of!(OpRecord, data),
        offset_of!(OpRecord, params),
        size_of::<OpRecord>(),
    ];
    assert_eq!(op, [4, 12, 16, 24, 56, 104]);
}

/// Version 1 files stay readable: the bytes of the first one are kept. `PINHOLE_BLESS=1` writes them anew.
#[test]
fn the_golden_file_is_written_byte_for_byte_and_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/model_v1.phm");
    let file = samples::image_s8().build();
    if std::env::var_os("PINHOLE_BLESS").is_some() {
        std::fs::write(path, &*file).unwrap();
    }
    let golden = Aligned::from_slice(&std::fs::read(path).unwrap());
    assert!(
        *golden == *file,
        "the layout changed: raise VERSION, or mend the writer"
    );
    let model = Model::load(&golden).unwrap();
    assert_eq!((model.values().len(), model.ops().len()), (12, 10));
    let outputs = run(&model, &Scalar, 1);
    assert_eq!(outputs.last().unwrap().len(), 10);
}
