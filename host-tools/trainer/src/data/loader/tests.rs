//! Tests of the loader: order and bytes, resuming, errors, the end of its threads.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use image::RgbImage;
use pinhole_data::DataError;

use super::super::augment::Augmentation;
use super::super::pixels::tests::{geometry, picture};
use super::super::source::{Listing, Sample};
use super::super::text::TextSpec;
use super::*;

/// What reading one picture of a [`Fixture`] does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    Good,
    Broken,
    Unreadable,
    Panics,
}

/// What reading the picture at an index does.
type Read = fn(usize) -> Reading;

/// Pictures made in memory, some of them bad.
struct Fixture {
    listing: Listing,
    reading: Read,
    delay: Duration,
    /// Counts the pictures that were begun.
    reads: Option<Arc<AtomicUsize>>,
}

impl Fixture {
    fn new(count: usize) -> Self {
        let samples = (0..count).map(|index| Sample {
            id: format!("sample {index}"),
            captions: vec![format!("one of {index}"), format!("two of {index}")],
            label: Some(index % 2),
        });
        Self {
            listing: Listing {
                samples: samples.collect(),
                classnames: vec!["even".into(), "odd".into()],
                left_out: LeftOut::default(),
            },
            reading: |_| Reading::Good,
            delay: Duration::ZERO,
            reads: None,
        }
    }
}

impl Source for Fixture {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn place(&self, index: usize) -> String {
        format!("place {index}")
    }

    fn picture(&self, index: usize) -> Result<RgbImage, LoadError> {
        if let Some(reads) = &self.reads {
            reads.fetch_add(1, Ordering::SeqCst);
        }
        // Later samples are ready sooner, so that an order by completion would differ.
        thread::sleep(self.delay * (index % 3) as u32);
        match (self.reading)(index) {
            Reading::Good => Ok(picture(12 + index as u32, 15)),
            Reading::Broken => Err(LoadError::Data(DataError::Picture {
                path: PathBuf::from(self.place(index)),
                found: "nothing".into(),
                expected: "a picture".into(),
            })),
            Reading::Unreadable => Err(LoadError::io("read", "disk".as_ref())(
                std::io::ErrorKind::PermissionDenied.into(),
            )),
            Reading::Panics => panic!("sample {index} is cursed"),
        }
    }
}

fn options() -> LoaderOptions {
    LoaderOptions {
        geometry: geometry(8),
        batch: 4,
        seed: 5,
        views: 2,
        augmentations: Augmentations::new(Augmentation::all()).unwrap(),
        texts: Some(TextSpec::default().load("".as_ref()).unwrap()),
        transforms: true,
        drop_last: false,
        threads: 2,
        epochs: Some(2),
        ..LoaderOptions::default()
    }
}

fn load(fixture: Fixture, options: LoaderOptions) -> Result<Vec<Batch>, LoadError> {
    Loader::new(Box::new(fixture), options, Position::default())?.collect()
}

#[test]
fn batches_are_the_same_for_any_number_of_threads_and_any_prefetch() {
    let run = |threads, prefetch| {
        let fixture = Fixture {
            delay: Duration::from_micros(300),
            ..Fixture::new(11)
        };
        let options = LoaderOptions {
            threads,
            prefetch,
            ..options()
        };
        load(fixture, options).unwrap()
    };
    let one = run(1, 1);
    assert_eq!(one.len(), 6);
    assert_eq!([one[0].len(), one[2].len()], [4, 3]);
    assert!(!one[0].is_empty());
    for (threads, prefetch) in [(2, 1), (2, 3), (5, 2), (5, 9)] {
        assert_eq!(run(threads, prefetch), one, "{threads} threads, {prefetch}");
    }
}

