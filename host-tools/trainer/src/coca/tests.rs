//! The parts beside open_clip's: numbers and gradients of `tests/trainer/coca.py`.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;

use super::{Settings, Weights, decode, parameters, pool};
use crate::model::elements;

static FILE: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/coca.safetensors"
));

struct Case {
    settings: Settings,
    numbers: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    weights: BTreeMap<String, Tensor<2>>,
}

impl Weights for Case {
    fn weight(&self, name: &str) -> Tensor<2> {
        let found = self.weights.get(name);
        found.unwrap_or_else(|| panic!("no weight {name}")).clone()
    }
}

impl Case {
    fn new(name: &str) -> Self {
        let file = SafeTensors::deserialize(FILE).unwrap();
        let mut numbers = BTreeMap::new();
        let mut settings = Vec::new();
        for (key, view) in file.iter() {
            let Some(key) = key.strip_prefix(&format!("{name}:")) else {
                continue;
            };
            let words = view.data().as_chunks::<4>().0.iter();
            if key == "settings" {
                settings = words
                    .map(|&word| i32::from_le_bytes(word) as usize)
                    .collect();
                continue;
            }
            let data = words.map(|&word| f32::from_le_bytes(word)).collect();
            numbers.insert(key.to_owned(), (view.shape().to_vec(), data));
        }
        let &[width, heads, layers, queries, context, vocabulary] = &settings[..] else {
            panic!("six settings");
        };
        let weight = |(key, (shape, data)): (&String, &(Vec<usize>, Vec<f32>))| {
            let key = key.strip_prefix("weight:")?;
            let shape = match shape[..] {
                [n] => [1, n],
                [m, n] => [m, n],
                _ => panic!("{key} is {shape:?}"),
            };
            Some((key.to_owned(), leaf(data.clone(), shape)))
        };
        Self {
            settings: Settings {
                width,
                heads,
                layers,
                queries,
                context,
                vocabulary,
            },
            weights: numbers.iter().filter_map(weight).collect(),
            numbers,
        }
    }

    fn batch(&self, name: &str) -> Tensor<3> {
        let (shape, data) = &self.numbers[name];
        let shape: [usize; 3] = shape.as_slice().try_into().unwrap();
        leaf(data.clone(), shape)
    }
}

fn leaf<const D: usize>(data: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(data, shape), &Device::flex().autodiff()).require_grad()
}

fn assert_close(found: &[f32], expected: &[f32], all: f32, place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 2e-5 * all, "{place}: {a}, open_clip {b}");
    }
}

/// The largest magnitude; sums that cancel keep rounding of what they are sums of.
fn top(of: &[f32]) -> f32 {
    of.iter().fold(5e-2, |a, b| a.max(b.abs()))
}

#[test]
fn numbers_and_gradients_are_those_of_open_clip() {
    for name in ["other", "same"] {
        let case = Case::new(name);
        let (pictures, texts) = (case.batch("pictures"), case.batch("texts"));
        let pooled = pool(&case.settings, &case, pictures.clone());
        let logits = decode(&case.settings, &case, texts.clone(), pooled);
        let expected = &case.numbers["logits"].1;
        assert_close(&elements(logits.clone()), expected, top(expected), "logits");
        let found = (logits * case.batch("factors")).sum().backward();
        let mut compared = 0;
        for (key, weight) in &case.weights {
            let expected = &case.numbers[&format!("gradient:{key}")].1;
            let gradient = elements(weight.grad(&found).unwrap());
            assert_close(&gradient, expected, top(expected), key);
            compared += 1;
        }
        for (key, input) in [("pictures", pictures), ("texts", texts)] {
            let expected = &case.numbers[&format!("gradient:{key}")].1;
            let gradient = elements(input.grad(&found).unwrap());
            assert_close(&gradient, expected, top(expected), key);
        }
        assert!(compared > 60, "{compared}");
    }
}

#[test]
fn names_and_shapes_are_those_of_open_clip_and_no_other() {
    for name in ["other", "same"] {
        let case = Case::new(name);
        let made = parameters(&case.settings, 3);
        assert_eq!(made.len(), case.weights.len());
        for parameter in made {
            assert_eq!(
                case.weights[&parameter.name].dims(),
                parameter.shape,
                "{}",
                parameter.name
            );
            assert_eq!(
                parameter.data.len(),
                parameter.shape[0] * parameter.shape[1]
            );
        }
    }
}

#[test]
fn a_token_sees_no_later_one_and_every_token_of_the_picture() {
    let case = Case::new("other");
    let pictures = case.batch("pictures");
    let of = |texts: Tensor<3>, pictures: Tensor<3>| {
        let pooled = pool(&case.settings, &case, pictures);
        elements(decode(&case.settings, &case, texts, pooled))
    };
    let texts = case.batch("texts");
    let before = of(texts.clone(), pictures.clone());
    let [n, t, _] = texts.dims();
    let head = texts.clone().narrow(1, 0, t - 1);
    let tail = texts.clone().narrow(1, t - 1, 1).add_scalar(3.0);
    let after = of(Tensor::cat(vec![head, tail], 1), pictures.clone());
    let row = case.settings.vocabulary;
    for text in 0..n {
        let start = text * t * row;
        let end = start + (t - 1) * row;
        assert_eq!(before[start..end], after[start..end]);
        assert_ne!(before[end..end + row], after[end..end + row]);
    }
    let [_, positions, _] = pictures.dims();
    let head = pictures.clone().narrow(1, 0, positions - 1);
    let tail = pictures.narrow(1, positions - 1, 1).mul_scalar(-2.0);
    let after = of(texts, Tensor::cat(vec![head, tail], 1));
    assert!(before.iter().zip(&after).all(|(a, b)| a != b));
}
