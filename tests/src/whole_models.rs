//! Whole models on photographs: the same embedding bits from every kernel set, of this CPU and of emulated ones.
//!
//! An emulated CPU gets the pixels of a photograph and does the rest, from resizing to the embedding; what it prints is a
//! fingerprint of the embedding for each photograph. The table has the fingerprint of the first one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::thread;

use image::RgbImage;
use pinhole_device::{Cpu, RgbRows, cpu, fingerprint, fingerprints};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel;
use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::Preprocessor;

use crate::{embed, photographs};

/// A model in every layout of weights.
pub struct Subject {
    /// As the table names it.
    pub name: String,
    /// Packed in [`WeightLayout::Generic`].
    pub generic: AlignedBytes,
    /// Packed in [`WeightLayout::Aarch64`].
    pub aarch64: AlignedBytes,
}

/// What is to be run on an emulated CPU.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The CPU, as `pinhole bench --target` spells it.
    pub cpu: &'static str,
    /// Name of the kernel set.
    pub kernels: &'static str,
    /// How the weights lie.
    pub layout: WeightLayout,
    /// Photographs at most.
    pub pictures: usize,
}

impl Run {
    /// A run of at most `pictures` with weights in [`WeightLayout::Generic`].
    pub const fn new(cpu: &'static str, kernels: &'static str, pictures: usize) -> Self {
        Self {
            cpu,
            kernels,
            layout: WeightLayout::Generic,
            pictures,
        }
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it ran.
    pub cpu: &'static str,
    /// Name of the kernel set.
    pub kernels: String,
    /// How the weights lay.
    pub layout: WeightLayout,
    /// One for each model.
    pub cells: Vec<Cell>,
}

/// What came out.
#[derive(Clone, Debug)]
pub enum Cell {
    /// The fingerprint of each photograph.
    Ran(Vec<u64>),
    /// Model, arena and photograph do not fit.
    NoRoom {
        /// Bytes of the model.
        model: usize,
        /// Bytes of the arena.
        arena: usize,
        /// Bytes of the CPU's memory.
        memory: usize,
    },
    /// It did not run, and why.
    Failed(String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ran(found) => match found.first() {
                Some(first) => write!(f, "{first:016x} ×{}", found.len()),
                None => f.write_str("no photograph"),
            },
            Self::NoRoom {
                model,
                arena,
                memory,
            } => write!(f, "{model} + {arena} > {memory} bytes"),
            Self::Failed(reason) => write!(f, "FAILED: {reason}"),
        }
    }
}

/// The fingerprints by every kernel set of this CPU, slowest first.
pub fn on_this_cpu(subjects: &[Subject], pictures: &[RgbImage]) -> Vec<Row> {
    let row = |set: &'static dyn kernel::Kernels| {
        let cell = |subject: &Subject| {
            let model = load(&subject.generic);
            let found = pictures
                .iter()
                .map(|picture| fingerprint(&embed(&model, picture, set)));
            let cell = Cell::Ran(found.collect());
            println!("this CPU, {}, {}: {cell}", set.name(), subject.name);
            cell
        };
        Row {
            cpu: "this CPU",
            kernels: set.name().into(),
            layout: WeightLayout::Generic,
            cells: subjects.iter().map(cell).collect(),
        }
    };
    kernel::available().map(row).collect()
}

