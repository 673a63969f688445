//! Instructions of the default model on an emulated ARM CPU. Ignored by default, since it needs an emulator, a linker and a
//! target; `./ci.sh aarch64` runs it.

use pinhole_device::{count, cpu};
use pinhole_runtime::model::Model;
use pinhole_tests::file;

#[test]
#[ignore = "needs qemu-user, gcc-aarch64-linux-gnu and the target; ./ci.sh aarch64"]
fn every_operator_is_counted_and_counts_repeat() {
    let bytes = file("models/lite0/image.phm");
    let model = Model::load(&bytes).expect("the default model");
    let cpu = cpu("qemu-aarch64:max").expect("a CPU");
    let counted = count(cpu, &bytes, None, 1).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(counted.ops.len(), model.ops().len());
    assert!(counted.ops.iter().all(|op| op.total > 0));
    let again = count(cpu, &bytes, None, 1).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(counted, again);
}

#[test]
#[ignore = "needs qemu-user, gcc-aarch64-linux-gnu and the target; ./ci.sh aarch64"]
fn the_first_inference_takes_what_the_others_take() {
    let bytes = file("models/lite0/image.phm");
    let cpu = cpu("qemu-aarch64:max").expect("a CPU");
    let counted = count(cpu, &bytes, None, 1).unwrap_or_else(|error| panic!("{error}"));
    let steady: u64 = counted.ops.iter().map(|op| op.total).sum();
    let first = counted.first_inference.total;
    // The marks around the operators are a few instructions each, and no part of the first one.
    let marks = 100 * counted.ops.len() as u64;
    assert!(first.abs_diff(steady) < marks, "{first}, then {steady}");
}

#[test]
#[ignore = "needs qemu-user, gcc-aarch64-linux-gnu and the target; ./ci.sh aarch64"]
fn a_kernel_set_that_the_cpu_lacks_is_refused_by_name() {
    let bytes = file("models/lite0/image.phm");
    let cpu = cpu("qemu-aarch64:cortex-a53").expect("a CPU");
    let error = count(cpu, &bytes, Some("x86_64-avx2"), 1).expect_err("no x86");
    assert!(error.to_string().contains("scalar"), "{error}");
}
