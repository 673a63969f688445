//! Whole runs on small encoders, and the gradients of a step.

use burn::tensor::Tensor;
use pinhole_graph::Graph;
use pinhole_quantize::{Options, quantize};

use super::extras::Extras;
use super::fixture::{Fixture, LOSSES, PICTURES, WIDTH, disturbed, options};
use super::inputs::Inputs;
use super::learner::Learner;
use super::objective::{Opinion, Targets};
use super::recipe::{Loss, Trainable};
use super::step::gradients;
use super::student::Student;
use crate::device::Place;
use crate::network::fixture::{encoder, inputs, pictures};
use crate::rng::Rng;
use crate::{TrainOptions, fit};
use pinhole_ranks::Ranks;

const TEACHER: &str = "[[teacher]]\nmodel = \"teacher.phg\"\n";
const TEXT: &str = "[text]\nmodel = \"text.phg\"\n";
const AUGMENTED: &str = "[[data.augmentation]]\nkind = \"random_resized_crop\"\n\
                         [[data.augmentation]]\nkind = \"horizontal_flip\"\n";
const HELD: &str =
    "[data.evaluate]\nsource = { kind = \"folder\", path = \"held\", classes = true }\n";
const LONG: &str =
    "[optimiser]\nsteps = 120\nbatch = 6\nlearning_rate = 5e-3\nwarmup = 2\nclip_norm = 1.0\n";

#[test]
fn distillation_lowers_the_loss_and_leaves_a_graph_that_runs() {
    let fixture = Fixture::new();
    let report = fixture
        .fit(&format!(
            "[loss]\nfeature = 1.0\n{TEACHER}{AUGMENTED}{LONG}"
        ))
        .unwrap();
    let [first, last] = report.loss;
    assert!(last < 0.6 * first, "{first} {last}");
    assert_eq!(
        (report.steps, report.samples, report.steps_per_epoch),
        (120, PICTURES, 3)
    );
    assert!(report.parameters[0] <= report.parameters[1] && report.parameters[0] > 500);
    let trained = Graph::load(fixture.path("out/image.phg")).unwrap();
    assert_eq!(trained.name, "small");
    let log = String::from_utf8(fixture.bytes("out/log.csv")).unwrap();
    assert_eq!(log.lines().count(), 121);
    assert!(fixture.bytes("out/loss.svg").starts_with(b"<svg"));
    assert!(!fixture.bytes("out/report.json").is_empty());
}

#[test]
fn a_new_head_by_ridge_regression_starts_better_than_a_random_one() {
    let fixture = Fixture::new();
    let of = |head: &str| {
        let image = format!(
            "[image]\ngraph = \"image.phg\"\nembedding = 6\nhead = \"{head}\"\nridge = 0.001\n"
        );
        fixture
            .fit(&format!("{image}[loss]\nfeature = 1.0\n{TEACHER}"))
            .unwrap()
            .loss[0]
    };
    let (random, ridge) = (of("random"), of("ridge"));
    assert!(ridge < 0.3 * random, "{ridge} {random}");
}

#[test]
fn contrast_with_frozen_texts_learns_classes() {
    let fixture = Fixture::new();
    let report = fixture
        .fit(&format!(
            "[loss]\nsiglip = 1.0\nsup_con = 1.0\n{TEXT}{HELD}{LONG}"
        ))
        .unwrap();
    let [first, last] = report.loss;
    assert!(last < first, "{first} {last}");
    let [_, after] = report.top1.unwrap();
    assert!(after > 0.9, "{:?}", report.top1);
    let trained = Graph::load(fixture.path("out/image.phg")).unwrap();
    assert!(trained.meta.logit_scale.unwrap() > 1.0 && trained.meta.logit_bias.unwrap() < 0.0);
}