/// The fingerprints by each of `runs`; as many emulators at once as this machine has CPUs.
pub fn emulated(runs: &[Run], subjects: &[Subject], pictures: &[RgbImage]) -> Vec<Row> {
    let jobs = (0..runs.len()).flat_map(|run| (0..subjects.len()).map(move |s| (run, s)));
    let jobs = Mutex::new(jobs.collect::<VecDeque<_>>());
    let next = || jobs.lock().ok()?.pop_front();
    let work = || {
        let mut done = Vec::new();
        while let Some((run, subject)) = next() {
            let cell = cell(&runs[run], &subjects[subject], pictures);
            println!("{}, {}: {cell}", label(&runs[run]), subjects[subject].name);
            done.push((run, subject, cell));
        }
        done
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|done| done.expect("a worker does not panic"))
            .collect::<Vec<_>>()
    });
    done.sort_by_key(|(run, subject, _)| (*run, *subject));
    let mut cells = done.into_iter().map(|(_, _, cell)| cell);
    let row = |run: &Run| Row {
        cpu: run.cpu,
        kernels: run.kernels.into(),
        layout: run.layout,
        cells: cells.by_ref().take(subjects.len()).collect(),
    };
    runs.iter().map(row).collect()
}

fn label(run: &Run) -> String {
    let Run {
        cpu,
        kernels,
        layout,
        ..
    } = run;
    format!("{cpu}, {kernels}, layout {}", layout.name())
}

