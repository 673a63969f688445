//! Boards that look for themselves: the board `linux` with its cameras of files against the host, and 10,000 frames on emulated
//! boards. Ignored by default: `./ci.sh linux` and `./ci.sh endurance` run them.

#[path = "../../../../runtime/tests/common/mod.rs"]
mod common;

mod endurance;
mod linux;
#[cfg(unix)]
mod ports;

use common::bank::six_classes;
use common::{Aligned, samples};
use pinhole_runtime::interpreter::Interpreter;
use pinhole_runtime::kernel::{Kernels, Scalar};
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};
use std::path::PathBuf;

/// A folder with a small model and a bank for it.
struct Files {
    folder: tempfile::TempDir,
    model: Aligned,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
            model: samples::image_s8().build(),
        };
        std::fs::write(files.path("model"), &*files.model).unwrap();
        let bank = six_classes([7; 16], 10, f32::INFINITY);
        std::fs::write(files.path("bank"), bank).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The embedding that the runtime of this machine computes for a picture.
    fn embedding(&self, (width, height): (u32, u32), format: PixelFormat, bytes: &[u8]) -> Vec<u8> {
        let model = Model::load(&self.model).unwrap();
        let geometry = model.geometry().unwrap();
        let input = model.value(model.inputs().next().unwrap());
        let mut arena = Aligned::zeroed(model.arena_bytes());
        let kernels: &'static dyn Kernels = &Scalar;
        let mut interpreter = Interpreter::new(&model, &mut arena, kernels).unwrap();
        let mut scratch = vec![0; Preprocessor::scratch_len(&geometry, width, height).unwrap()];
        let tensor = interpreter.input_s8_mut(0).unwrap();
        let mut sink =
            S8Sink::new(kernels, &geometry, input.scale, input.zero_point, tensor).unwrap();
        let mut rows =
            Preprocessor::new(kernels, &geometry, width, height, format, &mut scratch).unwrap();
        for row in bytes.chunks(width as usize * format.bytes_per_pixel()) {
            rows.push_row(row, &mut sink).unwrap();
        }
        rows.finish(&mut sink).unwrap();
        interpreter.run();
        interpreter.output_bytes(0).unwrap().to_vec()
    }

    /// Its checksum, as live results have it.
    fn embedding_crc32(&self, sides: (u32, u32), format: PixelFormat, bytes: &[u8]) -> u32 {
        let embedding = self.embedding(sides, format, bytes);
        crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&embedding)
    }
}
