//! Results of `--tasks` as lines for people.

use super::labelled::{Classified, Share};
use super::retrieval::Recall;
use super::suite::Results;
use crate::output::say;

/// Classes and confusions that are listed.
const LISTED: usize = 10;

/// `74.0 % (73.1 to 74.9)`.
pub(super) fn share(of: &Share) -> String {
    percent(of.value, of.low, of.high)
}

/// A share and its interval.
pub(super) fn percent(value: f64, low: f64, high: f64) -> String {
    format!(
        "{:.2} % ({:.2} to {:.2})",
        100.0 * value,
        100.0 * low,
        100.0 * high
    )
}

/// Prints all tasks; numbers in brackets are intervals of 95 %.
pub(super) fn results(of: &Results) {
    let precision = if of.float { "f32" } else { "int8" };
    say!(
        "{precision}: {} pictures measured, {} learned from; split: {}; in brackets 95 % intervals",
        of.test,
        of.train,
        of.split
    );
    if !of.broken.is_empty() {
        say!("{:<14} {} broken pictures", "left out", of.broken.len());
    }
    if of.train_measured > 0 {
        say!(
            "{:<14} {} training pictures that are measured, byte for byte",
            "not learned",
            of.train_measured
        );
    }
    if let Some(zero_shot) = &of.zero_shot {
        let note = format!(", {} templates a class", zero_shot.prompts);
        classified("zero-shot", &zero_shot.classified, &note);
    }
    if let Some(retrieval) = &of.retrieval {
        recall("image to text", &retrieval.image_to_text);
        recall("text to image", &retrieval.text_to_image);
    }
    if let Some(probe) = &of.linear_probe {
        let end = match probe.converged {
            true => "",
            false => ", not converged",
        };
        let note = format!(
            ", penalty {:.1e} chosen on {} training pictures{end}",
            probe.l2, probe.held_out
        );
        classified("linear probe", &probe.classified, &note);
    }
    if let Some(knn) = &of.knn {
        classified("k-NN", &knn.classified, &format!(", k = {}", knn.k));
    }
    if let Some(clusters) = &of.nmi {
        let nmi = clusters.nmi;
        say!(
            "{:<14} NMI {:.3} ({:.3} to {:.3}) of {} clusters",
            "clusters",
            nmi.value,
            nmi.low,
            nmi.high,
            clusters.clusters
        );
    }
    if let Some(calibration) = &of.calibration {
        let ece = |name: &str, of: &super::calibration::Honesty| {
            let (width, mass) = (&of.ece, &of.ece_equal_mass);
            say!(
                "{:<14} ECE {}, equal mass {}",
                name,
                percent(width.value, width.low, width.high),
                percent(mass.value, mass.low, mass.high)
            );
        };
        ece("calibration", &calibration.as_it_is);
        ece(
            &format!("  at T = {:.3}", calibration.temperature),
            &calibration.scaled,
        );
    }
    if let Some(confusion) = &of.confusion {
        say!(
            "{:<14} of {}, most frequent first:",
            "confusions",
            confusion.of
        );
        for (class, predicted, count) in confusion.worst.iter().take(LISTED) {
            say!("    {class} taken for {predicted}: {count}");
        }
    }
    if let Some(duplicates) = &of.duplicates {
        say!(
            "{:<14} {} pairs in {} groups at a cosine of {} or more, {} of them across splits",
            "duplicates",
            duplicates.pairs,
            duplicates.groups,
            duplicates.cosine,
            duplicates.across_splits
        );
        for pair in duplicates.list.iter().take(LISTED) {
            say!("    {:.4}  {}  {}", pair.cosine, pair.first, pair.second);
        }
        if let more @ 1.. = duplicates.pairs.saturating_sub(LISTED) {
            say!("    and {more} more pairs: --out DIR writes all to duplicates.csv");
        }
    }
    if let Some(map) = &of.map {
        say!(
            "{:<14} {} pictures, divergence {:.3}",
            "map",
            map.pictures,
            map.divergence
        );
    }
}

fn classified(name: &str, of: &Classified, note: &str) {
    say!(
        "{name:<14} top-1 {}, top-5 {}, mean of classes {:.2} %{note}",
        share(&of.top1),
        share(&of.top5),
        100.0 * of.mean_per_class
    );
}

fn recall(name: &str, of: &Recall) {
    say!(
        "{name:<14} recall@1 {}, @5 {}, @10 {} of {} among {}",
        share(&of.recall1),
        share(&of.recall5),
        share(&of.recall10),
        of.recall1.of,
        of.candidates
    );
}
