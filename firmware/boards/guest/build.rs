//! Puts the memory map of the board that `PINHOLE_BOARD` names where the linker looks for it.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=PINHOLE_BOARD");
    let board = std::env::var("PINHOLE_BOARD")
        .map_err(|_| "PINHOLE_BOARD names no board; pinhole bench --target builds this program")?;
    let map = format!("../kernels/memory/{board}.x");
    println!("cargo::rerun-if-changed={map}");
    let folder = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::copy(&map, folder.join("memory.x")).map_err(|error| format!("{map}: {error}"))?;
    println!("cargo::rustc-link-search={}", folder.display());
    Ok(())
}
