//! Runs of fewer tokens than the model's largest.

mod common;

use common::samples::text_f32;
use common::text::text_s8;
use common::vit::{HEADS, attention_params};
use common::{Aligned, Builder, Parts, seal};
use pinhole_runtime::interpreter::{InputError, Interpreter};
use pinhole_runtime::kernel::{Scalar, available};
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::{DType, Header, ModelKind};
use pinhole_runtime::model::op::*;
use zerocopy::{FromBytes, IntoBytes};

/// The embedding of `ids` by a text model of at most `max_tokens`, its arena full of `garbage`.
fn embed(max_tokens: usize, ids: &[i32], garbage: u8) -> Vec<f32> {
    let mut builder = text_f32(9);
    if max_tokens != 9 {
        // The same weights with fewer rows: positions are the only constant that has one row a token.
        let positions = builder
            .values
            .iter()
            .position(|value| value.place == 1)
            .unwrap();
        builder.max_tokens = max_tokens;
        for (index, value) in builder.values.iter_mut().enumerate() {
            if value.dynamic == 1 || index == positions {
                value.shape[0] = (max_tokens as u32).into();
            }
        }
        for op in builder
            .ops
            .iter_mut()
            .filter(|op| op.kind.get() == OpKind::AttentionF32 as u16)
        {
            let bytes = pinhole_runtime::kernel::attention_scratch_bytes(max_tokens).unwrap();
            op.scratch_bytes = (bytes as u32).into();
        }
    }
    let file = builder.build();
    let model = Model::load(&file).unwrap();
    let mut arena = Aligned::zeroed(model.arena_bytes());
    arena.fill(garbage);
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    interpreter.set_tokens(ids.len()).unwrap();
    assert_eq!(interpreter.tokens(), ids.len());
    interpreter.input_i32_mut(0).unwrap().copy_from_slice(ids);
    interpreter.run();
    interpreter.output_f32(0).unwrap().to_vec()
}

#[test]
fn a_short_text_gives_the_same_bits_whatever_the_largest_is() {
    let ids = [3, 1, 4, 1];
    let expected = embed(4, &ids, 0);
    assert!(expected.iter().all(|x| x.is_finite()) && expected.iter().any(|&x| x != 0.0));
    for garbage in [0, 0xff] {
        assert_eq!(embed(9, &ids, garbage), expected);
        assert_eq!(embed(6, &ids, garbage), expected);
    }
    assert_ne!(embed(9, &[3, 1, 4], 0), expected);
}

#[test]
fn the_first_and_the_last_row_and_a_cut_of_columns_follow_the_tokens() {
    let mut b = Builder::new(ModelKind::Other);
    let src = b.dynamic(DType::F32, &[6, 3]);
    b.input(src);
    let columns = b.dynamic(DType::F32, &[6, 2]);
    let cut = |starts: [u32; 4]| SliceParams {
        starts: starts.map(Into::into),
        steps: [1.into(); 4],
    };
    b.op(
        OpKind::Slice,
        &[src],
        columns,
        Parts::params(cut([0, 1, 0, 0])),
    );
    let joined = b.dynamic(DType::F32, &[6, 4]);
    b.op(
        OpKind::Concat,
        &[columns, columns],
        joined,
        Parts::params(ConcatParams {
            axis: 1,
            reserved: [0; 3],
        }),
    );
    let first = b.value(DType::F32, &[1, 4]);
    b.op(
        OpKind::Slice,
        &[joined],
        first,
        Parts::params(cut([0, 0, 0, 0])),
    );
    let last = b.value(DType::F32, &[1, 3]);
    b.op(
        OpKind::Slice,
        &[src],
        last,
        Parts::params(cut([5, 0, 0, 0])),
    );
    b.output(first);
    b.output(joined);
    b.output(last);
    let file = b.build();
    let model = Model::load(&file).unwrap();
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    interpreter.set_tokens(2).unwrap();
    interpreter
        .input_f32_mut(0)
        .unwrap()
        .copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    interpreter.run();
    assert_eq!(interpreter.output_f32(0).unwrap(), [2.0, 3.0, 2.0, 3.0]);
    assert_eq!(
        interpreter.output_f32(1).unwrap(),
        [2.0, 3.0, 2.0, 3.0, 5.0, 6.0, 5.0, 6.0]
    );
    assert_eq!(interpreter.output_f32(2).unwrap(), [4.0, 5.0, 6.0]);
    // A row that a short text does not have cannot be cut out.
    b.ops[2].params[..16].copy_from_slice([1u32, 0, 0, 0].as_bytes());
    assert!(
        Model::load(&b.build())
            .unwrap_err()
            .to_string()
            .contains("dynamic")
    );
}

