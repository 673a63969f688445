//! A plugin for QEMU that counts the instructions of a guest, in regions that the guest marks, by class.
//!
//! ```sh
//! cargo build --release -p pinhole-tcg-count
//! qemu-aarch64 -cpu cortex-a76 -plugin target/release/libtcg_count.so,out=counts.txt,blocks=20 PROGRAM
//! qemu-system-arm … -plugin target/release/libtcg_count.so,at=0x10002000:1,at=0x10002040:0
//! ```
//!
//! It is not a profiler of time: an emulator has no caches and no pipeline. Counts repeat from run to run.
//!
//! **Regions.** A program begins in region 0. In user mode it enters region `n` by the system call [`MARK`] with `n` as its
//! first argument; no kernel has a call of this number, so that it fails and does nothing else. A program for an M-profile
//! board has no system calls: there the hint `dbg #n` that begins a block does it, which `isb` before it makes sure of; `dbg #15`
//! enters the region after the present one. Any other program is marked from outside, by the arrival at an address:
//! `at=ADDRESS:REGION`, any number of times; `next=ADDRESS` enters the region after the present one. Such an address has to be one
//! that is jumped to: the entry of a function. Counts are exact, but for a block that a fault leaves early; threads of the
//! guest are counted into the region of the last mark.
//!
//! **Options**, separated by commas: `out=FILE`, standard error when left out; `blocks=N` adds the N blocks that took most
//! instructions outside region 0; `at`, `next` as above.
//!
//! **Output.** Lines of columns that blanks separate, the first one naming them: `region`, `entries`, `instructions` and one
//! for each [`class::Class`]; a block has its address and symbol instead of a region and its executions for entries.
//!
//! **How.** QEMU translates a block of instructions once and runs it often. When it translates, the classes of the block are
//! counted; when the block runs, one inline addition counts the run. A mark multiplies the two for all blocks that ran since
//! the last one. The interface is version 1 of <https://www.qemu.org/docs/master/devel/tcg-plugins.html>, QEMU 6.0 to 8.1.
#![cfg(target_os = "linux")]

mod class;
mod count;
mod options;
// The functions that it calls are QEMU's; a test has none to link with.
#[cfg(not(test))]
mod plugin;
#[cfg(not(test))]
mod qemu;

/// Number of the system call that enters a region: `ph` in ASCII, far above the last of Linux.
pub const MARK: i64 = 0x7068;

/// T32 `dbg #n` as it lies in memory, without `n` in the low four bits of its third byte.
pub const HINT: [u8; 4] = [0xAF, 0xF3, 0xF0, 0x80];

/// The `n` of the hint that enters the region after the present one.
pub const HINT_NEXT: u64 = 15;
