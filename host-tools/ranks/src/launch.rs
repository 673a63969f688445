//! Whether an MPI launcher started this process, told by the variables that launchers set.

use crate::RanksError;

/// Variables that hold the number of processes: of Open MPI, and of MPICH and those that are like it.
const COUNTS: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// One that holds the rank alone, of launchers by PMIx.
const RANK: &str = "PMIX_RANK";

/// Refuses to be one of several processes that a launcher started; `why` says what to do.
///
/// # Errors
/// Several processes.
pub fn refuse_several(why: &str) -> Result<(), RanksError> {
    match started(variable) {
        Some(count) if count > 1 => Err(RanksError(format!(
            "found {count} processes of an MPI launcher, expected 1: {why}"
        ))),
        _ => Ok(()),
    }
}

/// Whether a launcher started this process.
#[cfg(feature = "mpi")]
pub(super) fn is_launched() -> bool {
    started(variable).is_some()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// At least how many processes a launcher started; `None` without a launcher.
fn started(variable: impl Fn(&str) -> Option<String>) -> Option<usize> {
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    let counts = COUNTS.into_iter().filter_map(number);
    counts.chain(number(RANK).map(|rank| rank + 1)).max()
}

#[cfg(test)]
mod tests {
    use super::started;

    #[test]
    fn the_variables_of_launchers_tell_how_many_processes_there_are() {
        let of = |set: &[(&str, &str)]| {
            started(|name| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "4")]), Some(4));
        assert_eq!(of(&[("PMI_SIZE", "2"), ("PMIX_RANK", "0")]), Some(2));
        assert_eq!(of(&[("PMIX_RANK", "2")]), Some(3));
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "many")]), None);
    }
}
