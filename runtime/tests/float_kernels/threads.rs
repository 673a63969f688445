//! The sets on three threads.

use std::sync::OnceLock;

use pinhole_runtime::kernel::{Kernels, Threads, available};

/// `kernels`, one of those of this CPU, on three threads that cut everything.
pub(crate) fn of(kernels: &dyn Kernels) -> &'static dyn Kernels {
    static THREADS: OnceLock<Vec<Threads>> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        let each = available().map(|kernels| Threads::new(kernels, 3).expect("three threads"));
        each.map(Threads::cutting_everything).collect()
    });
    let mut named = threads
        .iter()
        .filter(|threads| threads.name() == kernels.name());
    named.next().expect("a set of this CPU")
}
