//! Several threads give the bits of one: whole models, every kernel set, every operator's output, floats among them.

mod common;

use common::run::run;
use common::samples;
use pinhole_runtime::kernel::{Threads, available};
use pinhole_runtime::model::Model;

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let builders = samples::all();
    for set in available() {
        for count in [1, 2, 3, 5] {
            let threads = Threads::new(set, count)
                .expect("threads")
                .cutting_everything();
            assert_eq!(threads.count(), count);
            for (number, builder) in builders.iter().enumerate() {
                let file = builder.build();
                let model = Model::load(&file).expect("a sound model");
                for seed in 1..6 {
                    let expected = run(&model, set, seed);
                    let found = threads.install(|| run(&model, &threads, seed));
                    for (op, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        let (name, kind) = (set.name(), model.ops()[op].kind);
                        assert_eq!(
                            found, expected,
                            "{name}, {count} threads, model {number}, {kind:?}"
                        );
                    }
                }
            }
        }
        println!("{} on 1, 2, 3, 5 threads: equal", set.name());
    }
}

#[test]
fn operations_from_outside_the_pool_run_too() {
    let file = samples::image_s8().build();
    let model = Model::load(&file).expect("a sound model");
    for set in available() {
        let threads = Threads::new(set, 2).expect("threads").cutting_everything();
        assert_eq!(run(&model, &threads, 7), run(&model, set, 7));
    }
}
