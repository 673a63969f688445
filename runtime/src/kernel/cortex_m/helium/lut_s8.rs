//! Tables of bytes for each channel, 8 elements at a time: the place of an entry in all tables is a gather's offset.

use core::arch::asm;

use crate::kernel::scalar;

/// Tables whose entries an offset of 16 bits reaches.
const MAX_TABLES: usize = 256;

/// `dst[i, c] = tables[index[c]][src[i, c] + 128]`: 7 instructions for 8 elements.
pub(super) fn lut_channels_s8(tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
    let largest = index.iter().fold(0, |largest, &table| table.max(largest));
    if index.is_empty() || usize::from(largest) >= tables.len().min(MAX_TABLES) {
        return scalar::lut_channels_s8(tables, index, src, dst);
    }
    let rows = dst.chunks_mut(index.len()).zip(src.chunks(index.len()));
    for (dst, src) in rows {
        let len = dst.len().min(src.len());
        // SAFETY: Reads `len` elements and indices and writes `len` elements, which both slices and `index`, no shorter
        // than a row, have; the loop masks lanes beyond, and does not run for 0. Every index is below the number of
        // tables, so that its 256 entries are read. Narrow memory operands take the registers r0 to r7 alone.
        unsafe {
            asm!(
                "vmov.i16 q3, #128",
                "wlstp.16 lr, lr, 3f",
                "2:",
                "vldrb.u16 q0, [r1], #8",
                "vldrb.u16 q1, [r2], #8",
                "veor q0, q0, q3",
                "vsli.16 q0, q1, #8",
                "vldrb.u16 q2, [{tables}, q0]",
                "vstrb.16 q2, [r0], #8",
                "letp lr, 2b",
                "3:",
                inout("lr") len => _, tables = in(reg) tables.as_ptr(),
                inout("r0") dst.as_mut_ptr() => _, inout("r1") src.as_ptr() => _,
                inout("r2") index.as_ptr() => _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                out("d6") _, out("d7") _,
                options(nostack)
            );
        }
    }
}

/// Offsets of the tables of 8 pixels' channels.
const CHANNELS: [u16; 24] = {
    let mut offsets = [0; 24];
    let mut sample = 0;
    while sample < 24 {
        offsets[sample] = (sample % 3 * 256) as u16;
        sample += 1;
    }
    offsets
};

/// `dst[i, c] = tables[c][src[i, c]]` of pixels: 13 instructions for 8 of them.
pub(super) fn lut_rgb_u8(tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
    let turns = src.len().min(dst.len()) / CHANNELS.len();
    let done = turns * CHANNELS.len();
    // SAFETY: Reads and writes `done` bytes, which both slices have. An offset of a byte and of a table of three is
    // within all three. The loop does not run for 0. Narrow memory operands take the registers r0 to r7 alone.
    unsafe {
        asm!(
            "vldrh.u16 q3, [r2]",
            "vldrh.u16 q4, [r2, #16]",
            "vldrh.u16 q5, [r2, #32]",
            "wls lr, lr, 3f",
            "2:",
            "vldrb.u16 q0, [r1], #8",
            "vldrb.u16 q1, [r1], #8",
            "vldrb.u16 q2, [r1], #8",
            "vadd.i16 q0, q0, q3",
            "vadd.i16 q1, q1, q4",
            "vadd.i16 q2, q2, q5",
            "vldrb.u16 q6, [{tables}, q0]",
            "vldrb.u16 q0, [{tables}, q1]",
            "vldrb.u16 q1, [{tables}, q2]",
            "vstrb.16 q6, [r0], #8",
            "vstrb.16 q0, [r0], #8",
            "vstrb.16 q1, [r0], #8",
            "le lr, 2b",
            "3:",
            inout("lr") turns => _, tables = in(reg) tables.as_ptr(),
            inout("r0") dst.as_mut_ptr() => _, inout("r1") src.as_ptr() => _,
            in("r2") CHANNELS.as_ptr(),
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _,
            options(nostack)
        );
    }
    scalar::lut_rgb_u8(tables, &src[done..], &mut dst[done..]);
}
