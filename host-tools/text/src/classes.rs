//! Class lists: the names that a picture may be given, and what else is known about each in words.
//!
//! Source of the idea that a class has several names and sentences: CuPL (Pratt et al., arXiv:2209.03320) and the
//! curated names of CLIP (Radford et al., arXiv:2103.00020, section 3.1.4).
//!
//! On a command line a list is `cat,dog,coffee cup`. In a file each line is a class:
//!
//! ```text
//! # a comment; blank lines are skipped
//! cat
//! dog: puppy, hound
//! teapot: kettle | A teapot has a spout and a lid. | Tea is poured from a teapot.
//! ```
//!
//! The name comes first and is what the classifier answers. After `:` stand other names for the same thing, separated by
//! commas; they are set into the templates as the name is. After each `|` stands a whole sentence, which is used as it
//! is. A name in a file therefore holds no `:` and no `|` and does not begin with `#`, another name holds no comma either;
//! there is no way to quote them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The longest name that a board's class bank stores, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 64;
/// A larger file is refused before it is read; the 150,000 sentences of CuPL are 10 MB.
const MAX_LIST_BYTES: usize = 32 << 20;

/// The built-in lists: name and file.
const BUILT_IN: &[(&str, &str)] = &[
    (
        "cifar10",
        include_str!("../../../models/classes/cifar10.txt"),
    ),
    (
        "everyday",
        include_str!("../../../models/classes/everyday.txt"),
    ),
    (
        "imagenet",
        include_str!("../../../models/classes/imagenet.txt"),
    ),
];

/// One class: its name, other names for it, and sentences about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    names: Vec<String>,
    sentences: Vec<String>,
}

impl Class {
    /// What the classifier answers.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// The name and then the other names; each is set into every template.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Sentences that are prompts as they stand.
    pub fn sentences(&self) -> &[String] {
        &self.sentences
    }

    /// Adds a sentence that is a prompt as it stands.
    pub fn push_sentence(&mut self, sentence: String) {
        self.sentences.push(sentence);
    }

    /// Reads a line of a file. The name may still be wrong; [`ClassList`] checks it.
    fn parse(line: &str) -> Result<Self, ClassFault> {
        let mut parts = line.split('|').map(str::trim);
        let head = parts.next().unwrap_or("");
        let sentences: Vec<String> = parts.map(str::to_owned).collect();
        if sentences.iter().any(String::is_empty) {
            return Err(ClassFault::BlankSentence);
        }
        let (name, others) = match head.split_once(':') {
            Some((name, others)) => (name.trim(), Some(others)),
            None => (head, None),
        };
        let mut names = vec![name.to_owned()];
        for other in others.into_iter().flat_map(|others| others.split(',')) {
            match other.trim() {
                "" => return Err(ClassFault::BlankOtherName),
                other if names.iter().any(|known| known == other) => {
                    return Err(ClassFault::OtherNameTwice {
                        name: other.to_owned(),
                    });
                }
                other => names.push(other.to_owned()),
            }
        }
        Ok(Self { names, sentences })
    }
}

/// What is wrong with one class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassFault {
    /// Nothing where the name should be.
    #[error("found a blank name, expected a class name")]
    BlankName,
    /// Two `|` without a sentence between, or one at the end.
    #[error("found nothing after `|`, expected a sentence")]
    BlankSentence,
    /// Nothing after `:`, or two commas without a name between.
    #[error("found a blank name after `:`, expected other names separated by commas")]
    BlankOtherName,
    /// One class lists a name twice.
    #[error("found the name {name:?} twice in one class, expected it once")]
    OtherNameTwice {
        /// The name.
        name: String,
    },
    /// The name does not fit a board's class bank.
    #[error("found a name of {found} bytes, {name:?}, expected at most {MAX_NAME_BYTES}")]
    NameTooLong {
        /// The name.
        name: String,
        /// Its bytes in UTF-8.
        found: usize,
    },
    /// The name would garble a terminal or a serial line.
    #[error("found a control character in the name {name:?}, expected none")]
    ControlCharacter {
        /// The name.
        name: String,
    },
    /// The name is that of an earlier class.
    #[error("found the class {name:?} again, expected each once; {place} {first} has it")]
    Duplicate {
        /// The name.
        name: String,
        /// "line" in a file, "name" on the command line.
        place: &'static str,
        /// Where it stood first, counted from 1.
        first: usize,
    },
}

