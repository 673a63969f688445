//! Arenas of networks of well-known shapes against the lower bounds of their schedules.
//!
//!     cargo test -p pinhole-pack --test arena -- --nocapture

#[path = "support/networks.rs"]
mod networks;

use std::collections::BTreeMap;

use networks::{efficientnet_lite0, mobilenet_v2, tinyvit_5m, vit};
use pinhole_pack::lower::{Lowered, Place};
use pinhole_pack::plan::{Plan, plan};

/// Runs the operators on paper: whoever reads a storage finds every byte as its writer left it.
fn check(lowered: &Lowered, plan: &Plan) {
    let mut arena: BTreeMap<usize, usize> = BTreeMap::new(); // 16-byte line → storage
    let lines = |offset: usize, bytes: usize| offset / 16..(offset + bytes).div_ceil(16);
    let place = |value: usize| {
        let storage = lowered.values[value].storage;
        lines(plan.value_offsets[storage], lowered.values[storage].bytes())
    };
    for &input in &lowered.inputs {
        arena.extend(place(input).map(|line| (line, input)));
    }
    for (index, op) in lowered.ops.iter().enumerate() {
        for line in lines(plan.scratch_offsets[index], plan.scratch_bytes[index]) {
            arena.insert(line, usize::MAX);
        }
        for &input in &op.inputs {
            let value = &lowered.values[input];
            let intact = |line: usize| arena.get(&line) == Some(&value.storage);
            let constant = matches!(value.place, Place::Data(_));
            assert!(
                constant || place(input).all(intact),
                "{} reads {}",
                op.name,
                value.name
            );
        }
        let storage = lowered.values[op.output].storage;
        arena.extend(place(op.output).map(|line| (line, storage)));
    }
    for &output in &lowered.outputs {
        let storage = lowered.values[output].storage;
        assert!(
            place(output).all(|line| arena.get(&line) == Some(&storage)),
            "an output is overwritten"
        );
    }
}

/// The same plan again, sound, and at most 1.05 times its bound.
fn ratio(name: &str, mut lowered: Lowered) -> f64 {
    let given = lowered.clone();
    let found = plan(&mut lowered);
    check(&lowered, &found);
    assert_eq!(
        plan(&mut given.clone()),
        found,
        "{name}: two plans of one graph differ"
    );
    let ratio = found.arena_bytes as f64 / found.lower_bound_bytes as f64;
    println!(
        "{name:28} {:4} operators {:4} replace  arena {:9} bytes  bound {:9} bytes  ratio {ratio:.3}",
        lowered.ops.len(),
        found.replacing_ops,
        found.arena_bytes,
        found.lower_bound_bytes
    );
    ratio
}

#[test]
fn arenas_are_within_five_percent_of_their_lower_bounds() {
    let networks = [
        ("efficientnet_lite0 224", efficientnet_lite0(224)),
        ("mobilenet_v2 0.35 96", mobilenet_v2(0.35, 96)),
        ("mobilenet_v2 0.35 224", mobilenet_v2(0.35, 224)),
        ("tinyvit_5m 224", tinyvit_5m()),
        ("vit 8m/16 224", vit(256, 10, 4, 16, 224)),
        ("vit b/32 224", vit(768, 12, 12, 32, 224)),
    ];
    for (name, lowered) in networks {
        let ratio = ratio(name, lowered);
        assert!(ratio <= 1.05, "{name}: {ratio:.3}");
    }
}
