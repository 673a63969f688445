//! `--html`: the results as one file that needs no other and no network, for a phone as for a desk, light or dark.

mod markup;
mod pictures;

use pinhole_evaluate::draw;

use super::calibration::Calibration;
use super::duplicates::{self, Duplicates};
use super::labelled::Classified;
use super::print::{percent, share};
use super::source::{Dataset, labels};
use super::suite::{Confusions, Results};
use crate::failure::{Failure, Outcome};
use markup::{Page, escape, table};
use pictures::figures;

/// Confusions with pictures.
const CONFUSIONS: usize = 12;
/// Pictures of a confusion.
const EXAMPLES: usize = 6;
/// Groups of duplicates with pictures, and pictures of each.
const GROUPS: (usize, usize) = (20, 8);
/// Classes of a table at most; the JSON has all.
const CLASSES: usize = 200;

/// The whole report.
pub(super) fn html(of: &Results, data: &Dataset) -> Outcome<String> {
    let mut page = Page::new("Evaluation of embeddings");
    facts(&mut page, of);
    numbers(&mut page, of);
    for (name, classified) in classifiers(of) {
        if let Some(classified) = classified {
            classes(&mut page, &format!("{name}, by class"), classified);
        }
    }
    if let Some(confusion) = &of.confusion {
        confusions(&mut page, confusion, data)?;
    }
    if let Some(calibration) = &of.calibration {
        reliability(&mut page, calibration)?;
    }
    if let Some(found) = &of.duplicates {
        groups(&mut page, found, data)?;
    }
    if let Some(map) = &of.map {
        page.heading("Map of the embeddings");
        page.figure(
            &map.svg,
            &format!(
                "t-SNE of {} test pictures from {} principal components ({:.1} % of the variance), perplexity {}, \
                 divergence {:.3}. Near dots are alike; distances between groups and their sizes mean little.",
                map.pictures,
                map.components,
                100.0 * map.explained,
                map.perplexity,
                map.divergence
            ),
        );
        page.raw(&legend(&data.classnames));
    }
    Ok(page.finish())
}

fn facts(page: &mut Page, of: &Results) {
    let text = match (&of.text_encoder, &of.text_encoder_sha256) {
        (Some(path), Some(hash)) => format!("{}, SHA-256 {hash}", path.display()),
        _ => "none".to_string(),
    };
    let precision = if of.float {
        "f32"
    } else {
        "int8, as on a board"
    };
    let rows = [
        (
            "Model",
            format!("{}, SHA-256 {}", of.model.display(), of.model_sha256),
        ),
        ("Text encoder", text),
        ("Precision", format!("{precision}; kernels {}", of.kernels)),
        ("Data", of.data.clone()),
        (
            "Measured",
            format!("{} pictures, {} classes", of.test, of.classes),
        ),
        ("Learned from", format!("{} pictures", of.train)),
        ("Left out", left_out(of)),
        ("Split", of.split.clone()),
        ("Seed", of.seed.to_string()),
        ("Tasks", of.tasks.join(", ")),
    ];
    page.facts(&rows);
    page.heading("Which pictures were used for what");
    page.text(&used(of));
    page.heading("Command");
    page.code(&markup::command(std::env::args_os()));
}

/// What is in no number.
fn left_out(of: &Results) -> String {
    /// Broken pictures that are named; the JSON has all.
    const NAMED: usize = 5;
    let names = of.broken.iter().take(NAMED);
    let mut names: Vec<&str> = names.map(|broken| broken.picture.as_str()).collect();
    match of.broken.len() {
        0 => return "nothing".to_string(),
        count if count > NAMED => names.push("…"),
        _ => {}
    }
    let count = of.broken.len();
    format!("{count} broken pictures: {}", names.join(", "))
}

