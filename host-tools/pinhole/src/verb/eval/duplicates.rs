//! The task `duplicates`: pictures that are alike, within the data and across its splits.

use std::fmt::Write as _;

use pinhole_evaluate::{Rows, duplicates};
use serde::Serialize;

use super::source::{Dataset, Item};
use crate::failure::{Failure, Outcome};
use crate::progress;

/// More pairs than this say that the bound is too low.
const MOST_PAIRS: usize = 1_000_000;

/// Two pictures.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub(super) first: String,
    pub(super) second: String,
    pub(super) cosine: f32,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(super) struct Duplicates {
    pub(super) cosine: f32,
    pub(super) pictures: usize,
    pub(super) pairs: usize,
    pub(super) groups: usize,
    /// Pairs of a training and a test picture: what is learned from is measured.
    pub(super) across_splits: usize,
    /// Members of the groups, test pictures first, the largest group first.
    pub(super) members: Vec<Vec<String>>,
    #[serde(skip)]
    pub(super) list: Vec<Pair>,
    /// Members as indices of test pictures and, after all of them, training pictures.
    #[serde(skip)]
    pub(super) indices: Vec<Vec<usize>>,
}

/// A picture by its index among the test pictures and, after them, the training pictures.
pub(super) fn item(data: &Dataset, index: usize) -> &Item {
    match index.checked_sub(data.test.len()) {
        Some(index) => &data.train[index],
        None => &data.test[index],
    }
}

/// Compares all pictures of both splits.
pub(super) fn duplicates(
    data: &Dataset,
    test: &Rows,
    train: Option<&Rows>,
    bound: f32,
) -> Outcome<Duplicates> {
    let train_values = train.map_or(&[][..], Rows::values);
    let rows = Rows::new([test.values(), train_values].concat(), test.width());
    let bar = progress::bar("comparing pictures", rows.len());
    let found = duplicates::pairs(&rows, bound, MOST_PAIRS, &|| bar.inc(1));
    bar.finish_and_clear();
    let pairs = found.map_err(|error| {
        Failure::new(format_args!(
            "duplicates: found more than {} pairs with a cosine of at least {bound}, expected fewer",
            error.limit
        ))
        .help("raise --duplicate-cosine")
    })?;
    let indices = duplicates::groups(rows.len(), &pairs);
    let name = |index: usize| item(data, index).name();
    let is_test = |index: usize| index < test.len();
    Ok(Duplicates {
        cosine: bound,
        pictures: rows.len(),
        pairs: pairs.len(),
        groups: indices.len(),
        across_splits: pairs
            .iter()
            .filter(|pair| is_test(pair.first) != is_test(pair.second))
            .count(),
        members: indices
            .iter()
            .map(|group| group.iter().map(|&i| name(i)).collect())
            .collect(),
        list: pairs
            .iter()
            .map(|pair| Pair {
                first: name(pair.first),
                second: name(pair.second),
                cosine: pair.cosine,
            })
            .collect(),
        indices,
    })
}

/// All pairs as a table, quoted as in RFC 4180.
pub(super) fn csv(list: &[Pair]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut table = "first,second,cosine\n".to_string();
    for pair in list {
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{},{},{:.6}",
            quoted(&pair.first),
            quoted(&pair.second),
            pair.cosine
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_comma_or_a_quote_is_one_value() {
        let pair = Pair {
            first: "a,\"b\".png".into(),
            second: "c.png".into(),
            cosine: 1.0,
        };
        assert_eq!(
            csv(&[pair]),
            "first,second,cosine\n\"a,\"\"b\"\".png\",\"c.png\",1.000000\n"
        );
    }
}
