//! The floating-point mode of a thread, which a library may disturb when it is loaded or called.

/// Restores the mode when it goes out of scope.
pub(crate) struct FpMode(Saved);

#[cfg(target_arch = "x86_64")]
type Saved = u32;
#[cfg(target_arch = "aarch64")]
type Saved = u64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Saved = ();

impl FpMode {
    pub(crate) fn save() -> Self {
        FpMode(read())
    }
}

impl Drop for FpMode {
    fn drop(&mut self) {
        write(self.0);
    }
}

#[cfg(target_arch = "x86_64")]
fn read() -> u32 {
    let mut mode = 0u32;
    // SAFETY: writes four bytes to `mode`.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
    mode
}

#[cfg(target_arch = "x86_64")]
fn write(mode: u32) {
    // Bits 0 to 5 are sticky flags of exceptions, not mode.
    if read() & !0x3f != mode & !0x3f {
        // SAFETY: the value was read from the register before.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags))
        };
    }
}

#[cfg(target_arch = "aarch64")]
fn read() -> u64 {
    let mode: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
    mode
}

#[cfg(target_arch = "aarch64")]
fn write(mode: u64) {
    // SAFETY: the value was read from the register before.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read() {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn write(_: ()) {}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_mode_is_restored() {
        let before = read();
        {
            let _guard = FpMode::save();
            // Flush to zero and denormals are zero, as `-Ofast` sets them.
            write(before | 0x8040);
            assert_eq!(read() & 0x8040, 0x8040);
        }
        assert_eq!(read() & !0x3f, before & !0x3f);
    }
}