#[test]
fn every_loss_runs_in_one_step_and_is_logged() {
    let fixture = Fixture::new();
    let weights: String = LOSSES
        .iter()
        .map(|name| format!("{name} = 0.5\n"))
        .collect();
    let second = "[[teacher]]\nmodel = \"image.phg\"\nweight = 0.5\nprojection = true\n";
    let optimiser =
        "[optimiser]\nepochs = 1\nbatch = 6\nchunk = 4\nlearning_rate = 1e-3\nema = 0.9\n";
    let sections = format!(
        "[loss]\n{weights}{TEACHER}{second}{TEXT}{AUGMENTED}[data]\nviews = 2\n{optimiser}"
    );
    let report = fixture.fit(&sections).unwrap();
    assert_eq!(report.steps, 3);
    let log = String::from_utf8(fixture.bytes("out/log.csv")).unwrap();
    let mut lines = log.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let first: Vec<f32> = lines
        .next()
        .unwrap()
        .split(',')
        .take(14)
        .map(|x| x.parse().unwrap())
        .collect();
    assert_eq!(header[3..14], LOSSES);
    let sum: f32 = first[3..].iter().map(|part| 0.5 * part).sum();
    assert!((sum - first[2]).abs() < 1e-4 * sum, "{sum} {first:?}");
}

/// A step's targets, all at once.
fn targets(count: usize) -> Targets {
    let mut rng = Rng::new(31);
    let mut unit = |count: usize| -> Tensor<2> {
        let rows = (0..count)
            .map(|_| super::encoder::unit((0..WIDTH).map(|_| rng.unit() - 0.5).collect()));
        Place::cpu().rows(rows.collect::<Vec<_>>().concat(), WIDTH)
    };
    Targets {
        samples: count,
        views: 1,
        texts: Some(unit(count)),
        ids: Vec::new(),
        classes: None,
        labels: vec![None; count],
        teachers: vec![Opinion {
            images: vec![unit(count)],
            texts: None,
            classes: None,
            logit_scale: 10.0,
            weight: 1.0,
        }],
        transforms: Vec::new(),
    }
}

#[test]
fn chunks_of_a_quantised_step_with_siglip_and_distillation_give_the_gradients_of_the_batch() {
    let quantised = quantize(&encoder(), &inputs(24), &Options::default(), &|_| ())
        .unwrap()
        .quantized;
    let recipe: super::FitRecipe = toml::from_str(
        "version = 2\nname = \"q\"\nseed = 1\nimage = { graph = \"\" }\ntext = { model = \"\" }\n\
         output = { folder = \"\" }\n[[data.train]]\nkind = \"folder\"\npath = \"\"\n\
         [optimiser]\nbatch = 7\nlearning_rate = 1e-3\n[loss]\nsiglip = 1.0\nfeature = 2.0\nrelation = 1.0\n",
    )
    .unwrap();
    let loss: &Loss = &recipe.loss;
    let pictures = pictures(7).concat();
    for graph in [encoder(), quantised] {
        let image = Student::new(graph, Trainable::All, true, &Place::cpu()).unwrap();
        let mut learner = Learner {
            extras: Extras::new(&recipe, image.width(), &[WIDTH], &Place::cpu()),
            image,
            text: None,
            captioner: None,
        };
        let targets = targets(7);
        let mut of = |chunk| {
            let alone = Ranks::alone();
            let inputs = Inputs::Kept(vec![&pictures]);
            let parts = (&inputs, chunk);
            gradients(&mut learner, (loss, 1.0), parts, (&targets, &alone)).unwrap()
        };
        let (whole, chunked) = (of(7), of(3));
        assert!((whole.loss - chunked.loss).abs() < 1e-5 * whole.loss);
        assert_eq!(whole.gradients.len(), learner.image.tower.leaves.len() + 2);
        let top = |gradient: &Vec<f32>| gradient.iter().fold(0f32, |a, b| a.max(b.abs()));
        let all = whole
            .gradients
            .iter()
            .flatten()
            .map(top)
            .fold(0f32, f32::max);
        let mut compared = 0;
        for (whole, chunked) in whole.gradients.iter().zip(&chunked.gradients) {
            let (Some(whole), Some(chunked)) = (whole, chunked) else {
                assert_eq!(whole.is_some(), chunked.is_some());
                continue;
            };
            // Those of the keys' bias are 0, but for what rounding leaves.
            let largest = top(whole).max(1e-3 * all);
            for (a, b) in whole.iter().zip(chunked) {
                assert!((a - b).abs() <= 1e-4 * largest, "{a} {b} of {largest}");
            }
            compared += usize::from(top(whole) > 1e-3 * all);
        }
        assert!(compared > 12, "{compared}");
    }
}