#[test]
fn a_batch_holds_what_was_asked_for() {
    let batches = load(Fixture::new(11), options()).unwrap();
    let batch = &batches[1];
    assert_eq!(batch.position, Position { epoch: 0, step: 1 });
    assert_eq!(batch.views.len(), 2);
    assert!(batch.views.iter().all(|view| view.len() == 4 * 8 * 8 * 3));
    assert_ne!(batch.views[0], batch.views[1]);
    for (row, index) in batch.indices.iter().enumerate() {
        let caption = batch.captions[row].as_deref().unwrap();
        assert!(caption.ends_with(&format!(" of {index}")), "{caption}");
        assert_eq!(batch.labels[row], Some(index % 2));
    }
    let transformed = batch.transformed.as_ref().unwrap();
    let picture = 8 * 8 * 3;
    for (row, transform) in transformed.transforms.iter().enumerate() {
        let view = &batch.views[0][row * picture..][..picture];
        let expected = transform.apply(view, 8).unwrap();
        assert_eq!(transformed.pictures[row * picture..][..picture], expected);
    }
    let mut epoch: Vec<usize> = batches[..3]
        .iter()
        .flat_map(|b| b.indices.clone())
        .collect();
    epoch.sort_unstable();
    assert_eq!(epoch, (0..11).collect::<Vec<_>>());
    assert_ne!(batches[0].indices, batches[3].indices);
}

#[test]
fn pictures_that_are_made_when_asked_for_are_those_of_a_batch_that_keeps_them() {
    let run = |pictures| {
        let fixture = Fixture {
            reading: |index| match index % 4 {
                1 => Reading::Broken,
                _ => Reading::Good,
            },
            ..Fixture::new(11)
        };
        let options = LoaderOptions {
            pictures,
            view_epochs: Some(1),
            ..options()
        };
        let mut loader = Loader::new(Box::new(fixture), options, Position::default()).unwrap();
        let batches: Result<Vec<Batch>, _> = loader.by_ref().collect();
        (batches.unwrap(), loader)
    };
    let ((kept, _), (checked, loader)) = (run(Pictures::Kept), run(Pictures::Checked));
    assert_eq!(kept.len(), checked.len());
    assert_eq!(loader.broken().len(), 3);
    for (kept, mut checked) in kept.into_iter().zip(checked) {
        let turned = &checked.transformed.as_ref().unwrap().pictures;
        assert!(checked.views.is_empty() && turned.is_empty());
        let picture = |block, row| loader.picture(&checked, block, row).unwrap();
        let block = |block| {
            (0..checked.len())
                .flat_map(|row| picture(block, row))
                .collect()
        };
        let (views, turned): (Vec<Vec<f32>>, _) = (vec![block(0), block(1)], block(2));
        checked.views = views;
        checked.transformed.as_mut().unwrap().pictures = turned;
        assert_eq!(checked, kept);
    }
}

#[test]
fn plain_pictures_are_the_encoder_s_input_and_come_in_order() {
    let options = LoaderOptions {
        augmentations: Augmentations::default(),
        views: 1,
        texts: None,
        transforms: false,
        shuffle: false,
        ..options()
    };
    let batches = load(Fixture::new(6), options).unwrap();
    assert_eq!(batches[1].indices, [4, 5]);
    assert_eq!(
        (batches[0].transformed.as_ref(), &batches[0].captions[0]),
        (None, &None)
    );
    let expected: Vec<f32> = (0..4)
        .flat_map(|index| {
            let pixels = super::super::Pixels::fitted(&picture(12 + index, 15), &geometry(8));
            pixels.unwrap().normalised(&geometry(8))
        })
        .collect();
    assert_eq!(batches[0].views, [expected]);
}

#[test]
fn a_run_goes_on_from_any_step_as_if_it_had_not_stopped() {
    let whole = load(Fixture::new(11), options()).unwrap();
    for stop in 0..whole.len() {
        let start = match stop {
            0 => Position::default(),
            stop => whole[stop - 1].next,
        };
        assert_eq!(start, whole[stop].position);
        let options = LoaderOptions {
            threads: 3,
            ..options()
        };
        let rest = Loader::new(Box::new(Fixture::new(11)), options, start).unwrap();
        let rest: Result<Vec<Batch>, _> = rest.collect();
        assert_eq!(rest.unwrap(), whole[stop..], "{stop}");
    }
    let end = whole[5].next;
    assert_eq!(end, Position { epoch: 2, step: 0 });
    let mut none = Loader::new(Box::new(Fixture::new(11)), options(), end).unwrap();
    assert!(none.next().is_none());
    let beyond = Position { epoch: 0, step: 3 };
    let error = Loader::new(Box::new(Fixture::new(11)), options(), beyond).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("epoch 0, step 3: the data has 3 steps")
    );
}