/// Why a class list could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassListError {
    /// The file cannot be read as text of a sensible size.
    #[error(transparent)]
    File(#[from] crate::text_file::TextFileError),
    /// The argument looks like a file and there is none.
    #[error(
        "{}: found no such file, expected a file of class names, names separated by commas, or one of {}",
        path.display(),
        ClassList::built_in_names().collect::<Vec<_>>().join(", ")
    )]
    NoSuchFile {
        /// The file.
        path: PathBuf,
    },
    /// No class at all.
    #[error("{file}: found no class, expected at least one name")]
    Empty {
        /// The file, or the option.
        file: String,
    },
    /// Every class that is wrong, with its place.
    #[error("{file}: {}", crate::text_file::joined(place, faults))]
    Faults {
        /// The file, or the option.
        file: String,
        /// "line" in a file, "name" on the command line.
        place: &'static str,
        /// Place counted from 1, and what is wrong there.
        faults: Vec<(usize, ClassFault)>,
    },
}

/// Classes with distinct names, in the order given; a class is known by its index. It is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassList {
    classes: Vec<Class>,
}

impl ClassList {
    /// The list of an argument: a built-in list by name, else a file if there is one, else names separated by commas.
    ///
    /// An argument that ends in `.txt` or holds a path separator means a file even when there is none.
    ///
    /// # Errors
    /// [`ClassListError`].
    pub fn from_arg(arg: &str) -> Result<Self, ClassListError> {
        let name = arg.trim();
        if let Some(list) = Self::built_in(name) {
            return Ok(list);
        }
        let path = Path::new(arg);
        if path.is_file() {
            return Self::load(path);
        }
        let names_a_file =
            !arg.contains(',') && (arg.ends_with(".txt") || arg.contains(['/', '\\']));
        if names_a_file {
            return Err(ClassListError::NoSuchFile {
                path: path.to_owned(),
            });
        }
        Self::parse_comma_separated(arg)
    }

    /// A built-in list: `cifar10`, `everyday` or `imagenet`.
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
        Self::parse(name, text).ok()
    }

    /// The names that [`built_in`](Self::built_in) knows.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Reads a file in the syntax of this module.
    ///
    /// # Errors
    /// [`ClassListError`], naming the file and every line that is wrong.
    pub fn load(path: &Path) -> Result<Self, ClassListError> {
        let text = crate::text_file::read(path, MAX_LIST_BYTES)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads the text of a file; `name` is what errors call it.
    ///
    /// # Errors
    /// [`ClassListError`], naming every line that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, ClassListError> {
        let lines = crate::text_file::content_lines(text);
        checked(
            name,
            "line",
            lines.map(|(line_number, line)| (line_number, Class::parse(line))),
        )
    }

    /// Reads names separated by commas, as on a command line.
    ///
    /// # Errors
    /// [`ClassListError`], naming the position of every name that is wrong.
    pub fn parse_comma_separated(text: &str) -> Result<Self, ClassListError> {
        const OPTION: &str = "--classes";
        if text.trim().is_empty() {
            return Err(ClassListError::Empty {
                file: OPTION.to_owned(),
            });
        }
        let class = |name: &str| Class {
            names: vec![name.trim().to_owned()],
            sentences: Vec::new(),
        };
        let names = text.split(',').enumerate();
        checked(
            OPTION,
            "name",
            names.map(|(index, name)| (index + 1, Ok(class(name)))),
        )
    }

    /// A list of plain names, such as the captions of a data set.
    ///
    /// # Errors
    /// [`ClassListError`], naming the position of every name that is wrong.
    pub fn from_names<S: AsRef<str>>(source: &str, names: &[S]) -> Result<Self, ClassListError> {
        let class = |name: &S| Class {
            names: vec![name.as_ref().trim().to_owned()],
            sentences: Vec::new(),
        };
        let numbered = names.iter().enumerate();
        checked(
            source,
            "name",
            numbered.map(|(index, name)| (index + 1, Ok(class(name)))),
        )
    }

    /// The classes, at least one.
    pub fn as_slice(&self) -> &[Class] {
        &self.classes
    }

    /// The classes, to add sentences to; their names stay.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Class> {
        self.classes.iter_mut()
    }
}

/// Collects the classes, or every fault with its place.
fn checked(
    file: &str,
    place: &'static str,
    parsed: impl Iterator<Item = (usize, Result<Class, ClassFault>)>,
) -> Result<ClassList, ClassListError> {
    let file = file.to_owned();
    let (mut classes, mut faults) = (Vec::new(), Vec::new());
    let mut first_places: HashMap<String, usize> = HashMap::new();
    for (number, parsed) in parsed {
        let class = match parsed.and_then(|class| check_name(class.name()).map(|()| class)) {
            Ok(class) => class,
            Err(fault) => {
                faults.push((number, fault));
                continue;
            }
        };
        let name = class.name().to_owned();
        match first_places.get(&name) {
            Some(&first) => faults.push((number, ClassFault::Duplicate { name, place, first })),
            None => {
                first_places.insert(name, number);
                classes.push(class);
            }
        }
    }
    match (classes.is_empty(), faults.is_empty()) {
        (_, false) => Err(ClassListError::Faults {
            file,
            place,
            faults,
        }),
        (true, true) => Err(ClassListError::Empty { file }),
        (false, true) => Ok(ClassList { classes }),
    }
}