/// Two queries that attend to keys, of which there are `tokens`, at most that many when `dynamic`; inputs q, k, v.
fn two_queries(tokens: usize, dynamic: bool) -> Builder {
    let mut b = Builder::new(ModelKind::Other);
    let rows = |b: &mut Builder| match dynamic {
        true => b.dynamic(DType::F32, &[tokens, 4]),
        false => b.value(DType::F32, &[tokens, 4]),
    };
    let q = b.value(DType::F32, &[2, 4]);
    let (k, v) = (rows(&mut b), rows(&mut b));
    for input in [q, k, v] {
        b.input(input);
    }
    let mixed = b.value(DType::F32, &[2, 4]);
    let parts = Parts::params(AttentionParams {
        num_heads: 2.into(),
        causal: 0,
        reserved: 0,
        scale: 0.5.into(),
    });
    let scratch = pinhole_runtime::kernel::attention_scratch_bytes(tokens);
    b.op(
        OpKind::AttentionF32,
        &[q, k, v],
        mixed,
        parts.scratch(scratch),
    );
    b.output(mixed);
    b
}

/// The output of [`two_queries`] over as many keys as `numbers` has rows behind the queries.
fn mixed(builder: &Builder, numbers: &[f32], tokens: usize) -> Vec<f32> {
    let file = builder.build();
    let model = Model::load(&file).unwrap();
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    if model.max_tokens() > 0 {
        interpreter.set_tokens(tokens).unwrap();
    }
    let spans = [0..8, 8..8 + 4 * tokens, 9..9 + 4 * tokens];
    for (input, span) in spans.into_iter().enumerate() {
        let input = interpreter.input_f32_mut(input).unwrap();
        input.copy_from_slice(&numbers[span]);
    }
    interpreter.run();
    interpreter.output_f32(0).unwrap().to_vec()
}

#[test]
fn queries_of_a_fixed_number_attend_to_the_keys_of_a_run() {
    let numbers: Vec<f32> = (0..40).map(|i| (i * i % 17) as f32 / 5.0 - 1.5).collect();
    let dynamic = two_queries(6, true);
    for tokens in 1..=6 {
        let expected = mixed(&two_queries(tokens, false), &numbers, tokens);
        assert_eq!(mixed(&dynamic, &numbers, tokens), expected, "{tokens}");
    }
}

/// As [`two_queries`], in integers.
fn two_queries_s8(tokens: usize, dynamic: bool) -> Builder {
    let mut b = Builder::new(ModelKind::Other);
    let rows = |b: &mut Builder| match dynamic {
        true => b.dynamic(DType::I8, &[tokens, 4]),
        false => b.value(DType::I8, &[tokens, 4]),
    };
    let q = b.value(DType::I8, &[2, 4]);
    let (k, v) = (rows(&mut b), rows(&mut b));
    for input in [q, k, v] {
        b.input(input);
    }
    let mixed = b.value(DType::I8, &[2, 4]);
    let parts = Parts::params(attention_params(1, [0; 3], [0, 0])).data(&HEADS);
    let scratch = pinhole_runtime::kernel::attention_s8_scratch_bytes(tokens, 2);
    let inputs = [q, k, v];
    b.op(OpKind::AttentionS8, &inputs, mixed, parts.scratch(scratch));
    b.output(mixed);
    b
}

/// The output of [`two_queries_s8`] by each kernel set of this CPU.
fn mixed_s8(builder: &Builder, numbers: &[i8], tokens: usize) -> Vec<Vec<i8>> {
    let file = builder.build();
    let model = Model::load(&file).unwrap();
    let outputs = available().map(|kernels| {
        let mut arena = Aligned::zeroed(model.arena_bytes());
        let mut interpreter = Interpreter::new(&model, &mut arena, kernels).unwrap();
        if model.max_tokens() > 0 {
            interpreter.set_tokens(tokens).unwrap();
        }
        let spans = [0..8, 8..8 + 4 * tokens, 9..9 + 4 * tokens];
        for (input, span) in spans.into_iter().enumerate() {
            let input = interpreter.input_s8_mut(input).unwrap();
            input.copy_from_slice(&numbers[span]);
        }
        interpreter.run();
        interpreter.output_s8(0).unwrap().to_vec()
    });
    outputs.collect()
}

