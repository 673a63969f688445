//! Operators that write over an input: the same bits as without, on every kernel set, and a proof that refuses the rest.

mod common;

use common::in_place::overwriting;
use common::run::run;
use common::samples::{binary_params, unary_params};
use common::{Builder, Parts, Random, samples};
use pinhole_runtime::kernel::available;
use pinhole_runtime::model::format::{DType, ModelKind};
use pinhole_runtime::model::op::*;
use pinhole_runtime::model::{LoadError, Model, OpFault};

/// Lengths around those of vectors and stages.
const LENGTHS: [usize; 8] = [1, 3, 16, 67, 255, 256, 257, 700];
/// Lengths of rows: many, one and less than one a stage.
const ROWS: [usize; 6] = [1, 7, 64, 100, 256, 300];

/// One operator between a model input, beside which other inputs may stand, and the model output.
struct Case {
    kind: OpKind,
    inputs: Vec<(DType, Vec<usize>)>,
    output: (DType, Vec<usize>),
    parts: Parts,
}

impl Case {
    fn builder(self) -> Builder {
        let mut b = Builder::new(ModelKind::Other);
        let inputs: Vec<usize> = self
            .inputs
            .iter()
            .map(|(dtype, shape)| b.value(*dtype, shape))
            .collect();
        b.inputs.extend(&inputs);
        let output = b.value(self.output.0, &self.output.1);
        if self.kind == OpKind::SoftmaxS8 {
            (b.values[output].scale, b.values[output].zero_point) =
                ((1.0 / 256.0).into(), (-128).into());
        }
        b.op(self.kind, &inputs, output, self.parts);
        b.output(output);
        b
    }
}

fn case(
    kind: OpKind,
    inputs: &[(DType, &[usize])],
    output: (DType, &[usize]),
    parts: Parts,
) -> Case {
    Case {
        kind,
        inputs: inputs
            .iter()
            .map(|(dtype, shape)| (*dtype, shape.to_vec()))
            .collect(),
        output: (output.0, output.1.to_vec()),
        parts,
    }
}

/// The element-wise kinds over `shape`, also from narrow to wide and back.
fn element_wise(shape: &[usize], random: &mut Random) -> Vec<Case> {
    use DType::{F32, I8, I16};
    let mut cases = vec![
        case(
            OpKind::LutS8,
            &[(I8, shape)],
            (I8, shape),
            Parts::default().data(&random.bytes(256)),
        ),
        case(
            OpKind::QuantizeF32,
            &[(F32, shape)],
            (I8, shape),
            Parts::default(),
        ),
        case(
            OpKind::DequantizeS8,
            &[(I8, shape)],
            (F32, shape),
            Parts::default(),
        ),
        case(
            OpKind::AddS8,
            &[(I8, shape); 2],
            (I8, shape),
            Parts::params(samples::add_params()),
        ),
        case(
            OpKind::MulS8,
            &[(I8, shape); 2],
            (I8, shape),
            Parts::params(samples::mul_params()),
        ),
        case(
            OpKind::MulS8,
            &[(I8, shape), (I8, &shape[1..])],
            (I8, shape),
            Parts::params(samples::mul_params()),
        ),
        case(
            OpKind::BinaryF32,
            &[(F32, shape); 2],
            (F32, shape),
            Parts::params(binary_params(BinaryKind::Sub)),
        ),
        case(
            OpKind::UnaryF32,
            &[(F32, shape)],
            (F32, shape),
            Parts::params(unary_params(UnaryKind::Gelu, 0.0, 0.0)),
        ),
    ];
    for [lhs, rhs, output] in [
        [I8, I16, I16],
        [I16, I8, I16],
        [I16, I16, I8],
        [I8, I8, I16],
        [I8, I16, I8],
    ] {
        let limit = if output == I8 { 127 } else { 32767 };
        let add = AddS16Params {
            multiplier: [9000.into(), 7000.into()],
            shift: 14.into(),
            clamp_min: (-limit - 1).into(),
            clamp_max: limit.into(),
        };
        let rescale = RescaleS16Params {
            multiplier: 20_000.into(),
            shift: 14.into(),
            clamp_min: (-limit - 1).into(),
            clamp_max: limit.into(),
        };
        cases.push(case(
            OpKind::AddS16,
            &[(lhs, shape), (rhs, shape)],
            (output, shape),
            Parts::params(add),
        ));
        cases.push(case(
            OpKind::RescaleS16,
            &[(lhs, shape)],
            (output, shape),
            Parts::params(rescale),
        ));
    }
    cases
}

