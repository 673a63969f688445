//! Storage on flash that loses its power, wears out, and holds whatever bytes.

#[path = "../../../runtime/tests/common/mod.rs"]
mod common;

mod chip;
mod cuts;
mod files;
mod hostile;
mod operations;
mod random;
mod signatures;
mod wear;
