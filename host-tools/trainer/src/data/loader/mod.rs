//! Batches made ahead by threads, in an order that does not depend on them.
//!
//! The loader keeps a window of the next `prefetch` batches. A worker takes the first sample of the window that
//! nobody has taken, makes its row and puts it into its place; the caller takes the first batch once it is whole,
//! which opens the next one. So a batch of any size is shared by all workers, and no more than the window is ever in
//! memory.

#[cfg(test)]
mod tests;
mod window;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use pinhole_runtime::preprocess::InputGeometry;

use super::augment::Augmentations;
use super::batch::{Batch, Job, Row};
use super::error::LoadError;
use super::order::{Order, Position, Shard};
use super::source::{Broken, LeftOut, Source};
use super::text::Texts;
use window::{Task, Window};

/// What a loader does with the pictures of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pictures {
    /// Nothing: batches have samples, texts and labels alone.
    Unread,
    /// Decodes them, so that broken ones are replaced, and keeps none: [`Loader::picture`] makes each that is asked for.
    Checked,
    /// Makes all of them, and puts them into the batch.
    #[default]
    Kept,
}

/// What a loader makes of a source.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// The encoder's input: its size, and the mean and deviation that pictures are normalised by.
    pub geometry: InputGeometry,
    /// Samples of a batch over all ranks, at least one for each.
    pub batch: usize,
    /// Which part of each batch this process gets.
    pub shard: Shard,
    /// The seed of order, views and texts.
    pub seed: u64,
    /// What is done with pictures; but for [`Pictures::Kept`] batches have none.
    pub pictures: Pictures,
    /// Views of each sample, at least 1.
    pub views: usize,
    /// What makes views differ.
    pub augmentations: Augmentations,
    /// Epochs until the views of the first one come again, at least 1; never for `None`. What was computed of a view
    /// can then be used again.
    pub view_epochs: Option<usize>,
    /// How samples get their texts; with it, samples that have none do not take part.
    pub texts: Option<Texts>,
    /// Whether the first view comes once more, turned by quarters and flipped; needs a square input.
    pub transforms: bool,
    /// Whether each epoch has an order of its own, or that of the source.
    pub shuffle: bool,
    /// Whether a last batch that is not whole is left out.
    pub drop_last: bool,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Batches in the making or ready, at least 1.
    pub prefetch: usize,
    /// Epochs until the end; without end for `None`.
    pub epochs: Option<usize>,
}

impl Default for LoaderOptions {
    /// One view of 224 × 224 pixels in 0..=1, batches of 64, as many threads as the machine runs at once.
    fn default() -> Self {
        Self {
            geometry: InputGeometry {
                width: 224,
                height: 224,
                resize_shorter: 224,
                mean: [0.0; 3],
                std: [1.0; 3],
            },
            batch: 64,
            shard: Shard::default(),
            seed: 0,
            pictures: Pictures::default(),
            views: 1,
            augmentations: Augmentations::default(),
            view_epochs: None,
            texts: None,
            transforms: false,
            shuffle: true,
            drop_last: true,
            threads: thread::available_parallelism().map_or(1, usize::from),
            prefetch: 2,
            epochs: None,
        }
    }
}

impl LoaderOptions {
    /// Pictures of each sample: its views, and the transformed one.
    pub(crate) fn blocks(&self) -> usize {
        self.views + usize::from(self.transforms)
    }

    /// Every setting outside its range, but for those of the order.
    fn check(&self) -> Result<(), LoadError> {
        self.geometry.check().map_err(LoadError::Geometry)?;
        let mut faults = self.augmentations.faults();
        for (key, found) in [
            ("views", self.views),
            ("threads", self.threads),
            ("view_epochs", self.view_epochs.unwrap_or(1)),
            ("prefetch", self.prefetch),
        ] {
            if found == 0 {
                faults.push(format!("`{key}` is 0, expected at least 1"));
            }
        }
        let InputGeometry { width, height, .. } = self.geometry;
        if self.transforms && width != height {
            faults.push(format!(
                "`transforms` turns pictures by quarters, which needs a square input, found {width} × {height}"
            ));
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(LoadError::Settings { faults }),
        }
    }
}

/// An iterator over the batches of a run. After an error it ends.
///
/// Dropping it stops the workers, each after the picture that it is at, and waits for them.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What the workers and the caller share.
struct Shared {
    job: Job,
    order: Order,
    window: Mutex<Window>,
    /// There is a sample to take, or the loader is gone.
    work: Condvar,
    /// A batch is whole.
    whole: Condvar,
}

impl Loader {
    /// Starts the workers on the batches from `start` on, [`Position::default`] or the [`Batch::next`] of a run that
    /// stopped.
    ///
    /// # Errors
    /// [`LoadError::Settings`], [`LoadError::Geometry`], [`LoadError::BatchTooLarge`], [`LoadError::NoText`] and
    /// [`LoadError::NoSuchStep`] for options that do not fit each other or the source.
    pub fn new(
        source: Box<dyn Source>,
        options: LoaderOptions,
        start: Position,
    ) -> Result<Self, LoadError> {
        options.check()?;
        let Plan { order, usable } = Plan::new(&*source, &options)?;
        order.check_position(start)?;
        let (threads, prefetch) = (options.threads, options.prefetch);
        let job = Job {
            source,
            options,
            usable,
        };
        let mut loader = Self {
            shared: Arc::new(Shared {
                job,
                order,
                window: Mutex::new(Window::new(start, prefetch)),
                work: Condvar::new(),
                whole: Condvar::new(),
            }),
            workers: Vec::new(),
        };
        for number in 0..threads {
            let shared = loader.shared.clone();
            let worker = thread::Builder::new()
                .name(format!("loader {number}"))
                .spawn(move || shared.work())
                .map_err(LoadError::io("start", "a thread".as_ref()))?;
            loader.workers.push(worker);
        }
        Ok(loader)
    }