/// The kinds that work row by row.
fn row_wise(shape: &[usize], random: &mut Random) -> Vec<Case> {
    use DType::{F32, I8, I16};
    let columns = shape[1];
    let softmax = SoftmaxS8Params {
        score_multiplier: 50_000.into(),
        score_shift: (-8).into(),
    };
    let epsilon = LayerNormParams {
        epsilon: 1e-5.into(),
    };
    let mut cases = vec![
        case(
            OpKind::SoftmaxS8,
            &[(I8, shape)],
            (I8, shape),
            Parts::params(softmax),
        ),
        case(
            OpKind::SoftmaxF32,
            &[(F32, shape)],
            (F32, shape),
            Parts::default(),
        ),
        case(
            OpKind::L2NormalizeF32,
            &[(F32, shape)],
            (F32, shape),
            Parts::default(),
        ),
        case(
            OpKind::LayerNormF32,
            &[(F32, shape)],
            (F32, shape),
            Parts::params(epsilon)
                .data(&random.floats(columns))
                .data(&random.floats(columns)),
        ),
    ];
    for (input, output) in [(I8, I8), (I8, I16), (I16, I8), (I16, I16)] {
        let params = LayerNormS16Params {
            epsilon: 1000.into(),
            shift: 12.into(),
        };
        let gamma: Vec<i16> = (0..columns).map(|_| random.next() as i16 | 1).collect();
        let parts = Parts::params(params)
            .data(&gamma)
            .data(&vec![1i32 << 11; columns]);
        cases.push(case(
            OpKind::LayerNormS16,
            &[(input, shape)],
            (output, shape),
            parts,
        ));
    }
    cases
}

/// Runs a model with both plans on every kernel set; gives the number of operators that wrote over an input.
fn compare(plain: &Builder) -> usize {
    let shared = overwriting(plain);
    let (plain_file, shared_file) = (plain.build(), shared.build());
    let (plain, shared) = (
        Model::load(&plain_file).unwrap(),
        Model::load(&shared_file).unwrap(),
    );
    for kernels in available() {
        for seed in 0..3 {
            let (expected, found) = (run(&plain, kernels, seed), run(&shared, kernels, seed));
            for (op, (found, expected)) in shared.ops().iter().zip(found.iter().zip(&expected)) {
                assert_eq!(found, expected, "{} {op:?}", kernels.name());
            }
        }
    }
    let staged = shared.ops().iter().zip(plain.ops());
    staged
        .filter(|(shared, plain)| shared.scratch_bytes != plain.scratch_bytes)
        .count()
}

#[test]
fn outputs_over_inputs_have_the_same_bits_on_every_kernel_set() {
    let sets: Vec<_> = available().map(|kernels| kernels.name()).collect();
    println!("kernel sets: {sets:?}");
    let mut random = Random(1);
    for length in LENGTHS {
        let shapes = [vec![1, length], vec![3, length]];
        for case in shapes
            .iter()
            .flat_map(|shape| element_wise(shape, &mut random))
        {
            let kind = case.kind;
            assert_eq!(compare(&case.builder()), 1, "{kind:?} of {length}");
        }
    }
    for (columns, rows) in ROWS
        .iter()
        .flat_map(|&columns| [(columns, 1), (columns, 9)])
    {
        for case in row_wise(&[rows, columns], &mut random) {
            let kind = case.kind;
            assert_eq!(
                compare(&case.builder()),
                1,
                "{kind:?} of {rows} × {columns}"
            );
        }
    }
}

#[test]
fn whole_models_have_the_same_bits_whatever_their_outputs_lie_over() {
    let models = [
        samples::image_s8(),
        samples::picture_f32(),
        samples::text_f32(5),
        common::vit::vit_s8(),
    ];
    for plain in &models {
        assert!(compare(plain) > 0);
    }
}

/// x + x over x, through an alias.
#[test]
fn an_operator_may_write_over_a_value_that_it_reads_twice() {
    let mut b = Builder::new(ModelKind::Other);
    let input = b.value(DType::I8, &[300]);
    b.input(input);
    let view = b.alias(input, &[3, 100]);
    let again = b.alias(input, &[3, 100]);
    let sum = b.value(DType::I8, &[3, 100]);
    b.op(
        OpKind::AddS8,
        &[view, again],
        sum,
        Parts::params(samples::add_params()),
    );
    b.output(sum);
    let expected = b.build();
    b.values[sum].offset = 0.into();
    b.stage(0, 256);
    let found = b.build();
    for kernels in available() {
        let [expected, found] =
            [&expected, &found].map(|file| run(&Model::load(file).unwrap(), kernels, 1));
        assert_eq!(found, expected, "{}", kernels.name());
    }
}

#[test]
fn the_bound_of_a_shared_plan_counts_the_larger_of_output_and_input() {
    let case = element_wise(&[1, 320], &mut Random(1)).remove(0).builder();
    let bounds = [&case, &overwriting(&case)].map(|b| {
        let file = b.build();
        Model::load(&file)
            .unwrap()
            .header()
            .arena_lower_bound_bytes
            .get()
    });
    assert_eq!(bounds, [640, 320 + 256]);
}

