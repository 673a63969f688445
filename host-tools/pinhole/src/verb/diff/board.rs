//! stub
use super::Args;
use crate::failure::Outcome;
use std::path::Path;
pub(super) fn compare(_args: &Args, _data: &Path, _board: &str) -> Outcome {
    Ok(())
}
