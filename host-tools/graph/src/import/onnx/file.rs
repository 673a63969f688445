//! From the bytes of an ONNX file to its decoded form.
//!
//! The size of the file is limited before it is read. `tract-onnx` decodes it; a panic in there would be a fault of that
//! crate, and is turned into an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sha2::{Digest, Sha256};
use tract_onnx::pb;
use tract_onnx::prelude::Framework;

use super::ImportError;
use crate::import::checkpoint::{hex, read_file};

/// Protocol buffers hold no more than 2 GiB.
const MAX_FILE_BYTES: u64 = (2 << 30) - 1;
/// Oldest and newest operator set whose definitions were read for this importer. Since 22, operators that it knows have
/// gained types of 8 bits and less, which it refuses, and nothing else.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=26;

/// Reads and decodes a file; its SHA-256 too.
pub(super) fn read(path: &Path) -> Result<(pb::ModelProto, String), ImportError> {
    let bytes = read_file(path, MAX_FILE_BYTES)?;
    super::scan::check(&bytes).map_err(|what| ImportError::malformed(path, what))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        tract_onnx::onnx().proto_model_for_read(&mut bytes.as_slice())
    }));
    match decoded {
        Ok(Ok(model)) => Ok((model, sha256)),
        Ok(Err(error)) => Err(ImportError::malformed(
            path,
            format!("no ONNX file: {error:#}"),
        )),
        Err(_) => Err(ImportError::malformed(
            path,
            "no ONNX file: its decoder gave up",
        )),
    }
}

/// The version of the default operator set.
pub(super) fn opset(path: &Path, model: &pb::ModelProto) -> Result<i64, ImportError> {
    let version = model
        .opset_import
        .iter()
        .find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"))
        .map(|set| set.version);
    match version {
        Some(version) if OPSETS.contains(&version) => Ok(version),
        Some(version) => Err(ImportError::malformed(
            path,
            format!(
                "operator set {version}, expected {} to {}; export it again with another opset_version, or convert it with \
                 onnx.version_converter",
                OPSETS.start(),
                OPSETS.end()
            ),
        )),
        None => Err(ImportError::malformed(
            path,
            "names no version of the default operator set; no ONNX file, or not a model",
        )),
    }
}
