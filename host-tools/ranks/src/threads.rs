//! Ranks that are threads of one process, for tests without MPI.

use std::sync::{Arc, Condvar, Mutex};

use crate::{Link, Ranks, RanksError};

/// One of the threads.
pub struct Thread {
    rank: usize,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Gathers that are over.
    round: usize,
    /// What each rank gave in this round.
    given: Vec<Option<Vec<u8>>>,
    /// What the last round gave.
    gathered: Vec<Vec<u8>>,
    /// A rank that is gone.
    gone: Option<usize>,
}

/// What `run` returns on each of `count` threads, by rank.
pub fn on_threads<T: Send>(count: usize, run: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            round: 0,
            given: vec![None; count],
            gathered: Vec::new(),
            gone: None,
        }),
        changed: Condvar::new(),
    });
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|rank| {
                let shared = shared.clone();
                scope.spawn(move || run(Ranks::new(Thread { rank, shared })))
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|ended| ended.expect("no panic")).collect()
    })
}

impl Link for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.shared.state.lock().unwrap().given.len()
    }

    fn host(&self) -> String {
        format!("thread {}", self.rank)
    }

    fn all_gather(&self, own: &[u8], lens: &[usize]) -> Result<Vec<Vec<u8>>, RanksError> {
        assert_eq!(own.len(), lens[self.rank], "rank {}", self.rank);
        let mut state = self.shared.state.lock().unwrap();
        let round = state.round;
        state.given[self.rank] = Some(own.to_vec());
        if state.given.iter().all(Option::is_some) {
            state.gathered = state.given.iter_mut().filter_map(Option::take).collect();
            state.round += 1;
            self.shared.changed.notify_all();
        }
        while state.round == round {
            if let Some(gone) = state.gone {
                return Err(RanksError(format!("rank {gone} is gone")));
            }
            state = self.shared.changed.wait(state).unwrap();
        }
        let found = state.gathered.clone();
        let all: Vec<usize> = found.iter().map(Vec::len).collect();
        assert_eq!(all, lens, "rank {}", self.rank);
        Ok(found)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.gone.get_or_insert(self.rank);
            self.shared.changed.notify_all();
        }
    }
}
