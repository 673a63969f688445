//! `KIND:DIR`, the way a data set is named on a command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::DataError;

const EXPECTED: &str = "cifar10:DIR, imagefolder:DIR or stamps:DIR";

/// A data set on this machine: what kind of layout, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSpec {
    /// The layout that [`crate::Cifar10`] reads.
    Cifar10(PathBuf),
    /// The layout that [`crate::ImageFolder`] reads.
    ImageFolder(PathBuf),
    /// The layout that [`crate::Stamps`] reads.
    Stamps(PathBuf),
}

impl DataSpec {
    /// Reads `cifar10:DIR`, `imagefolder:DIR` or `stamps:DIR`; DIR must be a folder, its content is not looked at.
    ///
    /// # Errors
    /// [`DataError::Spec`] for another form, another kind, or a DIR that is missing or no folder.
    pub fn parse(text: &str) -> Result<Self, DataError> {
        let wrong = |expected: String| DataError::Spec {
            found: text.into(),
            expected,
        };
        let (kind, dir) = text.split_once(':').ok_or_else(|| wrong(EXPECTED.into()))?;
        let dir_path = PathBuf::from(dir);
        let spec = match kind {
            "cifar10" => Self::Cifar10(dir_path),
            "imagefolder" => Self::ImageFolder(dir_path),
            "stamps" => Self::Stamps(dir_path),
            _ => return Err(wrong(format!("{EXPECTED}, found kind `{kind}`"))),
        };
        match spec.dir() {
            _ if dir.is_empty() => Err(wrong(format!("a folder after `{kind}:`"))),
            path if path.is_dir() => Ok(spec),
            path if path.exists() => Err(wrong(format!("a folder, found the file {dir}"))),
            _ => Err(wrong(format!("a folder, found no {dir}"))),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        match self {
            Self::Cifar10(dir) | Self::ImageFolder(dir) | Self::Stamps(dir) => dir,
        }
    }
}

impl FromStr for DataSpec {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::parse(text)
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Cifar10(_) => "cifar10",
            Self::ImageFolder(_) => "imagefolder",
            Self::Stamps(_) => "stamps",
        };
        write!(f, "{kind}:{}", self.dir().display())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn each_kind_is_read_and_printed_the_same() {
        let dir = TempDir::new().expect("temp dir");
        for kind in ["cifar10", "imagefolder", "stamps"] {
            let text = format!("{kind}:{}", dir.path().display());
            let spec = DataSpec::parse(&text).expect(kind);
            assert_eq!(spec.dir(), dir.path());
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn every_other_form_says_what_was_expected() {
        let dir = TempDir::new().expect("temp dir");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("write");
        let cases = [
            ("cifar10".to_string(), EXPECTED),
            (String::new(), EXPECTED),
            (
                format!("cifar100:{}", dir.path().display()),
                "found kind `cifar100`",
            ),
            ("stamps:".into(), "a folder after `stamps:`"),
            ("imagefolder:/no/such/dir".into(), "found no /no/such/dir"),
            (format!("stamps:{}", file.display()), "found the file"),
        ];
        for (text, expected) in cases {
            let error = DataSpec::parse(&text).expect_err(&text);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.help().is_some());
        }
    }
}
