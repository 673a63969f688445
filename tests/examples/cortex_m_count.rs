//! Prints the instructions of every Cortex-M kernel set on emulated boards, per MAC or element, beside those of CMSIS-NN:
//! `cargo run --release -p pinhole-tests --example cortex_m_count`. With `-- size` the bytes of code instead.

use pinhole_tests::cortex_m::{CPUS, Cpu, LAYERS, count, sizes};

fn main() -> Result<(), String> {
    if std::env::args().nth(1).as_deref() == Some("size") {
        return print_sizes();
    }
    CPUS.iter().try_for_each(print_counts)
}

fn print_counts(cpu: &Cpu) -> Result<(), String> {
    let counts = count(cpu)?;
    print!("\n{:<40}", format!("{}, instructions per MAC", cpu.name));
    for set in cpu.sets {
        print!("{set:>17}");
    }
    println!("{:>10}{:>8}", "CMSIS-NN", "ratio");
    for (layer, (name, _)) in LAYERS.iter().enumerate() {
        print!("{name:<40}");
        let mut last = f64::NAN;
        for set in cpu.sets {
            let mut counts = counts.iter();
            match counts.find(|count| count.layer == layer && count.set == *set) {
                Some(count) => {
                    last = count.per_unit;
                    print!("{last:>17.3}");
                }
                None => print!("{:>17}", "-"),
            }
        }
        match cpu.cmsis_nn.get(layer) {
            Some(theirs) => println!("{theirs:>10.2}{:>8.2}", last / theirs),
            None => println!("{:>10}{:>8}", "-", "-"),
        }
    }
    Ok(())
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