/// What was fitted to what, in words.
fn used(of: &Results) -> String {
    let mut said = vec![format!(
        "Every number below is of the {} test pictures.",
        of.test
    )];
    if let Some(probe) = &of.linear_probe {
        said.push(format!(
            "The linear probe was fitted to the {} training pictures; {} of them, held out at first, \
             chose its penalty.",
            probe.train, probe.held_out
        ));
    }
    if let Some(knn) = &of.knn {
        said.push(format!(
            "The {} training pictures vote as neighbours.",
            knn.train
        ));
    }
    if let Some(calibration) = &of.calibration {
        said.push(format!(
            "The temperature was fitted to the {} training pictures.",
            calibration.train
        ));
    }
    if let Some(found) = &of.duplicates {
        said.push(format!(
            "Duplicates were looked for among {} pictures of both splits.",
            found.pictures
        ));
    }
    if of.train_measured > 0 {
        said.push(format!(
            "{} training pictures are test pictures too, byte for byte, and were not learned from.",
            of.train_measured
        ));
    }
    said.push("No label of a test picture was used for anything but measuring.".into());
    said.join(" ")
}

/// What names classes, where it was asked for.
fn classifiers(of: &Results) -> [(&'static str, Option<&Classified>); 3] {
    let zero_shot = of.zero_shot.as_ref().map(|found| &found.classified);
    let probe = of.linear_probe.as_ref().map(|found| &found.classified);
    let knn = of.knn.as_ref().map(|found| &found.classified);
    [
        ("Zero-shot", zero_shot),
        ("Linear probe", probe),
        ("Nearest neighbours", knn),
    ]
}

fn numbers(page: &mut Page, of: &Results) {
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut add = |name: &str, value: String, of: String| rows.push([name.to_string(), value, of]);
    for (name, classified) in classifiers(of) {
        if let Some(found) = classified {
            add(
                &format!("{name}, top-1"),
                share(&found.top1),
                format!("{} pictures", found.top1.of),
            );
            add(
                &format!("{name}, top-5"),
                share(&found.top5),
                format!("{} pictures", found.top5.of),
            );
            let measured = found.per_class.iter().filter(|class| class.top1.of > 0);
            add(
                &format!("{name}, mean of the classes' top-1"),
                format!("{:.2} %", 100.0 * found.mean_per_class),
                format!("{} classes", measured.count()),
            );
        }
    }
    if let Some(retrieval) = &of.retrieval {
        let ways = [
            ("Image to text", &retrieval.image_to_text, "captions"),
            ("Text to image", &retrieval.text_to_image, "pictures"),
        ];
        for (name, recall, what) in ways {
            let shares = [
                (1, &recall.recall1),
                (5, &recall.recall5),
                (10, &recall.recall10),
            ];
            for (k, of) in shares {
                let among = format!("{} queries, {} {what}", of.of, recall.candidates);
                add(&format!("{name}, recall@{k}"), share(of), among);
            }
        }
    }
    if let Some(clusters) = &of.nmi {
        let nmi = clusters.nmi;
        let value = format!("{:.3} ({:.3} to {:.3})", nmi.value, nmi.low, nmi.high);
        add(
            "NMI of clusters and classes",
            value,
            format!("{} clusters", clusters.clusters),
        );
    }
    if let Some(calibration) = &of.calibration {
        for (name, of) in [
            ("as it is", &calibration.as_it_is),
            ("with temperature", &calibration.scaled),
        ] {
            for (bins, ece) in [("equal width", &of.ece), ("equal mass", &of.ece_equal_mass)] {
                let value = percent(ece.value, ece.low, ece.high);
                add(
                    &format!("Calibration error, {name}"),
                    value,
                    format!("{} bins of {bins}", calibration.bins),
                );
            }
        }
    }
    if !rows.is_empty() {
        page.heading("Numbers");
        page.text(
            "In brackets 95 % intervals: Wilson's for shares, the bootstrap's for the others.",
        );
        page.raw(&table(&["Measure", "Value", "Of"], &rows));
    }
}

fn classes(page: &mut Page, title: &str, of: &Classified) {
    let row = |class: &super::labelled::OfClass| {
        let mistaken = match &class.mistaken_for {
            Some((name, count)) => format!("{name} ({count})"),
            None => "–".to_string(),
        };
        [
            class.class.clone(),
            share(&class.top1),
            class.top1.of.to_string(),
            mistaken,
        ]
    };
    let rows: Vec<[String; 4]> = of.per_class.iter().take(CLASSES).map(row).collect();
    page.heading(title);
    page.raw(&table(
        &["Class", "Top-1", "Pictures", "Most often taken for"],
        &rows,
    ));
    if let more @ 1.. = of.per_class.len().saturating_sub(CLASSES) {
        page.text(&format!(
            "And {more} more classes, in results.json of --out."
        ));
    }
}

fn confusions(page: &mut Page, of: &Confusions, data: &Dataset) -> Outcome {
    page.heading("Confusions");
    page.figure(
        &of.svg,
        &format!("Predictions of {}: a row a class, a column what it was taken for, in shares of the row.", of.of),
    );
    let test_labels = labels(&data.test);
    for worst in of.classified.confusion.worst().into_iter().take(CONFUSIONS) {
        let is_it = |index: &usize| {
            test_labels[*index] == worst.class
                && of.classified.predictions[*index] == worst.predicted
        };
        let found: Vec<usize> = (0..data.test.len()).filter(is_it).take(EXAMPLES).collect();
        let (class, predicted) = (
            &data.classnames[worst.class],
            &data.classnames[worst.predicted],
        );
        page.text(&format!(
            "{class} taken for {predicted}: {} pictures",
            worst.count
        ));
        page.raw(&figures(
            data,
            found.iter().map(|&index| &data.test[index]),
        )?);
    }
    Ok(())
}

fn reliability(page: &mut Page, of: &Calibration) -> Outcome {
    page.heading("Calibration");
    page.text(&format!(
        "Blue: the share of right predictions of each bin of confidence. Red: what the confidence promises beyond it; \
         purple: what it is short of it. \
         Logits are cosines times {:.2}; the temperature is {:.3}.",
        of.logit_scale, of.temperature
    ));
    page.raw("<div class=\"two\">");
    for (name, of) in [("As it is", &of.as_it_is), ("With temperature", &of.scaled)] {
        let svg = draw::reliability(&of.diagram).map_err(Failure::new)?;
        let ece = percent(of.ece.value, of.ece.low, of.ece.high);
        page.figure(
            &svg,
            &format!(
                "{name}: error {ece}, mean confidence {:.2} %",
                100.0 * of.confidence
            ),
        );
    }
    page.raw("</div>");
    Ok(())
}

fn groups(page: &mut Page, of: &Duplicates, data: &Dataset) -> Outcome {
    page.heading("Duplicates");
    page.text(&format!(
        "{} pairs in {} groups have a cosine of at least {}; {} pairs are of a training and a test picture.",
        of.pairs, of.groups, of.cosine, of.across_splits
    ));
    for (group, names) in of.indices.iter().zip(&of.members).take(GROUPS.0) {
        let shown = group
            .iter()
            .take(GROUPS.1)
            .map(|&index| duplicates::item(data, index));
        page.raw(&figures(data, shown)?);
        let names: Vec<&str> = names.iter().take(GROUPS.1).map(String::as_str).collect();
        page.text(&format!("{} pictures: {}", group.len(), names.join(", ")));
    }
    Ok(())
}

fn legend(classnames: &[String]) -> String {
    /// Colours of more classes are not told apart.
    const NAMED: usize = 40;
    let entry = |(class, name): (usize, &String)| {
        let [r, g, b] = draw::palette(class, classnames.len());
        format!(
            "<span><span class=\"dot\" style=\"background:rgb({r},{g},{b})\"></span>{}</span>",
            escape(name)
        )
    };
    let entries: String = classnames
        .iter()
        .enumerate()
        .take(NAMED)
        .map(entry)
        .collect();
    format!("<div class=\"legend\">{entries}</div>\n")
}
