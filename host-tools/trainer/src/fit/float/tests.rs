//! Low-rank updates: their start, their merging, their gradients, and whole runs.

use pinhole_graph::Graph;

use crate::device::Place;
use crate::fit::fixture::Fixture;
use crate::fit::recipe::{Lora, Trainable};
use crate::fit::student::Student;
use crate::model::elements;
use crate::network::fixture::{encoder, pictures};
use crate::rng::Rng;

const LORA: Lora = Lora {
    rank: 2,
    alpha: Some(6.0),
};
/// Of the fixture's encoder: two convolutions of 1 × 1, q, k, v, up, down, embedding.
const MATRICES: usize = 8;
/// Of updates of rank 2: five of 8 by 8, two of 8 by 16, one of 6 by 8.
const NUMBERS: usize = 2 * (5 * 16 + 2 * 24 + 14);

fn adapted() -> Student {
    let mut student = Student::new(encoder(), Trainable::All, false, &Place::cpu()).unwrap();
    student.tower.adapt(&LORA, false, 3).unwrap();
    student
}

/// Leaves that train.
fn trained(student: &Student) -> Vec<usize> {
    let leaves = student.tower.leaves.iter().enumerate();
    let trained = leaves.filter(|(_, leaf)| leaf.trains);
    trained.map(|(index, _)| index).collect()
}

/// Puts numbers other than 0 into every B.
fn disturb(student: &mut Student) {
    let mut rng = Rng::new(6);
    for index in trained(student) {
        let data = (0..student.tower.data(index).len()).map(|_| rng.unit() - 0.5);
        student.tower.set(index, data.collect());
    }
}

fn data(student: &Student) -> Vec<Vec<f32>> {
    let leaves = 0..student.tower.leaves.len();
    leaves
        .map(|index| student.tower.data(index).to_vec())
        .collect()
}

#[test]
fn updates_start_as_the_encoder_itself_and_alone_train() {
    let (plain, adapted) = (
        Student::new(encoder(), Trainable::All, false, &Place::cpu()),
        adapted(),
    );
    let pictures = pictures(3).concat();
    let of = |student: &Student| elements(student.embed(&pictures).unwrap());
    assert_eq!(of(&plain.unwrap()), of(&adapted));
    let trained = trained(&adapted);
    assert_eq!(
        (trained.len(), adapted.tower.adapted()),
        (2 * MATRICES, MATRICES)
    );
    let numbers = trained.iter().map(|&index| adapted.tower.data(index).len());
    assert_eq!(numbers.sum::<usize>(), NUMBERS);
    let names = trained
        .iter()
        .map(|&index| &adapted.tower.leaves[index].name[..]);
    assert_eq!(
        names.take(2).collect::<Vec<_>>(),
        ["A of excite.0", "B of excite.0"]
    );
}

#[test]
fn the_written_graph_gives_what_training_saw() {
    let mut student = adapted();
    let pictures = pictures(4).concat();
    let of = |student: &Student| elements(student.embed(&pictures).unwrap());
    let before = of(&student);
    disturb(&mut student);
    let graph = student.write(&data(&student));
    assert_eq!(graph.parameter_count(), encoder().parameter_count());
    let merged = Student::new(graph, Trainable::All, false, &Place::cpu()).unwrap();
    assert_eq!(of(&merged), of(&student));
    assert_ne!(of(&merged), before);
}

#[test]
fn gradients_of_updates_are_those_of_finite_differences() {
    let mut student = adapted();
    disturb(&mut student);
    let pictures = pictures(2).concat();
    let mut rng = Rng::new(11);
    let weights: Vec<f32> = (0..2 * student.tower.width)
        .map(|_| rng.unit() - 0.5)
        .collect();
    let loss = |student: &Student| {
        let embeddings = student.embed(&pictures).unwrap();
        let dims = embeddings.dims();
        (embeddings * Place::cpu().tensor(weights.clone()).reshape(dims)).sum()
    };
    let found = loss(&student).backward();
    let mut compared = 0;
    for index in trained(&student) {
        let gradient = student
            .tower
            .tensor(index)
            .grad(&found)
            .map(elements)
            .unwrap();
        let largest = gradient.iter().fold(0f32, |a, b| a.max(b.abs()));
        let place = gradient.iter().position(|x| x.abs() == largest).unwrap();
        let start = student.tower.data(index).to_vec();
        let mut moved = |by: f32| {
            let mut data = start.clone();
            data[place] += by;
            student.tower.set(index, data);
            f64::from(elements(loss(&student))[0])
        };
        let step = 1e-2;
        let difference = ((moved(step) - moved(-step)) / f64::from(2.0 * step)) as f32;
        moved(0.0);
        let allowed = 2e-2 * difference.abs().max(5e-3);
        assert!(
            (gradient[place] - difference).abs() <= allowed,
            "{}: gradient {}, difference {difference}",
            student.tower.leaves[index].name,
            gradient[place]
        );
        compared += usize::from(difference.abs() > 5e-3);
    }
    assert!(compared > MATRICES, "{compared}");
}

