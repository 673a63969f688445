//! What is said of a sample: one of its captions, or the name of its class, through a template.

use std::path::Path;

use pinhole_text::templates::Templates;
use serde::Deserialize;

use super::error::LoadError;
use super::seed::Draw;
use super::source::Sample;

/// The templates as a recipe names them: a built-in set, one template with `{}`, or a file, whose path is relative to
/// the folder given to [`TextSpec::load`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSpec {
    /// For class names; `a photo of a {}.` without this key.
    pub class_templates: Option<String>,
    /// For captions, which are left as they are without this key.
    pub caption_templates: Option<String>,
}

/// How a sample gets its text.
#[derive(Clone, Debug)]
pub struct Texts {
    class_templates: Templates,
    caption_templates: Option<Templates>,
}

impl TextSpec {
    /// Reads the templates.
    ///
    /// # Errors
    /// [`LoadError::Templates`].
    pub fn load(&self, base: &Path) -> Result<Texts, LoadError> {
        let templates = |name: &str| {
            let file = base.join(name);
            match Templates::built_in(name).is_none() && file.is_file() {
                true => Templates::load(&file),
                false => Templates::from_arg(name),
            }
        };
        let caption_templates = self.caption_templates.as_deref();
        Ok(Texts {
            class_templates: templates(self.class_templates.as_deref().unwrap_or("simple"))?,
            caption_templates: caption_templates.map(templates).transpose()?,
        })
    }
}

impl Texts {
    /// Those for class names.
    pub fn class_templates(&self) -> &Templates {
        &self.class_templates
    }

    /// Whether the sample has a text: a caption, or else a class with a name.
    pub fn has_text(&self, sample: &Sample, classnames: &[String]) -> bool {
        !sample.captions.is_empty() || sample.label.is_some_and(|label| label < classnames.len())
    }

    /// The text of a sample, `None` where it has none. Caption and template are drawn, each as likely as the next;
    /// the view of the draw does not count, so that all views of a sample share a text.
    pub fn text(&self, sample: &Sample, classnames: &[String], draw: Draw) -> Option<String> {
        let mut rng = Draw { view: 0, ..draw }.rng("text");
        if sample.captions.is_empty() {
            let name = classnames.get(sample.label?)?;
            let templates = self.class_templates.as_slice();
            return Some(templates[rng.index(templates.len())].prompt(name));
        }
        let caption = &sample.captions[rng.index(sample.captions.len())];
        Some(match &self.caption_templates {
            None => caption.clone(),
            Some(templates) => {
                let templates = templates.as_slice();
                templates[rng.index(templates.len())].prompt(caption)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn texts(spec: &TextSpec, sample: &Sample) -> BTreeSet<Option<String>> {
        let texts = spec.load(Path::new("")).unwrap();
        let classnames = ["cat".to_owned(), "dog".to_owned()];
        let draw = |epoch| Draw {
            seed: 1,
            epoch,
            id: "a",
            view: epoch % 3,
        };
        let text = |epoch| texts.text(sample, &classnames, draw(epoch));
        let all: Vec<_> = (0..400).map(text).collect();
        assert_eq!(all, (0..400).map(text).collect::<Vec<_>>());
        assert_eq!(all[0].is_some(), texts.has_text(sample, &classnames));
        all.into_iter().collect()
    }

    fn set(texts: &[&str]) -> BTreeSet<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn captions_and_templates_are_all_drawn() {
        let captioned = Sample {
            captions: vec!["a cat".into(), "an animal".into()],
            label: Some(0),
            ..Sample::default()
        };
        let plain = TextSpec::default();
        assert_eq!(texts(&plain, &captioned), set(&["a cat", "an animal"]));
        let template = TextSpec {
            caption_templates: Some("so: {}".into()),
            ..TextSpec::default()
        };
        assert_eq!(
            texts(&template, &captioned),
            set(&["so: a cat", "so: an animal"])
        );
    }

    #[test]
    fn a_class_name_goes_through_every_template_of_the_set() {
        let labelled = Sample {
            label: Some(1),
            ..Sample::default()
        };
        assert_eq!(
            texts(&TextSpec::default(), &labelled),
            set(&["a photo of a dog."])
        );
        let spec = TextSpec {
            class_templates: Some("cifar10".into()),
            ..TextSpec::default()
        };
        let found = texts(&spec, &labelled);
        let templates = Templates::built_in("cifar10").unwrap();
        assert_eq!(found.len(), templates.as_slice().len());
    }

    #[test]
    fn a_sample_without_either_has_no_text_and_wrong_templates_are_refused() {
        let label = Some(2);
        let nameless = Sample {
            label,
            ..Sample::default()
        };
        assert_eq!(
            texts(&TextSpec::default(), &nameless),
            BTreeSet::from([None])
        );
        let spec = TextSpec {
            caption_templates: Some("{} and {}".into()),
            ..TextSpec::default()
        };
        assert!(
            spec.load(Path::new(""))
                .unwrap_err()
                .to_string()
                .contains("2 times")
        );
    }

    #[test]
    fn a_file_of_templates_is_found_beside_the_recipe() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("mine.txt"), "one {}\ntwo {}\n").unwrap();
        let spec = TextSpec {
            class_templates: Some("mine.txt".into()),
            ..TextSpec::default()
        };
        let texts = spec.load(dir.path()).unwrap();
        assert_eq!(texts.class_templates.as_slice().len(), 2);
        assert!(spec.load(Path::new("")).is_err());
    }
}