#[test]
fn quantised_training_lowers_the_loss_of_the_packed_model() {
    let fixture = Fixture::new();
    let optimiser = "[optimiser]\nsteps = 30\nbatch = 6\nchunk = 4\nlearning_rate = 5e-3\n";
    let sections =
        format!("[loss]\nfeature = 1.0\n{TEACHER}{optimiser}[quantise]\npictures = 12\n");
    let report = fixture.fit(&sections).unwrap();
    assert!(report.quantised);
    let [first, last] = report.loss;
    assert!(last < 0.8 * first, "{first} {last}");
    assert!(
        Graph::load(fixture.path("out/image.phg"))
            .unwrap()
            .is_quantized()
    );
}

#[test]
fn frozen_layers_do_not_move_and_the_others_do() {
    let fixture = Fixture::new();
    let image = "[image]\ngraph = \"image.phg\"\ntrainable = 2\n";
    let report = fixture
        .fit(&format!("{image}[loss]\nfeature = 1.0\n{TEACHER}"))
        .unwrap();
    assert!(report.parameters[0] < report.parameters[1]);
    let (before, after) = (
        encoder(),
        Graph::load(fixture.path("out/image.phg")).unwrap(),
    );
    let moved: Vec<&str> = before
        .values
        .iter()
        .zip(&after.values)
        .filter(|(before, after)| before.constant != after.constant)
        .map(|(value, _)| value.name.as_str())
        .collect();
    assert_eq!(moved, ["down.0", "down.1", "embedding.0", "embedding.1"]);
}

#[test]
fn the_average_is_written_where_it_is_asked_for() {
    let fixture = Fixture::new();
    let of = |ema: &str| {
        let optimiser = format!("[optimiser]\nsteps = 4\nbatch = 6\nlearning_rate = 3e-3\n{ema}");
        fixture
            .fit(&format!("[loss]\nfeature = 1.0\n{TEACHER}{optimiser}"))
            .unwrap();
        let graph = Graph::load(fixture.path("out/image.phg")).unwrap();
        let stem = graph
            .values
            .iter()
            .find(|value| value.name == "stem.0")
            .unwrap();
        stem.constant.as_ref().unwrap().as_f32().unwrap().to_vec()
    };
    let (plain, zero, slow) = (of(""), of("ema = 0.0\n"), of("ema = 0.99\n"));
    let start = encoder();
    let start = start
        .values
        .iter()
        .find(|value| value.name == "stem.0")
        .unwrap()
        .constant
        .clone()
        .unwrap();
    let far = |x: &[f32]| {
        x.iter()
            .zip(start.as_f32().unwrap())
            .map(|(a, b)| (a - b).abs())
            .sum::<f32>()
    };
    assert!(plain.iter().zip(&zero).all(|(a, b)| (a - b).abs() < 1e-6));
    assert!(
        far(&slow) > 0.0 && far(&slow) < 0.1 * far(&plain),
        "{} {}",
        far(&slow),
        far(&plain)
    );
}

