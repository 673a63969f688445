//! The default model packed for every CPU: the same embedding bits, and a clear refusal where a kernel set cannot read it.

use pinhole_device::{DeviceError, Files, board};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::model::format::{DataRef, Header, OpRecord, Section};
use pinhole_runtime::model::op::OpKind;
use pinhole_runtime::model::{GOLDEN_STORED, Model, checksum};
use pinhole_tests::{embed, file, photographs, root};
use zerocopy::{FromBytes, IntoBytes};

/// The default model in `layout`: the file without names and self-check, with the weights of its integer products laid
/// out anew behind the other data.
fn packed(layout: WeightLayout) -> AlignedBytes {
    let generic = file("models/lite0/image.phm");
    let (mut header, _) = Header::read_from_prefix(&generic).expect("a header");
    let data_end = header.data.offset.get() + header.data.bytes.get();
    let mut bytes = generic[..data_end as usize].to_vec();
    let start = header.ops.offset.get() as usize;
    let end = start + header.ops.bytes.get() as usize;
    let mut ops: Vec<OpRecord> = <[OpRecord]>::ref_from_bytes(&generic[start..end])
        .expect("records")
        .to_vec();
    for op in &mut ops {
        let kind = OpKind::from_u16(op.kind.get());
        if !matches!(kind, Some(OpKind::ConvS8 | OpKind::GemmS8)) {
            continue;
        }
        let [weights, bias, ..] = op.data;
        let n = bias.bytes.get() as usize / 4;
        // Inputs up to whole groups: the missing ones are zeros here and there.
        let k = weights.bytes.get() as usize / n.next_multiple_of(4);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let (old, new) = (weights.offset.get() as usize, bytes.len());
        let new_bytes = layout.packed_bytes_s8(n, k).expect("small");
        bytes.resize(new + new_bytes, 0);
        for (channel, input) in (0..n).flat_map(|c| (0..k).map(move |i| (c, i))) {
            let from = old + WeightLayout::Generic.offset_s8(n, k, channel, input);
            bytes[new + layout.offset_s8(n, k, channel, input)] = generic[from];
        }
        op.data[0] = DataRef {
            offset: (new as u32).into(),
            bytes: (new_bytes as u32).into(),
        };
    }
    bytes[start..end].copy_from_slice(ops.as_bytes());
    header.weight_layout = layout as u8;
    header.file_bytes = (bytes.len() as u32).into();
    header.data.bytes = (bytes.len() as u32 - header.data.offset.get()).into();
    for section in [
        &mut header.vocabulary,
        &mut header.names,
        &mut header.golden,
    ] {
        *section = Section::default();
    }
    header.golden_input = GOLDEN_STORED;
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    header.crc32 = checksum(&bytes).into();
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    AlignedBytes::from_slice(&bytes)
}

#[test]
fn every_layout_gives_the_same_bits() {
    let generic = packed(WeightLayout::Generic);
    let generic = Model::load(&generic).expect("the generic file loads");
    let (_, picture) = photographs().swap_remove(0);
    let expected = embed(&generic, &picture, kernel::detect());
    for layout in WeightLayout::ALL {
        let bytes = packed(layout);
        let model = Model::load(&bytes).expect("a packed file loads");
        assert_eq!(model.weight_layout(), layout);
        for set in kernel::available().filter(|set| set.reads(layout)) {
            let found = embed(&model, &picture, set);
            assert_eq!(found, expected, "{} on {}", layout.name(), set.name());
            println!("{} on {}: equal", layout.name(), set.name());
        }
        assert!(kernel::detect_for(layout).reads(layout));
    }
}

#[test]
fn a_set_that_cannot_read_a_layout_refuses_it_with_both_names() {
    for layout in WeightLayout::ALL {
        let bytes = packed(layout);
        let model = Model::load(&bytes).expect("a packed file loads");
        let mut arena = AlignedBytes::zeroed(model.arena_bytes());
        for set in kernel::available() {
            match Interpreter::new(&model, &mut arena, set) {
                Ok(_) => assert!(set.reads(layout)),
                Err(error) => {
                    assert!(!set.reads(layout));
                    let message = error.to_string();
                    assert!(message.contains(layout.name()), "{message}");
                    assert!(message.contains(set.name()), "{message}");
                }
            }
        }
    }
}

#[test]
fn a_layout_that_no_microcontroller_reads_is_refused_before_it_is_flashed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image.phm");
    let bank = root().join("models/lite0/bank.phc");
    let board = board("qemu-an547").expect("it is in the table");
    for layout in WeightLayout::ALL {
        std::fs::write(&path, &packed(layout)[..]).expect("a file");
        match Files::read(board, &path, &bank, None) {
            Ok(_) => assert_eq!(layout, WeightLayout::Generic),
            Err(DeviceError::Unsuitable { reason, help, .. }) => {
                assert_ne!(layout, WeightLayout::Generic);
                assert!(reason.contains("64-bit Arm"), "{reason}");
                assert!(help.contains("--target generic"), "{help}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}