#[test]
fn queries_of_a_fixed_number_attend_in_integers_to_the_keys_of_a_run() {
    let numbers: Vec<i8> = (0..40).map(|i| (i * i * 31 % 251 - 125) as i8).collect();
    let dynamic = two_queries_s8(6, true);
    for tokens in 1..=6 {
        let expected = mixed_s8(&two_queries_s8(tokens, false), &numbers, tokens);
        assert!(expected.iter().all(|output| *output == expected[0]));
        assert_eq!(mixed_s8(&dynamic, &numbers, tokens), expected, "{tokens}");
    }
    let [few, many] = [1, 6].map(|tokens| mixed_s8(&dynamic, &numbers, tokens));
    assert_ne!(few, many, "keys matter");
}

#[test]
fn a_causal_attention_of_a_fixed_number_of_queries_to_keys_of_a_run_is_refused() {
    let mut b = two_queries(2, true);
    assert!(Model::load(&b.build()).is_ok());
    // Byte 2 of the parameters says that it is causal.
    b.ops[0].params[2] = 1;
    let error = Model::load(&b.build()).unwrap_err().to_string();
    assert!(error.contains("dynamic"), "{error}");
}

#[test]
fn padding_is_less_than_the_largest_number_of_tokens() {
    for (padding, sound) in [(0, true), (4, true), (5, false), (255, false)] {
        let mut file = text_f32(5).build();
        let (header, _) = Header::mut_from_prefix(&mut file).unwrap();
        header.padding_tokens = padding;
        seal(&mut file);
        match Model::load(&file) {
            Ok(model) => assert!(sound && model.padding_tokens() == usize::from(padding)),
            Err(error) => assert!(!sound && error.to_string().contains("padding_tokens")),
        }
    }
}

#[test]
fn tokens_out_of_range_are_refused() {
    let file = text_f32(5).build();
    let model = Model::load(&file).unwrap();
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    for given in [0, 6, usize::MAX] {
        assert_eq!(
            interpreter.set_tokens(given),
            Err(InputError::Tokens { given, max: 5 })
        );
    }
    assert_eq!(interpreter.input_i32_mut(0).unwrap().len(), 5);
}

#[test]
fn a_text_in_integers_is_that_of_as_many_fixed_tokens_on_every_set() {
    let ids = [3, 1, 4, 1, 0, 2, 9, -1];
    let run = |builder: &Builder, tokens: usize| -> Vec<Vec<i8>> {
        let file = builder.build();
        let model = Model::load(&file).unwrap();
        let outputs = available().map(|kernels| {
            let mut arena = Aligned::zeroed(model.arena_bytes());
            arena.fill(0xa5);
            let mut interpreter = Interpreter::new(&model, &mut arena, kernels).unwrap();
            if model.max_tokens() > 0 {
                interpreter.set_tokens(tokens).unwrap();
            }
            interpreter
                .input_i32_mut(0)
                .unwrap()
                .copy_from_slice(&ids[..tokens]);
            interpreter.run();
            interpreter.output_s8(0).unwrap().to_vec()
        });
        outputs.collect()
    };
    let dynamic = text_s8(8, true);
    for tokens in 1..=8 {
        let expected = run(&text_s8(tokens, false), tokens);
        assert!(expected.iter().all(|output| *output == expected[0]));
        assert!(expected[0].iter().any(|&x| x != 0));
        assert_eq!(run(&dynamic, tokens), expected, "{tokens}");
    }
}

#[test]
fn positions_of_fewer_rows_than_tokens_are_refused() {
    let mut b = text_s8(8, true);
    let positions = b.values.iter().position(|value| value.place == 1).unwrap();
    b.values[positions].shape[0] = 7.into();
    let error = Model::load(&b.build()).unwrap_err().to_string();
    assert!(error.contains("rows") && error.contains('8'), "{error}");
}
