//! The folder of the feature files, and what is finished in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pinhole_ranks::Ranks;
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure, Outcome};
use crate::files;
use crate::output::note;

/// What `features.json` says of a file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Made {
    /// SHA-256 of what it was made from.
    inputs_sha256: String,
    /// SHA-256 of the file.
    sha256: String,
    /// Of its features.
    pub(super) shape: [usize; 2],
}

/// The folder of the feature files, and what is finished in it. The first rank alone reads and writes it.
pub(super) struct Folder<'a> {
    path: PathBuf,
    pub(super) files: BTreeMap<String, Made>,
    ranks: &'a Ranks,
}

impl<'a> Folder<'a> {
    const RECORD: &'static str = "features.json";

    pub(super) fn open(path: &Path, ranks: &'a Ranks) -> Outcome<Self> {
        let mut folder = Self {
            path: path.to_path_buf(),
            files: BTreeMap::new(),
            ranks,
        };
        ranks.first(|| {
            let record = path.join(Self::RECORD);
            if record.exists() {
                let text = files::read(&record)?;
                folder.files = serde_json::from_slice(&text).context(record.display())?;
            }
            Ok::<_, Failure>(())
        })?;
        Ok(folder)
    }

    /// Lets all ranks `compute` what is in a file, and the first `write` it, which returns the shape of its features,
    /// unless it is there from the same inputs.
    pub(super) fn make<T>(
        &mut self,
        name: &str,
        inputs: &[&String],
        compute: impl FnOnce() -> Outcome<T>,
        write: impl FnOnce(&Path, &T) -> Outcome<[usize; 2]>,
    ) -> Outcome {
        let (path, ranks) = (self.path.join(name), self.ranks);
        let inputs: Vec<&str> = inputs.iter().map(|input| input.as_str()).collect();
        let inputs_sha256 = files::sha256(inputs.join(" ").as_bytes());
        let is_made = ranks.broadcast(|| {
            let is_made = self.is_made(name, &inputs_sha256)?;
            Ok::<_, Failure>(vec![u8::from(is_made)])
        })?;
        if is_made == [1] {
            note!("{}: finished already, kept", path.display());
            return Ok(());
        }
        let computed = compute()?;
        ranks.first(|| {
            let shape = files::produce(&path, |unfinished| write(unfinished, &computed))?;
            let made = Made {
                inputs_sha256,
                sha256: files::sha256(&files::read(&path)?),
                shape,
            };
            self.files.insert(name.to_owned(), made);
            let record = serde_json::to_vec_pretty(&self.files).map_err(Failure::new)?;
            files::write(&self.path.join(Self::RECORD), &record)
        })
    }

    /// Whether a file is there, from these inputs and as it was written.
    fn is_made(&self, name: &str, inputs_sha256: &str) -> Outcome<bool> {
        let path = self.path.join(name);
        Ok(match self.files.get(name) {
            Some(made) if made.inputs_sha256 == inputs_sha256 && path.is_file() => {
                files::sha256(&files::read(&path)?) == made.sha256
            }
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use pinhole_ranks::Ranks;

    use super::Folder;

    #[test]
    fn a_file_is_made_once_and_again_when_its_inputs_or_its_bytes_change() {
        let dir = tempfile::tempdir().unwrap();
        let made = Cell::new(0);
        let make = |input: &str| {
            let ranks = Ranks::alone();
            let mut folder = Folder::open(dir.path(), &ranks).unwrap();
            let compute = || {
                made.set(made.get() + 1);
                Ok("features")
            };
            let write = |path: &Path, text: &&str| {
                std::fs::write(path, text).unwrap();
                Ok([2, 3])
            };
            folder
                .make("a.safetensors", &[&input.to_owned()], compute, write)
                .unwrap();
            assert_eq!(folder.files["a.safetensors"].shape, [2, 3]);
        };
        make("x");
        make("x");
        assert_eq!(made.get(), 1);
        make("y");
        assert_eq!(made.get(), 2);
        std::fs::write(dir.path().join("a.safetensors"), "feat").unwrap();
        make("y");
        assert_eq!(made.get(), 3);
    }
}