#[test]
fn the_ranks_together_see_what_one_process_sees() {
    let options = LoaderOptions {
        batch: 6,
        drop_last: true,
        ..options()
    };
    let one = load(Fixture::new(20), options.clone()).unwrap();
    for ranks in [2, 3, 4] {
        let parts: Vec<Vec<Batch>> = (0..ranks)
            .map(|rank| {
                let shard = Shard { rank, ranks };
                load(
                    Fixture::new(20),
                    LoaderOptions {
                        shard,
                        ..options.clone()
                    },
                )
                .unwrap()
            })
            .collect();
        for (step, batch) in one.iter().enumerate() {
            for (view, whole) in batch.views.iter().enumerate() {
                let pixels: Vec<f32> = parts
                    .iter()
                    .flat_map(|part| part[step].views[view].clone())
                    .collect();
                assert_eq!(&pixels, whole);
            }
            let captions: Vec<_> = parts
                .iter()
                .flat_map(|part| part[step].captions.clone())
                .collect();
            assert_eq!(captions, batch.captions);
        }
    }
}

#[test]
fn broken_pictures_are_replaced_and_told_whatever_the_threads() {
    let run = |threads| {
        let fixture = Fixture {
            reading: |index| match index % 4 {
                1 => Reading::Broken,
                _ => Reading::Good,
            },
            ..Fixture::new(12)
        };
        let options = LoaderOptions {
            threads,
            ..options()
        };
        let mut loader = Loader::new(Box::new(fixture), options, Position::default()).unwrap();
        let batches: Result<Vec<Batch>, _> = loader.by_ref().collect();
        (batches.unwrap(), loader.broken())
    };
    let (batches, broken) = run(1);
    assert_eq!(run(5), (batches.clone(), broken.clone()));
    let places: Vec<_> = broken.iter().map(|broken| broken.place.as_str()).collect();
    assert_eq!(places, ["place 1", "place 5", "place 9"]);
    assert!(
        broken[0]
            .to_string()
            .starts_with("place 1 is not a readable picture")
    );
    assert!(
        batches
            .iter()
            .all(|b| b.len() == 4 && b.indices.iter().all(|i| i % 4 != 1))
    );
}

#[test]
fn a_data_set_of_broken_pictures_is_an_error_and_then_the_end() {
    let fixture = Fixture {
        reading: |_| Reading::Broken,
        ..Fixture::new(8)
    };
    let mut loader = Loader::new(Box::new(fixture), options(), Position::default()).unwrap();
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert!(
        error.starts_with("16 pictures in a row cannot be decoded, the last is place"),
        "{error}"
    );
    assert!(loader.next().is_none());
}

#[test]
fn errors_and_panics_of_a_worker_are_errors_of_the_loader() {
    let faults: [(Read, &str); 2] = [
        (
            |index| match index {
                6 => Reading::Unreadable,
                _ => Reading::Good,
            },
            "read disk: ",
        ),
        (
            |index| match index {
                6 => Reading::Panics,
                _ => Reading::Good,
            },
            "the worker that read sample 6 panicked: sample 6 is cursed",
        ),
    ];
    for (reading, expected) in faults {
        for threads in [1, 3] {
            let fixture = Fixture {
                reading,
                ..Fixture::new(12)
            };
            let options = LoaderOptions {
                threads,
                shuffle: false,
                ..options()
            };
            let mut loader = Loader::new(Box::new(fixture), options, Position::default()).unwrap();
            assert!(loader.next().unwrap().is_ok());
            let error = loader.next().unwrap().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(loader.next().is_none());
        }
    }
}

/// Runs a test that would wait for ever where the loader or its fixture fails; panics after a minute.
fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    let (sender, done) = mpsc::channel();
    let test = thread::spawn(move || {
        test();
        // The receiver waits, or has given up.
        let _ = sender.send(());
    });
    match done.recv_timeout(Duration::from_secs(60)) {
        Err(RecvTimeoutError::Timeout) => panic!("the test was not done after a minute"),
        // A sender that is gone without a word is a test that panicked.
        _ => test.join().unwrap_or_else(|panic| resume_unwind(panic)),
    }
}

fn wait_for(reads: &AtomicUsize, count: usize) {
    while reads.load(Ordering::SeqCst) < count {
        thread::yield_now();
    }
}

