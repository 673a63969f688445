//! Which samples stand in which batch, for every epoch, step and rank.
//!
//! An epoch is one permutation of all samples, seeded by the run's seed and the epoch. Step `s` takes the numbers
//! `s·batch..(s+1)·batch` of it; rank `r` of `R` takes from the `n` of them the part `n·r/R..n·(r+1)/R`, so that the
//! ranks' parts, one behind the other, are what a single process sees.

use pinhole_ranks::Ranks;

use super::error::LoadError;
use super::seed::Draw;

/// A place in the run: what is to come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step within it, from 0.
    pub step: usize,
}

/// Which of how many processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub rank: usize,
    /// At least 1.
    pub ranks: usize,
}

impl Shard {
    /// The one that `ranks` make this process.
    pub(crate) fn of(ranks: &Ranks) -> Self {
        Self {
            rank: ranks.rank(),
            ranks: ranks.count(),
        }
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self { rank: 0, ranks: 1 }
    }
}

/// The batches of all epochs.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    /// Samples of the data set.
    pub(crate) samples: usize,
    /// Samples of a batch over all ranks.
    pub(crate) batch: usize,
    pub(crate) shard: Shard,
    pub(crate) shuffle: bool,
    pub(crate) drop_last: bool,
    pub(crate) epochs: Option<usize>,
}

impl Order {
    /// Fails where there is no batch, or one that leaves a rank without a sample.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let Shard { rank, ranks } = self.shard;
        let mut faults = Vec::new();
        if self.batch == 0 {
            faults.push("`batch` is 0, expected at least 1".to_owned());
        }
        if rank >= ranks {
            faults.push(format!(
                "`rank` is {rank}, expected less than `ranks`, which is {ranks}"
            ));
        } else if self.batch > 0 && self.batch < ranks {
            faults.push(format!(
                "`batch` is {}, expected a sample for each of {ranks} ranks",
                self.batch
            ));
        }
        if !faults.is_empty() {
            return Err(LoadError::Settings { faults });
        }
        if self.batch > self.samples {
            return Err(LoadError::BatchTooLarge {
                batch: self.batch,
                samples: self.samples,
            });
        }
        let last = self.samples % self.batch;
        if !self.drop_last && last > 0 && last < ranks {
            return Err(LoadError::Settings {
                faults: vec![format!(
                    "the last batch of an epoch has {last} of {} samples, fewer than {ranks} ranks: set `drop_last`",
                    self.samples
                )],
            });
        }
        Ok(())
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        match self.drop_last {
            true => self.samples / self.batch,
            false => self.samples.div_ceil(self.batch),
        }
    }

    /// Fails where the run has no such place.
    pub(crate) fn check_position(&self, position: Position) -> Result<(), LoadError> {
        if position.step < self.steps() {
            return Ok(());
        }
        Err(LoadError::NoSuchStep {
            epoch: position.epoch,
            step: position.step,
            steps: self.steps(),
        })
    }

    /// Whether the run ends before this place.
    pub(crate) fn is_over(&self, position: Position) -> bool {
        self.epochs.is_some_and(|epochs| position.epoch >= epochs)
    }

    /// The place behind this one.
    pub(crate) fn next(&self, Position { epoch, step }: Position) -> Position {
        match step + 1 < self.steps() {
            true => Position {
                epoch,
                step: step + 1,
            },
            false => Position {
                epoch: epoch + 1,
                step: 0,
            },
        }
    }

    /// The samples of an epoch in their order.
    pub(crate) fn epoch(&self, epoch: usize) -> Vec<usize> {
        if !self.shuffle {
            return (0..self.samples).collect();
        }
        let draw = Draw {
            seed: self.seed,
            epoch,
            id: "",
            view: 0,
        };
        draw.rng("order").distinct(self.samples, self.samples)
    }

    /// This rank's part of the batch at `step` of an epoch.
    pub(crate) fn part<'a>(&self, epoch: &'a [usize], step: usize) -> &'a [usize] {
        let start = step * self.batch;
        let whole = &epoch[start..epoch.len().min(start + self.batch)];
        let Shard { rank, ranks } = self.shard;
        &whole[whole.len() * rank / ranks..whole.len() * (rank + 1) / ranks]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            seed: 3,
            samples: 22,
            batch: 6,
            shard: Shard::default(),
            shuffle: true,
            drop_last: false,
            epochs: Some(2),
        }
    }

    #[test]
    fn every_epoch_has_every_sample_once_in_another_order() {
        let order = order();
        let epochs: Vec<Vec<usize>> = (0..3).map(|epoch| order.epoch(epoch)).collect();
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(epochs[1], order.epoch(1));
        for mut epoch in epochs {
            let parts: Vec<_> = (0..order.steps())
                .flat_map(|step| order.part(&epoch, step).to_vec())
                .collect();
            assert_eq!(parts, epoch);
            epoch.sort_unstable();
            assert_eq!(epoch, (0..22).collect::<Vec<_>>());
        }
        let plain = Order {
            shuffle: false,
            ..order
        };
        assert_eq!(plain.epoch(5), (0..22).collect::<Vec<_>>());
    }

    #[test]
    fn the_parts_of_the_ranks_are_the_batch_of_one() {
        let one = order();
        let epoch = one.epoch(0);
        for ranks in [2, 3, 4] {
            for step in 0..one.steps() {
                let parts = (0..ranks).flat_map(|rank| {
                    let shard = Shard { rank, ranks };
                    Order {
                        shard,
                        ..one.clone()
                    }
                    .part(&epoch, step)
                    .to_vec()
                });
                assert_eq!(parts.collect::<Vec<_>>(), one.part(&epoch, step));
            }
        }
    }

    #[test]
    fn the_last_batch_is_short_or_dropped() {
        let keeps = order();
        assert_eq!(
            (keeps.steps(), keeps.part(&keeps.epoch(0), 3).len()),
            (4, 4)
        );
        let drops = Order {
            drop_last: true,
            ..order()
        };
        assert_eq!(drops.steps(), 3);
        let last = Position { epoch: 0, step: 2 };
        assert_eq!(drops.next(last), Position { epoch: 1, step: 0 });
        assert_eq!(keeps.next(last), Position { epoch: 0, step: 3 });
        assert!(keeps.is_over(Position { epoch: 2, step: 0 }));
        assert!(
            drops
                .check_position(Position { epoch: 9, step: 3 })
                .is_err()
        );
    }

    #[test]
    fn batches_and_ranks_that_cannot_be_are_refused_with_the_numbers() {
        let fault = |change: fn(&mut Order)| {
            let mut order = order();
            change(&mut order);
            order.check().unwrap_err().to_string()
        };
        let large = fault(|o| o.batch = 23);
        assert!(
            large.contains("batch of 23") && large.contains("22 samples"),
            "{large}"
        );
        assert!(fault(|o| o.batch = 0).contains("`batch` is 0"));
        assert!(fault(|o| o.shard = Shard { rank: 2, ranks: 2 }).contains("`rank` is 2"));
        assert!(fault(|o| o.shard.ranks = 7).contains("a sample for each of 7 ranks"));
        let short = fault(|o| {
            o.batch = 7;
            o.shard.ranks = 7;
        });
        assert!(
            short.contains("has 1 of 22 samples, fewer than 7 ranks"),
            "{short}"
        );
        assert!(order().check().is_ok());
    }
}
