//! Prints the instructions per MAC of every Cortex-M kernel set on emulated boards, beside those of CMSIS-NN:
//! `cargo run --release -p pinhole-tests --example cortex_m_count`.

use pinhole_tests::cortex_m::{CPUS, LAYERS, count};

fn main() -> Result<(), String> {
    for cpu in &CPUS {
        let counts = count(cpu)?;
        print!("\n{:<38}", format!("{}, instructions per MAC", cpu.name));
        for set in cpu.sets {
            print!("{set:>17}");
        }
        println!("{:>10}{:>8}", "CMSIS-NN", "ratio");
        for (layer, (name, _)) in LAYERS.iter().enumerate() {
            print!("{name:<38}");
            let mut last = None;
            for set in cpu.sets {
                let found = counts
                    .iter()
                    .find(|count| count.layer == layer && count.set == *set);
                match found {
                    Some(count) => print!("{:>17.3}", count.per_mac),
                    None => print!("{:>17}", "-"),
                }
                last = found.map(|count| count.per_mac);
            }
            let ratio = last.map_or(f64::NAN, |last| last / cpu.cmsis_nn[layer]);
            println!("{:>10.2}{ratio:>8.2}", cpu.cmsis_nn[layer]);
        }
    }
    Ok(())
}
