//! The processes that train together: which of them this one is, and what they tell each other.
//!
//! Everything rests on one operation, the all-gather of [`Link`], of which there are three: a process alone, MPI behind
//! the feature `mpi`, and threads of one process in tests. Sums are taken in the order of the ranks, whatever arrives
//! first, so that every rank holds the same bits. What has to be the same everywhere and comes from files is read by
//! the first rank and sent to the others, so that no folder but that of the pictures needs to be shared.

mod launch;
#[cfg(feature = "mpi")]
mod message_passing;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod threads;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TrainError;
use crate::data::Shard;
use crate::output::{floats, to_floats};

pub(crate) use launch::refuse_several;

/// Bytes that one message of a rank has at most: MPI counts all of them together in 31 bits.
const MESSAGE_BYTES: usize = 1 << 22;

/// What joins the ranks of a run.
pub(crate) trait Link {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// Ranks in all.
    fn count(&self) -> usize;

    /// Where this rank runs, for messages.
    fn host(&self) -> String;

    /// What every rank gives, by rank. All ranks call it in the same order, and know how many bytes each of them gives.
    ///
    /// # Errors
    /// A rank that is gone.
    fn all_gather(&self, own: &[u8], lens: &[usize]) -> Result<Vec<Vec<u8>>, TrainError>;

    /// Takes leave of the others. Without it the end of this process is a failure to them.
    fn finish(self: Box<Self>) {}
}

/// A process alone.
struct Alone;

impl Link for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn host(&self) -> String {
        "this host".to_owned()
    }

    fn all_gather(&self, own: &[u8], _lens: &[usize]) -> Result<Vec<Vec<u8>>, TrainError> {
        Ok(vec![own.to_vec()])
    }
}

/// The ranks of a run, as one of them sees them.
pub(crate) struct Ranks(Box<dyn Link>);

impl Ranks {
    /// Those that `link` joins.
    pub(crate) fn new(link: impl Link + 'static) -> Self {
        Self(Box::new(link))
    }

    /// One process.
    pub(crate) fn alone() -> Self {
        Self::new(Alone)
    }

    /// Those that an MPI launcher started this process among; one without a launcher.
    ///
    /// # Errors
    /// A launcher, and a program without MPI.
    pub(crate) fn of_process() -> Result<Self, TrainError> {
        #[cfg(feature = "mpi")]
        if launch::is_launched() {
            return message_passing::World::start().map(Self::new);
        }
        refuse_several(
            "this program is built without MPI; build it with `--features mpi`, or start one process",
        )?;
        Ok(Self::alone())
    }

    /// Which rank this is, from 0.
    pub(crate) fn rank(&self) -> usize {
        self.0.rank()
    }

    /// Ranks in all.
    pub(crate) fn count(&self) -> usize {
        self.0.count()
    }

    /// Whether this rank reads what is shared, and writes.
    pub(crate) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// The part of each batch that this rank loads.
    pub(crate) fn shard(&self) -> Shard {
        Shard {
            rank: self.rank(),
            ranks: self.count(),
        }
    }

