//! Names that are given once.

use std::collections::HashSet;

/// `name`, or with a number behind it where it is taken; it is taken from then on.
pub(crate) fn unique(taken: &mut HashSet<String>, name: &str) -> String {
    let mut unique = name.to_owned();
    let mut number = 0;
    while !taken.insert(unique.clone()) {
        number += 1;
        unique = format!("{name}_{number}");
    }
    unique
}
