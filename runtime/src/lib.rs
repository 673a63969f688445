#![no_std]
//! The executor of Pinhole models.

pub mod preprocess;
