//! Puts a memory map where the linker looks for it. The programs are measured, not run, so that one board stands for all.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let map = "../kernels/memory/mps3-an547.x";
    println!("cargo::rerun-if-changed={map}");
    let folder = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::copy(map, folder.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", folder.display());
    Ok(())
}
