//! CoCa on small pictures with captions that were made for them.

use image::{Rgb, RgbImage};
use pinhole_graph::Graph;
use safetensors::SafeTensors;

use super::fixture::Fixture;
use crate::FitReport;
use crate::rng::Rng;

/// What a caption says: colours and sides that a picture shows, and words that it does not.
const COLOURS: [&str; 3] = ["red", "green", "blue"];
const SIDES: [&str; 2] = ["left", "right"];
const FIRST: [&str; 3] = ["a", "one", "the"];
const NOUNS: [&str; 2] = ["spot", "mark"];
const HEAD: &str = "[image]\ngraph = \"image.phg\"\n";
const DATA: &str = "[[data.train]]\nkind = \"table\"\npath = \"captions.csv\"\n";
const TEXT: &str = "[text]\nnew = { layers = 1, width = 16, heads = 2, max_tokens = 10 }\n";
const CAPTION: &str = "[caption]\nlayers = 1\nheads = 2\nqueries = 4\nheld = 4\n";
const LOSS: &str = "[loss]\nclip = 1.0\ncaption = 2.0\n";
pub(super) const SHORT: &str =
    "[optimiser]\nsteps = 4\nbatch = 6\nlearning_rate = 3e-3\nema = 0.5\n";
const LONG: &str =
    "[optimiser]\nsteps = 150\nbatch = 12\nlearning_rate = 1e-2\nwarmup = 5\nclip_norm = 1.0\n";

/// A picture for each caption, and `captions.csv`.
pub(super) fn fixture() -> Fixture {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("spots")).unwrap();
    let mut rng = Rng::new(12);
    let mut table = String::from("path,caption\n");
    let mut number = 0;
    for (colour, name) in COLOURS.iter().enumerate() {
        for (side, place) in SIDES.iter().enumerate() {
            for first in FIRST {
                for noun in NOUNS {
                    let file = format!("spots/{number}.png");
                    spot(colour, side, &mut rng)
                        .save(fixture.path(&file))
                        .unwrap();
                    table += &format!("{file},{first} {name} {noun} on the {place} .\n");
                    number += 1;
                }
            }
        }
    }
    std::fs::write(fixture.path("captions.csv"), table).unwrap();
    fixture
}

/// The sections of a run that captions pictures, but for the optimiser's.
pub(super) fn captioned() -> String {
    format!("{DATA}{TEXT}{CAPTION}{LOSS}")
}

fn spot(colour: usize, side: usize, rng: &mut Rng) -> RgbImage {
    RgbImage::from_fn(12, 12, |x, _| {
        let mut pixel = [0u8; 3].map(|_| (60.0 * rng.unit()) as u8);
        if (x >= 6) == (side == 1) {
            pixel[colour] += 180;
        }
        Rgb(pixel)
    })
}

fn run(fixture: &Fixture, sections: &str) -> FitReport {
    fixture.fit(&format!("{}{sections}", captioned())).unwrap()
}

#[test]
fn joint_training_lowers_both_losses_and_captions_held_out_pictures() {
    let fixture = fixture();
    let report = run(&fixture, LONG);
    for name in ["clip", "caption"] {
        let [first, last] = report.losses[name];
        assert!(last < 0.7 * first, "{name}: {first} {last}");
    }
    let found = report.captions.unwrap();
    assert!(
        found.pictures >= 4 && found.pictures + report.samples == 36,
        "{found:?}"
    );
    let [right, other] = found.perplexity;
    assert!(right < 0.8 * other, "{found:?}");
    let [said, of_another, drawn] = found.f1;
    assert!(said > of_another + 0.05 && said > drawn + 0.05, "{found:?}");
    let table = String::from_utf8(fixture.bytes("out/captions.csv")).unwrap();
    assert_eq!(table.lines().count(), found.pictures + 1);
    assert!(table.starts_with("id,caption,said,f1,bleu1,surprise,surprise_of_another\n"));
    let bytes = fixture.bytes("out/caption.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(
        shape("text_decoder.cross_attn.0.attn.in_proj_weight"),
        [48, 16]
    );
    assert_eq!(shape("text_decoder.resblocks.0.ln_1.bias"), [16]);
    assert_eq!(shape("visual.attn_pool.query"), [4, 16]);
    assert_eq!(shape("visual.attn_pool.attn.k_proj_weight"), [16, 8]);
    assert_eq!(shape("text_decoder.text_projection")[0], 16);
    let text = Graph::load(fixture.path("out/text.phg")).unwrap();
    let words = text.meta.vocabulary.unwrap();
    assert_eq!(
        shape("text_decoder.text_projection")[1],
        words.lines().count()
    );
}

