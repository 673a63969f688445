//! Arenas of networks of well-known shapes against the lower bounds of their schedules.
//!
//!     cargo test -p pinhole-pack --test arena -- --nocapture

#[path = "support/networks.rs"]
mod networks;

use std::collections::BTreeMap;

use networks::{efficientnet_lite0, mobilenet_v2, tinyvit_5m, vit};
use pinhole_pack::lower::{Lowered, Place};
use pinhole_pack::patch::patch;
use pinhole_pack::plan::{Plan, plan};
use pinhole_pack::{Patched, StemPatches};

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

/// A sound plan, the same one every time; prints it and gives it.
fn planned(name: &str, mut lowered: Lowered, stem: Patched) -> Plan {
    let given = lowered.clone();
    let found = plan(&mut lowered);
    check(&lowered, &found);
    assert_eq!(
        plan(&mut given.clone()),
        found,
        "{name}: two plans of one graph differ"
    );
    let macs: u64 = lowered.ops.iter().map(|op| op.macs).sum();
    println!(
        "{name:22} {:2} bands, MAC +{:4.1} %  {:3} operators {:3} replace  arena {:8}  bound {:8}  ratio {:.3}",
        stem.bands,
        100.0 * stem.extra_macs as f64 / (macs - stem.extra_macs).max(1) as f64,
        lowered.ops.len(),
        found.replacing_ops,
        found.arena_bytes,
        found.lower_bound_bytes,
        ratio(&found)
    );
    found
}

fn ratio(plan: &Plan) -> f64 {
    plan.arena_bytes as f64 / plan.lower_bound_bytes as f64
}

fn networks() -> [(&'static str, Lowered); 6] {
    [
        ("efficientnet_lite0 224", efficientnet_lite0(224)),
        ("mobilenet_v2 0.35 96", mobilenet_v2(0.35, 96)),
        ("mobilenet_v2 0.35 224", mobilenet_v2(0.35, 224)),
        ("tinyvit_5m 224", tinyvit_5m()),
        ("vit 8m/16 224", vit(256, 10, 4, 16, 224)),
        ("vit b/32 224", vit(768, 12, 12, 32, 224)),
    ]
}

#[test]
fn arenas_are_within_five_percent_of_their_lower_bounds() {
    for (name, lowered) in networks() {
        let plan = planned(name, lowered, Patched::default());
        assert!(ratio(&plan) <= 1.05, "{name}: {:.3}", ratio(&plan));
    }
}

#[test]
fn a_stem_in_bands_lowers_the_arena_of_networks_that_begin_wide() {
    for (name, mut lowered) in networks() {
        let whole = plan(&mut lowered.clone());
        let stem = patch(&mut lowered, StemPatches::Auto);
        let plan = planned(name, lowered, stem);
        assert!(ratio(&plan) <= 1.10, "{name}: {:.3}", ratio(&plan));
        let wide = !name.starts_with("vit");
        assert_eq!(plan.arena_bytes < whole.arena_bytes, wide, "{name}");
    }
}
