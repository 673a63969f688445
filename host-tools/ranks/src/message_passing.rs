//! The ranks that `mpirun` started, joined by MPI through the crate `mpi` (rsmpi).
//!
//! MPI's own error handler ends all processes, so that a lost rank ends the run: nothing here returns.

use std::mem::ManuallyDrop;

use mpi::Threading;
use mpi::collective::CommunicatorCollectives;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::{Communicator, SimpleCommunicator};

use crate::{Link, RanksError};

/// All processes of the launcher.
pub(super) struct World {
    /// Not dropped by a rank that fails: that would wait for the others, and they for it.
    universe: ManuallyDrop<Universe>,
    world: SimpleCommunicator,
}

impl World {
    /// Joins the others. One thread of a process may do so once, and all that is told goes through it.
    ///
    /// # Errors
    /// A process that has done so before.
    pub(super) fn start() -> Result<Self, RanksError> {
        let (universe, _) = mpi::environment::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| {
                let message = "found MPI started before, expected one run of a process";
                RanksError(message.to_owned())
            })?;
        Ok(Self {
            world: universe.world(),
            universe: ManuallyDrop::new(universe),
        })
    }
}

impl Link for World {
    fn rank(&self) -> usize {
        usize::try_from(self.world.rank()).unwrap_or(0)
    }

    fn count(&self) -> usize {
        usize::try_from(self.world.size()).unwrap_or(1)
    }

    fn host(&self) -> String {
        mpi::environment::processor_name().unwrap_or_else(|_| "an unnamed host".to_owned())
    }

    fn all_gather(&self, own: &[u8], lens: &[usize]) -> Result<Vec<Vec<u8>>, RanksError> {
        let counts: Result<Vec<i32>, _> = lens.iter().map(|len| i32::try_from(*len)).collect();
        let total: usize = lens.iter().sum();
        let (Ok(counts), Ok(_)) = (counts, i32::try_from(total)) else {
            let message = format!("found a message of {total} bytes, expected less than 2^31");
            return Err(RanksError(message));
        };
        let starts = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end - count)
        });
        let starts: Vec<i32> = starts.collect();
        let mut bytes = vec![0u8; total];
        let mut parts = PartitionMut::new(&mut bytes[..], &counts[..], &starts[..]);
        self.world.all_gather_varcount_into(own, &mut parts);
        let mut rest = &bytes[..];
        let parts = lens.iter().map(|len| {
            let (part, behind) = rest.split_at(*len);
            rest = behind;
            part.to_vec()
        });
        Ok(parts.collect())
    }

    fn finish(self: Box<Self>) {
        drop(ManuallyDrop::into_inner(self.universe));
    }
}