    /// Steps of an epoch.
    pub fn steps(&self) -> usize {
        self.shared.order.steps()
    }

    /// Samples that take part.
    pub fn samples(&self) -> usize {
        self.shared.order.samples
    }

    /// What the source left out at opening.
    pub fn left_out(&self) -> &LeftOut {
        self.shared.job.source.left_out()
    }

    /// The normalised picture (height, width, 3) of sample `row` of `batch` in view `block`, read and made now, with the
    /// numbers that [`Batch::views`] has of it; behind the views comes the transformed one.
    ///
    /// # Errors
    /// A source that cannot be read, or a picture that was broken since `batch` was made.
    ///
    /// # Panics
    /// A `batch` of another loader, or one without a sample `row`.
    pub fn picture(&self, batch: &Batch, block: usize, row: usize) -> Result<Vec<f32>, LoadError> {
        let job = &self.shared.job;
        job.picture(batch.position.epoch, batch.indices[row], block)
    }

    /// Pictures that turned out broken when they were decoded, each replaced by another sample, in the source's order:
    /// those of the batches that were taken, and so far of those in the making.
    pub fn broken(&self) -> Vec<Broken> {
        self.shared.lock().broken.values().cloned().collect()
    }
}

/// Which samples take part, and in which order.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    order: Order,
    usable: Vec<usize>,
}

impl Plan {
    /// What a loader of `source` with `options` does.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub(crate) fn new(source: &dyn Source, options: &LoaderOptions) -> Result<Self, LoadError> {
        let usable = usable(source, options)?;
        let order = Order {
            seed: options.seed,
            samples: usable.len(),
            batch: options.batch,
            shard: options.shard,
            shuffle: options.shuffle,
            drop_last: options.drop_last,
            epochs: options.epochs,
        };
        order.check()?;
        Ok(Self { order, usable })
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.order.steps()
    }

    /// Samples that take part.
    pub(crate) fn samples(&self) -> usize {
        self.usable.len()
    }

    /// Which they are.
    pub(crate) fn usable(&self) -> &[usize] {
        &self.usable
    }

    /// The samples of an epoch in their order.
    pub(crate) fn epoch(&self, epoch: usize) -> Vec<usize> {
        let places = self.order.epoch(epoch).into_iter();
        places.map(|place| self.usable[place]).collect()
    }
}

/// The samples that take part: all, or those with a text.
fn usable(source: &dyn Source, options: &LoaderOptions) -> Result<Vec<usize>, LoadError> {
    let samples = source.samples();
    let Some(texts) = &options.texts else {
        return Ok((0..samples.len()).collect());
    };
    let classnames = source.classnames();
    let usable: Vec<usize> = (0..samples.len())
        .filter(|index| texts.has_text(&samples[*index], classnames))
        .collect();
    match usable.is_empty() {
        true => Err(LoadError::NoText {
            samples: samples.len(),
        }),
        false => Ok(usable),
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut window = self.shared.lock();
        let (position, rows) = loop {
            if window.is_over(&self.shared.order) {
                return None;
            }
            match window.take_whole() {
                Some(whole) => break whole,
                None => {
                    let waited = self.shared.whole.wait(window);
                    window = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        let rows: Result<Vec<Row>, LoadError> = rows.into_iter().collect();
        if rows.is_err() {
            window.stop();
        }
        drop(window);
        self.shared.work.notify_all();
        let next = self.shared.order.next(position);
        Some(rows.map(|rows| Batch::of_rows(position, next, rows)))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stop();
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its panics; there is nothing to tell of it.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One worker's life: take a sample, make its row, put it into its place.
    fn work(&self) {
        while let Some(task) = self.next_task() {
            let mut broken = Vec::new();
            let row = self.row(&task, &mut broken);
            let mut window = self.lock();
            window.broken.extend(broken);
            if window.put(&task, row) {
                self.whole.notify_all();
            }
        }
    }

    fn next_task(&self) -> Option<Task> {
        let mut window = self.lock();
        loop {
            if window.is_stopped() {
                return None;
            }
            if let Some(task) = window.take_task(&self.order) {
                return Some(task);
            }
            let waited = self.work.wait(window);
            window = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The row of a task; a panic becomes an error.
    fn row(&self, task: &Task, broken: &mut Vec<(usize, Broken)>) -> Result<Row, LoadError> {
        let row = || {
            let mut tell = |index, found| broken.push((index, found));
            self.job.row(task.position.epoch, task.sample, &mut tell)
        };
        catch_unwind(AssertUnwindSafe(row)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let index = self.job.usable[task.sample];
            Err(LoadError::Worker {
                place: self.job.source.samples()[index].id.clone(),
                reason: text.unwrap_or_else(|| "no message".into()),
            })
        })
    }
}
