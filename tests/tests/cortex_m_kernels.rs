//! The kernel tests of the runtime, of integers and of floats, on emulated Cortex-M4, M7 and M55, and the instructions
//! of single layers. Ignored by default, since they need an emulator and three targets; `./ci.sh qemu` runs them.

use std::time::Instant;

use pinhole_tests::cortex_m::{CPUS, Cpu, FLOAT_LAYERS, LAYERS, build, count, run, start};
use pinhole_tests::root;

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn every_set_of_every_cpu_equals_the_scalar_one() {
    // An emulator has one thread, and this is the longest of all tests.
    std::thread::scope(|scope| {
        for cpu in &CPUS {
            scope.spawn(move || check(cpu));
        }
    });
}

/// Panics when a set is missing, or a test; a test that fails ends the program with an error.
fn check(cpu: &Cpu) {
    build(cpu).unwrap_or_else(|reason| panic!("{reason}"));
    let start = Instant::now();
    let text = run(cpu, &["check"]).unwrap_or_else(|reason| panic!("{reason}"));
    let seconds = start.elapsed().as_secs();
    let sets: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("set "))
        .collect();
    assert_eq!(sets, cpu.sets, "{}", cpu.name);
    let tests = text
        .lines()
        .filter(|line| line.starts_with("passed "))
        .count();
    assert_eq!(tests, 78, "{text}");
    println!(
        "{} on {}: {tests} tests in {seconds} s, kernel sets covered: {}",
        cpu.name,
        cpu.machine,
        sets.join(", ")
    );
}

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn no_layer_takes_more_instructions_than_with_cmsis_nn() {
    for cpu in &CPUS {
        let counts = count(cpu).unwrap_or_else(|reason| panic!("{reason}"));
        let fastest = cpu.sets[cpu.sets.len() - 1];
        for (layer, theirs) in cpu.cmsis_nn.into_iter().enumerate() {
            let (name, _) = LAYERS[layer];
            let found = counts
                .iter()
                .find(|count| count.of == "s8" && count.layer == layer && count.set == fastest);
            let ours = found
                .unwrap_or_else(|| panic!("{name} is not counted"))
                .per_unit;
            assert!(
                ours <= theirs,
                "{}, {name}: {ours:.3}, CMSIS-NN {theirs}",
                cpu.name
            );
        }
        let layers = cpu.cmsis_nn.len();
        println!("{}: {layers} layers, none above CMSIS-NN", cpu.name);
    }
}

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn products_of_halves_take_no_more_than_0_35_instructions_with_helium() {
    let counts = count(&CPUS[2]).unwrap_or_else(|reason| panic!("{reason}"));
    for (layer, limit) in [(0, 0.35), (1, 0.35), (3, 0.35), (5, 0.35), (10, 0.35)] {
        let (name, _) = FLOAT_LAYERS[layer];
        let found = counts.iter().find(|count| {
            (&*count.of, &*count.set, count.layer) == ("f16", "cortex_m-helium", layer)
        });
        let ours = found
            .unwrap_or_else(|| panic!("{name} is not counted"))
            .per_unit;
        assert!(ours <= limit, "{name}: {ours:.3}, not {limit}");
        println!("{name}: {ours:.3} instructions per MAC");
    }
}

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn the_first_operator_begins_within_20_000_instructions() {
    let model = root().join("models/lite0/image.phm");
    for cpu in &CPUS {
        let start = start(cpu, &model).unwrap_or_else(|reason| panic!("{reason}"));
        assert!(start.first <= 20_000.0, "{}: {start:?}", cpu.name);
        println!(
            "{}: {:.0} instructions before the first operator, {:.0} for the checks of the file without its checksum",
            cpu.name, start.first, start.check
        );
    }
}
