//! Runs on several ranks, each a thread with a folder of its own, beside the same run in one process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pinhole_graph::Graph;

use crate::data::Shard;
use crate::device::Place;
use crate::fit::coca_tests::{self, captioned};
use crate::fit::encoder::Encoder;
use crate::fit::fixture::{Fixture, LOSSES, PICTURES, difference, disturbed, options};
use crate::fit::recipe::Loaded;
use crate::fit::run::fit_on;
use crate::fit::setup::Setup;
use crate::fit::text_tests;
use crate::{FitReport, TrainError, TrainOptions};
use pinhole_ranks::threads::on_threads;

const TEACHER: &str = "[[teacher]]\nmodel = \"teacher.phg\"\n";
const TEXT: &str = "[text]\nmodel = \"text.phg\"\n";
const AUGMENTED: &str = "[[data.augmentation]]\nkind = \"random_resized_crop\"\n";
const HELD: &str =
    "[data.evaluate]\nsource = { kind = \"folder\", path = \"held\", classes = true }\n";

/// A folder for each of `count` ranks, as on hosts that share no disk.
fn hosts(count: usize) -> Vec<Fixture> {
    (0..count).map(|_| Fixture::new()).collect()
}

/// Trains with `sections` on one, on two and on four ranks, whose shares of six are unequal, each in a folder that `fixture`
/// makes; the logs of all are that of one. The folders of the two.
fn as_on_one(fixture: fn() -> Fixture, sections: &str) -> Vec<Fixture> {
    let run = |count: usize| {
        let hosts: Vec<Fixture> = (0..count).map(|_| fixture()).collect();
        for report in fit(&hosts, sections, |_| options()) {
            report.unwrap();
        }
        hosts
    };
    let [one, two, four] = [1, 2, 4].map(run);
    let alone = one[0].log();
    let mut losses = alone.iter().map(|row| row[2]).filter(|loss| !loss.is_nan());
    let (first, last) = (losses.next().unwrap(), losses.next_back().unwrap());
    assert!(last < 0.9 * first, "{first} {last}");
    for hosts in [&two, &four] {
        let worst = difference(&alone, &hosts[0].log());
        assert!(worst < 1e-4, "{worst} on {} ranks", hosts.len());
        let wrote: Vec<bool> = hosts.iter().map(|host| host.path("out").exists()).collect();
        assert!(wrote[0] && !wrote[1..].contains(&true), "{wrote:?}");
    }
    two
}

/// Trains on a rank for each of `hosts`.
fn fit(
    hosts: &[Fixture],
    sections: &str,
    options: impl Fn(usize) -> TrainOptions + Sync,
) -> Vec<Result<FitReport, TrainError>> {
    let recipes: Vec<_> = hosts.iter().map(|host| host.recipe(sections)).collect();
    on_threads(hosts.len(), |ranks| {
        let rank = ranks.rank();
        fit_on(&recipes[rank], options(rank), ranks)
    })
}

/// The rows of the first rank's log, with NaN for empty cells.
fn assert_only_the_first_writes(hosts: &[Fixture]) {
    for name in ["out", "reinforced"] {
        let wrote: Vec<bool> = hosts.iter().map(|host| host.path(name).exists()).collect();
        assert!(wrote[0] && !wrote[1..].contains(&true), "{name}: {wrote:?}");
    }
}

