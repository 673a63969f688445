//! Text towers that train: numbers beside the runtime's, gradients beside finite differences, whole runs.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Tensor;
use pinhole_graph::op::{Activation, Reduce, Unary};
use pinhole_graph::{Graph, ModelKind, Op, Tensor as Constant, pass};

use super::encoder::{Encoder, TextEncoder};
use super::fixture::{Fixture, WORDS, options};
use super::new_text;
use super::recipe::{NewText, Trainable};
use super::text_tower::TextTower;
use crate::device::Place;
use crate::model::elements;
use crate::rng::Rng;
use crate::{TrainOptions, fit};

const TEXTS: [&str; 5] = [
    "red",
    "a photo of a green",
    "blue",
    "a red photo of red .",
    "",
];

/// CLIP's kind: causal, the last token, a projection; every constant moved off its start.
fn causal() -> Graph {
    let new = NewText {
        layers: 2,
        width: 8,
        heads: 2,
        max_tokens: 8,
        vocabulary: None,
    };
    disturbed(new_text::tower(&new, WORDS.to_owned(), 6, 5).unwrap())
}

fn disturbed(mut graph: Graph) -> Graph {
    let mut rng = Rng::new(21);
    for value in &mut graph.values {
        if let Some(constant) = &mut value.constant {
            let data = constant.as_f32().unwrap().iter();
            let data = data.map(|x| x + 0.4 * (rng.unit() - 0.5)).collect();
            *constant = Constant::f32(&constant.shape, data);
        }
    }
    graph
}

/// BERT's kind: tokens see each other, their mean, QuickGELU for once.
fn mean() -> Graph {
    let mut graph = causal();
    graph.name = "mean".to_owned();
    for node in &mut graph.nodes {
        match &mut node.op {
            Op::Attention { causal, .. } => *causal = false,
            Op::Unary { function } => *function = Unary::QuickGelu,
            Op::Slice { .. } => {
                node.op = Op::Reduce {
                    function: Reduce::Mean,
                    axes: vec![0],
                    keep_dims: true,
                };
            }
            _ => {}
        }
    }
    pass::validate(&graph).unwrap();
    graph
}

/// A table of static embeddings, normalised.
fn table() -> Graph {
    let mut graph = Graph::empty("table");
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.vocabulary = Some(WORDS.to_owned());
    graph.meta.max_tokens = Some(8);
    let ids = graph.add_value("ids", &[8]);
    graph.values[ids].is_ids = true;
    graph.values[ids].dynamic = true;
    graph.inputs.push(ids);
    let rows = WORDS.lines().count();
    let data = Rng::new(4).spread(rows * 6, 1.0);
    let table = graph.add_constant("table", Constant::f32(&[rows, 6], data));
    let words = graph.add_node("words", Op::Embedding, &[ids, table], &[8, 6]);
    graph.values[words].dynamic = true;
    let op = Op::Reduce {
        function: Reduce::Mean,
        axes: vec![0],
        keep_dims: true,
    };
    let x = graph.add_node("mean", op, &[words], &[1, 6]);
    let x = graph.add_node("length", Op::L2Normalize, &[x], &[1, 6]);
    graph.outputs.push(x);
    graph
}

/// One that sees all its context and takes the token of the largest id, as MobileCLIP's: a table of one column marks it.
fn whole_context() -> Graph {
    let mut graph = mean();
    graph.name = "context".to_owned();
    graph
        .values
        .iter_mut()
        .for_each(|value| value.dynamic = false);
    let at = graph
        .nodes
        .iter()
        .position(|node| node.name == "last_token")
        .unwrap();
    let (x, row) = (graph.nodes[at].inputs[0], graph.nodes[at].output);
    graph.nodes.truncate(at);
    let rows = WORDS.lines().count();
    let mut marks = vec![0.0; rows];
    marks[3] = 1.0;
    let marks = graph.add_constant("end_of_text", Constant::f32(&[rows, 1], marks));
    let ids = graph.inputs[0];
    let column = graph.add_node("is_end", Op::Embedding, &[ids, marks], &[8, 1]);
    let op = Op::Transpose {
        permutation: vec![1, 0],
    };
    let across = graph.add_node("across", op, &[column], &[1, 8]);
    let op = Op::MatMul { transpose_b: false };
    let token = graph.add_node("token", op, &[across, x], &[1, 8]);
    let _ = row;
    let weight = Constant::f32(&[6, 8], Rng::new(6).spread(48, 0.5));
    let weight = graph.add_constant("last.weight", weight);
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let out = graph.add_node("last", linear, &[token, weight], &[1, 6]);
    graph.outputs = vec![out];
    pass::validate(&graph).unwrap();
    graph
}