fn check_name(name: &str) -> Result<(), ClassFault> {
    if name.is_empty() {
        Err(ClassFault::BlankName)
    } else if name.len() > MAX_NAME_BYTES {
        Err(ClassFault::NameTooLong {
            name: name.to_owned(),
            found: name.len(),
        })
    } else if name.contains(char::is_control) {
        Err(ClassFault::ControlCharacter {
            name: name.to_owned(),
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &ClassList) -> Vec<&str> {
        list.as_slice().iter().map(Class::name).collect()
    }

    #[test]
    fn built_in_lists_have_their_classes() {
        let list = |name| ClassList::built_in(name).unwrap();
        assert_eq!(
            names(&list("cifar10"))[..3],
            ["airplane", "automobile", "bird"]
        );
        assert_eq!(list("cifar10").as_slice().len(), 10);
        assert_eq!(list("imagenet").as_slice().len(), 1000);
        assert_eq!(names(&list("imagenet"))[744], "projectile");
        let everyday = list("everyday");
        for name in ["cat", "coffee cup", "rocket", "astronaut", "motorcycle"] {
            assert!(names(&everyday).contains(&name), "{name}");
        }
    }

    #[test]
    fn a_line_holds_a_name_other_names_and_sentences() {
        let text = "\u{feff}# pets\r\ncat\r\n dog : puppy, hound\nteapot: kettle | It has a spout. | Tea: hot, fresh.\n";
        let list = ClassList::parse("pets.txt", text).unwrap();
        assert_eq!(names(&list), ["cat", "dog", "teapot"]);
        assert_eq!(list.as_slice()[1].names(), ["dog", "puppy", "hound"]);
        assert_eq!(list.as_slice()[2].names(), ["teapot", "kettle"]);
        assert_eq!(
            list.as_slice()[2].sentences(),
            ["It has a spout.", "Tea: hot, fresh."]
        );
    }

    #[test]
    fn an_argument_is_a_built_in_list_or_a_file_or_names() {
        assert_eq!(
            names(&ClassList::from_arg("cat, coffee cup,東京").unwrap()),
            ["cat", "coffee cup", "東京"]
        );
        assert_eq!(ClassList::from_arg("cifar10").unwrap().as_slice().len(), 10);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.txt");
        std::fs::write(&path, "cat\ndog\n").unwrap();
        assert_eq!(
            names(&ClassList::from_arg(path.to_str().unwrap()).unwrap()),
            ["cat", "dog"]
        );
        let missing = ClassList::from_arg("no/such.txt").unwrap_err().to_string();
        assert!(
            missing.starts_with("no/such.txt: found no such file"),
            "{missing}"
        );
    }

    #[test]
    fn a_name_given_twice_is_refused_with_both_places() {
        let error = ClassList::parse("a.txt", "cat\n\ndog\ncat | meow\n")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a.txt: line 4: found the class \"cat\" again, expected each once; line 1 has it"
        );
        let error = ClassList::from_arg("cat,dog, dog").unwrap_err().to_string();
        assert_eq!(
            error,
            "--classes: name 3: found the class \"dog\" again, expected each once; name 2 has it"
        );
    }

    #[test]
    fn every_wrong_line_is_named() {
        let long = "x".repeat(65);
        let text =
            format!(": other\n{long}\nok\na\u{1b}[31m\ndog: \ncat | \nfox: fox\n| sentence\n");
        let error = ClassList::parse("b.txt", &text).unwrap_err().to_string();
        for expected in [
            "line 1: found a blank name",
            "line 2: found a name of 65 bytes",
            "line 4: found a control character",
            "line 5: found a blank name after `:`",
            "line 6: found nothing after `|`",
            "line 7: found the name \"fox\" twice",
            "line 8: found a blank name",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert!(
            ClassList::parse("c.txt", &"é".repeat(32)).is_ok(),
            "64 bytes fit"
        );
    }

    #[test]
    fn an_empty_list_and_a_blank_name_are_refused() {
        for text in ["", " ", "# only a comment\n"] {
            assert!(matches!(
                ClassList::parse("d.txt", text),
                Err(ClassListError::Empty { .. })
            ));
        }
        assert!(matches!(
            ClassList::from_arg(" "),
            Err(ClassListError::Empty { .. })
        ));
        let error = ClassList::from_arg("cat,,dog").unwrap_err().to_string();
        assert_eq!(
            error,
            "--classes: name 2: found a blank name, expected a class name"
        );
    }

    #[test]
    fn a_file_in_another_encoding_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin1.txt");
        std::fs::write(&path, b"cat\ncaf\xe9\n").unwrap();
        let error = ClassList::load(&path).unwrap_err().to_string();
        assert!(
            error.contains("latin1.txt: line 2: found a byte that is not UTF-8"),
            "{error}"
        );
    }
}
