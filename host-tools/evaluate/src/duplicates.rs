//! Near duplicates: pairs of rows whose cosine is at least a bound, and the groups that chains of such pairs make.

use rayon::prelude::*;

use crate::Rows;
use crate::rows::dot;

/// Two rows that are alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The earlier row.
    pub first: usize,
    /// The later row.
    pub second: usize,
    /// Their cosine.
    pub cosine: f32,
}

/// There are more pairs than can be told apart by looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// Pairs at most.
    pub limit: usize,
}

/// Rows whose partners are looked for, and held, between two looks at the limit.
const BLOCK: usize = 64;

/// All pairs of unit rows with a cosine of at least `bound`, by row; `done` is called after each row.
///
/// # Errors
/// [`TooMany`] where there are more than `limit`.
pub fn pairs(
    rows: &Rows,
    bound: f32,
    limit: usize,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Pair>, TooMany> {
    let mut found = Vec::new();
    let all: Vec<usize> = (0..rows.len()).collect();
    for block in all.chunks(BLOCK) {
        let of_block: Vec<Vec<Pair>> = block
            .par_iter()
            .map(|&first| {
                let partners = alike(rows, first, bound);
                done();
                partners
            })
            .collect();
        found.extend(of_block.into_iter().flatten());
        if found.len() > limit {
            return Err(TooMany { limit });
        }
    }
    Ok(found)
}

/// The later rows that are alike a row.
fn alike(rows: &Rows, first: usize, bound: f32) -> Vec<Pair> {
    let row = rows.row(first);
    (first + 1..rows.len())
        .map(|second| Pair {
            first,
            second,
            cosine: dot(row, rows.row(second)),
        })
        .filter(|pair| pair.cosine >= bound)
        .collect()
}

/// Groups of two rows and more that pairs connect, the largest first, the rows of each in order (union-find; Tarjan,
/// JACM 22, 1975).
pub fn groups(count: usize, pairs: &[Pair]) -> Vec<Vec<usize>> {
    let mut parents: Vec<usize> = (0..count).collect();
    for pair in pairs {
        let (a, b) = (
            root(&mut parents, pair.first),
            root(&mut parents, pair.second),
        );
        // The earlier root stays, so that groups are in the order of their first rows.
        parents[a.max(b)] = a.min(b);
    }
    let mut members = vec![Vec::new(); count];
    for index in 0..count {
        members[root(&mut parents, index)].push(index);
    }
    members.retain(|members| members.len() > 1);
    members.sort_by_key(|members| std::cmp::Reverse(members.len()));
    members
}

/// The root of a tree; halves the path to it.
fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_one_group() {
        let at = |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        let angles = [0.0, 90.0, 5.0, 180.0, 10.0, 91.0];
        let rows = Rows::from_vecs(&angles.map(at)).expect("rows");
        let bound = 6f32.to_radians().cos();
        let found = pairs(&rows, bound, 10, &|| ()).expect("few");
        let named: Vec<(usize, usize)> = found.iter().map(|p| (p.first, p.second)).collect();
        assert_eq!(named, [(0, 2), (1, 5), (2, 4)]);
        assert!((found[0].cosine - 5f32.to_radians().cos()).abs() < 1e-6);
        assert_eq!(groups(6, &found), [vec![0, 2, 4], vec![1, 5]]);
        assert_eq!(pairs(&rows, -1.0, 10, &|| ()), Err(TooMany { limit: 10 }));
    }
}