/// Two tables in a row, the second of which writes over its input.
fn tables() -> Builder {
    let mut b = Builder::new(ModelKind::Other);
    let values: [usize; 3] = std::array::from_fn(|_| b.value(DType::I8, &[32]));
    b.input(values[0]);
    for pair in values.windows(2) {
        b.op(
            OpKind::LutS8,
            &pair[..1],
            pair[1],
            Parts::default().data(&[1i8; 256]),
        );
    }
    b.output(values[2]);
    overwriting(&b)
}

fn load_error(b: &Builder) -> LoadError {
    Model::load(&b.build()).unwrap_err()
}

#[test]
fn a_stage_of_another_size_is_refused() {
    for found in [0usize, 16, 48] {
        let mut b = tables();
        b.ops[1].scratch_bytes = (found as u32).into();
        if found == 0 {
            b.ops[1].scratch_offset = 0.into();
        }
        let reason = OpFault::ScratchLength {
            expected: 32,
            found,
        };
        assert_eq!(
            load_error(&b),
            LoadError::Op {
                index: 1,
                kind: 8,
                reason
            }
        );
    }
}

#[test]
fn an_input_that_is_needed_later_is_not_overwritten() {
    let mut b = tables();
    b.output(1);
    assert_eq!(load_error(&b), LoadError::Liveness { op: 1, value: 1 });
    let mut b = tables();
    let late = b.value(DType::I8, &[32]);
    b.op(
        OpKind::AddS8,
        &[1, 2],
        late,
        Parts::params(samples::add_params()),
    );
    assert_eq!(load_error(&b), LoadError::Liveness { op: 1, value: 1 });
}

#[test]
fn an_output_that_begins_inside_an_input_is_refused() {
    let mut b = tables();
    b.values[2].offset = (b.values[1].offset.get() + 16).into();
    b.ops[1].scratch_bytes = 0.into();
    b.ops[1].scratch_offset = 0.into();
    assert_eq!(load_error(&b), LoadError::Liveness { op: 1, value: 1 });
}

#[test]
fn an_input_that_repeats_is_not_overwritten() {
    let mut b = Builder::new(ModelKind::Other);
    let [bias, rows, sum] =
        [&[4usize][..], &[3, 4], &[3, 4]].map(|shape| b.value(DType::F32, shape));
    b.spread(4);
    b.input(bias);
    b.input(rows);
    b.op(
        OpKind::BinaryF32,
        &[bias, rows],
        sum,
        Parts::params(binary_params(BinaryKind::Add)),
    );
    b.output(sum);
    Model::load(&b.build()).unwrap();
    for over in [bias, rows] {
        let mut b = b.clone();
        b.values[sum].offset = b.values[over].offset;
        assert_eq!(load_error(&b), LoadError::Liveness { op: 0, value: over });
    }
}

#[test]
fn a_stage_over_a_live_value_is_refused() {
    let mut b = tables();
    b.ops[1].scratch_offset = b.values[1].offset;
    assert!(matches!(
        load_error(&b),
        LoadError::Op {
            index: 1,
            reason: OpFault::ScratchBounds { .. },
            ..
        }
    ));
}

/// Two inputs that lie one behind the other and are joined there.
fn joined(axis: u8) -> Builder {
    let mut b = Builder::new(ModelKind::Other);
    let [upper, lower] = [(); 2].map(|()| b.value(DType::I8, &[1, 2, 8]));
    b.input(upper);
    b.input(lower);
    let mut shape = [1, 2, 8];
    shape[usize::from(axis)] *= 2;
    let whole = b.value(DType::I8, &shape);
    let params = ConcatParams {
        axis,
        reserved: [0; 3],
    };
    b.op(
        OpKind::Concat,
        &[upper, lower],
        whole,
        Parts::params(params),
    );
    b.output(whole);
    b.values[whole].offset = 0.into();
    b
}

#[test]
fn values_that_lie_one_behind_the_other_are_joined_there() {
    let (shared, mut apart) = (joined(1), joined(1));
    apart.values[2].offset = 32.into();
    let [shared, apart] = [shared, apart].map(|b| b.build());
    let [shared, apart] = [&shared, &apart].map(|file| Model::load(file).unwrap());
    assert_eq!([shared, apart].map(|model| model.arena_bytes()), [32, 64]);
    assert_eq!(
        [shared, apart].map(|model| model.header().arena_lower_bound_bytes.get()),
        [32, 64]
    );
    for kernels in available() {
        assert_eq!(run(&shared, kernels, 1), run(&apart, kernels, 1));
    }
}

#[test]
fn values_that_lie_elsewhere_or_are_no_stretches_of_the_whole_are_not_joined() {
    let overwritten = LoadError::Liveness { op: 0, value: 0 };
    assert_eq!(load_error(&joined(2)), overwritten);
    let mut b = joined(1);
    b.spread(4);
    assert_eq!(load_error(&b), overwritten);
    let mut b = joined(1);
    b.ops[0].inputs.swap(0, 1);
    assert_eq!(load_error(&b), overwritten);
    let mut b = joined(1);
    b.output(0);
    assert_eq!(load_error(&b), overwritten);
}
