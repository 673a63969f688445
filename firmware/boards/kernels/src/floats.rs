//! The tests of the float kernels, which share names of modules with those of the integer kernels.

#[path = "../../../../runtime/tests/float_kernels/attention.rs"]
pub(crate) mod attention;
#[path = "../../../../runtime/tests/float_kernels/attention_halves.rs"]
pub(crate) mod attention_halves;
#[path = "../../../../runtime/tests/float_kernels/elementwise.rs"]
pub(crate) mod elementwise;
#[path = "../../../../runtime/tests/float_kernels/errors.rs"]
pub(crate) mod errors;
#[path = "../../../../runtime/tests/float_kernels/halves.rs"]
pub(crate) mod halves;
#[path = "../../../../runtime/tests/float_kernels/products.rs"]
pub(crate) mod products;
#[path = "../../../../runtime/tests/float_kernels/rows.rs"]
pub(crate) mod rows;
#[path = "../../../../runtime/tests/float_kernels/support.rs"]
pub(crate) mod support;
#[path = "../../../../runtime/tests/float_kernels/windows.rs"]
pub(crate) mod windows;