#[test]
fn a_dropped_loader_stops_its_threads_at_the_picture_they_are_at() {
    within_a_minute(|| {
        let reads = Arc::new(AtomicUsize::new(0));
        let fixture = Fixture {
            delay: Duration::from_millis(20),
            reads: Some(reads.clone()),
            ..Fixture::new(300)
        };
        let options = LoaderOptions {
            batch: 100,
            threads: 4,
            epochs: None,
            ..options()
        };
        let loader = Loader::new(Box::new(fixture), options, Position::default()).unwrap();
        let shared: Weak<Shared> = Arc::downgrade(&loader.shared);
        wait_for(&reads, 8);
        drop(loader);
        // Far from the 200 of the window.
        assert!(reads.load(Ordering::SeqCst) < 100);
        // Every thread held what it shared.
        assert_eq!(shared.strong_count(), 0);
    });
}

#[test]
fn the_window_bounds_what_is_read_ahead() {
    within_a_minute(|| {
        let reads = Arc::new(AtomicUsize::new(0));
        let fixture = Fixture {
            reads: Some(reads.clone()),
            ..Fixture::new(100)
        };
        let options = LoaderOptions {
            prefetch: 3,
            threads: 4,
            ..options()
        };
        let mut loader = Loader::new(Box::new(fixture), options, Position::default()).unwrap();
        for taken in 0..3 {
            let most = (taken + 3) * 4;
            wait_for(&reads, most);
            thread::sleep(Duration::from_millis(20));
            assert_eq!(reads.load(Ordering::SeqCst), most);
            assert!(loader.next().is_some());
        }
    });
}

#[test]
fn options_that_cannot_be_are_refused_with_the_key() {
    let fault = |change: fn(&mut LoaderOptions)| {
        let mut options = options();
        change(&mut options);
        load(Fixture::new(11), options).unwrap_err().to_string()
    };
    assert!(fault(|o| o.views = 0).contains("`views` is 0"));
    assert!(fault(|o| o.threads = 0).contains("`threads` is 0"));
    assert!(fault(|o| o.prefetch = 0).contains("`prefetch` is 0"));
    assert!(fault(|o| o.geometry.width = 0).contains("input geometry"));
    assert!(fault(|o| o.geometry.std[1] = 0.0).contains("input geometry"));
    assert!(fault(|o| o.geometry.width = 9).contains("found 9 × 8"));
    let large = fault(|o| o.batch = 64);
    assert!(
        large.contains("batch of 64") && large.contains("11 samples"),
        "{large}"
    );
}

#[test]
fn only_samples_with_a_text_take_part_where_texts_are_asked_for() {
    let fixture = || {
        let mut fixture = Fixture::new(9);
        for sample in &mut fixture.listing.samples[..5] {
            sample.captions.clear();
            sample.label = None;
        }
        fixture
    };
    let options = LoaderOptions {
        epochs: Some(1),
        ..options()
    };
    let batches = load(fixture(), options.clone()).unwrap();
    let mut indices: Vec<usize> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    indices.sort_unstable();
    assert_eq!(indices, [5, 6, 7, 8]);
    let mut none = fixture();
    none.listing.samples.truncate(5);
    let error = load(none, options).unwrap_err().to_string();
    assert!(
        error.starts_with("5 samples, none with a caption"),
        "{error}"
    );
}

#[test]
fn views_come_again_after_so_many_epochs_and_orders_do_not() {
    let options = LoaderOptions {
        view_epochs: Some(2),
        epochs: Some(4),
        drop_last: true,
        batch: 11,
        texts: None,
        ..options()
    };
    let batches = load(Fixture::new(11), options).unwrap();
    let view = |epoch: usize, sample: usize| {
        let batch = &batches[epoch];
        let row = batch.indices.iter().position(|index| *index == sample);
        let len = batch.views[1].len() / 11;
        &batch.views[1][row.unwrap() * len..][..len]
    };
    for sample in 0..11 {
        assert_eq!(view(0, sample), view(2, sample));
        assert_eq!(view(1, sample), view(3, sample));
        assert_ne!(view(0, sample), view(1, sample));
    }
    assert_ne!(batches[0].indices, batches[2].indices);
}
