//! The built `pinhole` as a person meets it: exit codes, messages, files, JSON, help, Ctrl-C.
//!
//! Models and pictures are those of the tree. `PINHOLE_GOLDEN=write cargo test -p pinhole --test cli` rewrites the
//! transcripts under `golden/`. Cases that this machine cannot run are said aloud.

mod bad_input;
mod clip;
mod diff;
mod eval;
mod export;
#[cfg(feature = "train")]
mod fit;
mod flash;
mod foreign;
mod golden;
#[cfg(feature = "hub")]
mod hub;
mod interrupt;
mod json;
mod keys;
#[cfg(feature = "mpi")]
mod mpirun;
mod port;
#[cfg(feature = "train")]
mod quantize;
mod recipe;
mod text;
mod writing;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const IMAGE: &str = "models/lite0/image.phm";
const TEXT: &str = "models/lite0/text.phm";
const BANK: &str = "models/lite0/bank.phc";
const GRAPH: &str = "models/lite0/image.phg";
const PHOTOS: &str = "models/demo";
const CAT: &str = "models/demo/cat.jpg";

/// The root of the repository, where the examples of the help texts can be typed.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The command in the root of the repository, the same on every terminal.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.current_dir(root()).env("COLUMNS", "100");
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "PINHOLE_CACHE", "PINHOLE_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// What a finished command left.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
        }
    }
}

impl Ran {
    /// It did what it was asked to, and said nothing beside the result.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// It ran, and a check failed: what it printed. The reason is told.
    #[track_caller]
    fn failed_a_check(self, said: &[&str]) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        for part in said {
            assert!(
                self.stderr.contains(part),
                "`{part}` is not in: {}",
                self.stderr
            );
        }
        self.stdout
    }

    /// It could not run, and says why: every one of `said`, and the next thing to type.
    #[track_caller]
    fn refused(self, said: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "a result beside an error: {self:?}");
        for part in said.iter().chain(&["help: "]) {
            assert!(
                self.stderr.contains(part),
                "`{part}` is not in: {}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Runs `pinhole` with arguments.
fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    command()
        .args(args)
        .output()
        .expect("pinhole starts")
        .into()
}

/// A folder for one test.
struct Sandbox(TempDir);

impl Sandbox {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A path in it.
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file and gives its path.
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.path().join(name), bytes).expect("a file");
        self.path(name)
    }

    /// Everything in it, sorted, hidden files too.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

/// A file of the repository.
fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
