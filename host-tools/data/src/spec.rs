//! `KIND:PLACE`, the way a data set is named on a command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::DataError;

const EXPECTED: &str = "cifar10:DIR, imagefolder:DIR, stamps:DIR or csv:FILE";

/// A data set on this machine: what kind of layout, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSpec {
    /// The layout that [`crate::Cifar10`] reads.
    Cifar10(PathBuf),
    /// The layout that [`crate::ImageFolder`] reads.
    ImageFolder(PathBuf),
    /// The layout that [`crate::Stamps`] reads.
    Stamps(PathBuf),
    /// The layout that [`crate::Table`] reads.
    Csv(PathBuf),
}

impl DataSpec {
    /// Reads `cifar10:DIR`, `imagefolder:DIR`, `stamps:DIR` or `csv:FILE`; DIR must be a folder and FILE a file,
    /// their content is not looked at. The path of a folder alone is an image folder, that of a file that ends in
    /// `.csv` a table.
    ///
    /// # Errors
    /// [`DataError::Spec`] for another form, another kind, or a place that is missing or of the wrong kind.
    pub fn parse(text: &str) -> Result<Self, DataError> {
        let wrong = |expected: String| DataError::Spec {
            found: text.into(),
            expected,
        };
        let bare = Path::new(text);
        if bare.is_dir() {
            return Ok(Self::ImageFolder(bare.into()));
        }
        if bare.is_file() && bare.extension().is_some_and(|ending| ending == "csv") {
            return Ok(Self::Csv(bare.into()));
        }
        let (kind, place) = text.split_once(':').ok_or_else(|| wrong(EXPECTED.into()))?;
        let path = PathBuf::from(place);
        let spec = match kind {
            "cifar10" => Self::Cifar10(path),
            "imagefolder" => Self::ImageFolder(path),
            "stamps" => Self::Stamps(path),
            "csv" => Self::Csv(path),
            _ => return Err(wrong(format!("{EXPECTED}, found kind `{kind}`"))),
        };
        let is_table = matches!(spec, Self::Csv(_));
        let (what, other) = if is_table {
            ("a file", "folder")
        } else {
            ("a folder", "file")
        };
        match spec.place() {
            _ if place.is_empty() => Err(wrong(format!("{what} after `{kind}:`"))),
            path if path.is_dir() != is_table && path.exists() => Ok(spec),
            path if path.exists() => Err(wrong(format!("{what}, found the {other} {place}"))),
            _ => Err(wrong(format!("{what}, found no {place}"))),
        }
    }

    /// The folder, or the file of a table.
    pub fn place(&self) -> &Path {
        match self {
            Self::Cifar10(place)
            | Self::ImageFolder(place)
            | Self::Stamps(place)
            | Self::Csv(place) => place,
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
            Self::Csv(_) => "csv",
        };
        write!(f, "{kind}:{}", self.place().display())
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
            assert_eq!(spec.place(), dir.path());
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn a_path_alone_is_an_image_folder_or_a_table() {
        let dir = TempDir::new().expect("temp dir");
        let file = dir.path().join("data.csv");
        std::fs::write(&file, "").expect("write");
        let parse = |path: &Path| DataSpec::parse(&path.display().to_string()).expect("a spec");
        assert_eq!(parse(dir.path()), DataSpec::ImageFolder(dir.path().into()));
        assert_eq!(parse(&file), DataSpec::Csv(file.clone()));
        let table = DataSpec::parse(&format!("csv:{}", file.display()));
        assert_eq!(table.expect("a spec").place(), file);
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
            (
                format!("csv:{}", dir.path().display()),
                "a file, found the folder",
            ),
        ];
        for (text, expected) in cases {
            let error = DataSpec::parse(&text).expect_err(&text);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.help().is_some());
        }
    }
}
