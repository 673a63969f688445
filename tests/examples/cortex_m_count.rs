//! Prints the instructions of every Cortex-M kernel set on emulated boards, per MAC or element, integers beside CMSIS-NN, then
//! f32 and halves: `cargo run --release -p pinhole-tests --example cortex_m_count`. With `-- size` the bytes of code instead.

use pinhole_tests::cortex_m::{CPUS, Count, Cpu, TYPES, count, layers, sizes};

fn main() -> Result<(), String> {
    if std::env::args().nth(1).as_deref() == Some("size") {
        return print_sizes();
    }
    for cpu in &CPUS {
        let counts = count(cpu)?;
        TYPES.iter().for_each(|of| print_counts(cpu, of, &counts));
    }
    Ok(())
}

fn print_counts(cpu: &Cpu, of: &str, counts: &[Count]) {
    print!(
        "\n{:<40}",
        format!("{}, {of}, instructions per MAC", cpu.name)
    );
    for set in cpu.sets {
        print!("{set:>17}");
    }
    if of == "s8" {
        print!("{:>10}{:>8}", "CMSIS-NN", "ratio");
    }
    println!();
    for (layer, (name, _)) in layers(of).iter().enumerate() {
        print!("{name:<40}");
        let mut last = f64::NAN;
        for set in cpu.sets {
            let mut counts = counts.iter();
            match counts.find(|count| (count.layer, &*count.set, &*count.of) == (layer, set, of)) {
                Some(count) => {
                    last = count.per_unit;
                    print!("{last:>17.3}");
                }
                None => print!("{:>17}", "-"),
            }
        }
        match cpu.cmsis_nn.get(layer).filter(|_| of == "s8") {
            Some(theirs) => println!("{theirs:>10.2}{:>8.2}", last / theirs),
            None => println!(),
        }
    }
}

fn print_sizes() -> Result<(), String> {
    println!(
        "{:<10}{:<10}{:>10}{:>11}",
        "program", "opt-level", ".text", ".rodata"
    );
    for opt_level in ["3", "s", "z"] {
        for size in sizes(opt_level)? {
            let (code, constants) = (size.code, size.constants);
            println!(
                "{:<10}{opt_level:<10}{code:>10}{constants:>11}",
                size.program
            );
        }
    }
    Ok(())
}
