//! Copies and fills of a few elements, inline where a library call would cost more than the work.

/// Does `$step(start)` for windows of a constant size that together cover `0..$len`, the last two overlapping.
macro_rules! cover {
    ($len:expr, [$($size:literal)*], $step:ident, $one:ident) => {
        $(if $len >= $size {
            for start in (0..$len - $size).step_by($size) {
                $step!(start, $size);
            }
            $step!($len - $size, $size);
            return;
        })*
        for at in 0..$len {
            $one!(at);
        }
    };
}

/// Copies `from` to `to`, which are of one length.
#[inline(always)]
pub(super) fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    let len = to.len();
    let from = &from[..len];
    macro_rules! part {
        ($start:expr, $size:literal) => {
            to[$start..$start + $size].copy_from_slice(&from[$start..$start + $size])
        };
    }
    macro_rules! one {
        ($at:ident) => {
            to[$at] = from[$at]
        };
    }
    cover!(len, [16 8 4], part, one);
}

/// Sets all of `to`.
#[inline(always)]
pub(super) fn fill<T: Copy>(to: &mut [T], value: T) {
    let len = to.len();
    macro_rules! part {
        ($start:expr, $size:literal) => {
            to[$start..$start + $size].copy_from_slice(&[value; $size])
        };
    }
    macro_rules! one {
        ($at:ident) => {
            to[$at] = value
        };
    }
    cover!(len, [16 8 4], part, one);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_length() {
        for len in 0..70 {
            let from: Vec<usize> = (1..=len).collect();
            let mut to = vec![0; len];
            super::copy(&mut to, &from);
            assert_eq!(to, from);
            super::fill(&mut to, 9);
            assert_eq!(to, vec![9; len]);
        }
    }
}
