//! The tasks of `--tasks`, and what each needs.

use clap::ValueEnum;

use super::source::Dataset;
use crate::failure::{Failure, Outcome};
use crate::output::note;

/// One word of `--tasks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Asked {
    /// Every task that is possible.
    All,
    ZeroShot,
    Retrieval,
    LinearProbe,
    Knn,
    Nmi,
    Duplicates,
    Calibration,
    Confusion,
    Map,
}

impl Asked {
    /// All tasks, in the order of the report.
    pub(super) const TASKS: [Self; 9] = [
        Self::ZeroShot,
        Self::Retrieval,
        Self::LinearProbe,
        Self::Knn,
        Self::Nmi,
        Self::Calibration,
        Self::Confusion,
        Self::Duplicates,
        Self::Map,
    ];

    /// As it is typed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::ZeroShot => "zero-shot",
            Self::Retrieval => "retrieval",
            Self::LinearProbe => "linear-probe",
            Self::Knn => "knn",
            Self::Nmi => "nmi",
            Self::Duplicates => "duplicates",
            Self::Calibration => "calibration",
            Self::Confusion => "confusion",
            Self::Map => "map",
        }
    }

    /// Whether it learns from training pictures; without a text encoder confusions are those of the linear probe.
    pub(super) fn learns(self, has_text: bool) -> bool {
        match self {
            Self::LinearProbe | Self::Knn | Self::Calibration => true,
            Self::Confusion => !has_text,
            _ => false,
        }
    }

    /// What is missing for it, and what to do.
    fn missing(self, data: &Dataset, has_text: bool) -> Option<(String, &'static str)> {
        let labels = (
            "no labels in the data, expected pictures with classes".to_string(),
            "a folder with a folder of pictures for each class, or a table with a column label",
        );
        let captions = (
            "no captions in the data, expected pictures with captions".to_string(),
            "stamps:DIR, or a table with the columns path and caption",
        );
        let text = (
            "no text encoder, expected one".to_string(),
            "--text-encoder text.phm",
        );
        let train = (
            "no training pictures in the data, expected some".to_string(),
            "train/ and test/ in the folder, or a column split in the table",
        );
        let needs_labels = !matches!(self, Self::Retrieval | Self::Duplicates | Self::Map);
        let needs_text = matches!(self, Self::ZeroShot | Self::Retrieval | Self::Calibration);
        if needs_labels && !data.is_labelled() {
            Some(labels)
        } else if self == Self::Retrieval && !data.is_captioned() {
            Some(captions)
        } else if needs_text && !has_text {
            Some(text)
        } else if self.learns(has_text) && !data.can_train() {
            Some(train)
        } else {
            None
        }
    }
}

/// The tasks to run, in the order of the report. What `all` leaves out is said.
///
/// # Errors
/// A task that was asked for by name and cannot be run; all such are named.
pub(super) fn chosen(asked: &[Asked], data: &Dataset, has_text: bool) -> Outcome<Vec<Asked>> {
    let all = asked.contains(&Asked::All);
    let (mut tasks, mut refused, mut left_out, mut next) = (vec![], vec![], vec![], "");
    for task in Asked::TASKS {
        let named = asked.contains(&task);
        match task.missing(data, has_text) {
            None if all || named => tasks.push(task),
            Some((why, help)) if named => {
                refused.push(format!("{}: found {why}", task.name()));
                next = help;
            }
            Some((why, _)) if all => left_out.push(format!("{} ({why})", task.name())),
            _ => {}
        }
    }
    if !refused.is_empty() {
        return Err(Failure::new(refused.join("; ")).help(next));
    }
    if !left_out.is_empty() {
        note!("left out: {}", left_out.join("; "));
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for task in Asked::TASKS.into_iter().chain([Asked::All]) {
            assert_eq!(Asked::from_str(task.name(), false), Ok(task));
        }
    }
}