#[test]
fn texts_of_any_length_give_what_the_runtime_gives() {
    for graph in [causal(), mean(), table(), whole_context()] {
        let tower = TextTower::new(graph.clone(), Trainable::All, &Place::cpu()).unwrap();
        let ids: Vec<Vec<u32>> = TEXTS.iter().map(|text| tower.ids(text)).collect();
        let found = elements(tower.embed(&ids).unwrap());
        let encoder = Encoder::of_graph(Path::new("text"), &graph).unwrap();
        let encoder = TextEncoder::new(encoder).unwrap();
        let said: Vec<Vec<u32>> = TEXTS
            .iter()
            .map(|text| encoder.tokenizer.encode(text))
            .collect();
        let expected = encoder.ids(&said).unwrap().concat();
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5, "{}: {a} {b}", graph.name);
        }
    }
}

#[test]
fn gradients_of_texts_are_finite_differences() {
    for graph in [causal(), mean(), table(), whole_context()] {
        let mut tower = TextTower::new(graph.clone(), Trainable::All, &Place::cpu()).unwrap();
        let ids: Vec<Vec<u32>> = TEXTS.iter().map(|text| tower.ids(text)).collect();
        let factors = Rng::new(8).spread(TEXTS.len() * 6, 1.0);
        let loss = |tower: &TextTower| {
            let factors = Place::cpu()
                .tensor(factors.clone())
                .reshape([TEXTS.len(), 6]);
            (tower.embed(&ids).unwrap() * factors).sum()
        };
        let of = loss(&tower);
        let found = of.backward();
        let gradients: Vec<Vec<f32>> = (0..tower.tower.leaves.len())
            .map(|leaf| {
                let tensor: &Tensor<1> = tower.tower.tensor(leaf);
                elements(tensor.grad(&found).expect("every leaf matters"))
            })
            .collect();
        let all = gradients.iter().flatten().fold(0f32, |a, b| a.max(b.abs()));
        let mut compared = 0;
        for (leaf, gradient) in gradients.iter().enumerate() {
            let top = (0..gradient.len())
                .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()))
                .unwrap();
            // The bias of keys changes nothing.
            if gradient[top].abs() < 1e-3 * all {
                continue;
            }
            let data = tower.tower.data(leaf).to_vec();
            let mut moved = |by: f32| {
                let mut data = data.clone();
                data[top] += by;
                tower.tower.set(leaf, data);
                f64::from(elements(loss(&tower))[0])
            };
            let measured = (moved(5e-3) - moved(-5e-3)) / 1e-2;
            tower.tower.set(leaf, data.clone());
            let found = f64::from(gradient[top]);
            assert!(
                (found - measured).abs() < 0.03 * measured.abs() + 2e-3 * f64::from(all),
                "{} {}: {found} {measured}",
                graph.name,
                tower.tower.leaves[leaf].name
            );
            compared += 1;
        }
        assert!(
            compared + 4 >= tower.tower.leaves.len() && compared > 0,
            "{}: {compared}",
            graph.name
        );
    }
}

#[test]
fn token_tables_train_without_decay_and_marks_do_not() {
    let tower = TextTower::new(whole_context(), Trainable::All, &Place::cpu()).unwrap();
    let decays: BTreeMap<&str, bool> = tower
        .tower
        .leaves
        .iter()
        .map(|leaf| (leaf.name.as_str(), leaf.decays))
        .collect();
    assert_eq!(decays.get("token_embedding.weight"), Some(&false));
    assert_eq!(decays.get("positional_embedding"), Some(&false));
    assert_eq!(decays.get("last.weight"), Some(&true));
    assert_eq!(decays.get("end_of_text"), None);
}

