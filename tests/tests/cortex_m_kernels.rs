//! The integer kernel tests of the runtime on emulated Cortex-M4, M7 and M55, and the instructions of single layers. Ignored
//! by default, since they need an emulator and three targets; `./ci.sh qemu` runs them.

use pinhole_tests::cortex_m::{CPUS, LAYERS, count, run};

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn every_set_of_every_cpu_equals_the_scalar_one() {
    for cpu in &CPUS {
        let text = run(cpu, "check").unwrap_or_else(|reason| panic!("{reason}"));
        let sets: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("set "))
            .collect();
        assert_eq!(sets, cpu.sets, "{}", cpu.name);
        let tests = text
            .lines()
            .filter(|line| line.starts_with("passed "))
            .count();
        assert_eq!(tests, 26, "{text}");
        println!(
            "{} on {}: {tests} tests, kernel sets covered: {}",
            cpu.name,
            cpu.machine,
            sets.join(", ")
        );
    }
}

#[test]
#[ignore = "needs qemu-system-arm and the thumb targets; ./ci.sh qemu"]
fn no_layer_takes_more_instructions_than_with_cmsis_nn() {
    for cpu in &CPUS {
        let counts = count(cpu).unwrap_or_else(|reason| panic!("{reason}"));
        let fastest = cpu.sets[cpu.sets.len() - 1];
        for (layer, (name, _)) in LAYERS.iter().enumerate() {
            let found = counts
                .iter()
                .find(|count| count.layer == layer && count.set == fastest);
            let per_mac = found
                .unwrap_or_else(|| panic!("{name} is not counted"))
                .per_mac;
            let theirs = cpu.cmsis_nn[layer];
            assert!(
                per_mac <= theirs,
                "{}, {name}: {per_mac:.3}, CMSIS-NN {theirs}",
                cpu.name
            );
        }
        println!("{}: {} layers, none above CMSIS-NN", cpu.name, LAYERS.len());
    }
}
