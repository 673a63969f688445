//! Class embeddings against numpy and the reference tokenizer (`golden/make_ensemble.py`), against open_clip
//! (`golden/make_zero_shot.py`), and lists of any content.

use pinhole_text::classes::ClassList;
use pinhole_text::ensemble::{class_embeddings, class_prompts};
use pinhole_text::templates::Templates;
use pinhole_text::tokenizer::Tokenizer;
use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::convert::Infallible;

const GOLDEN: &str = include_str!("golden/ensemble.jsonl");
const VOCAB: &[u8] = include_bytes!("golden/vocab.txt");
const DIMENSIONS: u32 = 6;

#[derive(Deserialize)]
struct Case {
    classes: String,
    templates: String,
    names: Vec<String>,
    prompts_sha256: String,
    /// (8 or fewer classes, `DIMENSIONS`)
    embeddings: Vec<Vec<f32>>,
    /// The class list itself where it is not a built-in one.
    lines: Option<Vec<String>>,
}

impl Case {
    fn class_list(&self) -> ClassList {
        match &self.lines {
            Some(lines) => ClassList::parse(&self.classes, &lines.join("\n")).unwrap(),
            None => ClassList::built_in(&self.classes).unwrap(),
        }
    }
}

fn cases() -> impl Iterator<Item = Case> {
    GOLDEN
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
}

/// The formula that stands for a text encoder, as in the script.
fn encode(ids: &[u32]) -> Vec<f32> {
    let value = |k| {
        ids.iter()
            .map(|&id| (0.37 * f64::from(id) * f64::from(k)).sin())
            .sum::<f64>()
    };
    (1..=DIMENSIONS).map(|k| value(k) as f32).collect()
}

#[test]
fn names_and_prompts_equal_the_golden_ones() {
    for case in cases() {
        let (classes, templates) = (
            case.class_list(),
            Templates::built_in(&case.templates).unwrap(),
        );
        let names: Vec<&str> = classes
            .as_slice()
            .iter()
            .map(|class| class.name())
            .collect();
        assert_eq!(names, case.names, "{}", case.classes);
        let prompts: Vec<String> = classes
            .as_slice()
            .iter()
            .flat_map(|class| class_prompts(class, &templates))
            .collect();
        let digest = Sha256::digest(prompts.join("\n"));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            digest, case.prompts_sha256,
            "{} in {}",
            case.classes, case.templates
        );
    }
}

#[test]
fn class_embeddings_equal_those_of_numpy() {
    let tokenizer = Tokenizer::load_bytes(VOCAB)
        .unwrap()
        .with_max_tokens(128)
        .unwrap();
    let mut compared = 0;
    for case in cases() {
        let (classes, templates) = (
            case.class_list(),
            Templates::built_in(&case.templates).unwrap(),
        );
        let mut encode_batch =
            |batch: &[Vec<u32>]| Ok::<_, Infallible>(batch.iter().map(|ids| encode(ids)).collect());
        let embeddings = class_embeddings(
            &classes,
            &templates,
            &tokenizer,
            32,
            &mut encode_batch,
            &mut |_| (),
        )
        .unwrap();
        assert_eq!(embeddings.len(), case.names.len());
        for ((found, expected), name) in embeddings.iter().zip(&case.embeddings).zip(&case.names) {
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 2e-6,
                    "{name} of {}: {found} and {expected}",
                    case.classes
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, (8 * 4 + 3) * DIMENSIONS);
}

#[derive(Deserialize)]
struct ZeroShotCase {
    names: Vec<String>,
    templates: String,
    /// (classes, `DIMENSIONS`)
    embeddings: Vec<Vec<f32>>,
}

#[test]
fn class_embeddings_equal_the_zero_shot_classifier_of_open_clip() {
    let tokenizer = include_bytes!("golden/tokenizers/clip_merges.txt.gz");
    let tokenizer = Tokenizer::load_bytes(tokenizer).unwrap();
    let cases: Vec<ZeroShotCase> =
        serde_json::from_str(include_str!("golden/zero_shot.json")).unwrap();
    let mut largest = 0.0_f32;
    let mut compared = 0;
    for case in &cases {
        let classes = ClassList::from_names("golden", &case.names).unwrap();
        let templates = Templates::built_in(&case.templates).unwrap();
        let mut encode_batch =
            |batch: &[Vec<u32>]| Ok::<_, Infallible>(batch.iter().map(|ids| encode(ids)).collect());
        let found = class_embeddings(
            &classes,
            &templates,
            &tokenizer,
            64,
            &mut encode_batch,
            &mut |_| (),
        )
        .unwrap();
        assert_eq!(found.len(), case.embeddings.len());
        for (found, expected) in found.iter().flatten().zip(case.embeddings.iter().flatten()) {
            largest = largest.max((found - expected).abs());
            compared += 1;
        }
    }
    println!("{compared} values, the largest difference {largest:e}");
    assert_eq!(compared, 4 * (10 + 40) * DIMENSIONS);
    assert!(largest < 1e-5, "the largest difference is {largest:e}");
}

proptest! {
    #[test]
    fn any_list_is_read_or_refused_without_a_panic(text in "(?s).{0,200}|([a-c:|,#\n ]{0,4}){0,12}") {
        for list in [ClassList::parse("any", &text), ClassList::parse_comma_separated(&text)].into_iter().flatten() {
            let mut names: Vec<&str> = list.as_slice().iter().map(|class| class.name()).collect();
            prop_assert!(names.iter().all(|name| (1..=64).contains(&name.len())));
            names.sort_unstable();
            prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        }
        if let Ok(templates) = Templates::parse("any", &text) {
            prop_assert!(!templates.as_slice().is_empty());
        }
    }
}
