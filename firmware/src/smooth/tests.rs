//! Sequences of frames and the events that they give.

extern crate std;

use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const SETTINGS: Smoothing = Smoothing {
    alpha: 0.5,
    enter: 0.6,
    leave: 0.3,
    margin: 0.1,
    frames: 2,
};

fn smoother<const N: usize>() -> Smoother<N> {
    Smoother::new(SETTINGS).unwrap()
}

fn score(class_index: u32, score: f32) -> ClassScore {
    ClassScore { class_index, score }
}

fn step<const N: usize>(smoother: &mut Smoother<N>, scores: &[ClassScore]) -> Vec<LiveEvent> {
    let mut events = Vec::new();
    smoother.update(scores, false, &mut |event| events.push(event));
    events
}

fn reject<const N: usize>(smoother: &mut Smoother<N>) -> Vec<LiveEvent> {
    let mut events = Vec::new();
    smoother.update(&[score(1, 0.9)], true, &mut |event| events.push(event));
    events
}

#[test]
fn a_class_appears_after_its_average_lasted_and_disappears_likewise() {
    let mut smoother = smoother::<4>();
    // 0.45, 0.675, 0.7875: two frames above 0.6.
    assert_eq!(step(&mut smoother, &[score(7, 0.9)]), []);
    assert_eq!(step(&mut smoother, &[score(7, 0.9)]), []);
    assert_eq!(
        step(&mut smoother, &[score(7, 0.9)]),
        [LiveEvent::Appeared { class_index: 7 }]
    );
    assert_eq!(smoother.leader(), Some(7));
    // 0.39, 0.197, 0.098.
    assert_eq!(step(&mut smoother, &[]), []);
    assert_eq!(step(&mut smoother, &[]), []);
    assert_eq!(
        step(&mut smoother, &[]),
        [LiveEvent::Disappeared { class_index: 7 }]
    );
    assert_eq!(smoother.leader(), None);
}

#[test]
fn between_the_thresholds_nothing_changes_either_way() {
    let mut one = smoother::<4>();
    for _ in 0..50 {
        assert_eq!(step(&mut one, &[score(1, 0.55)]), []);
    }
    for _ in 0..6 {
        step(&mut one, &[score(1, 1.0)]);
    }
    assert!(one.is_present(1));
    for _ in 0..50 {
        assert_eq!(step(&mut one, &[score(1, 0.35)]), []);
    }
    assert!(one.is_present(1) && (one.average_of(1) - 0.35).abs() < 1e-4);
}

#[test]
fn one_frame_of_another_class_is_not_told() {
    let mut smoother = smoother::<4>();
    for _ in 0..8 {
        step(&mut smoother, &[score(1, 1.0)]);
    }
    assert_eq!(step(&mut smoother, &[score(2, 1.0)]), []);
    for _ in 0..8 {
        assert_eq!(step(&mut smoother, &[score(1, 1.0)]), []);
    }
}

#[test]
fn a_class_that_overtakes_leads_after_it_lasted() {
    let mut smoother = smoother::<4>();
    for _ in 0..8 {
        step(&mut smoother, &[score(1, 0.9), score(2, 0.8)]);
    }
    assert_eq!(smoother.leader(), Some(1));
    // Within the margin: 1 keeps the lead.
    for _ in 0..20 {
        assert_eq!(step(&mut smoother, &[score(2, 0.85), score(1, 0.8)]), []);
    }
    let mut events = Vec::new();
    for _ in 0..6 {
        events.extend(step(&mut smoother, &[score(2, 0.95), score(1, 0.7)]));
    }
    assert_eq!(events, [LiveEvent::Changed { from: 1, to: 2 }]);
}

#[test]
fn when_the_leader_leaves_the_next_present_class_leads_at_once() {
    let mut smoother = smoother::<4>();
    for _ in 0..8 {
        step(&mut smoother, &[score(1, 0.9), score(2, 0.8)]);
    }
    let mut events = Vec::new();
    for _ in 0..6 {
        events.extend(step(&mut smoother, &[score(2, 0.45)]));
    }
    let changed = events.contains(&LiveEvent::Changed { from: 1, to: 2 });
    assert!(changed && events.contains(&LiveEvent::Disappeared { class_index: 1 }));
    assert_eq!((smoother.leader(), events.len()), (Some(2), 2));
}

#[test]
fn rejected_frames_are_told_once_and_count_as_no_class() {
    let mut smoother = smoother::<4>();
    for _ in 0..8 {
        step(&mut smoother, &[score(1, 1.0)]);
    }
    assert_eq!(reject(&mut smoother), []);
    assert!(!smoother.is_rejecting());
    assert_eq!(reject(&mut smoother), [LiveEvent::Rejecting]);
    assert_eq!(
        reject(&mut smoother),
        [LiveEvent::Disappeared { class_index: 1 }]
    );
    assert!(smoother.is_rejecting());
    // A single accepted frame between does not end it.
    step(&mut smoother, &[score(1, 1.0)]);
    assert_eq!(reject(&mut smoother), []);
    step(&mut smoother, &[score(1, 1.0)]);
    assert_eq!(
        step(&mut smoother, &[score(1, 1.0)])[0],
        LiveEvent::Accepting
    );
}

