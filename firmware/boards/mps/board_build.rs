//! The build script of each board: its memory map where the linker looks for it, and the sections of the log.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"));
    std::fs::copy("memory.x", folder.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", folder.display());
    println!("cargo::rustc-link-arg=-Tdefmt.x");
    println!("cargo::rerun-if-changed=memory.x");
    Ok(())
}
