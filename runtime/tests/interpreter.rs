//! What the interpreter does itself, against the plainest loops: broadcasting, reductions, moves, batches, tables, runs of
//! fewer tokens. What kernels compute is tested beside them.

mod common;

use common::samples::{binary_params, reduce_params, text_f32, unary_params};
use common::{Aligned, Builder, Parts, Random, samples};
use pinhole_runtime::interpreter::{Interpreter, Observer};
use pinhole_runtime::kernel::{Scalar, available};
use pinhole_runtime::model::format::{DType, ModelKind};
use pinhole_runtime::model::op::*;
use pinhole_runtime::model::{LoadError, Model};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A model of one operator over `inputs`, and its output.
fn single(
    kind: OpKind,
    inputs: &[(&[usize], &[f32])],
    output: &[usize],
    parts: Parts,
) -> Result<Vec<f32>, LoadError> {
    let mut b = Builder::new(ModelKind::Other);
    let values: Vec<usize> = inputs
        .iter()
        .map(|(shape, _)| b.value(DType::F32, shape))
        .collect();
    for &value in &values {
        b.input(value);
    }
    let result = b.value(DType::F32, output);
    b.output(result);
    b.op(kind, &values, result, parts);
    let file = b.build();
    let model = Model::load(&file)?;
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    for (index, (_, numbers)) in inputs.iter().enumerate() {
        interpreter
            .input_f32_mut(index)
            .unwrap()
            .copy_from_slice(numbers);
    }
    interpreter.run();
    Ok(interpreter.output_f32(0).unwrap().to_vec())
}