const TRAINED: &str = "[text]\ngraph = \"tower.phg\"\n";
const SHORT: &str = "[optimiser]\nsteps = 6\nbatch = 6\nchunk = 4\nlearning_rate = 3e-3\nema = 0.5\nlayer_decay = 0.8\n";
const LONG: &str =
    "[optimiser]\nsteps = 60\nbatch = 6\nlearning_rate = 3e-3\nwarmup = 2\nclip_norm = 1.0\n";
const HELD: &str =
    "[data.evaluate]\nsource = { kind = \"folder\", path = \"held\", classes = true }\n";

/// With a text encoder that can train, `tower.phg`.
pub(super) fn fixture() -> Fixture {
    let fixture = Fixture::new();
    causal().save(fixture.path("tower.phg")).unwrap();
    fixture
}

#[test]
fn both_towers_learn_and_leave_a_pair_of_graphs() {
    let fixture = fixture();
    let report = fixture
        .fit(&format!("[loss]\nclip = 1.0\n{TRAINED}{LONG}{HELD}"))
        .unwrap();
    let [first, last] = report.loss;
    assert!(last < 0.8 * first, "{first} {last}");
    assert!(report.top1.unwrap()[1] > 0.9, "{:?}", report.top1);
    let (image, text) = (
        Graph::load(fixture.path("out/image.phg")).unwrap(),
        Graph::load(fixture.path("out/text.phg")).unwrap(),
    );
    assert_eq!(report.text, Some(fixture.path("out/text.phg")));
    assert_eq!(image.meta.embedding_space, text.meta.embedding_space);
    assert!(image.meta.embedding_space.is_some());
    assert_eq!(text.meta.vocabulary.as_deref(), Some(WORDS));
    let before = causal();
    let moved: Vec<&str> = before
        .values
        .iter()
        .zip(&text.values)
        .filter(|(before, after)| before.constant != after.constant)
        .map(|(value, _)| value.name.as_str())
        .collect();
    for name in [
        "token_embedding.weight",
        "positional_embedding",
        "ln_final.weight",
        "head.weight",
    ] {
        assert!(moved.contains(&name), "{name} stayed, {moved:?}");
    }
    let (pictures, sentences) = (report.parameters[0], text.parameter_count());
    assert!(pictures > sentences);
}

#[test]
fn a_run_with_two_towers_that_stops_after_every_step_ends_with_the_same_bytes() {
    let (whole, broken) = (fixture(), fixture());
    let sections = format!("[loss]\nclip = 1.0\nsiglip = 0.5\n{TRAINED}{SHORT}{HELD}");
    whole.fit(&sections).unwrap();
    let stops = broken.fit_in_pieces(&sections);
    assert_eq!(stops.len(), 5);
    whole.same_products(&broken, &["text.phg", "checkpoint.safetensors"]);
}

#[test]
fn chunks_of_two_towers_take_the_step_of_the_batch() {
    let log = |chunk: &str| {
        let fixture = fixture();
        let optimiser = format!("[optimiser]\nsteps = 3\nbatch = 6\nlearning_rate = 1e-3\n{chunk}");
        fixture
            .fit(&format!("[loss]\nclip = 1.0\n{TRAINED}{optimiser}"))
            .unwrap()
            .loss
    };
    let (whole, chunked) = (log(""), log("chunk = 2\n"));
    for (a, b) in whole.iter().zip(chunked) {
        assert!((a - b).abs() < 1e-4 * a.abs(), "{whole:?} {chunked:?}");
    }
}