#[test]
fn two_ranks_have_the_loss_curve_of_one_over_fifty_steps() {
    let optimiser = "[optimiser]\nsteps = 50\nbatch = 6\nchunk = 2\nlearning_rate = 3e-3\n\
                     clip_norm = 1.0\nweight_decay = 0.01\nema = 0.9\n";
    let sections = format!(
        "[loss]\nsiglip = 1.0\nfeature = 1.0\nsup_con = 0.5\n{TEXT}{TEACHER}{AUGMENTED}{HELD}{optimiser}\
         [reinforced]\nepochs = 3\n"
    );
    let (one, two) = (hosts(1), hosts(2));
    for run in [&one, &two] {
        for report in fit(run, &sections, |_| options()) {
            assert_eq!(report.unwrap().steps, 50);
        }
    }
    let (a, b) = (one[0].log(), two[0].log());
    let [first, last] = [1, a.len() - 2].map(|row| a[row][2]);
    assert!(last < 0.8 * first, "{first} {last}");
    let worst = difference(&a, &b);
    assert!(worst < 1e-4, "{worst}");
    assert_only_the_first_writes(&two);
    let cache = |hosts: &[Fixture]| {
        let folder = hosts[0].path("reinforced");
        let files = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<_> = files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        files.sort();
        files
    };
    assert!(cache(&one) == cache(&two), "the teacher's rows differ");
}

#[test]
fn every_loss_with_views_and_turns_is_that_of_one_on_even_and_uneven_shares() {
    let weights: String = LOSSES
        .iter()
        .map(|name| format!("{name} = 0.5\n"))
        .collect();
    let second = "[[teacher]]\nmodel = \"image.phg\"\nweight = 0.5\nprojection = true\n";
    let optimiser = "[optimiser]\nsteps = 4\nbatch = 6\nchunk = 4\nlearning_rate = 1e-3\n";
    let sections = format!(
        "[loss]\n{weights}{TEACHER}{second}{TEXT}{AUGMENTED}[data]\nviews = 2\n{optimiser}"
    );
    let runs = [1, 2, 4, 6].map(|count| {
        let hosts = hosts(count);
        for report in fit(&hosts, &sections, |_| options()) {
            report.unwrap();
        }
        hosts[0].log()
    });
    for run in &runs[1..] {
        let worst = difference(&runs[0], run);
        assert!(worst < 1e-4, "{worst}");
    }
}

#[test]
fn a_quantised_encoder_trains_on_several_ranks() {
    let optimiser = "[optimiser]\nsteps = 3\nbatch = 6\nlearning_rate = 1e-3\n";
    let sections =
        format!("[loss]\nfeature = 1.0\n{TEACHER}{optimiser}[quantise]\npictures = 12\n");
    let (one, two) = (hosts(1), hosts(2));
    for run in [&one, &two] {
        for report in fit(run, &sections, |_| options()) {
            assert!(report.unwrap().quantised);
        }
    }
    // A rounding that falls the other way is a step of an integer.
    let worst = difference(&one[0].log(), &two[0].log());
    assert!(worst < 1e-2, "{worst}");
    assert_only_the_first_writes(&two);
}

#[test]
fn a_text_tower_trains_on_several_ranks_as_on_one() {
    let optimiser = "[optimiser]\nsteps = 12\nbatch = 6\nchunk = 2\nlearning_rate = 3e-3\nclip_norm = 1.0\n\
                     ema = 0.5\nlayer_decay = 0.8\n";
    let text = "[text]\ngraph = \"tower.phg\"\n";
    let sections = format!("[loss]\nclip = 1.0\nsiglip = 0.5\n{text}{AUGMENTED}{HELD}{optimiser}");
    let hosts = as_on_one(text_tests::fixture, &sections);
    let before = Graph::load(hosts[0].path("tower.phg")).unwrap();
    let after = Graph::load(hosts[0].path("out/text.phg")).unwrap();
    let mut pairs = before.values.iter().zip(&after.values);
    assert!(pairs.any(|(before, after)| before.constant != after.constant));
}

#[test]
fn captions_train_on_several_ranks_as_on_one() {
    let optimiser = "[optimiser]\nsteps = 12\nbatch = 6\nlearning_rate = 3e-3\nclip_norm = 1.0\n";
    for chunk in ["", "chunk = 2\n"] {
        let sections = format!("{}{optimiser}{chunk}", captioned());
        let hosts = as_on_one(coca_tests::fixture, &sections);
        assert!(hosts[0].path("out/captions.csv").exists());
    }
}