    /// This rank's part of `all`; the parts, one behind the other, are `all`.
    pub(crate) fn part<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        let (rank, ranks) = (self.rank(), self.count());
        &all[all.len() * rank / ranks..all.len() * (rank + 1) / ranks]
    }

    /// The bytes of every rank, by rank.
    ///
    /// # Errors
    /// A rank that is gone.
    pub(crate) fn gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, TrainError> {
        let count = self.count();
        let told = own.len().to_le_bytes();
        let lens = self.0.all_gather(&told, &vec![told.len(); count])?;
        let lens: Vec<usize> = lens.iter().map(|bytes| length(bytes)).collect();
        let mut all: Vec<Vec<u8>> = lens.iter().map(|len| Vec::with_capacity(*len)).collect();
        let longest = lens.iter().copied().max().unwrap_or(0);
        for start in (0..longest).step_by(MESSAGE_BYTES) {
            let part = |len: usize| len.min(start)..len.min(start + MESSAGE_BYTES);
            let parts: Vec<usize> = lens.iter().map(|len| part(*len).len()).collect();
            let found = self.0.all_gather(&own[part(own.len())], &parts)?;
            all.iter_mut()
                .zip(found)
                .for_each(|(all, part)| all.extend(part));
        }
        Ok(all)
    }

    /// The numbers of every rank, by rank.
    ///
    /// # Errors
    /// A rank that is gone.
    pub(crate) fn gather_floats(&self, own: Vec<f32>) -> Result<Vec<Vec<f32>>, TrainError> {
        if self.is_alone() {
            return Ok(vec![own]);
        }
        let all = self.gather_bytes(&floats(&own))?;
        Ok(all.iter().map(|bytes| to_floats(bytes)).collect())
    }

    /// What every rank has, by rank; no NaN nor infinity in it.
    ///
    /// # Errors
    /// A rank that is gone.
    pub(crate) fn gather<T: Serialize + DeserializeOwned>(
        &self,
        own: T,
    ) -> Result<Vec<T>, TrainError> {
        if self.is_alone() {
            return Ok(vec![own]);
        }
        let fault = |error: serde_json::Error| TrainError::Ranks(format!("a message: {error}"));
        let own = serde_json::to_vec(&own).map_err(fault)?;
        let all = self.gather_bytes(&own)?;
        all.iter()
            .map(|bytes| serde_json::from_slice(bytes).map_err(fault))
            .collect()
    }

    /// Whether a rank says so.
    ///
    /// # Errors
    /// A rank that is gone.
    pub(crate) fn any(&self, own: bool) -> Result<bool, TrainError> {
        Ok(self.gather(own)?.contains(&true))
    }

    /// Puts the sum over all ranks into `numbers`, of which all have equally many: the all-reduce. Every rank adds in
    /// the order of the ranks.
    ///
    /// # Errors
    /// A rank that is gone.
    pub(crate) fn sum(&self, numbers: &mut [f32]) -> Result<(), TrainError> {
        if self.is_alone() {
            return Ok(());
        }
        for block in numbers.chunks_mut(MESSAGE_BYTES / size_of::<f32>()) {
            let own = floats(block);
            let all = self.0.all_gather(&own, &vec![own.len(); self.count()])?;
            let mut all = all.iter().map(|bytes| to_floats(bytes));
            block.copy_from_slice(&all.next().unwrap_or_default());
            for more in all {
                block.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
            }
        }
        Ok(())
    }

    /// What `make` gives the first rank, sent to all; it is not called elsewhere.
    ///
    /// # Errors
    /// What `make` returns, on every rank.
    pub(crate) fn broadcast(
        &self,
        make: impl FnOnce() -> Result<Vec<u8>, TrainError>,
    ) -> Result<Vec<u8>, TrainError> {
        let made = self.is_first().then(make).transpose();
        let made = self.agree(made)?.unwrap_or_default();
        if self.is_alone() {
            return Ok(made);
        }
        Ok(self.gather_bytes(&made)?.swap_remove(0))
    }

    /// What every rank found, where none failed; else this rank's error, or that of the first that has one. No rank goes
    /// on before all are here: the barrier.
    ///
    /// # Errors
    /// That, or a rank that is gone.
    pub(crate) fn agree<T>(&self, found: Result<T, TrainError>) -> Result<T, TrainError> {
        if self.is_alone() {
            return found;
        }
        let own = found.as_ref().err().map(ToString::to_string);
        let all = self.gather(own.map(|message| (self.0.host(), message)))?;
        let value = found?;
        let failed = all.into_iter().enumerate();
        let failed = failed.filter_map(|(rank, failed)| Some((rank, failed?)));
        match failed.into_iter().next() {
            None => Ok(value),
            Some((rank, (host, message))) => Err(TrainError::Ranks(format!(
                "rank {rank} on {host} stopped: {message}"
            ))),
        }
    }

    /// Compares what every rank has of `what`, a hash.
    ///
    /// # Errors
    /// Ranks that have different ones, each of which is named.
    pub(crate) fn same(&self, what: &str, own: &str) -> Result<(), TrainError> {
        let all = self.gather((self.0.host(), own.to_owned()))?;
        if all.iter().all(|(_, hash)| hash == own) {
            return Ok(());
        }
        let told = all.iter().enumerate();
        let told = told.map(|(rank, (host, hash))| format!("rank {rank} on {host} has {hash:.12}"));
        let told = told.collect::<Vec<_>>().join(", ");
        Err(TrainError::Ranks(format!(
            "the ranks do not have the same {what}: {told}"
        )))
    }

    /// Takes leave of the others, after a run that went well. A rank that failed just ends, for the launcher to see.
    pub(crate) fn finish(self) {
        self.0.finish();
    }
}

fn length(bytes: &[u8]) -> usize {
    bytes.try_into().map_or(0, usize::from_le_bytes)
}
