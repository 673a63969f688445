//! Class embeddings: the mean direction of a class's prompts.
//!
//! Source: prompt ensembling in embedding space, CLIP (Radford et al., arXiv:2103.00020, section 3.1.4), computed as
//! open_clip's `build_zero_shot_classifier` does: the embedding of each prompt is scaled to length 1, the prompts of a
//! class are averaged, and the mean is scaled to length 1 again.
//!
//! The prompts of a class are each of its names in each template, and then its sentences. Prompts with the same token ids
//! are encoded once, in the order of their first use, whichever classes they belong to; a prompt that occurs twice in a
//! class counts twice, as in open_clip. Sums are kept in f64 in a fixed order, so that the same input gives the same bits.

use crate::classes::ClassList;
use crate::templates::Templates;
use crate::tokenizer::Tokenizer;
use std::collections::HashMap;

/// A shorter embedding is nothing but rounding in f32.
const SHORTEST_EMBEDDING: f64 = 1e-30;
/// A shorter sum of unit vectors is what rounding leaves of prompts that cancel out.
const SHORTEST_SUM: f64 = 1e-6;

/// A text encoder: token ids of some prompts, unpadded, to an embedding for each, (num_prompts, dimensions).
pub type Encode<'a, E> = dyn FnMut(&[Vec<u32>]) -> Result<Vec<Vec<f32>>, E> + 'a;

/// How far [`class_embeddings`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Prompts that are encoded.
    pub done: usize,
    /// Distinct prompts in all.
    pub count: usize,
}

/// Why class embeddings could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnsembleError<E> {
    /// The text encoder failed.
    #[error("the text encoder failed: {0}")]
    Encode(E),
    /// The encoder gave another number of embeddings than it was given prompts.
    #[error("found {found} embeddings, expected one for each of {expected} prompts")]
    Count {
        /// Embeddings returned.
        found: usize,
        /// Prompts given.
        expected: usize,
    },
    /// The embeddings have different numbers of dimensions, or none.
    #[error("prompt {prompt:?}: found an embedding of {found} dimensions, expected {expected}")]
    Dimensions {
        /// The prompt.
        prompt: String,
        /// Its dimensions.
        found: usize,
        /// Those of the first prompt, or 1 where that has none.
        expected: usize,
    },
    /// An embedding is zero or not finite, so that it has no direction.
    #[error(
        "prompt {prompt:?}: found an embedding of length {length}, expected a finite length above 0"
    )]
    NoDirection {
        /// The prompt.
        prompt: String,
        /// Its Euclidean length.
        length: f64,
    },
    /// The prompts of a class cancel out.
    #[error(
        "class {name:?}: found prompts whose mean has length {length}, expected a finite length above 0"
    )]
    NoMeanDirection {
        /// The class.
        name: String,
        /// The Euclidean length of the mean.
        length: f64,
    },
}

/// A distinct prompt: its token ids and the classes that it speaks for.
struct Prompt {
    text: String,
    ids: Vec<u32>,
    /// Class indices, ascending; one that has the prompt twice is there twice.
    classes: Vec<usize>,
}

/// The embedding of every class, (num_classes, dimensions), each of length 1, in the order of `classes`.
///
/// `encode` is given at most `batch_len` prompts as token ids, unpadded, and returns an embedding for each; they need not
/// be normalised. `progress` is called before the first batch and after each.
///
/// # Errors
/// [`EnsembleError`]: what `encode` returns, or embeddings that cannot be averaged.
///
/// # Panics
/// When `batch_len` is 0.
pub fn class_embeddings<E>(
    classes: &ClassList,
    templates: &Templates,
    tokenizer: &Tokenizer,
    batch_len: usize,
    encode: &mut Encode<'_, E>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Vec<f32>>, EnsembleError<E>> {
    let prompts = distinct_prompts(classes, templates, tokenizer);
    let count = prompts.len();
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); classes.as_slice().len()];
    let mut dimensions = None;
    let mut done = 0;
    progress(Progress { done, count });
    for batch in prompts.chunks(batch_len) {
        let ids: Vec<Vec<u32>> = batch.iter().map(|prompt| prompt.ids.clone()).collect();
        let embeddings = encode(&ids).map_err(EnsembleError::Encode)?;
        if embeddings.len() != batch.len() {
            return Err(EnsembleError::Count {
                found: embeddings.len(),
                expected: batch.len(),
            });
        }
        for (prompt, embedding) in batch.iter().zip(&embeddings) {
            let expected = *dimensions.get_or_insert(embedding.len().max(1));
            let direction = prompt_direction(prompt, embedding, expected)?;
            for &class in &prompt.classes {
                add(&mut sums[class], &direction);
            }
        }
        done += batch.len();
        progress(Progress { done, count });
    }
    let named = classes.as_slice().iter().zip(sums);
    named
        .map(|(class, sum)| class_direction(class.name(), sum))
        .collect()
}

