//! `csv:FILE`: a table of pictures with captions, labels and splits.
//!
//! The first line names the columns: `path`, and any of `caption`, `label` and `split`, in any order; others are
//! passed over. Values are quoted as in RFC 4180. Paths are relative to the folder of the file. A picture may have
//! several lines, one a caption, which then agree in label and split. An empty value is none.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::cifar10::Split;
use crate::error::DataError;

/// One picture of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The file, which need not exist.
    pub path: PathBuf,
    /// Its captions, in order.
    pub captions: Vec<String>,
    /// The index of its class in [`Table::classnames`].
    pub label: Option<usize>,
    /// The part of the data that it is in, where the table says.
    pub split: Option<Split>,
}

/// The pictures of a table, in the order of their first lines.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The distinct labels, sorted.
    pub classnames: Vec<String>,
    /// The pictures.
    pub pictures: Vec<Listed>,
}

/// A line of the file, its values trimmed.
struct Line {
    number: u64,
    path: String,
    caption: String,
    label: String,
    split: Option<Split>,
}

impl Table {
    /// Reads a table; no picture is opened.
    ///
    /// # Errors
    /// [`DataError::Layout`] where the file cannot be read, has no `path` column or no line, a line has another
    /// number of values than the first, no path or an unknown split, or two lines of a picture disagree; the line is
    /// named.
    pub fn open(file: impl AsRef<Path>) -> Result<Self, DataError> {
        let file = file.as_ref();
        let lines = read_lines(file)?;
        let names: BTreeSet<&str> = lines
            .iter()
            .map(|line| line.label.as_str())
            .filter(|label| !label.is_empty())
            .collect();
        let classnames: Vec<String> = names.into_iter().map(str::to_string).collect();
        let mut table = Self {
            classnames,
            pictures: Vec::new(),
        };
        let mut places: HashMap<String, usize> = HashMap::new();
        let folder = file.parent().unwrap_or(Path::new("."));
        for line in &lines {
            let listed = Listed {
                path: folder.join(&line.path),
                captions: Vec::new(),
                label: table.classnames.binary_search(&line.label).ok(),
                split: line.split,
            };
            let place = *places
                .entry(line.path.clone())
                .or_insert(table.pictures.len());
            if place == table.pictures.len() {
                table.pictures.push(listed.clone());
            }
            let known = &mut table.pictures[place];
            if (known.label, known.split) != (listed.label, listed.split) {
                let found = format!(
                    "another label or split of {} in line {}",
                    line.path, line.number
                );
                return Err(layout(file, found, "the same in all lines of a picture"));
            }
            if !line.caption.is_empty() {
                known.captions.push(line.caption.clone());
            }
        }
        Ok(table)
    }
}

fn read_lines(file: &Path) -> Result<Vec<Line>, DataError> {
    let broken =
        |error: csv::Error| layout(file, error.to_string(), "comma-separated values in UTF-8");
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(file)
        .map_err(broken)?;
    let header = reader.headers().map_err(broken)?.clone();
    let column = |name: &str| {
        let is_it = |found: &str| {
            found
                .trim_start_matches('\u{feff}')
                .eq_ignore_ascii_case(name)
        };
        header.iter().position(is_it)
    };
    let Some(path) = column("path") else {
        let found = format!(
            "the columns {}",
            header.iter().collect::<Vec<_>>().join(", ")
        );
        return Err(layout(
            file,
            found,
            "a first line that names the columns, one of them `path`",
        ));
    };
    let (caption, label, split) = (column("caption"), column("label"), column("split"));
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let number = record.position().map_or(0, csv::Position::line);
        let value = |column: Option<usize>| column.and_then(|c| record.get(c)).unwrap_or_default();
        let line = Line {
            number,
            path: value(Some(path)).to_string(),
            caption: value(caption).to_string(),
            label: value(label).to_string(),
            split: split_of(value(split)).ok_or_else(|| {
                layout(
                    file,
                    format!("the split {} in line {number}", value(split)),
                    "train or test",
                )
            })?,
        };
        if line.path.is_empty() {
            return Err(layout(
                file,
                format!("no path in line {number}"),
                "one in each line",
            ));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(layout(
            file,
            "no line below the names of the columns".into(),
            "one a picture",
        ));
    }
    Ok(lines)
}

/// `None` for a word that is no split.
fn split_of(word: &str) -> Option<Option<Split>> {
    match word {
        "" => Some(None),
        "train" => Some(Some(Split::Train)),
        "test" => Some(Some(Split::Test)),
        _ => None,
    }
}

fn layout(path: &Path, found: String, expected: &str) -> DataError {
    DataError::Layout {
        path: path.to_path_buf(),
        found,
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Table, DataError> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("data.csv");
        std::fs::write(&file, text).expect("a file");
        Table::open(&file)
    }

    #[test]
    fn lines_of_a_picture_are_its_captions() {
        let text = "caption,path,label,split\n\
            \"A cat, asleep.\",a.png,cat,test\nA cat.,a.png,cat,test\n,b.png,ant,train\n";
        let table = table(text).expect("a table");
        assert_eq!(table.classnames, ["ant", "cat"]);
        assert_eq!(table.pictures.len(), 2);
        assert_eq!(table.pictures[0].captions, ["A cat, asleep.", "A cat."]);
        assert_eq!(table.pictures[0].label, Some(1));
        assert_eq!(table.pictures[1].split, Some(Split::Train));
        assert!(table.pictures[1].captions.is_empty());
        assert!(table.pictures[1].path.ends_with("b.png"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let cases = [
            ("file,caption\na,b\n", "found the columns file, caption"),
            ("path,caption\n", "found no line"),
            ("path,caption\n,b\n", "found no path in line 2"),
            (
                "path,split\na,dev\n",
                "found the split dev in line 2, expected train or test",
            ),
            (
                "path,label\na,x\na,y\n",
                "another label or split of a in line 3",
            ),
            ("path,label\na\n", "comma-separated values"),
        ];
        for (text, message) in cases {
            let error = table(text).expect_err(text).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