/// Everything that has a state.
fn stateful() -> String {
    let optimiser =
        "[optimiser]\nsteps = 6\nbatch = 6\nchunk = 2\nlearning_rate = 3e-3\nema = 0.5\n";
    format!(
        "[loss]\nsiglip = 1.0\nfeature = 1.0\n{TEACHER}{TEXT}{AUGMENTED}{HELD}{optimiser}[reinforced]\nepochs = 2\n"
    )
}

#[test]
fn ranks_of_which_one_is_told_to_stop_all_do_and_go_on_to_the_same_bytes() {
    let (whole, broken) = (hosts(2), hosts(2));
    for report in fit(&whole, &stateful(), |_| options()) {
        report.unwrap();
    }
    let stopping = |rank| TrainOptions {
        resume: true,
        stop: Some(Arc::new(AtomicBool::new(rank == 1))),
        ..options()
    };
    let mut stops = Vec::new();
    while let [Err(first), Err(second)] = &fit(&broken, &stateful(), stopping)[..] {
        let of = |error: &TrainError| match error {
            TrainError::Interrupted { step, .. } => *step,
            other => panic!("{other}"),
        };
        assert_eq!(of(first), of(second));
        stops.push(of(first));
        assert!(stops.len() < 9, "{stops:?}");
    }
    assert_eq!(stops, [0, 1, 2, 3, 4, 5]);
    for name in [
        "image.phg",
        "log.csv",
        "report.json",
        "checkpoint.safetensors",
    ] {
        let name = format!("out/{name}");
        assert!(
            whole[0].bytes(&name) == broken[0].bytes(&name),
            "{name} differs"
        );
    }
    assert_only_the_first_writes(&broken);
}

#[test]
fn ranks_with_another_recipe_other_pictures_or_models_are_refused_by_name() {
    let sections = format!("[loss]\nfeature = 1.0\n{TEACHER}");
    let told = |hosts: &[Fixture], recipes: [&Path; 2]| {
        on_threads(2, |ranks| {
            let rank = ranks.rank();
            fit_on(recipes[rank], options(), ranks)
                .unwrap_err()
                .to_string()
        })
        .into_iter()
        .inspect(|told| {
            for part in ["rank 0 on thread 0 has ", "rank 1 on thread 1 has "] {
                assert!(told.contains(part), "{told}");
            }
            assert!(!hosts[0].path("out").exists());
        })
        .collect::<Vec<_>>()
    };
    let hosts = hosts(2);
    let recipes = [
        hosts[0].recipe(&sections),
        hosts[1].recipe(&sections.replace("1.0", "2.0")),
    ];
    let of = |recipes: &[std::path::PathBuf; 2]| told(&hosts, [&recipes[0], &recipes[1]]);
    assert!(
        of(&recipes)
            .iter()
            .all(|told| told.contains("same recipe:"))
    );
    let recipes = [hosts[0].recipe(&sections), hosts[1].recipe(&sections)];
    let gone = hosts[1].path("pictures/red/0.png");
    let picture = std::fs::read(&gone).unwrap();
    std::fs::remove_file(&gone).unwrap();
    let inputs = "same graph, pictures, texts and teachers:";
    assert!(of(&recipes).iter().all(|told| told.contains(inputs)));
    std::fs::write(gone, picture).unwrap();
    let mut other: Graph = disturbed();
    other.name = "other".to_owned();
    other.save(hosts[1].path("image.phg")).unwrap();
    assert!(of(&recipes).iter().all(|told| told.contains(inputs)));
}

#[test]
fn a_rank_that_cannot_start_stops_the_others_with_its_reason() {
    let hosts = hosts(2);
    std::fs::remove_file(hosts[1].path("teacher.phg")).unwrap();
    let found = fit(&hosts, &format!("[loss]\nfeature = 1.0\n{TEACHER}"), |_| {
        options()
    });
    let told: Vec<String> = found
        .into_iter()
        .map(|x| x.unwrap_err().to_string())
        .collect();
    assert!(
        told[0].starts_with("rank 1 on thread 1 stopped: "),
        "{told:?}"
    );
    assert!(
        told.iter().all(|told| told.contains("teacher.phg")),
        "{told:?}"
    );
}