#[test]
fn layers_that_stay_frozen_do_not_move_and_none_is_the_frozen_encoder() {
    let fixture = fixture();
    fixture
        .fit(&format!(
            "[loss]\nclip = 1.0\n{TRAINED}trainable = 1\n{SHORT}"
        ))
        .unwrap();
    let text = Graph::load(fixture.path("out/text.phg")).unwrap();
    let before = causal();
    let pairs = before.values.iter().zip(&text.values);
    let moved: Vec<&str> = pairs
        .filter(|(before, after)| before.constant != after.constant)
        .map(|(value, _)| value.name.as_str())
        .collect();
    // A norm counts to the layer behind it.
    let expected = [
        "ln_final.weight",
        "ln_final.bias",
        "head.weight",
        "head.bias",
    ];
    assert_eq!(moved, expected);
    std::fs::remove_file(fixture.path("out/text.phg")).unwrap();
    let of = |text: &str| {
        fixture
            .fit(&format!("[loss]\nclip = 1.0\n[text]\n{text}{SHORT}"))
            .unwrap();
        (
            fixture.bytes("out/log.csv"),
            Graph::load(fixture.path("out/image.phg")).unwrap(),
        )
    };
    let frozen = of("model = \"tower.phg\"\n");
    let none = of("graph = \"tower.phg\"\ntrainable = 0\n");
    assert!(!fixture.path("out/text.phg").exists());
    assert!(frozen.0 == none.0 && frozen.1.values == none.1.values);
}

#[test]
fn a_new_layer_fits_a_text_tower_of_another_width() {
    let fixture = fixture();
    let image = "[image]\ngraph = \"image.phg\"\nembedding = 5\n";
    let sections = |text: &str| format!("{image}[loss]\nclip = 1.0\n{TRAINED}{text}{SHORT}");
    let message = fixture.refused(&sections(""));
    assert!(
        message.contains("`text.graph` gives 6 numbers"),
        "{message}"
    );
    fixture.fit(&sections("embedding = 5\n")).unwrap();
    let text = Graph::load(fixture.path("out/text.phg")).unwrap();
    assert_eq!(text.values[text.outputs[0]].shape, [1, 5]);
    let lengths = text.nodes.iter().filter(|node| node.op == Op::L2Normalize);
    assert_eq!(lengths.count(), 1);
}

#[test]
fn a_text_tower_that_does_not_fit_is_refused_with_what_to_do() {
    let fixture = fixture();
    let clip = "[loss]\nclip = 1.0\n";
    let both = "[text]\nmodel = \"text.phg\"\ngraph = \"tower.phg\"\n";
    let cases: [(String, &[&str]); 7] = [
        (
            format!("{clip}[text]\n"),
            &["line", "`text` names no encoder", "`graph`"],
        ),
        (
            format!("{clip}{both}"),
            &["`text.graph`", "beside `text.model`"],
        ),
        (
            format!("{clip}[text]\nmodel = \"text.phg\"\nembedding = 4\n"),
            &["`text.embedding`", "nothing of the text encoder trains"],
        ),
        (
            format!("{clip}{TRAINED}head = \"ridge\"\n"),
            &["`text.head`", "at random"],
        ),
        (
            format!("[loss]\nsup_con = 1.0\n{TRAINED}"),
            &["`text.graph`", "no loss sees texts"],
        ),
        (
            format!("{clip}[text]\ngraph = \"image.phg\"\n"),
            &["found no token ids"],
        ),
        (
            format!("[loss]\naffinity = 1.0\n{TRAINED}[[teacher]]\nmodel = \"teacher.phg\"\n"),
            &["`teacher.text`", "the teacher's space"],
        ),
    ];
    fixture.refuses(&cases);
}

#[test]
fn a_dry_run_counts_both_towers() {
    let fixture = fixture();
    let dry = |text: &str| {
        let recipe = fixture.recipe(&format!("[loss]\nclip = 1.0\n[text]\n{text}{SHORT}"));
        let options = TrainOptions {
            dry_run: true,
            ..options()
        };
        fit(&recipe, options).unwrap()
    };
    let (frozen, both) = (
        dry("model = \"tower.phg\"\n"),
        dry("graph = \"tower.phg\"\n"),
    );
    assert!(both.parameters[0] > frozen.parameters[0]);
    let memory = |report: &crate::FitReport| report.estimate.unwrap().memory_bytes;
    assert!(memory(&both) > memory(&frozen));
    assert!(!fixture.path("out").exists());
}