/// Everything that has a state: distillation, texts, averages, evaluation, quantisation.
fn stateful() -> String {
    let optimiser =
        "[optimiser]\nsteps = 6\nbatch = 6\nchunk = 4\nlearning_rate = 3e-3\nema = 0.5\n";
    let quantise = "[quantise]\npictures = 12\n";
    let reinforced = "[reinforced]\nepochs = 2\n";
    format!(
        "[loss]\nsiglip = 1.0\nfeature = 1.0\n{TEACHER}{TEXT}{AUGMENTED}{HELD}{optimiser}{quantise}{reinforced}"
    )
}

#[test]
fn a_run_that_stops_after_every_step_ends_with_the_bytes_of_one_that_does_not() {
    let (whole, broken) = (Fixture::new(), Fixture::new());
    whole.fit(&stateful()).unwrap();
    let stops = broken.fit_in_pieces(&stateful());
    // Between the teacher's two epochs, and after every step but the last.
    assert_eq!(stops, [0, 1, 2, 3, 4, 5]);
    whole.same_products(&broken, &["loss.svg", "checkpoint.safetensors"]);
}

#[test]
fn a_damaged_cache_of_a_teacher_is_computed_again() {
    let fixture = Fixture::new();
    let sections = format!("[loss]\nfeature = 1.0\n{TEACHER}{AUGMENTED}[reinforced]\nepochs = 1\n");
    fixture.fit(&sections).unwrap();
    let expected = fixture.bytes("out/log.csv");
    let files = || -> Vec<_> {
        std::fs::read_dir(fixture.path("reinforced"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    };
    assert_eq!(files().len(), 1, "one epoch of augmentation, one view");
    let whole = std::fs::read(&files()[0]).unwrap();
    assert_eq!(whole.len(), PICTURES * (4 * WIDTH + 8));
    let mut flipped = whole.clone();
    flipped[70] ^= 4;
    for damaged in [&flipped[..], &whole[..100], &[]] {
        std::fs::write(&files()[0], damaged).unwrap();
        fixture.fit(&sections).unwrap();
        assert!(std::fs::read(&files()[0]).unwrap() == whole);
        assert!(fixture.bytes("out/log.csv") == expected);
    }
}

#[test]
fn a_checkpoint_of_another_recipe_or_other_files_is_refused() {
    let fixture = Fixture::new();
    let sections = format!("[loss]\nfeature = 1.0\n{TEACHER}");
    fixture.fit(&sections).unwrap();
    let resume = |sections: &str| {
        let options = TrainOptions {
            resume: true,
            ..options()
        };
        fit(&fixture.recipe(sections), options)
    };
    assert_eq!(resume(&sections).unwrap().steps, 6);
    let message = resume(&sections.replace("1.0", "2.0"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("recipe_sha256"), "{message}");
    let mut other = disturbed();
    other.name = "other".to_owned();
    other.save(fixture.path("image.phg")).unwrap();
    let message = resume(&sections).unwrap_err().to_string();
    assert!(message.contains("inputs_sha256"), "{message}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_leaves_the_state_before_it() {
    let fixture = Fixture::new();
    let mut graph = encoder();
    let stem = graph
        .values
        .iter_mut()
        .find(|value| value.name == "embedding.0")
        .unwrap();
    stem.constant = Some(pinhole_graph::Tensor::f32(&[6, 8], vec![f32::MAX; 48]));
    graph.save(fixture.path("image.phg")).unwrap();
    let message = fixture.refused(&format!("[loss]\nfeature = 1.0\n{TEACHER}"));
    assert!(
        message.contains("at step 1") && message.contains("checkpoint.safetensors"),
        "{message}"
    );
    assert!(!fixture.bytes("out/checkpoint.safetensors").is_empty());
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let fixture = Fixture::new();
    let recipe = fixture.recipe(&format!("[loss]\nfeature = 1.0\n{TEACHER}"));
    let dry = TrainOptions {
        dry_run: true,
        ..options()
    };
    let report = fit(&recipe, dry).unwrap();
    let estimate = report.estimate.unwrap();
    assert!(estimate.memory_bytes > 10_000 && estimate.seconds_per_step > 0.0);
    assert_eq!(report.steps, 6);
    assert!(!fixture.path("out").exists() && !fixture.path("reinforced").exists());
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let feature = format!("[loss]\nfeature = 1.0\n{TEACHER}");
    let big = "[optimiser]\nsteps = 2\nbatch = 500\nlearning_rate = 1e-3\n";
    let both = "[optimiser]\nsteps = 2\nepochs = 2\nbatch = 2\nlearning_rate = 1e-3\n";
    let wide = "[image]\ngraph = \"image.phg\"\nembedding = 4\n";
    let last = "[image]\ngraph = \"image.phg\"\ntrainable = 99\n";
    let unlabelled = "[[data.train]]\nkind = \"folder\"\npath = \"pictures\"\n";
    let same =
        "[data.evaluate]\nsource = { kind = \"folder\", path = \"pictures\", classes = true }\n";
    let inside = same.replace("pictures", "./pictures/../pictures/");
    let cases: [(String, &[&str]); 15] = [
        (
            "[loss]\nfeatur = 1.0\n".into(),
            &["line", "`featur`", "`feature`"],
        ),
        (
            "[loss]\nfeature = 1.0\n".into(),
            &["line", "`loss.feature` needs a teacher"],
        ),
        (
            "[loss]\nsiglip = 1.0\n".into(),
            &["line", "`loss.siglip` needs texts"],
        ),
        ("[loss]\n".into(), &["`loss` has no weight"]),
        (
            format!("[loss]\nfeature = -1.0\n{TEACHER}"),
            &["`loss.feature` is -1"],
        ),
        (format!("{feature}{big}"), &["500", "18"]),
        (
            format!("{feature}{both}"),
            &["`optimiser.epochs`", "beside `steps`"],
        ),
        (
            format!("{feature}{wide}"),
            &[
                "line",
                "gives 6 numbers",
                "the student has 4",
                "projection = true",
            ],
        ),
        (format!("{feature}{last}"), &["`trainable` is 99"]),
        (
            format!("[loss]\nsiglip = 1.0\n{TEXT}{unlabelled}"),
            &["none with a caption"],
        ),
        (
            format!("[loss]\ntriplet = 1.0\n{unlabelled}"),
            &["line", "needs labels"],
        ),
        (
            format!("[loss]\nsiglip = 1.0\n{TEXT}{same}"),
            &["line", "trained on"],
        ),
        (
            format!("[loss]\nsiglip = 1.0\n{TEXT}{inside}"),
            &["line", "trained on"],
        ),
        (
            "[loss]\nfeature = 1.0\n[[teacher]]\nmodel = \"text.phg\"\n".into(),
            &["text.phg", "takes no pictures"],
        ),
        (
            "[loss]\nfeature = 1.0\n[[teacher]]\nmodel = \"gone.phm\"\n".into(),
            &["gone.phm"],
        ),
    ];
    fixture.refuses(&cases);
}

#[test]
fn activations_that_are_computed_again_change_no_number() {
    let fixture = Fixture::new();
    for rest in ["", "[quantise]\npictures = 12\n"] {
        let of = |recompute: bool| {
            let optimiser = format!(
                "[optimiser]\nsteps = 3\nbatch = 6\nchunk = 4\nlearning_rate = 3e-3\nrecompute = {recompute}\n"
            );
            let sections = format!("[loss]\nfeature = 1.0\n{TEACHER}{optimiser}{rest}");
            fixture.fit(&sections).unwrap();
            fixture.bytes("out/log.csv")
        };
        assert!(of(true) == of(false), "{rest}");
    }
}

#[test]
fn rows_are_those_that_were_given() {
    assert_eq!(Place::cpu().rows(vec![1.0; 12], 4).dims(), [3, 4]);
}
