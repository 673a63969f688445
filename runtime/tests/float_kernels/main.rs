//! Every float kernel of every set that this CPU can run, against plain f64 loops, within the tolerances of
//! `docs/numerics.md`.
//!
//! Needs the feature `std` to cover more than the scalar set. `-- --nocapture` prints the sets that were covered, and
//! `measured_errors` prints the largest errors.

extern crate alloc;

mod attention;
mod attention_halves;
mod elementwise;
mod errors;
mod halves;
mod products;
mod rows;
mod support;
mod threads;
mod vectors;
mod windows;

use pinhole_runtime::kernel::available;

#[test]
fn every_set_of_this_cpu_is_covered() {
    let names: Vec<_> = available().map(|kernels| kernels.name()).collect();
    println!("float kernels covered: {}", names.join(", "));
    assert_eq!(names[0], "scalar");
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        assert!(names.contains(&"x86_64-avx2"), "{names:?}");
    }
}
