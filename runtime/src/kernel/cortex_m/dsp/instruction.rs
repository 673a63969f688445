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
pub(in crate::kernel::cortex_m) fn smmlar(a: i32, b: i32, c: i32) -> i32 {
    let sum;
    // SAFETY: Computes on registers.
    unsafe {
        asm!(
            "smmlar {}, {}, {}, {}",
            lateout(reg) sum, in(reg) a, in(reg) b, in(reg) c,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// `value` limited to −128..=127.
#[inline(always)]
pub(super) fn ssat8(value: i32) -> i32 {
    let limited;
    // SAFETY: Computes on registers, and sets the flag Q, which nothing reads.
    unsafe {
        asm!("ssat {}, #8, {}", lateout(reg) limited, in(reg) value, options(pure, nomem, nostack));
    }
    limited
}

/// [`crate::kernel::resample::clip8`]: `sum >> 22`, limited to 0..=255.
#[inline(always)]
pub(super) fn clip8(sum: i32) -> u8 {
    let limited: u32;
    // SAFETY: Computes on registers, and sets the flag Q, which nothing reads.
    unsafe {
        asm!("usat {}, #8, {}, asr #22", lateout(reg) limited, in(reg) sum, options(pure, nomem, nostack));
    }
    limited as u8
}

/// `value` limited to 0..=65535.
#[inline(always)]
pub(super) fn usat16(value: i32) -> i32 {
    let limited;
    // SAFETY: Computes on registers, and sets the flag Q, which nothing reads.
    unsafe {
        asm!("usat {}, #16, {}", lateout(reg) limited, in(reg) value, options(pure, nomem, nostack));
    }
    limited
}

/// `c + a₀ · b₀ + a₁ · b₁` of the 16-bit halves.
#[inline(always)]
pub(super) fn smlad(a: u32, b: u32, c: i32) -> i32 {
    let sum;
    // SAFETY: Computes on registers, and sets the flag Q, which nothing reads.
    unsafe {
        asm!("smlad {}, {}, {}, {}", lateout(reg) sum, in(reg) a, in(reg) b, in(reg) c, options(pure, nomem, nostack));
    }
    sum
}

/// The same in 64 bits.
#[inline(always)]
pub(super) fn smlald(a: u32, b: u32, c: u64) -> u64 {
    let (mut low, mut high) = (c as u32, (c >> 32) as u32);
    // SAFETY: Computes on registers.
    unsafe {
        asm!(
            "smlald {}, {}, {}, {}",
            inout(reg) low, inout(reg) high, in(reg) a, in(reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Adds bytes 0 and 2, sign-extended, to the 16-bit halves of `sums`.
#[inline(always)]
pub(super) fn sxtab16(sums: u32, word: u32) -> u32 {
    let pair;
    // SAFETY: Computes on registers.
    unsafe {
        asm!(
            "sxtab16 {}, {}, {}",
            lateout(reg) pair, in(reg) sums, in(reg) word,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    pair
}

/// Adds bytes 1 and 3, sign-extended, to the 16-bit halves of `sums`.
#[inline(always)]
pub(super) fn sxtab16_odd(sums: u32, word: u32) -> u32 {
    let pair;
    // SAFETY: Computes on registers.
    unsafe {
        asm!(
            "sxtab16 {}, {}, {}, ror #8",
            lateout(reg) pair, in(reg) sums, in(reg) word,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    pair
}

/// The larger one of each two signed bytes.
#[inline(always)]
pub(super) fn max_bytes(a: u32, b: u32) -> u32 {
    let larger;
    // SAFETY: Computes on registers; `ssub8` sets the flags GE, which `sel` reads and nothing else does.
    unsafe {
        asm!(
            "ssub8 {larger}, {a}, {b}",
            "sel {larger}, {a}, {b}",
            larger = out(reg) larger, a = in(reg) a, b = in(reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    larger
}