#[test]
fn a_full_table_gives_the_lowest_absent_class_up_and_keeps_the_present_ones() {
    let mut smoother = smoother::<2>();
    for _ in 0..8 {
        step(&mut smoother, &[score(1, 1.0), score(2, 0.1)]);
    }
    // 0.15 of class 3 is above the 0.05 of class 2 after its decay.
    step(&mut smoother, &[score(1, 1.0), score(3, 0.3)]);
    assert_eq!(smoother.average_of(2), 0.0);
    assert!((smoother.average_of(3) - 0.15).abs() < 1e-6);
    assert_eq!(smoother.turned_away(), 0);
    // A lower one is turned away.
    step(
        &mut smoother,
        &[score(1, 1.0), score(3, 0.3), score(4, 0.1)],
    );
    assert_eq!((smoother.average_of(4), smoother.turned_away()), (0.0, 1));
    // Both places are taken by present classes: nobody gets in.
    for _ in 0..8 {
        step(&mut smoother, &[score(1, 1.0), score(3, 1.0)]);
    }
    step(
        &mut smoother,
        &[score(1, 0.7), score(3, 0.7), score(5, 1.0)],
    );
    assert_eq!((smoother.average_of(5), smoother.turned_away()), (0.0, 2));
    assert!(smoother.is_present(1) && smoother.is_present(3));
}

#[test]
fn numbers_that_are_not_finite_and_classes_named_twice_do_no_harm() {
    let mut smoother = smoother::<2>();
    step(
        &mut smoother,
        &[score(1, f32::NAN), score(2, f32::INFINITY)],
    );
    assert_eq!((smoother.average_of(1), smoother.average_of(2)), (0.0, 0.0));
    step(&mut smoother, &[score(1, 0.4), score(1, 1.0)]);
    assert!((smoother.average_of(1) - 0.2).abs() < 1e-6);
    for huge in [f32::MAX, f32::MIN, f32::MAX] {
        step(&mut smoother, &[score(1, huge)]);
    }
    assert!(smoother.average_of(1).is_finite());
}

#[test]
fn settings_out_of_range_are_refused() {
    for alpha in [0.0, -0.1, 1.1, f32::NAN] {
        let refused = Smoother::<1>::new(Smoothing { alpha, ..SETTINGS });
        assert!(matches!(refused, Err(SmoothError::Alpha { .. })));
    }
    for (enter, leave) in [
        (0.5, 0.5),
        (0.5, 0.6),
        (f32::NAN, 0.1),
        (0.5, f32::NEG_INFINITY),
    ] {
        let settings = Smoothing {
            enter,
            leave,
            ..SETTINGS
        };
        let refused = Smoother::<1>::new(settings);
        assert!(matches!(refused, Err(SmoothError::Thresholds { .. })));
    }
    let settings = Smoothing {
        margin: -1.0,
        ..SETTINGS
    };
    assert_eq!(
        Smoother::<1>::new(settings).err(),
        Some(SmoothError::Margin { found: -1.0 })
    );
}

proptest! {
    /// Whatever comes, a class appears and disappears in turns, and what the events say is what the smoother says.
    #[test]
    fn events_and_state_agree(
        frames in prop::collection::vec((prop::collection::vec((0u32..6, -1.0f32..2.0), 0..6), prop::bool::weighted(0.2)), 0..80),
    ) {
        let mut smoother = smoother::<3>();
        let mut present = vec![false; 6];
        let mut rejecting = false;
        for (scores, rejected) in frames {
            let scores: Vec<ClassScore> = scores.into_iter().map(|(c, s)| score(c, s)).collect();
            let mut events = Vec::new();
            smoother.update(&scores, rejected, &mut |event| events.push(event));
            for event in events {
                match event {
                    LiveEvent::Appeared { class_index } => {
                        prop_assert!(!core::mem::replace(&mut present[class_index as usize], true));
                    }
                    LiveEvent::Disappeared { class_index } => {
                        prop_assert!(core::mem::replace(&mut present[class_index as usize], false));
                    }
                    LiveEvent::Changed { from, to } => {
                        prop_assert!(from != to && present[to as usize]);
                    }
                    LiveEvent::Motion { .. } => prop_assert!(false, "motion is none of its events"),
                    LiveEvent::Rejecting => prop_assert!(!core::mem::replace(&mut rejecting, true)),
                    LiveEvent::Accepting => prop_assert!(core::mem::replace(&mut rejecting, false)),
                }
            }
            for (class, present) in (0u32..).zip(&present) {
                prop_assert_eq!(smoother.is_present(class), *present);
            }
            prop_assert_eq!(smoother.is_rejecting(), rejecting);
            prop_assert_eq!(smoother.leader().is_some(), present.contains(&true));
        }
    }
}
