//! The system call that enters a region of the counter.
#![allow(unsafe_code, reason = "a system call that the standard library lacks")]

/// What runs from here on belongs to region `region`, until the next mark.
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
pub(crate) fn enter(region: u64) {
    // As `MARK` in `tests/tcg-count`.
    const MARK: u64 = 0x7068;
    // SAFETY: No kernel has a call of this number: it changes nothing but x0, where it says so.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") MARK,
            inlateout("x0") region => _,
            options(nostack)
        )
    };
}

/// Elsewhere nobody counts.
#[cfg(not(all(target_arch = "aarch64", target_os = "linux")))]
pub(crate) fn enter(_region: u64) {}
