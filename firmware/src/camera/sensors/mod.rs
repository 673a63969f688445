//! The drivers of image sensors: registers as tables of named numbers.
//!
//! Each file names the document that its numbers are from. Where a maker publishes values without a meaning, the table says so
//! and names a public driver that gives the same values; nothing else of those drivers is here.

mod hm01b0;
mod ov2640;
mod ov2640_tables;
mod ov5640;
mod ov7670;

pub use hm01b0::Hm01b0;
pub use ov2640::Ov2640;
pub use ov5640::Ov5640;
pub use ov7670::Ov7670;

use super::{CameraError, Configuration};

/// Refuses, with the reason that is the narrower one.
fn refuse(asked: Configuration, size_is_known: bool) -> CameraError {
    if size_is_known {
        CameraError::FormatNotSupported { asked }
    } else {
        CameraError::SizeNotSupported { asked }
    }
}
