//! The batches in the making.

use std::collections::{BTreeMap, VecDeque};

use super::super::batch::Row;
use super::super::error::LoadError;
use super::super::order::{Order, Position};
use super::super::source::Broken;

/// A row that a worker is to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) position: Position,
    /// Where in the batch it stands.
    row: usize,
    /// Which sample of those that take part.
    pub(super) sample: usize,
}

/// A batch of which some rows may be made.
struct Pending {
    position: Position,
    samples: Vec<usize>,
    rows: Vec<Option<Result<Row, LoadError>>>,
    /// Rows given out.
    taken: usize,
    /// Rows that are there.
    made: usize,
}

/// The next batches, in order.
pub(super) struct Window {
    pending: VecDeque<Pending>,
    /// What is opened next.
    next: Position,
    prefetch: usize,
    /// The order of the epoch that was opened last.
    epoch: Option<(usize, Vec<usize>)>,
    is_stopped: bool,
    /// Broken pictures by their index in the source.
    pub(super) broken: BTreeMap<usize, Broken>,
}

impl Window {
    pub(super) fn new(start: Position, prefetch: usize) -> Self {
        Self {
            pending: VecDeque::new(),
            next: start,
            prefetch,
            epoch: None,
            is_stopped: false,
            broken: BTreeMap::new(),
        }
    }

    /// Ends the run: no task is given out any more.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.pending.clear();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Whether no batch is left.
    pub(super) fn is_over(&self, order: &Order) -> bool {
        self.is_stopped || self.pending.is_empty() && order.is_over(self.next)
    }

    /// The first row that nobody has taken, in a new batch where the window has room for one.
    pub(super) fn take_task(&mut self, order: &Order) -> Option<Task> {
        let has_rows = |batch: &Pending| batch.taken < batch.samples.len();
        let index = match self.pending.iter().position(has_rows) {
            Some(index) => index,
            None if self.pending.len() < self.prefetch && !order.is_over(self.next) => {
                self.open(order);
                self.pending.len() - 1
            }
            None => return None,
        };
        let batch = &mut self.pending[index];
        batch.taken += 1;
        Some(Task {
            position: batch.position,
            row: batch.taken - 1,
            sample: batch.samples[batch.taken - 1],
        })
    }

    fn open(&mut self, order: &Order) {
        let Position { epoch, step } = self.next;
        let (_, numbers) = match self.epoch.take() {
            Some(known) if known.0 == epoch => self.epoch.insert(known),
            _ => self.epoch.insert((epoch, order.epoch(epoch))),
        };
        let samples = order.part(numbers, step).to_vec();
        self.pending.push_back(Pending {
            position: self.next,
            rows: samples.iter().map(|_| None).collect(),
            samples,
            taken: 0,
            made: 0,
        });
        self.next = order.next(self.next);
    }

    /// Puts a row into its place; whether that made the first batch whole.
    pub(super) fn put(&mut self, task: &Task, row: Result<Row, LoadError>) -> bool {
        // A run that was stopped has no place for it.
        let batch = self
            .pending
            .iter_mut()
            .find(|batch| batch.position == task.position);
        if let Some(batch) = batch {
            batch.rows[task.row] = Some(row);
            batch.made += 1;
        }
        self.pending.front().is_some_and(Pending::is_whole)
    }

    /// The first batch, once all of its rows are there.
    pub(super) fn take_whole(&mut self) -> Option<(Position, Vec<Result<Row, LoadError>>)> {
        let batch = self.pending.pop_front_if(|batch| batch.is_whole())?;
        Some((batch.position, batch.rows.into_iter().flatten().collect()))
    }
}

impl Pending {
    fn is_whole(&self) -> bool {
        self.made == self.samples.len()
    }
}