#[test]
fn a_rank_beyond_a_matrix_is_its_own_and_only_layers_that_train_have_updates() {
    let mut student = Student::new(encoder(), Trainable::Last(2), false, &Place::cpu()).unwrap();
    let lora = Lora {
        rank: 64,
        alpha: None,
    };
    student.tower.adapt(&lora, true, 3).unwrap();
    // The head trains as a whole: weight and bias. Of the layer before it A and B do, of rank 8.
    let names = trained(&student);
    let names: Vec<(&str, usize)> = names
        .iter()
        .map(|&index| {
            (
                &student.tower.leaves[index].name[..],
                student.tower.data(index).len(),
            )
        })
        .collect();
    let expected = [
        ("embedding.0", 48),
        ("embedding.1", 6),
        ("A of down.0", 8 * 16),
        ("B of down.0", 8 * 8),
    ];
    assert_eq!(names, expected);
}

const RECIPE: &str = "[image]\ngraph = \"image.phg\"\nlora = { rank = 2, alpha = 6 }\n\
                      [loss]\nfeature = 1.0\n[[teacher]]\nmodel = \"teacher.phg\"\n";

#[test]
fn a_run_lowers_the_loss_counts_what_trains_and_leaves_the_rest_alone() {
    let fixture = Fixture::new();
    let optimiser = "[optimiser]\nsteps = 60\nbatch = 6\nlearning_rate = 1e-2\n";
    let report = fixture.fit(&format!("{RECIPE}{optimiser}")).unwrap();
    let [first, last] = report.loss;
    assert!(last < 0.8 * first, "{first} {last}");
    let all = encoder().parameter_count();
    assert_eq!(
        (report.parameters, report.adapted),
        ([NUMBERS, all], MATRICES)
    );
    let after = Graph::load(fixture.path("out/image.phg")).unwrap();
    let moved = encoder()
        .values
        .into_iter()
        .zip(after.values)
        .filter(|(before, after)| before.constant != after.constant)
        .map(|(value, _)| value.name)
        .collect::<Vec<_>>();
    let names = [
        "excite",
        "project",
        "q",
        "k",
        "v",
        "up",
        "down",
        "embedding",
    ];
    assert_eq!(moved, names.map(|name| format!("{name}.0")));
}

#[test]
fn a_run_with_updates_that_stops_after_every_step_ends_with_the_bytes_of_one_that_does_not() {
    let (whole, broken) = (Fixture::new(), Fixture::new());
    let optimiser =
        "[optimiser]\nsteps = 4\nbatch = 6\nchunk = 4\nlearning_rate = 1e-2\nema = 0.5\n";
    let sections = format!("{RECIPE}{optimiser}");
    whole.fit(&sections).unwrap();
    let stops = broken.fit_in_pieces(&sections);
    assert_eq!(stops.len(), 3);
    whole.same_products(&broken, &["checkpoint.safetensors"]);
}

#[test]
fn what_updates_cannot_be_is_refused() {
    let fixture = Fixture::new();
    for (from, to, parts) in [
        (
            "rank = 2",
            "rank = 0",
            ["line", "`image.lora` has `rank` 0"],
        ),
        (
            "alpha = 6",
            "alpha = 0",
            ["line", "`image.lora` has `alpha` 0"],
        ),
        ("alpha = 6", "alfa = 6", ["line", "`alpha`"]),
        (
            "[loss]",
            "[quantise]\n[loss]",
            ["line", "there is `[quantise]`"],
        ),
    ] {
        let message = fixture.refused(&RECIPE.replace(from, to));
        for part in parts {
            assert!(message.contains(part), "{message}\nlacks {part}");
        }
    }
}
