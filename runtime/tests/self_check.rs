//! The section golden of a model: stored and generated inputs, and what is refused (`docs/model-format.md`).

mod common;

use common::{Aligned, Builder, repair_totals, samples};
use pinhole_runtime::model::format::Header;
use pinhole_runtime::model::{
    GOLDEN_GENERATED, GOLDEN_STORED, GoldenInput, HeaderField, LoadError, Model, SectionFault,
    SectionName,
};
use std::mem::offset_of;

#[test]
fn the_self_check_has_the_bytes_of_inputs_and_outputs() {
    let mut b = samples::text_f32(5);
    b.golden = vec![0; 3 * 4 + 24];
    let file = b.build();
    let model = Model::load(&file).unwrap();
    let golden = model.golden().unwrap();
    assert_eq!(golden.input, GoldenInput::Stored(&[0; 12]));
    assert_eq!((golden.output.len(), model.golden_tokens()), (24, Some(3)));
    for wrong in [24, 3 * 4 + 23, 6 * 4 + 24, 1] {
        b.golden = vec![0; wrong];
        assert!(
            matches!(
                Model::load(&b.build()).unwrap_err(),
                LoadError::Section {
                    section: SectionName::Golden,
                    ..
                }
            ),
            "{wrong}"
        );
    }
}

/// The header byte `golden_input`, and the checksum.
fn with_golden_input(b: &Builder, value: u8) -> Aligned {
    let mut file = b.build();
    file[offset_of!(Header, golden_input)] = value;
    repair_totals(&mut file);
    file
}

#[test]
fn a_generated_self_check_has_a_seed_and_the_bytes_of_the_outputs() {
    let mut b = samples::image_s8();
    let file = b.build();
    let model = Model::load(&file).unwrap();
    assert_eq!(model.golden(), None);
    let bytes = |indices: Vec<usize>| -> usize {
        let each = indices.iter().map(|&index| model.value(index).bytes);
        each.sum()
    };
    let (input, output) = (
        bytes(model.inputs().collect()),
        bytes(model.outputs().collect()),
    );
    b.golden = [vec![1, 2, 0, 0], vec![9; output]].concat();
    let file = with_golden_input(&b, GOLDEN_GENERATED);
    let golden = Model::load(&file).unwrap().golden().unwrap();
    let generated = GoldenInput::Generated {
        seed: 513,
        bytes: input,
    };
    assert_eq!(
        (golden.input, golden.output),
        (generated, &vec![9; output][..])
    );
    assert_eq!(golden.input.bytes().count(), input);
    // The same bytes read as a stored input have the wrong length.
    let refused = |file: &Aligned| Model::load(file).unwrap_err();
    for (value, golden) in [
        (GOLDEN_STORED, b.golden.clone()),
        (GOLDEN_GENERATED, vec![0; input + output]),
        (GOLDEN_GENERATED, vec![0; 3]),
    ] {
        b.golden = golden;
        assert!(matches!(
            refused(&with_golden_input(&b, value)),
            LoadError::Section {
                section: SectionName::Golden,
                reason: SectionFault::Length { .. }
            }
        ));
    }
    let field = LoadError::Header {
        field: HeaderField::GoldenInput,
    };
    assert_eq!(refused(&with_golden_input(&b, 2)), field);
    b.golden.clear();
    assert_eq!(refused(&with_golden_input(&b, GOLDEN_GENERATED)), field);
    // Tokens and floats are not generated.
    for mut b in [samples::text_f32(5), samples::picture_f32()] {
        b.golden = vec![0; 28];
        assert_eq!(refused(&with_golden_input(&b, GOLDEN_GENERATED)), field);
    }
}

#[test]
fn a_generated_input_does_not_change() {
    let input = GoldenInput::Generated { seed: 1, bytes: 8 };
    // As docs/model-format.md says; computed by Python: s = (1664525 * s + 1013904223) % 2**32; s >> 24.
    let expected = [60, 94, 129, 180, 12, 94, 198, 142];
    assert_eq!(input.bytes().collect::<Vec<_>>(), expected);
}
