//! Single instructions that the stable compiler has no intrinsics for (rust-lang/rust#117237).

use core::arch::asm;

/// Bytes 0 and 2, sign-extended to 16 bits.
#[inline(always)]
pub(super) fn sxtb16(word: u32) -> u32 {
    let pair;
    // SAFETY: Computes on registers.
    unsafe {
        asm!("sxtb16 {}, {}", lateout(reg) pair, in(reg) word, options(pure, nomem, nostack, preserves_flags));
    }
    pair
}

/// Bytes 1 and 3, sign-extended to 16 bits.
#[inline(always)]
pub(super) fn sxtb16_odd(word: u32) -> u32 {
    let pair;
    // SAFETY: Computes on registers.
    unsafe {
        asm!("sxtb16 {}, {}, ror #8", lateout(reg) pair, in(reg) word, options(pure, nomem, nostack, preserves_flags));
    }
    pair
}

/// `c + ⌊(a · b + 2³¹) / 2³²⌋`.
#[inline(always)]
pub(super) fn smmlar(a: i32, b: i32, c: i32) -> i32 {
    let sum;
    // SAFETY: Computes on registers.
    unsafe {
        asm!("smmlar {}, {}, {}, {}", lateout(reg) sum, in(reg) a, in(reg) b, in(reg) c, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// `value` limited to 0..=255.
#[inline(always)]
pub(super) fn usat8(value: i32) -> i32 {
    let limited;
    // SAFETY: Computes on registers, and sets the flag Q, which nothing reads.
    unsafe {
        asm!("usat {}, #8, {}", lateout(reg) limited, in(reg) value, options(pure, nomem, nostack));
    }
    limited
}
