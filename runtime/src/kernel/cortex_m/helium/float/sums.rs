//! Instructions on the sums of a tile: to and from memory at r12, where rows lie 256 bytes apart, and the registers q0
//! to q5. Each macro takes the rows and the vectors of a tile. Row 2 lies beyond the reach of an offset, and is
//! addressed by r8.

use crate::kernel::cortex_m::float::SUMS_ROW;

const _: () = assert!(SUMS_ROW == 256);

/// Loads the sums of rows of f32, of two vectors to q0 to q5 or of one to q0 to q2.
macro_rules! load_sums {
    (3 by 2) => {
        "add r8, r12, #512
        vldrw.u32 q0, [r12]
        vldrw.u32 q1, [r12, #16]
        vldrw.u32 q2, [r12, #256]
        vldrw.u32 q3, [r12, #272]
        vldrw.u32 q4, [r8]
        vldrw.u32 q5, [r8, #16]"
    };
    (1 by 2) => {
        "vldrw.u32 q0, [r12]
        vldrw.u32 q1, [r12, #16]"
    };
    (3 by 1) => {
        "add r8, r12, #512
        vldrw.u32 q0, [r12]
        vldrw.u32 q1, [r12, #256]
        vldrw.u32 q2, [r8]"
    };
    (1 by 1) => {
        "vldrw.u32 q0, [r12]"
    };
}

/// Stores what [`load_sums`] loads.
macro_rules! store_sums {
    (3 by 2) => {
        "add r8, r12, #512
        vstrw.32 q0, [r12]
        vstrw.32 q1, [r12, #16]
        vstrw.32 q2, [r12, #256]
        vstrw.32 q3, [r12, #272]
        vstrw.32 q4, [r8]
        vstrw.32 q5, [r8, #16]"
    };
    (1 by 2) => {
        "vstrw.32 q0, [r12]
        vstrw.32 q1, [r12, #16]"
    };
    (3 by 1) => {
        "add r8, r12, #512
        vstrw.32 q0, [r12]
        vstrw.32 q1, [r12, #256]
        vstrw.32 q2, [r8]"
    };
    (1 by 1) => {
        "vstrw.32 q0, [r12]"
    };
}

/// Sums in halves begin at 0.
macro_rules! zero_sums {
    (3 by 2) => {
        "vmov.i32 q0, #0
        vmov.i32 q1, #0
        vmov.i32 q2, #0
        vmov.i32 q3, #0
        vmov.i32 q4, #0
        vmov.i32 q5, #0"
    };
    (1 by 2) => {
        "vmov.i32 q0, #0
        vmov.i32 q1, #0"
    };
    (3 by 1) => {
        "vmov.i32 q0, #0
        vmov.i32 q1, #0
        vmov.i32 q2, #0"
    };
    (1 by 1) => {
        "vmov.i32 q0, #0"
    };
}

/// Adds sums in halves to those in f32; uses q6 and q7.
macro_rules! add_sums {
    (3 by 2) => {
        concat!(
            "add r8, r12, #512\n",
            add_sums!("q0", "[r12]", "[r12, #16]"),
            add_sums!("q1", "[r12, #32]", "[r12, #48]"),
            add_sums!("q2", "[r12, #256]", "[r12, #272]"),
            add_sums!("q3", "[r12, #288]", "[r12, #304]"),
            add_sums!("q4", "[r8]", "[r8, #16]"),
            add_sums!("q5", "[r8, #32]", "[r8, #48]"),
        )
    };
    (1 by 2) => {
        concat!(
            add_sums!("q0", "[r12]", "[r12, #16]"),
            add_sums!("q1", "[r12, #32]", "[r12, #48]"),
        )
    };
    (3 by 1) => {
        concat!(
            "add r8, r12, #512\n",
            add_sums!("q0", "[r12]", "[r12, #16]"),
            add_sums!("q1", "[r12, #256]", "[r12, #272]"),
            add_sums!("q2", "[r8]", "[r8, #16]"),
        )
    };
    (1 by 1) => {
        add_sums!("q0", "[r12]", "[r12, #16]")
    };
    ($sums:literal, $even:literal, $odd:literal) => {
        concat!(
            "vcvtb.f32.f16 q6, ",
            $sums,
            "\n",
            "vcvtt.f32.f16 q7, ",
            $sums,
            "\n",
            "vldrw.u32 ",
            $sums,
            ", ",
            $even,
            "\n",
            "vadd.f32 q6, q6, ",
            $sums,
            "\n",
            "vldrw.u32 ",
            $sums,
            ", ",
            $odd,
            "\n",
            "vadd.f32 q7, q7, ",
            $sums,
            "\n",
            "vstrw.32 q6, ",
            $even,
            "\n",
            "vstrw.32 q7, ",
            $odd,
            "\n",
        )
    };
}

pub(super) use {add_sums, load_sums, store_sums, zero_sums};
