//! Which pictures are kept, and runs that keep none beside runs that keep all.

use pinhole_graph::Graph;

use super::{Pictures, reading};
use crate::data::{LoaderOptions, Shard};
use crate::fit::FitRecipe;
use crate::fit::coca_tests::{self, captioned};
use crate::fit::fixture::{Fixture, LOSSES};

/// What the loader does with the pictures of a recipe with these `sections`, on the first of `ranks`.
fn of(sections: &str, ranks: usize) -> Pictures {
    let recipe: FitRecipe = toml::from_str(&format!(
        "version = 2\nname = \"q\"\nseed = 1\nimage = {{ graph = \"\" }}\noutput = {{ folder = \"\" }}\nloss = {{ sup_con = 1.0 }}\n\
         {sections}"
    ))
    .unwrap();
    let options = LoaderOptions {
        batch: recipe.optimiser.batch,
        views: recipe.data.views,
        shard: Shard { rank: 0, ranks },
        ..LoaderOptions::default()
    };
    reading(&recipe, &options)
}

#[test]
fn pictures_are_kept_that_are_few_or_wanted_at_once() {
    // A picture has 588 KiB, and there are three batches of them.
    let recipe = |batch: usize, chunk: &str, data: &str| {
        format!(
            "[optimiser]\nbatch = {batch}\nlearning_rate = 1.0\n{chunk}[data]\ntrain = []\n{data}"
        )
    };
    let chunk = "chunk = 8\n";
    assert_eq!(of(&recipe(9, chunk, ""), 1), Pictures::Kept);
    assert_eq!(of(&recipe(10, chunk, ""), 1), Pictures::Checked);
    assert_eq!(of(&recipe(18, chunk, ""), 2), Pictures::Kept);
    assert_eq!(of(&recipe(9, chunk, "views = 2\n"), 1), Pictures::Checked);
    assert_eq!(of(&recipe(10, chunk, "kept_mib = 18\n"), 1), Pictures::Kept);
    assert_eq!(
        of(&recipe(9, chunk, "kept_mib = 0\n"), 1),
        Pictures::Checked
    );
    assert_eq!(of(&recipe(999, "", ""), 1), Pictures::Kept);
    assert_eq!(of(&recipe(999, "chunk = 999\n", ""), 1), Pictures::Kept);
}

/// That runs with `sections`, which end in those of `[data]`, give the same numbers whether pictures are kept or not, also
/// where the second stops after every step.
fn assert_same(fixture: impl Fn() -> Fixture, sections: &str, graphs: &[&str], tables: &[&str]) {
    let (kept, made) = (fixture(), fixture());
    kept.fit(sections).unwrap();
    let stops = made.fit_in_pieces(&format!("{sections}kept_mib = 0\n"));
    assert!(stops.ends_with(&[1, 2, 3]), "{stops:?}");
    for name in tables {
        assert!(kept.bytes(name) == made.bytes(name), "{name} differs");
    }
    for name in graphs {
        // Beside its numbers a graph names the recipe that it comes of.
        let [kept, made] = [&kept, &made].map(|of| Graph::load(of.path(name)).unwrap().values);
        let mut pairs = kept.iter().zip(&made);
        assert!(
            pairs.all(|(a, b)| a.constant == b.constant),
            "{name} differs"
        );
    }
}

#[test]
fn pictures_that_are_made_in_every_pass_give_the_numbers_of_those_that_are_kept() {
    let weights: String = LOSSES
        .iter()
        .map(|name| format!("{name} = 0.5\n"))
        .collect();
    let sections = format!(
        "[loss]\n{weights}[[teacher]]\nmodel = \"teacher.phg\"\n[text]\nmodel = \"text.phg\"\n\
         [[data.augmentation]]\nkind = \"random_resized_crop\"\n[reinforced]\nepochs = 2\n\
         [optimiser]\nsteps = 4\nbatch = 6\nchunk = 4\nlearning_rate = 1e-3\n[data]\nviews = 2\n"
    );
    assert_same(
        Fixture::new,
        &sections,
        &["out/image.phg"],
        &["out/log.csv"],
    );
}

#[test]
fn so_they_do_where_pictures_are_captioned() {
    let short = coca_tests::SHORT;
    let sections = format!("{}{short}chunk = 4\n[data]\n", captioned());
    let graphs = ["out/image.phg", "out/text.phg"];
    let tables = ["out/log.csv", "out/captions.csv"];
    assert_same(coca_tests::fixture, &sections, &graphs, &tables);
}

#[test]
fn a_bound_that_would_not_be_read_is_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let (loss, data) = ("[loss]\nsup_con = 1.0\n", "[data]\nkept_mib = 9\n");
    let cached = "[image]\ngraph = \"image.phg\"\ncached = true\n";
    fixture.refuses(&[
        (
            format!("{loss}{data}"),
            &["line", "`data.kept_mib`", "no `chunk` under [optimiser]"],
        ),
        (
            format!("{loss}{cached}{data}"),
            &["`data.kept_mib`", "`image.cached`"],
        ),
    ]);
}