/// Every prompt of a class as text: names in templates, name by name, and then sentences.
pub fn class_prompts<'a>(
    class: &'a crate::classes::Class,
    templates: &'a Templates,
) -> impl Iterator<Item = String> + 'a {
    let in_templates = |name: &'a String| {
        templates
            .as_slice()
            .iter()
            .map(|template| template.prompt(name))
    };
    class
        .names()
        .iter()
        .flat_map(in_templates)
        .chain(class.sentences().iter().cloned())
}

fn distinct_prompts(
    classes: &ClassList,
    templates: &Templates,
    tokenizer: &Tokenizer,
) -> Vec<Prompt> {
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut index_of: HashMap<Vec<u32>, usize> = HashMap::new();
    for (class_index, class) in classes.as_slice().iter().enumerate() {
        for text in class_prompts(class, templates) {
            let ids = tokenizer.encode(&text);
            let index = *index_of.entry(ids.clone()).or_insert(prompts.len());
            if index == prompts.len() {
                prompts.push(Prompt {
                    text,
                    ids,
                    classes: Vec::new(),
                });
            }
            prompts[index].classes.push(class_index);
        }
    }
    prompts
}

fn prompt_direction<E>(
    prompt: &Prompt,
    embedding: &[f32],
    expected: usize,
) -> Result<Vec<f64>, EnsembleError<E>> {
    let text = || prompt.text.clone();
    if embedding.len() != expected {
        return Err(EnsembleError::Dimensions {
            prompt: text(),
            found: embedding.len(),
            expected,
        });
    }
    let embedding = embedding.iter().map(|&value| f64::from(value)).collect();
    scaled_to_one(embedding, SHORTEST_EMBEDDING).map_err(|length| EnsembleError::NoDirection {
        prompt: text(),
        length,
    })
}

/// Averaging is left out: it changes the length only, which becomes 1.
fn class_direction<E>(name: &str, sum: Vec<f64>) -> Result<Vec<f32>, EnsembleError<E>> {
    match scaled_to_one(sum, SHORTEST_SUM) {
        Ok(direction) => Ok(direction.into_iter().map(|value| value as f32).collect()),
        Err(length) => Err(EnsembleError::NoMeanDirection {
            name: name.to_owned(),
            length,
        }),
    }
}

fn add(sum: &mut Vec<f64>, direction: &[f64]) {
    sum.resize(direction.len(), 0.0);
    for (sum, value) in sum.iter_mut().zip(direction) {
        *sum += value;
    }
}