#[test]
fn more_ranks_than_samples_of_a_batch_are_refused() {
    let hosts = hosts(2);
    let optimiser = "[optimiser]\nsteps = 2\nbatch = 1\nlearning_rate = 1e-3\n";
    let found = fit(
        &hosts,
        &format!("[loss]\nfeature = 1.0\n{TEACHER}{optimiser}"),
        |_| options(),
    );
    for error in found {
        let told = error.unwrap_err().to_string();
        assert!(
            told.contains("`batch` is 1, expected a sample for each of 2 ranks"),
            "{told}"
        );
    }
}

#[test]
fn ranks_run_a_frozen_front_as_one_process_does() {
    let fixture = Fixture::new();
    let recipe = fixture.recipe(&format!("[loss]\nfeature = 1.0\n{TEACHER}"));
    let seen = || {
        let folder = fixture.path("");
        [1, 2, 4].map(|count| {
            on_threads(count, |ranks| {
                let loaded = Loaded::open(&recipe).unwrap();
                let setup = Setup::new(loaded, (&folder, &folder), Shard::of(&ranks), Place::cpu())
                    .unwrap();
                let encoder = Encoder::open(&fixture.path("image.phg")).unwrap();
                let geometry = encoder.geometry().unwrap();
                let seen = setup.seen(&encoder, &geometry, &ranks, &|_, _| ());
                seen.map_err(|error| error.to_string())
            })
        })
    };
    let [one, two, four] = seen();
    let whole = one[0].as_ref().unwrap();
    assert_eq!(whole.len(), PICTURES);
    assert!(whole[&0] != whole[&1]);
    assert!(two.iter().chain(&four).all(|found| found == &one[0]));
    // Its header is whole: the rank that decodes it finds out.
    let path = fixture.path("pictures/red/5.png");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    for told in seen().into_iter().flatten() {
        let told = told.unwrap_err();
        assert!(told.contains("red/5.png"), "{told}");
    }
}

#[test]
fn ranks_caption_held_out_pictures_as_one_process_does() {
    let fixture = coca_tests::fixture();
    let sections = format!("{}{}", captioned(), coca_tests::SHORT).replace("held = 4", "held = 2");
    fixture.fit(&sections).unwrap();
    let recipe = fixture.recipe(&sections);
    // All steps are done: what is left is to caption.
    let again = |count: usize| {
        let reports = on_threads(count, |ranks| {
            let resumed = TrainOptions {
                resume: true,
                ..options()
            };
            fit_on(&recipe, resumed, ranks).unwrap().captions.unwrap()
        });
        let files = ["captions.csv", "caption.safetensors", "image.phg"];
        (
            reports,
            files.map(|name| fixture.bytes(&format!("out/{name}"))),
        )
    };
    let same = || {
        let (one, files) = again(1);
        for count in [2, 4] {
            std::fs::remove_file(fixture.path("out/captions.csv")).unwrap();
            let (reports, found) = again(count);
            assert!(found == files, "{count} ranks");
            assert!(
                reports.iter().all(|report| *report == one[0]),
                "{reports:?}"
            );
        }
        (
            one[0].pictures,
            String::from_utf8(files[0].clone()).unwrap(),
        )
    };
    let (pictures, table) = same();
    assert!(pictures > 8, "{pictures}");
    // Its header is whole: the rank that decodes it leaves it out.
    let name = table
        .lines()
        .nth(5)
        .and_then(|row| row.split(',').next())
        .unwrap();
    let path = fixture.path(name);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (left, table) = same();
    assert_eq!(left + 1, pictures);
    assert!(!table.contains(&format!("\n{name},")), "{table}");
}
