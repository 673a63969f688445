//! Where the bytes of a program's code come from: its symbols, summed by crate and module.
//!
//! What the linker folded together counts for the symbol that it kept, and what the compiler inlined for the function that it
//! went into. Constants without a name of their own (`.Lanon…`) are one row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes in flash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Instructions, and constants between them.
    pub code: u64,
    /// Constants, and what statics start with.
    pub constants: u64,
}

impl Bytes {
    /// Both.
    pub fn total(self) -> u64 {
        self.code + self.constants
    }
}

/// The bytes of an ELF file by module, at most `depth` names deep (1 for crates).
///
/// # Errors
/// When `llvm-nm` is missing or does not read the file.
pub fn by_module(program: &Path, depth: usize) -> Result<BTreeMap<String, Bytes>, String> {
    let mut modules: BTreeMap<String, Bytes> = BTreeMap::new();
    for line in tool("llvm-nm", &["--demangle", "--print-size"], program)?.lines() {
        // Address, size, kind, name; symbols without a size have three columns.
        let mut words = line.splitn(4, ' ');
        let (Some(_), Some(size), Some(kind), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(size) = u64::from_str_radix(size, 16) else {
            continue;
        };
        let bytes = modules.entry(module(name, depth)).or_default();
        match kind {
            "t" | "T" | "w" | "W" => bytes.code += size,
            "r" | "R" | "d" | "D" => bytes.constants += size,
            _ => {}
        }
    }
    modules.retain(|_, bytes| bytes.total() > 0);
    Ok(modules)
}

/// The sections of an ELF file that take memory of a board, with their bytes.
///
/// # Errors
/// When `llvm-size` is missing or does not read the file.
pub fn sections(program: &Path) -> Result<Vec<(String, u64)>, String> {
    let text = tool("llvm-size", &["-A"], program)?;
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, bytes, address) = (words.next()?, words.next()?, words.next()?);
        let loaded = address.parse() != Ok(0u64);
        Some((name.to_string(), bytes.parse().ok()?)).filter(|(_, bytes)| loaded && *bytes > 0)
    });
    Ok(rows.collect())
}

/// The module that a symbol lies in: the first names of its path, that of the type for a method.
fn module(symbol: &str, depth: usize) -> String {
    // The old mangling, which LLVM leaves half done: `_$LT$a..B$u20$as$u20$…$GT$::function::h0123456789abcdef`.
    let symbol = symbol.replace("_$LT$", "<").replace("..", "::");
    let path = symbol.trim_start_matches(['<', '&', '*']);
    let end = path.find([' ', '<', '>', '(', '{', '$']);
    let (path, is_type) = end.map_or((path, false), |end| (&path[..end], true));
    let is_hash = |name: &&str| name.len() == 17 && name.starts_with('h');
    let names: Vec<&str> = path
        .split("::")
        .filter(|name| !name.is_empty() && !is_hash(name))
        .collect();
    match names.as_slice() {
        [name] if name.starts_with("Lanon") || name.starts_with(".L") => {
            "(constants without a name)".into()
        }
        [] | [_] => "(no module)".into(),
        // The last name is the function's, or that of the type whose method it is.
        [modules @ .., _] => {
            let method = !is_type && modules.last().is_some_and(|name| is_type_name(name));
            let modules = &modules[..modules.len() - usize::from(method && modules.len() > 1)];
            modules[..modules.len().min(depth)].join("::")
        }
    }
}

fn is_type_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_uppercase())
}

/// What a tool of the Rust toolchain prints about a file.
fn tool(name: &str, arguments: &[&str], program: &Path) -> Result<String, String> {
    let path = llvm_tools().map(|folder| folder.join(name));
    let path = path
        .filter(|path| path.is_file())
        .ok_or_else(|| format!("{name} is missing: rustup component add llvm-tools"))?;
    let output = Command::new(path)
        .args(arguments)
        .arg(program)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The folder of the toolchain's own LLVM.
fn llvm_tools() -> Option<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir"])
        .output()
        .ok()?;
    let libraries = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(libraries.parent()?.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::module;

    #[test]
    fn a_symbol_belongs_to_the_module_of_its_function_or_type() {
        let load = "pinhole_runtime::model::Model::load::h0123456789abcdef";
        assert_eq!(module(load, 4), "pinhole_runtime::model");
        assert_eq!(module(load, 1), "pinhole_runtime");
        let function = "pinhole_runtime::model::plan::check::h0123456789abcdef";
        assert_eq!(module(function, 4), "pinhole_runtime::model::plan");
        let method = "_$LT$a..helium..Helium$u20$as$u20$a..Kernels$GT$::gemm_s8::h0123456789abcdef";
        assert_eq!(module(method, 4), "a::helium");
        let method = "<a::helium::Helium as a::Kernels>::gemm_s8";
        assert_eq!(module(method, 4), "a::helium");
        assert_eq!(module("<&T as core::fmt::Display>::fmt", 1), "(no module)");
        assert_eq!(module("memcpy", 3), "(no module)");
        let constant = ".Lanon.1746ed8ff454e43e3844fba77a22da6d.145";
        assert_eq!(module(constant, 3), "(constants without a name)");
    }
}