fn load(bytes: &AlignedBytes) -> Model<'_> {
    Model::load(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn cell(run: &Run, subject: &Subject, pictures: &[RgbImage]) -> Cell {
    let Some(cpu) = cpu(run.cpu) else {
        return Cell::Failed("no such CPU".into());
    };
    let bytes = match run.layout {
        WeightLayout::Generic => &subject.generic,
        WeightLayout::Aarch64 => &subject.aarch64,
    };
    let pictures = &pictures[..pictures.len().min(run.pictures)];
    if let Some(no_room) = no_room(cpu, &load(bytes), pictures) {
        return no_room;
    }
    let rows = |picture| {
        let picture: &RgbImage = picture;
        RgbRows {
            width: picture.width(),
            height: picture.height(),
            bytes: picture.as_raw(),
        }
    };
    let rows: Vec<RgbRows> = pictures.iter().map(rows).collect();
    match fingerprints(cpu, bytes, &[run.kernels], &rows) {
        Ok(mut found) => Cell::Ran(found.swap_remove(0).pictures),
        Err(error) => Cell::Failed(error.to_string()),
    }
}

/// Bytes that a guest needs beside model, arena, photograph and what resizing takes.
const MARGIN: usize = 64 << 10;

fn no_room(cpu: &Cpu, model: &Model<'_>, pictures: &[RgbImage]) -> Option<Cell> {
    let (memory, geometry) = (cpu.memory_bytes?, model.geometry()?);
    let picture = |picture: &RgbImage| {
        let (width, height) = picture.dimensions();
        let words = Preprocessor::scratch_len(&geometry, width, height).unwrap_or(0);
        picture.as_raw().len() + 4 * words
    };
    let (file, arena) = (model.bytes().len(), model.arena_bytes());
    let picture = pictures.iter().map(picture).max().unwrap_or(0);
    (file + arena + picture + MARGIN > memory).then_some(Cell::NoRoom {
        model: file,
        arena,
        memory,
    })
}

/// Runs every model on this CPU and as `runs` say, prints the table, and returns it.
///
/// # Panics
/// Photographs that are not told apart, and whatever [`faults`] finds.
pub fn assert_same_bits(subjects: &[Subject], runs: &[Run], pictures: &[RgbImage]) -> Vec<Row> {
    let mut rows = on_this_cpu(subjects, pictures);
    assert!(differ(&rows[0]), "photographs have embeddings of their own");
    rows.extend(emulated(runs, subjects, pictures));
    print(subjects, &rows);
    let faults = faults(subjects, &rows);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    rows
}

/// [`assert_same_bits`] of one model that must have room on every CPU, on the first `pictures` of the photographs.
///
/// # Panics
/// As that does, and where it has no room.
pub fn assert_same_bits_everywhere(subject: Subject, runs: &[Run], pictures: usize) {
    let photographs = photographs().into_iter().map(|(_, picture)| picture);
    let pictures: Vec<RgbImage> = photographs.take(pictures).collect();
    let rows = assert_same_bits(&[subject], runs, &pictures);
    let all_ran = rows.iter().all(|row| matches!(row.cells[0], Cell::Ran(_)));
    assert!(all_ran, "it fits every board");
}

/// Prints the rows, a column for each model.
pub fn print(subjects: &[Subject], rows: &[Row]) {
    let names = subjects.iter().map(|subject| subject.name.as_str());
    println!(
        "| CPU | Kernel set | Layout | {} |",
        names.collect::<Vec<_>>().join(" | ")
    );
    println!("|{}", "---|".repeat(3 + subjects.len()));
    for row in rows {
        let cells: Vec<String> = row.cells.iter().map(Cell::to_string).collect();
        println!(
            "| {} | {} | {} | {} |",
            row.cpu,
            row.kernels,
            row.layout.name(),
            cells.join(" | ")
        );
    }
}

/// Whether every model of the row tells each photograph from the next one.
pub fn differ(row: &Row) -> bool {
    row.cells.iter().all(|cell| match cell {
        Cell::Ran(found) => found.len() > 1 && found.windows(2).all(|pair| pair[0] != pair[1]),
        _ => false,
    })
}

/// What is wrong with the rows: a cell that did not run, or whose fingerprints are not those of the first row, and a row in
/// which no model has room.
pub fn faults(subjects: &[Subject], rows: &[Row]) -> Vec<String> {
    let Some((first, _)) = rows.split_first() else {
        return vec!["nothing ran".into()];
    };
    let mut faults = Vec::new();
    for row in rows {
        if !row.cells.iter().any(|cell| matches!(cell, Cell::Ran(_))) {
            faults.push(format!("{} on {} ran nothing", row.kernels, row.cpu));
        }
        let cells = first.cells.iter().zip(&row.cells).zip(subjects);
        for ((expected, found), subject) in cells {
            let equal = match (expected, found) {
                (Cell::Ran(expected), Cell::Ran(found)) => {
                    !found.is_empty() && expected.starts_with(found)
                }
                (_, Cell::NoRoom { .. }) => true,
                _ => false,
            };
            if !equal {
                faults.push(format!(
                    "{} by {} on {}: {found}, expected {expected}",
                    subject.name, row.kernels, row.cpu
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Cell]) -> Row {
        Row {
            cpu: "a CPU",
            kernels: "a set".into(),
            layout: WeightLayout::Generic,
            cells: cells.to_vec(),
        }
    }

    fn count(cells: &[Cell]) -> usize {
        let subject = |name: &str| Subject {
            name: name.into(),
            generic: AlignedBytes::zeroed(0),
            aarch64: AlignedBytes::zeroed(0),
        };
        let first = row(&[Cell::Ran(vec![1, 2]), Cell::Ran(vec![3, 4])]);
        faults(&[subject("one"), subject("two")], &[first, row(cells)]).len()
    }

    #[test]
    fn a_cell_that_differs_or_did_not_run_is_a_fault() {
        let no_room = Cell::NoRoom {
            model: 3,
            arena: 1,
            memory: 2,
        };
        let equal = Cell::Ran(vec![1, 2]);
        assert_eq!(count(&[equal.clone(), Cell::Ran(vec![3])]), 0);
        assert_eq!(count(&[equal.clone(), no_room.clone()]), 0);
        assert_eq!(count(&[equal.clone(), Cell::Ran(vec![3, 5])]), 1);
        assert_eq!(count(&[equal.clone(), Cell::Ran(vec![])]), 1);
        assert_eq!(count(&[equal, Cell::Failed("it stopped".into())]), 1);
        assert_eq!(count(&[no_room.clone(), no_room]), 1);
    }

    #[test]
    fn photographs_alike_or_a_single_one_prove_nothing() {
        assert!(differ(&row(&[Cell::Ran(vec![1, 2])])));
        assert!(!differ(&row(&[Cell::Ran(vec![1, 1])])));
        assert!(!differ(&row(&[Cell::Ran(vec![1])])));
    }
}
