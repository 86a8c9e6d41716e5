//! Elements in memory as numbers: of the four kinds of floats that NVIDIA's libraries compute with.

/// The kinds, which each library numbers in its own way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Float {
    Single,
    Double,
    Half,
    Brain,
}

impl Float {
    pub fn size(self) -> usize {
        match self {
            Float::Double => 8,
            Float::Single => 4,
            Float::Half | Float::Brain => 2,
        }
    }

    /// # Safety
    /// There are as many elements.
    pub unsafe fn load(self, address: u64, place: usize) -> f64 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Float::Double => *(address as *const f64).add(place),
                Float::Single => f64::from(*(address as *const f32).add(place)),
                Float::Half => from_half(*(address as *const u16).add(place)),
                Float::Brain => {
                    f64::from(f32::from_bits(u32::from(*(address as *const u16).add(place)) << 16))
                }
            }
        }
    }

    /// # Safety
    /// As above.
    pub unsafe fn store(self, address: u64, place: usize, value: f64) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Float::Double => *(address as *mut f64).add(place) = value,
                Float::Single => *(address as *mut f32).add(place) = value as f32,
                Float::Half => *(address as *mut u16).add(place) = to_half(value),
                Float::Brain => {
                    let bits = (value as f32).to_bits();
                    *(address as *mut u16).add(place) = ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
                }
            }
        }
    }
}

/// As tensor cores read a float32 that may be rounded.
pub fn tf32(value: f64) -> f64 {
    f64::from(f32::from_bits(((value as f32).to_bits() + 0x1000) & !0x1fff))
}

fn from_half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

fn to_half(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if value.is_nan() {
        return 0x7e00;
    }
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    // In steps of the last place: those of small numbers are all the same.
    let exponent = (size.max(2f64.powi(-14)).log2().floor() as i32).clamp(-14, 15);
    let steps = (size / 2f64.powi(exponent - 10)).round_ties_even() as u16;
    let normal = (exponent + 14) as u16 * 1024;
    sign | (normal + steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_the_nearest_and_come_back() {
        for bits in (0..0x7c00).chain(0x8000..0xfc00) {
            assert_eq!(to_half(from_half(bits)), bits, "{bits:#x}");
        }
        assert_eq!((to_half(1.0), to_half(65519.0), to_half(65520.0)), (0x3c00, 0x7bff, 0x7c00));
        assert_eq!((to_half(1.0 + 1.0 / 2048.0), to_half(1.0 + 3.0 / 2048.0)), (0x3c00, 0x3c02));
    }
}