/// The same for values of any type, by their bytes.
fn moved<T: IntoBytes + FromBytes + Immutable + Copy>(
    kind: OpKind,
    dtype: DType,
    inputs: &[(&[usize], &[T])],
    output: &[usize],
    parts: Parts,
) -> Result<Vec<T>, LoadError> {
    let mut b = Builder::new(ModelKind::Other);
    let values: Vec<usize> = inputs
        .iter()
        .map(|(shape, _)| b.value(dtype, shape))
        .collect();
    for &value in &values {
        b.input(value);
    }
    let result = b.value(dtype, output);
    b.output(result);
    b.op(kind, &values, result, parts);
    let file = b.build();
    let model = Model::load(&file)?;
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    for (index, (_, elements)) in inputs.iter().enumerate() {
        interpreter
            .input_bytes_mut(index)
            .unwrap()
            .copy_from_slice(elements.as_bytes());
    }
    interpreter.run();
    Ok(<[T]>::ref_from_bytes(interpreter.output_bytes(0).unwrap())
        .unwrap()
        .to_vec())
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Index along every dimension, right-aligned to four.
fn unravel(mut index: usize, shape: &[usize]) -> [usize; 4] {
    let mut at = [0; 4];
    for (d, &size) in shape.iter().enumerate().rev() {
        at[4 - shape.len() + d] = index % size;
        index /= size;
    }
    at
}

/// Position of an index in a value, where dimensions of 1 repeat.
fn ravel(at: [usize; 4], shape: &[usize]) -> usize {
    shape.iter().enumerate().fold(0, |position, (d, &size)| {
        position * size
            + if size == 1 {
                0
            } else {
                at[4 - shape.len() + d]
            }
    })
}

#[test]
fn binary_operators_broadcast_as_numpy_does() {
    let cases: &[(&[usize], &[usize], &[usize])] = &[
        (&[2, 3, 4, 5], &[2, 3, 4, 5], &[2, 3, 4, 5]),
        (&[2, 3, 4, 5], &[5], &[2, 3, 4, 5]),
        (&[5], &[2, 3, 4, 5], &[2, 3, 4, 5]),
        (&[2, 3, 4, 5], &[1], &[2, 3, 4, 5]),
        (&[2, 3, 4, 5], &[4, 1], &[2, 3, 4, 5]),
        (&[2, 3, 4, 5], &[2, 1, 4, 1], &[2, 3, 4, 5]),
        (&[2, 1, 4, 1], &[1, 3, 1, 5], &[2, 3, 4, 5]),
        (&[1, 3, 1, 5], &[2, 1, 4, 1], &[2, 3, 4, 5]),
        (&[7, 1], &[1, 130], &[7, 130]),
        (&[1], &[1], &[1]),
        (&[1, 1], &[1], &[1, 1]),
        (&[3, 1], &[3, 1], &[3, 1]),
    ];
    let mut random = Random(10);
    for &(lhs_shape, rhs_shape, shape) in cases {
        let (lhs, rhs) = (
            random.floats(count(lhs_shape)),
            random.floats(count(rhs_shape)),
        );
        for function in [BinaryKind::Sub, BinaryKind::Max] {
            let found = single(
                OpKind::BinaryF32,
                &[(lhs_shape, &lhs), (rhs_shape, &rhs)],
                shape,
                Parts::params(binary_params(function)),
            )
            .unwrap();
            let expected: Vec<f32> = (0..count(shape))
                .map(|index| {
                    let at = unravel(index, shape);
                    let (a, b) = (lhs[ravel(at, lhs_shape)], rhs[ravel(at, rhs_shape)]);
                    if function == BinaryKind::Sub {
                        a - b
                    } else {
                        a.max(b)
                    }
                })
                .collect();
            assert_eq!(found, expected, "{lhs_shape:?} {rhs_shape:?}");
        }
    }
}

#[test]
fn shapes_that_do_not_broadcast_are_refused() {
    let cases: &[(&[usize], &[usize], &[usize])] = &[
        (&[2, 3], &[2], &[2, 3]),
        (&[2, 3], &[2, 3], &[3, 2]),
        (&[2, 3], &[2, 3], &[2, 2, 3]),
        (&[1, 3], &[1, 3], &[2, 3]),
        (&[2, 2, 3], &[3], &[2, 3]),
    ];
    for &(lhs, rhs, output) in cases {
        let (a, b) = (vec![0.0; count(lhs)], vec![0.0; count(rhs)]);
        let parts = Parts::params(binary_params(BinaryKind::Add));
        let error = single(OpKind::BinaryF32, &[(lhs, &a), (rhs, &b)], output, parts).unwrap_err();
        assert!(
            matches!(error, LoadError::Op { index: 0, .. }),
            "{lhs:?} {rhs:?} {output:?}: {error}"
        );
    }
}

#[test]
fn sums_are_limited_and_nan_stays() {
    let params = BinaryParams {
        clamp_min: 0.0.into(),
        clamp_max: 6.0.into(),
        ..binary_params(BinaryKind::Add)
    };
    let lhs = [-1.0, 3.0, 9.0, f32::NAN];
    let found = single(
        OpKind::BinaryF32,
        &[(&[4], &lhs), (&[1], &[0.5])],
        &[4],
        Parts::params(params),
    )
    .unwrap();
    assert_eq!(found[..3], [0.0, 3.5, 6.0]);
    assert!(found[3].is_nan());
    let params = BinaryParams {
        clamp_min: f32::NAN.into(),
        ..params
    };
    assert!(
        single(
            OpKind::BinaryF32,
            &[(&[4], &lhs), (&[1], &[0.5])],
            &[4],
            Parts::params(params)
        )
        .is_err()
    );
}

#[test]
fn reductions_run_over_any_dimensions() {
    let mut random = Random(11);
    for shape in [
        &[2, 3, 4, 5][..],
        &[2, 1, 4, 3],
        &[1, 3, 1, 5],
        &[6],
        &[1, 1],
    ] {
        let src = random.floats(count(shape));
        for axes in 1u8..1 << shape.len() {
            let kept: Vec<usize> = shape
                .iter()
                .enumerate()
                .map(|(d, &size)| if axes >> d & 1 == 1 { 1 } else { size })
                .collect();
            let mut groups = vec![Vec::new(); count(&kept)];
            for (index, &number) in src.iter().enumerate() {
                groups[ravel(unravel(index, shape), &kept)].push(number);
            }
            for function in [
                ReduceKind::Sum,
                ReduceKind::Mean,
                ReduceKind::Max,
                ReduceKind::L2,
            ] {
                let parts = Parts::params(reduce_params(function, axes));
                let found = single(OpKind::ReduceF32, &[(shape, &src)], &kept, parts).unwrap();
                for (found, group) in found.iter().zip(&groups) {
                    let sum: f32 = group.iter().sum();
                    let expected = match function {
                        ReduceKind::Sum => sum,
                        ReduceKind::Mean => sum / group.len() as f32,
                        ReduceKind::Max => group.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                        ReduceKind::L2 => group.iter().map(|x| x * x).sum::<f32>().sqrt(),
                    };
                    assert!(
                        (found - expected).abs() < 1e-4,
                        "{shape:?} {axes:04b} {function:?}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn transpositions_permute_every_type() {
    let mut random = Random(12);
    for shape in [&[2, 3, 4, 5][..], &[3, 4, 1], &[7, 2], &[9]] {
        let mut permutation: Vec<usize> = (0..shape.len()).collect();
        for _ in 0..10 {
            permutation.swap(random.below(shape.len()), random.below(shape.len()));
            let to: Vec<usize> = permutation.iter().map(|&d| shape[d]).collect();
            let params = TransposeParams {
                permutation: std::array::from_fn(|d| *permutation.get(d).unwrap_or(&d) as u8),
            };
            let expected: Vec<usize> = (0..count(shape))
                .map(|index| {
                    let at = unravel(index, &to);
                    let mut from = [0; 4];
                    for (d, &source) in permutation.iter().enumerate() {
                        from[4 - shape.len() + source] = at[4 - shape.len() + d];
                    }
                    ravel(from, shape)
                })
                .collect();
            let (bytes, halves): (Vec<u8>, Vec<u16>) = (
                random.bytes(count(shape)),
                (0..count(shape)).map(|_| random.next() as u16).collect(),
            );
            let words: Vec<u32> = halves
                .iter()
                .map(|&half| u32::from(half).wrapping_mul(77_777))
                .collect();
            let parts = || Parts::params(params);
            let found = moved(
                OpKind::Transpose,
                DType::I8,
                &[(shape, &bytes)],
                &to,
                parts(),
            )
            .unwrap();
            assert_eq!(
                found,
                expected.iter().map(|&i| bytes[i]).collect::<Vec<_>>()
            );
            let found = moved(
                OpKind::Transpose,
                DType::F16,
                &[(shape, &halves)],
                &to,
                parts(),
            )
            .unwrap();
            assert_eq!(
                found,
                expected.iter().map(|&i| halves[i]).collect::<Vec<_>>()
            );
            let found = moved(
                OpKind::Transpose,
                DType::I32,
                &[(shape, &words)],
                &to,
                parts(),
            )
            .unwrap();
            assert_eq!(
                found,
                expected.iter().map(|&i| words[i]).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn slices_start_and_step() {
    let shape = [4, 5, 6];
    let src: Vec<u16> = (0..120).collect();
    for (starts, steps, to) in [
        ([0, 0, 0], [1, 1, 1], [4, 5, 6]),
        ([1, 2, 3], [1, 1, 1], [3, 3, 3]),
        ([1, 0, 5], [2, 4, 1], [2, 2, 1]),
        ([3, 4, 0], [9, 9, 5], [1, 1, 2]),
    ] {
        let full = |values: [usize; 3], rest: u32| -> [_; 4] {
            std::array::from_fn(|d| values.get(d).map_or(rest, |&value| value as u32).into())
        };
        let params = SliceParams {
            starts: full(starts, 0),
            steps: full(steps, 1),
        };
        let found = moved(
            OpKind::Slice,
            DType::F16,
            &[(&shape, &src)],
            &to,
            Parts::params(params),
        )
        .unwrap();
        let expected: Vec<u16> = (0..count(&to))
            .map(|index| {
                let at = unravel(index, &to);
                let mut from = [0; 4];
                for d in 0..3 {
                    from[d + 1] = starts[d] + at[d + 1] * steps[d];
                }
                src[ravel(from, &shape)]
            })
            .collect();
        assert_eq!(found, expected);
        let mut beyond = params;
        beyond.starts[2] = (starts[2] as u32 + 6).into();
        assert!(
            moved(
                OpKind::Slice,
                DType::F16,
                &[(&shape, &src)],
                &to,
                Parts::params(beyond)
            )
            .is_err()
        );
    }
}

#[test]
fn joins_and_borders_keep_their_places() {
    let (a, b): (Vec<u8>, Vec<u8>) = ((0..12).collect(), (100..118).collect());
    let params = ConcatParams {
        axis: 1,
        reserved: [0; 3],
    };
    let inputs: [(&[usize], &[u8]); 2] = [(&[2, 2, 3], &a), (&[2, 3, 3], &b)];
    let found = moved(
        OpKind::Concat,
        DType::I8,
        &inputs,
        &[2, 5, 3],
        Parts::params(params),
    )
    .unwrap();
    let expected: Vec<u8> = (0..6)
        .chain(100..109)
        .chain(6..12)
        .chain(109..118)
        .collect();
    assert_eq!(found, expected);
    let params = PadParams {
        before: [1, 0, 2, 0].map(Into::into),
        after: [0, 1, 0, 0].map(Into::into),
        fill: (-7i32 as u32).into(),
    };
    let found = moved(
        OpKind::Pad,
        DType::I8,
        &[(&[1, 2, 2], &[1u8, 2, 3, 4])],
        &[2, 3, 4],
        Parts::params(params),
    )
    .unwrap();
    let mut expected = [-7i8 as u8; 24];
    (expected[14], expected[15], expected[18], expected[19]) = (1, 2, 3, 4);
    assert_eq!(found, expected);
}

#[test]
fn products_of_computed_values_repeat_their_batches() {
    let mut random = Random(13);
    for (lhs_shape, rhs_shape, shape) in [
        (&[2, 3, 4, 5][..], &[2, 3, 5, 6][..], &[2, 3, 4, 6][..]),
        (&[2, 1, 4, 5], &[1, 3, 5, 6], &[2, 3, 4, 6]),
        (&[4, 5], &[2, 3, 5, 6], &[2, 3, 4, 6]),
        (&[3, 4, 5], &[5, 6], &[3, 4, 6]),
        (&[4, 5], &[5, 6], &[4, 6]),
    ] {
        for transpose in [false, true] {
            let (lhs, rhs) = (
                random.floats(count(lhs_shape)),
                random.floats(count(rhs_shape)),
            );
            let mut stored_shape = rhs_shape.to_vec();
            if transpose {
                stored_shape.swap(rhs_shape.len() - 1, rhs_shape.len() - 2);
            }
            let at_rhs = |mut at: [usize; 4]| {
                if transpose {
                    at.swap(2, 3);
                }
                rhs[ravel(at, &stored_shape)]
            };
            let params = MatmulParams {
                transpose_rhs: transpose.into(),
                reserved: [0; 3],
                scale: 0.5.into(),
            };
            let inputs: [(&[usize], &[f32]); 2] = [(lhs_shape, &lhs), (&stored_shape, &rhs)];
            let found = single(OpKind::MatmulF32, &inputs, shape, Parts::params(params)).unwrap();
            for (index, found) in found.iter().enumerate() {
                let [b0, b1, m, n] = unravel(index, shape);
                let sum: f32 = (0..5)
                    .map(|k| lhs[ravel([b0, b1, m, k], lhs_shape)] * at_rhs([b0, b1, k, n]))
                    .sum();
                assert!((found - 0.5 * sum).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn rows_of_zeros_have_no_direction() {
    let src = [3.0, 4.0, 0.0, 0.0];
    let found = single(
        OpKind::L2NormalizeF32,
        &[(&[2, 2], &src)],
        &[2, 2],
        Parts::default(),
    )
    .unwrap();
    assert_eq!(found, [0.6, 0.8, 0.0, 0.0]);
}

#[test]
fn an_id_outside_the_table_reads_row_0() {
    for weights in [FloatWeights::F32, FloatWeights::F16, FloatWeights::I8] {
        let mut b = Builder::new(ModelKind::Other);
        let ids = b.value(DType::I32, &[5]);
        b.input(ids);
        let rows = b.value(DType::F32, &[5, 2]);
        b.output(rows);
        let params = EmbeddingParams {
            weights: weights as u8,
            reserved: [0; 3],
            rows: 3.into(),
        };
        let table = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let parts = Parts::params(params);
        let parts = match weights {
            FloatWeights::F32 => parts.data(&table),
            FloatWeights::F16 => parts.data(&table.map(|w| half::f16::from_f32(w).to_bits())),
            FloatWeights::I8 => parts.data(&table.map(|w| w as i8 * 2)).data(&[0.5f32; 3]),
        };
        b.op(OpKind::EmbeddingF32, &[ids], rows, parts);
        let file = b.build();
        let model = Model::load(&file).unwrap();
        let mut arena = Aligned::zeroed(model.arena_bytes());
        let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
        interpreter
            .input_i32_mut(0)
            .unwrap()
            .copy_from_slice(&[2, -1, 3, 1, i32::MIN]);
        interpreter.run();
        assert_eq!(
            interpreter.output_f32(0).unwrap(),
            [5.0, 6.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0]
        );
    }
}

#[test]
fn nan_and_infinite_inputs_do_not_stop_a_run() {
    let file = samples::picture_f32().build();
    let model = Model::load(&file).unwrap();
    let mut arena = Aligned::zeroed(model.arena_bytes());
    for number in [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE / 2.0,
    ] {
        let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
        interpreter.input_f32_mut(0).unwrap().fill(number);
        interpreter.run();
    }
}

#[test]
fn every_kernel_set_gives_the_same_int8_embedding() {
    let file = samples::image_s8().build();
    let model = Model::load(&file).unwrap();
    let mut random = Random(14);
    let mut names = Vec::new();
    for _ in 0..200 {
        let picture = random.bytes(6 * 6 * 3);
        let mut expected: Option<Vec<i8>> = None;
        names.clear();
        for kernels in available() {
            let mut arena = Aligned::zeroed(model.arena_bytes());
            let mut interpreter = Interpreter::new(&model, &mut arena, kernels).unwrap();
            interpreter
                .input_bytes_mut(0)
                .unwrap()
                .copy_from_slice(&picture);
            interpreter.run();
            let found = interpreter.output_s8(0).unwrap().to_vec();
            assert_eq!(
                expected.get_or_insert(found.clone()),
                &found,
                "{}",
                kernels.name()
            );
            names.push(kernels.name());
        }
        assert!(expected.unwrap().iter().any(|&x| x.unsigned_abs() >= 127));
    }
    println!("kernel sets: {names:?}");
}

#[derive(Default)]
struct Recorder {
    begun: Vec<usize>,
    outputs: Vec<(usize, usize, usize)>,
}

impl Observer for Recorder {
    fn before_op(&mut self, op: usize) {
        self.begun.push(op);
    }
    fn after_op(&mut self, op: usize, value: usize, output: &[u8]) {
        self.outputs.push((op, value, output.len()));
    }
}

#[test]
fn an_observer_sees_every_operator_and_the_rows_that_count() {
    let builder = text_f32(5);
    let file = builder.build();
    let model = Model::load(&file).unwrap();
    let mut arena = Aligned::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, &Scalar).unwrap();
    interpreter.set_tokens(3).unwrap();
    let mut recorder = Recorder::default();
    interpreter.run_observed(&mut recorder);
    assert_eq!(recorder.begun, (0..builder.ops.len()).collect::<Vec<_>>());
    for (op, value, bytes) in recorder.outputs {
        assert_eq!(value, usize::from(builder.ops[op].output.get()));
        let rows = if builder.values[value].dynamic == 1 {
            3
        } else {
            1
        };
        assert_eq!(bytes, rows * 6 * 4);
    }
}

#[test]
fn unary_functions_are_given_their_constants() {
    let params = unary_params(UnaryKind::Affine, 2.0, 1.0);
    let found = single(
        OpKind::UnaryF32,
        &[(&[3], &[0.0, 1.0, -2.0])],
        &[3],
        Parts::params(params),
    )
    .unwrap();
    assert_eq!(found, [1.0, 3.0, -3.0]);
    let params = unary_params(UnaryKind::Clip, 1.0, 0.0);
    assert!(
        single(
            OpKind::UnaryF32,
            &[(&[3], &[0.0; 3])],
            &[3],
            Parts::params(params)
        )
        .is_err()
    );
}
