//! The likeliest captions of pictures, by beam search; with one beam the likeliest token is taken each time.
//!
//! All captions under way have one length, so that a step is one batch. Of the finished and the unfinished ones those are
//! kept whose mean logarithm of a token's probability is highest. Ties go to the lower token.

/// A caption under way or finished.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// From the token that begins a text on; the one that ends it is last where it is finished.
    pub(crate) ids: Vec<u32>,
    /// Sum over the tokens behind the first.
    pub(crate) log_probability: f64,
}

/// What a search has to know of tokens.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The token that begins every text.
    pub(crate) start: u32,
    /// The token that ends every text.
    pub(crate) end: u32,
    /// Tokens that are never said.
    pub(crate) never: Vec<u32>,
    /// Tokens of the longest text.
    pub(crate) most: usize,
    /// Captions that are followed at once, at least 1.
    pub(crate) beams: usize,
}

impl Candidate {
    fn mean(&self) -> f64 {
        self.log_probability / (self.ids.len() - 1).max(1) as f64
    }

    fn is_finished(&self, rules: &Rules) -> bool {
        self.ids.len() > 1 && self.ids.last() == Some(&rules.end)
    }
}

/// A caption for each of `pictures`. `next` is given captions under way, each with the picture that it is of, and gives
/// the logarithms of the probabilities of the token behind each, `vocabulary` of them.
///
/// # Errors
/// What `next` returns.
pub(crate) fn search<E>(
    pictures: usize,
    rules: &Rules,
    mut next: impl FnMut(&[(usize, &[u32])]) -> Result<Vec<Vec<f32>>, E>,
) -> Result<Vec<Candidate>, E> {
    let start = Candidate {
        ids: vec![rules.start],
        log_probability: 0.0,
    };
    let mut beams: Vec<Vec<Candidate>> = vec![vec![start]; pictures];
    for _ in 1..rules.most {
        let mut asked = Vec::new();
        for (picture, beam) in beams.iter().enumerate() {
            let open = beam.iter().filter(|caption| !caption.is_finished(rules));
            asked.extend(open.map(|caption| (picture, caption.ids.as_slice())));
        }
        if asked.is_empty() {
            break;
        }
        let mut found = next(&asked)?.into_iter();
        for beam in &mut beams {
            let mut grown = Vec::new();
            for caption in beam.drain(..) {
                match caption.is_finished(rules) {
                    true => grown.push(caption),
                    false => {
                        let row = found.next().unwrap_or_default();
                        grown.extend(continued(&caption, &row, rules));
                    }
                }
            }
            grown.sort_by(|a, b| b.mean().total_cmp(&a.mean()));
            grown.truncate(rules.beams);
            *beam = grown;
        }
    }
    let best = beams.into_iter().map(|mut beam| beam.swap_remove(0));
    Ok(best.collect())
}

/// The likeliest continuations of `caption`, as many as there are beams.
fn continued(caption: &Candidate, row: &[f32], rules: &Rules) -> Vec<Candidate> {
    let ids = (0u32..).zip(row);
    let mut ids: Vec<(u32, f32)> = ids
        .filter(|(id, _)| !rules.never.contains(id))
        .map(|(id, x)| (id, *x))
        .collect();
    ids.sort_by(|a, b| b.1.total_cmp(&a.1));
    ids.truncate(rules.beams);
    let grow = |(id, x): (u32, f32)| Candidate {
        ids: [&caption.ids[..], &[id]].concat(),
        log_probability: caption.log_probability + f64::from(x),
    };
    ids.into_iter().map(grow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(beams: usize) -> Rules {
        Rules {
            start: 0,
            end: 1,
            never: vec![0],
            most: 4,
            beams,
        }
    }

    /// Token 2 is likelier at first, but whatever follows it is not; token 3 is followed by the end for sure.
    fn trap(asked: &[(usize, &[u32])]) -> Result<Vec<Vec<f32>>, ()> {
        let row = |ids: &[u32]| match ids.last() {
            Some(0) => [0.9f32, 0.01, 0.55, 0.44],
            Some(3) => [0.9, 0.98, 0.01, 0.01],
            _ => [0.9, 0.3, 0.35, 0.35],
        };
        Ok(asked
            .iter()
            .map(|(_, ids)| row(ids).map(f32::ln).to_vec())
            .collect())
    }

    #[test]
    fn one_beam_takes_the_likeliest_token_and_stops_at_the_longest_text() {
        let found = search(2, &rules(1), trap).unwrap();
        assert_eq!(found[0].ids, [0, 2, 2, 2]);
        assert_eq!(found[0], found[1]);
    }

    #[test]
    fn more_beams_find_what_is_likelier_in_all() {
        let found = search(1, &rules(2), trap).unwrap();
        assert_eq!(found[0].ids, [0, 3, 1]);
        let expected = f64::from(0.44f32.ln()) + f64::from(0.98f32.ln());
        assert!((found[0].log_probability - expected).abs() < 1e-6);
    }

    #[test]
    fn an_error_of_the_model_ends_the_search() {
        let found = search(1, &rules(1), |_| Err::<Vec<Vec<f32>>, _>("broken"));
        assert_eq!(found.unwrap_err(), "broken");
    }
}
