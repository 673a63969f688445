//! The verbs.

pub(crate) mod bench;
pub(crate) mod board;
pub(crate) mod classify;
pub(crate) mod convert;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod pack;
pub(crate) mod quantize;
#[cfg(feature = "train")]
pub(crate) mod train;
