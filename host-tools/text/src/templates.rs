//! Prompt templates: sentences with one `{}` where the class name goes.
//!
//! Source: CLIP (Radford et al., arXiv:2103.00020, section 3.1.4), whose sets of templates are built in under
//! `models/templates`. In a file each line is a template, `#` at the beginning of a line makes it a comment, and blank
//! lines are skipped. There is no way to write a literal `{}`.

use std::path::Path;

/// Where the class name goes.
const PLACEHOLDER: &str = "{}";
/// A larger file is refused before it is read.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// The built-in sets: name and file.
        const BUILT_IN: &[(&str, &str)] = &[$((
            $name,
            include_str!(concat!("../../../models/templates/", $name, ".txt")),
        )),*];
    };
}

built_in![
    "simple",
    "name",
    "imagenet",
    "imagenet_simple",
    "caltech101",
    "cars",
    "cifar10",
    "cifar100",
    "country211",
    "dtd",
    "eurosat",
    "fer2013",
    "fgvc_aircraft",
    "flowers",
    "food101",
    "gtsrb",
    "mnist",
    "pets",
    "resisc45",
    "stl10",
    "sun397",
    "svhn",
    "voc2007",
];

/// A sentence with one place for a class name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: String,
    after: String,
}

impl Template {
    /// Reads `a photo of a {}.`.
    ///
    /// # Errors
    /// [`TemplateError`] unless `{}` occurs once.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let text = text.trim();
        match text.matches(PLACEHOLDER).count() {
            1 => {
                let (before, after) = text.split_once(PLACEHOLDER).unwrap_or((text, ""));
                Ok(Self {
                    before: before.to_owned(),
                    after: after.to_owned(),
                })
            }
            found => Err(TemplateError {
                text: text.to_owned(),
                found,
            }),
        }
    }

    /// The prompt for a class name.
    pub fn prompt(&self, name: &str) -> String {
        [&*self.before, name, &*self.after].concat()
    }

    /// The template as it is written in a file.
    pub fn text(&self) -> String {
        self.prompt(PLACEHOLDER)
    }
}

/// A template without a place for the name, or with several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "template {text:?}: found {{}} {found} times, expected it once, as in \"a photo of a {{}}.\""
)]
pub struct TemplateError {
    /// The template.
    pub text: String,
    /// How often `{}` occurs in it.
    pub found: usize,
}

/// A set of templates, in the order of its file. It is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    name: String,
    templates: Vec<Template>,
}

/// Why a set of templates could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplatesError {
    /// The file cannot be read as text of a sensible size.
    #[error(transparent)]
    File(#[from] crate::text_file::TextFileError),
    /// Lines that are no templates, all of them.
    #[error("{file}: {}", crate::text_file::joined("line", faults))]
    Faults {
        /// The file.
        file: String,
        /// Line number, counted from 1, and what is wrong in it.
        faults: Vec<(usize, TemplateError)>,
    },
    /// Nothing but comments and blank lines.
    #[error("{file}: found no template, expected one a line, as in \"a photo of a {{}}.\"")]
    Empty {
        /// The file.
        file: String,
    },
    /// Neither a built-in set, nor a file, nor a template.
    #[error("found templates {name:?}, expected a file, a template with {{}}, or one of {}", Templates::built_in_names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
}

impl Templates {
    /// The set of an argument: a built-in set by name, one template if it holds `{}`, else a file.
    ///
    /// # Errors
    /// [`TemplatesError`].
    pub fn from_arg(arg: &str) -> Result<Self, TemplatesError> {
        let arg = arg.trim();
        if let Some(set) = Self::built_in(arg) {
            return Ok(set);
        }
        if arg.contains(PLACEHOLDER) {
            let file = "--templates".to_owned();
            return match Template::parse(arg) {
                Ok(template) => Ok(Self {
                    name: arg.to_owned(),
                    templates: vec![template],
                }),
                Err(fault) => Err(TemplatesError::Faults {
                    file,
                    faults: vec![(1, fault)],
                }),
            };
        }
        let path = Path::new(arg);
        if path.exists() {
            Self::load(path)
        } else {
            Err(TemplatesError::Unknown {
                name: arg.to_owned(),
            })
        }
    }

    /// A built-in set: `simple` is `a photo of a {}.`, `imagenet` CLIP's 80 and `imagenet_simple` seven of them,
    /// `name` the bare name.
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
        Self::parse(name, text).ok()
    }

    /// The names that [`built_in`](Self::built_in) knows.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Reads a file of templates.
    ///
    /// # Errors
    /// [`TemplatesError`], naming the file and every line that is wrong.
    pub fn load(path: &Path) -> Result<Self, TemplatesError> {
        let text = crate::text_file::read(path, MAX_TEMPLATE_BYTES)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads the text of a file; `name` is what errors call it.
    ///
    /// # Errors
    /// [`TemplatesError`], naming every line that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplatesError> {
        let file = name.to_owned();
        let (mut templates, mut faults) = (Vec::new(), Vec::new());
        for (line_number, line) in crate::text_file::content_lines(text) {
            match Template::parse(line) {
                Ok(template) => templates.push(template),
                Err(fault) => faults.push((line_number, fault)),
            }
        }
        match (templates.is_empty(), faults.is_empty()) {
            (_, false) => Err(TemplatesError::Faults { file, faults }),
            (true, true) => Err(TemplatesError::Empty { file }),
            (false, true) => Ok(Self {
                name: file,
                templates,
            }),
        }
    }

    /// The built-in name, or what the file was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The templates, at least one.
    pub fn as_slice(&self) -> &[Template] {
        &self.templates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_set_parses_and_has_the_published_number_of_templates() {
        for name in Templates::built_in_names() {
            assert!(Templates::built_in(name).is_some(), "{name}");
        }
        let count = |name| Templates::built_in(name).unwrap().as_slice().len();
        assert_eq!(
            [
                "simple",
                "name",
                "imagenet",
                "imagenet_simple",
                "cifar10",
                "cifar100"
            ]
            .map(count),
            [1, 1, 80, 7, 18, 18]
        );
    }

    #[test]
    fn the_name_takes_the_place_of_the_braces() {
        let simple = Templates::built_in("simple").unwrap();
        assert_eq!(
            simple.as_slice()[0].prompt("coffee cup"),
            "a photo of a coffee cup."
        );
        assert_eq!(simple.as_slice()[0].text(), "a photo of a {}.");
        assert_eq!(
            Templates::from_arg("my {}!").unwrap().as_slice()[0].prompt("cat"),
            "my cat!"
        );
    }

    #[test]
    fn a_name_with_braces_is_set_in_once() {
        assert_eq!(Template::parse("a {} b").unwrap().prompt("{}"), "a {} b");
    }

    #[test]
    fn every_line_without_exactly_one_placeholder_is_named() {
        let error = Templates::parse("t.txt", "# ok\na photo\n\na {}.\n{} and {}\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("t.txt: line 2: template \"a photo\": found {} 0 times"),
            "{error}"
        );
        assert!(
            error.contains("line 5: template \"{} and {}\": found {} 2 times"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_set_and_an_unknown_name_are_refused() {
        assert!(matches!(
            Templates::parse("t", "# nothing\n\n"),
            Err(TemplatesError::Empty { .. })
        ));
        let error = Templates::from_arg("imagnet").unwrap_err().to_string();
        assert!(
            error.contains("\"imagnet\"") && error.contains("simple, name, imagenet"),
            "{error}"
        );
    }
}
