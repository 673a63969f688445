//! The processes that share work: which of them this one is, and what they tell each other.
//!
//! Everything rests on one operation, the all-gather of [`Link`], of which there are three: a process alone, MPI behind
//! the feature `mpi`, and [`threads`] of one process in tests. Sums are taken in the order of the ranks, whatever arrives
//! first, so that every rank holds the same bits. What has to be the same everywhere and comes from files is read by
//! the first rank and sent to the others, so that no folder but that of the pictures needs to be shared.

mod launch;
#[cfg(feature = "mpi")]
mod message_passing;
#[cfg(test)]
mod tests;
pub mod threads;

use std::fmt::Display;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use launch::refuse_several;

/// Processes that should be one, that differ, or of which one stopped.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RanksError(pub String);

/// Bytes that one message of a rank has at most: MPI counts all of them together in 31 bits.
const MESSAGE_BYTES: usize = 1 << 22;

/// What joins the ranks of a run.
pub trait Link {
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
    fn all_gather(&self, own: &[u8], lens: &[usize]) -> Result<Vec<Vec<u8>>, RanksError>;

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

    fn all_gather(&self, own: &[u8], _lens: &[usize]) -> Result<Vec<Vec<u8>>, RanksError> {
        Ok(vec![own.to_vec()])
    }
}

/// The ranks of a run, as one of them sees them.
pub struct Ranks(Box<dyn Link>);

impl Ranks {
    /// Those that `link` joins.
    pub fn new(link: impl Link + 'static) -> Self {
        Self(Box::new(link))
    }

    /// One process.
    pub fn alone() -> Self {
        Self::new(Alone)
    }

    /// Those that an MPI launcher started this process among; one without a launcher.
    ///
    /// # Errors
    /// A launcher, and a program without MPI.
    pub fn of_process() -> Result<Self, RanksError> {
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
    pub fn rank(&self) -> usize {
        self.0.rank()
    }

    /// Ranks in all.
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// Whether this rank reads what is shared, and writes.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// This rank's part of `0..count`; the parts, one behind the other, are all of it.
    pub fn range(&self, count: usize) -> Range<usize> {
        let (rank, ranks) = (self.rank(), self.count());
        count * rank / ranks..count * (rank + 1) / ranks
    }

    /// This rank's part of `all`; the parts, one behind the other, are `all`.
    pub fn part<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        &all[self.range(all.len())]
    }

    /// The bytes of every rank, by rank.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError> {
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
    pub fn gather_floats(&self, own: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
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
    pub fn gather<T: Serialize + DeserializeOwned>(&self, own: T) -> Result<Vec<T>, RanksError> {
        if self.is_alone() {
            return Ok(vec![own]);
        }
        let fault = |error: serde_json::Error| RanksError(format!("a message: {error}"));
        let own = serde_json::to_vec(&own).map_err(fault)?;
        let all = self.gather_bytes(&own)?;
        all.iter()
            .map(|bytes| serde_json::from_slice(bytes).map_err(fault))
            .collect()
    }

    /// What all ranks made of their parts, one behind the other; no NaN nor infinity in it.
    ///
    /// # Errors
    /// That of a rank's part, on every rank, or a rank that is gone.
    pub fn join<T, E>(&self, own: Result<Vec<T>, E>) -> Result<Vec<T>, E>
    where
        T: Serialize + DeserializeOwned,
        E: Display + From<RanksError>,
    {
        let all = self.gather(self.agree(own)?)?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Rows of `count` things, of which each rank makes those of its part: all of them on every rank, in order.
    ///
    /// # Errors
    /// What `make` returns, on every rank, or a rank that is gone.
    pub fn rows<E: Display + From<RanksError>>(
        &self,
        count: usize,
        make: impl FnOnce(Range<usize>) -> Result<Vec<Vec<f32>>, E>,
    ) -> Result<Vec<Vec<f32>>, E> {
        let own = self.agree(make(self.range(count)))?;
        Ok(self.gather_rows(own)?)
    }

    /// The rows of all ranks, one behind the other.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn gather_rows(&self, own: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, RanksError> {
        if self.is_alone() {
            return Ok(own);
        }
        let lens = self.gather(own.iter().map(Vec::len).collect::<Vec<_>>())?;
        let numbers = self.gather_floats(own.concat())?;
        let mut rows = Vec::new();
        for (lens, numbers) in lens.iter().zip(&numbers) {
            let mut rest = &numbers[..];
            rows.extend(lens.iter().map(|&len| {
                let (row, behind) = rest.split_at(len);
                rest = behind;
                row.to_vec()
            }));
        }
        Ok(rows)
    }

    /// Whether a rank says so.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn any(&self, own: bool) -> Result<bool, RanksError> {
        Ok(self.gather(own)?.contains(&true))
    }

    /// Puts the sum over all ranks into `numbers`, of which all have equally many: the all-reduce. Every rank adds in
    /// the order of the ranks.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn sum(&self, numbers: &mut [f32]) -> Result<(), RanksError> {
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
    pub fn broadcast<E: Display + From<RanksError>>(
        &self,
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let made = self.is_first().then(make).transpose();
        let made = self.agree(made)?.unwrap_or_default();
        if self.is_alone() {
            return Ok(made);
        }
        Ok(self.gather_bytes(&made)?.swap_remove(0))
    }

    /// Lets the first rank alone do something, for which the others wait.
    ///
    /// # Errors
    /// What `act` returns, on every rank.
    pub fn first<E: Display + From<RanksError>>(
        &self,
        act: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.agree(match self.is_first() {
            true => act(),
            false => Ok(()),
        })
    }

    /// What every rank found, where none failed; else this rank's error, or that of the first that has one. No rank goes
    /// on before all are here: the barrier.
    ///
    /// # Errors
    /// That, or a rank that is gone.
    pub fn agree<T, E: Display + From<RanksError>>(&self, found: Result<T, E>) -> Result<T, E> {
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
            Some((rank, (host, message))) => {
                let message = format!("rank {rank} on {host} stopped: {message}");
                Err(RanksError(message).into())
            }
        }
    }

    /// Compares what every rank has of `what`, a hash.
    ///
    /// # Errors
    /// Ranks that have different ones, each of which is named.
    pub fn same(&self, what: &str, own: &str) -> Result<(), RanksError> {
        let all = self.gather((self.0.host(), own.to_owned()))?;
        if all.iter().all(|(_, hash)| hash == own) {
            return Ok(());
        }
        let told = all.iter().enumerate();
        let told = told.map(|(rank, (host, hash))| format!("rank {rank} on {host} has {hash:.12}"));
        let told = told.collect::<Vec<_>>().join(", ");
        Err(RanksError(format!(
            "the ranks do not have the same {what}: {told}"
        )))
    }

    /// Takes leave of the others, after a run that went well. A rank that failed just ends, for the launcher to see.
    pub fn finish(self) {
        self.0.finish();
    }
}

/// The little-endian bytes of `numbers`.
pub fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The numbers that [`floats`] made `bytes` of.
pub fn to_floats(bytes: &[u8]) -> Vec<f32> {
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn length(bytes: &[u8]) -> usize {
    bytes.try_into().map_or(0, usize::from_le_bytes)
}