/// The vector scaled to Euclidean length 1, or its length where that is under `shortest` or not finite.
fn scaled_to_one(mut vector: Vec<f64>, shortest: f64) -> Result<Vec<f64>, f64> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if !length.is_finite() || length < shortest {
        return Err(length);
    }
    vector.iter_mut().for_each(|value| *value /= length);
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const VOCAB: &[u8] = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nphoto\nof\ncat\ndog\nkitten\n.\nmeows\n";

    type Outcome = Result<Vec<Vec<f32>>, EnsembleError<Infallible>>;

    fn tokenizer() -> Tokenizer {
        Tokenizer::load_bytes(VOCAB).unwrap()
    }

    /// Runs with an encoder that answers each batch by `encode`, and records the batches it saw.
    fn run(
        lines: &str,
        batch_len: usize,
        encode: impl Fn(&[u32]) -> Vec<f32>,
    ) -> (Outcome, Vec<usize>, Vec<Progress>) {
        let (mut batches, mut steps) = (Vec::new(), Vec::new());
        let classes = ClassList::parse("test", lines).unwrap();
        let templates = Templates::parse("test", "a photo of a {}.\n{}\n").unwrap();
        let result = class_embeddings(
            &classes,
            &templates,
            &tokenizer(),
            batch_len,
            &mut |ids| {
                batches.push(ids.len());
                Ok(ids.iter().map(|ids| encode(ids)).collect())
            },
            &mut |step| steps.push(step),
        );
        (result, batches, steps)
    }

    #[test]
    fn prompts_are_normalised_before_and_after_the_mean() {
        // The two prompts of the class differ in length of embedding by far; their directions count the same.
        let (result, ..) = run("cat", 8, |ids| {
            if ids.len() == 3 {
                vec![100.0, 0.0]
            } else {
                vec![0.0, 0.5]
            }
        });
        let embedding = &result.unwrap()[0];
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert!(
            embedding.iter().all(|value| (value - half).abs() < 1e-6),
            "{embedding:?}"
        );
    }

    #[test]
    fn a_prompt_that_occurs_again_is_encoded_once_and_counts_each_time() {
        let counts = |ids: &[u32]| {
            if ids.len() == 3 {
                vec![1.0, 0.0]
            } else {
                vec![0.0, 1.0]
            }
        };
        let (result, batches, steps) = run("cat | cat | CAT\ndog: cat", 3, counts);
        // Four prompts are distinct: both templates of cat and of dog.
        assert_eq!(batches, [3, 1]);
        assert_eq!(
            steps
                .iter()
                .map(|step| (step.done, step.count))
                .collect::<Vec<_>>(),
            [(0, 4), (3, 4), (4, 4)]
        );
        let embeddings = result.unwrap();
        // The name alone occurs three times beside the one in the template.
        assert!(
            (embeddings[0][0] / embeddings[0][1] - 3.0).abs() < 1e-6,
            "{embeddings:?}"
        );
        assert!(
            (embeddings[1][0] / embeddings[1][1] - 1.0).abs() < 1e-6,
            "{embeddings:?}"
        );
    }

    #[test]
    fn the_batch_length_does_not_change_a_bit() {
        let encode = |ids: &[u32]| {
            (1..9)
                .map(|k| ids.iter().map(|&id| (id * k) as f32).map(f32::sin).sum())
                .collect()
        };
        let lines = "cat: kitten | a cat meows.\ndog | a dog of a cat";
        let (whole, ..) = run(lines, 100, encode);
        let whole = whole.unwrap();
        for batch_len in 1..8 {
            assert_eq!(run(lines, batch_len, encode).0.unwrap(), whole);
        }
    }

    #[test]
    fn embeddings_without_direction_are_refused_by_prompt_or_class() {
        let message = |result: Result<_, EnsembleError<Infallible>>| {
            result.map(|_: Vec<Vec<f32>>| ()).unwrap_err().to_string()
        };
        assert!(
            message(run("cat", 8, |_| vec![0.0; 4]).0)
                .contains("\"a photo of a cat.\": found an embedding of length 0")
        );
        assert!(message(run("cat", 8, |_| vec![f32::NAN; 4]).0).contains("length NaN"));
        assert!(message(run("cat", 8, |_| Vec::new()).0).contains("0 dimensions, expected 1"));
        assert!(
            message(run("cat", 8, |ids| vec![1.0; ids.len()]).0)
                .contains("\"cat\": found an embedding of 3 dimensions")
        );
        let opposite = |ids: &[u32]| vec![if ids.len() == 3 { -1.0 } else { 1.0 }];
        assert!(
            message(run("cat", 8, opposite).0)
                .contains("class \"cat\": found prompts whose mean has length 0")
        );
    }

    #[test]
    fn a_failing_or_miscounting_encoder_is_reported() {
        let classes = ClassList::parse("test", "cat").unwrap();
        let simple = Templates::built_in("simple").unwrap();
        let run = |encode: &mut Encode<'_, &'static str>| {
            class_embeddings(&classes, &simple, &tokenizer(), 4, encode, &mut |_| ())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            run(&mut |_| Err("no arena")),
            "the text encoder failed: no arena"
        );
        assert_eq!(
            run(&mut |_| Ok(Vec::new())),
            "found 0 embeddings, expected one for each of 1 prompts"
        );
    }
}