#[test]
fn a_run_that_captions_and_stops_after_every_step_ends_with_the_same_bytes() {
    let (whole, broken) = (fixture(), fixture());
    let sections = format!("{DATA}{TEXT}{CAPTION}beams = 2\n{LOSS}{SHORT}chunk = 4\n");
    whole.fit(&sections).unwrap();
    let stops = broken.fit_in_pieces(&sections);
    assert_eq!(stops.len(), 3);
    whole.same_products(
        &broken,
        &["text.phg", "caption.safetensors", "captions.csv"],
    );
}

fn close(a: &FitReport, b: &FitReport) {
    for (name, found) in &a.losses {
        for (a, b) in found.iter().zip(b.losses[name]) {
            assert!((a - b).abs() < 2e-3 * a.abs(), "{name}: {a} {b}");
        }
    }
}

#[test]
fn chunks_take_the_step_of_the_batch() {
    let fixture = fixture();
    let of = |chunk: &str| run(&fixture, &format!("{HEAD}{SHORT}{chunk}"));
    close(&of(""), &of("chunk = 4\n"));
}

#[test]
fn a_front_that_is_run_once_gives_what_one_gives_that_is_run_each_time() {
    let fixture = fixture();
    let of = |cached: &str| run(&fixture, &format!("{HEAD}trainable = 1\n{cached}{SHORT}"));
    let (each, once) = (of(""), of("cached = true\n"));
    close(&each, &once);
    let graph = Graph::load(fixture.path("out/image.phg")).unwrap();
    let before = crate::network::fixture::encoder();
    assert_eq!(graph.nodes, before.nodes);
    let pairs = before.values.iter().zip(&graph.values);
    let moved: Vec<&str> = pairs
        .filter(|(before, after)| before.constant != after.constant)
        .map(|(value, _)| value.name.as_str())
        .collect();
    assert_eq!(moved, ["embedding.0", "embedding.1"]);
}

#[test]
fn what_captions_cannot_be_made_of_is_refused_with_what_to_do() {
    let fixture = fixture();
    let all = format!("{DATA}{TEXT}{CAPTION}{LOSS}");
    let frozen = "[text]\nmodel = \"text.phg\"\n";
    let static_table = "[text]\ngraph = \"text.phg\"\n";
    let cases: [(String, &[&str]); 8] = [
        (
            all.replace(CAPTION, ""),
            &["line", "`loss.caption`", "[caption]"],
        ),
        (
            all.replace("caption = 2.0\n", ""),
            &["`caption`", "under [loss] is 0"],
        ),
        (
            all.replace(TEXT, frozen),
            &["`caption`", "`graph` or `new`"],
        ),
        (
            all.replace(TEXT, static_table),
            &["text:", "causal text encoder"],
        ),
        (
            all.replace("heads = 2, max", "heads = 3, max"),
            &["`text.new.heads` is 3"],
        ),
        (
            all.replace("heads = 2\nqueries", "heads = 3\nqueries"),
            &["3 heads", "[caption]"],
        ),
        (
            all.replace("held = 4", "held = 100000"),
            &["`caption.held`", "0 of 36"],
        ),
        (
            format!(
                "{HEAD}cached = true\n{all}[[data.augmentation]]\nkind = \"horizontal_flip\"\n"
            ),
            &["`image.cached`", "augmentations"],
        ),
    ];
    fixture.refuses(&cases);
}
