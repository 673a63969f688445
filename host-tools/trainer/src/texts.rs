//! The sentences of training and the groups of classes that they name, as two files of tab-separated lines.
//!
//! | File | Line | |
//! |---|---|---|
//! | `groups.tsv` | `NAME⇥RELATED⇥CLASSES` | one a group, in order; RELATED is 0 or 1; CLASSES are numbers with spaces between |
//! | `texts.tsv` | `GROUP⇥SENTENCE` | one a sentence; GROUP is the number of the line in `groups.tsv`, from 0 |
//!
//! The first C groups are the C classes, each alone. [`crate::features::write_texts`] stores the same beside the features
//! that a text encoder gives the sentences.

use crate::TrainError;
use std::path::Path;

/// Sentences and groups, checked against each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextList {
    /// The sentences.
    pub sentences: Vec<String>,
    /// The group that each sentence names.
    pub group: Vec<usize>,
    /// A name for each group.
    pub names: Vec<String>,
    /// Whether each group only stands near its classes.
    pub related: Vec<bool>,
    /// The classes of each group.
    pub members: Vec<Vec<usize>>,
}

impl TextList {
    /// Reads `texts` and `groups`.
    ///
    /// # Errors
    /// When a file cannot be read or a line is not of the form above; the line is named.
    pub fn load(texts: &Path, groups: &Path) -> Result<Self, TrainError> {
        let mut list = Self::default();
        for (line, text) in lines(groups)?.iter().enumerate() {
            let (name, related, members) =
                parse_group(text).map_err(|message| fault(groups, line, message))?;
            list.names.push(name);
            list.related.push(related);
            list.members.push(members);
        }
        for (line, text) in lines(texts)?.iter().enumerate() {
            let (group, sentence) = parse_sentence(text, list.names.len())
                .map_err(|message| fault(texts, line, message))?;
            list.group.push(group);
            list.sentences.push(sentence);
        }
        Ok(list)
    }
}

fn lines(path: &Path) -> Result<Vec<String>, TrainError> {
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn fault(path: &Path, line: usize, message: String) -> TrainError {
    TrainError::Features {
        path: path.to_path_buf(),
        faults: vec![format!("line {}: {message}", line + 1)],
    }
}

fn parse_group(line: &str) -> Result<(String, bool, Vec<usize>), String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let &[name, related, members] = &fields[..] else {
        return Err(format!(
            "{} fields, expected 3 with tabs between",
            fields.len()
        ));
    };
    let related = match related {
        "0" => false,
        "1" => true,
        other => return Err(format!("`{other}` where 0 or 1 is expected")),
    };
    let numbers = members.split(' ').map(|member| {
        member
            .parse()
            .map_err(|_| format!("`{member}` is no class number"))
    });
    Ok((name.to_owned(), related, numbers.collect::<Result<_, _>>()?))
}

fn parse_sentence(line: &str, groups: usize) -> Result<(usize, String), String> {
    let (group, sentence) = line
        .split_once('\t')
        .ok_or("no tab, expected GROUP, a tab, SENTENCE")?;
    match group.parse() {
        Ok(number) if number < groups => Ok((number, sentence.to_owned())),
        _ => Err(format!(
            "`{group}` is no group, expected 0 to below {groups}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::TextList;
    use crate::features::{Features, Matrix, write_pictures, write_prototypes, write_texts};
    use crate::recipe::Inputs;

    fn load(texts: &str, groups: &str) -> Result<TextList, String> {
        let folder = tempfile::tempdir().unwrap();
        let [t, g] = ["texts.tsv", "groups.tsv"].map(|name| folder.path().join(name));
        std::fs::write(&t, texts).unwrap();
        std::fs::write(&g, groups).unwrap();
        TextList::load(&t, &g).map_err(|error| error.to_string())
    }

    const GROUPS: &str = "cat\t0\t0\ndog\t0\t1\nanimal\t0\t0 1\nfox\t1\t0 1\n";

    #[test]
    fn what_is_written_as_features_is_read_back() {
        let list = load("0\ta cat\n1\ta dog\n2\tan animal\n3\ta fox\n", GROUPS).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let matrix = |rows| Matrix {
            data: (0..rows * 3).map(|x| x as f32).collect(),
            rows,
            columns: 3,
        };
        write_prototypes(&path("p"), &matrix(2), &[0.5, 1.5]).unwrap();
        write_pictures(&path("u"), &matrix(7)).unwrap();
        write_texts(&path("t"), &matrix(4), &list).unwrap();
        let inputs = Inputs {
            prototypes: "p".into(),
            texts: "t".into(),
            pictures: "u".into(),
            teachers: Vec::new(),
            neighbourhood: None,
            photos: None,
        };
        let features = Features::load(&inputs, folder.path()).unwrap();
        assert_eq!(
            (&features.members, &features.related),
            (&list.members, &list.related)
        );
        assert_eq!(
            (&features.texts, features.prototype_bias),
            (&matrix(4), vec![0.5, 1.5])
        );
        assert!(
            write_texts(&path("t"), &matrix(3), &list)
                .unwrap_err()
                .to_string()
                .contains("3 rows, expected 4")
        );
    }

    #[test]
    fn a_sentence_of_no_group_is_refused_with_its_line() {
        assert!(
            load("0\ta cat\n9\ta dog\n", GROUPS)
                .unwrap_err()
                .contains("line 2: `9` is no group")
        );
        assert!(load("a cat\n", GROUPS).unwrap_err().contains("no tab"));
    }

    #[test]
    fn a_group_that_is_not_well_formed_is_refused_with_its_line() {
        assert!(
            load("", "cat\t0\t0\ndog\t2\t1\n")
                .unwrap_err()
                .contains("line 2: `2` where 0 or 1")
        );
        assert!(load("", "cat\t0\n").unwrap_err().contains("2 fields"));
        assert!(
            load("", "cat\t0\t0 x\n")
                .unwrap_err()
                .contains("`x` is no class number")
        );
    }
}
