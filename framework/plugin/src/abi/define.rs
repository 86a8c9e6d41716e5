//! How a struct of the interface is written down once, and how the other side's struct is read and answered.

use super::head::Head;

/// A struct that crosses the border.
///
/// # Safety
/// `repr(C)`, begins with a [`Head`], every bit pattern of its fields is a valid value, and `MIN_SIZE` is at most
/// its size.
pub unsafe trait AbiStruct: Copy {
    /// The size at its first release: what every other side has.
    const MIN_SIZE: usize;
    const LAYOUT: StructLayout;

    /// All fields zero, with its own size in the head.
    fn empty() -> Self {
        // SAFETY: every bit pattern is valid, by the trait's contract.
        let mut value: Self = unsafe { std::mem::zeroed() };
        // SAFETY: the struct begins with a head.
        unsafe { (&raw mut value).cast::<Head>().write(Head::sized(size_of::<Self>())) };
        value
    }

    /// Copies the other side's struct: fields beyond its size read as zero, the head holds the other side's size.
    /// `None` for null or for a struct shorter than any that was ever released.
    ///
    /// # Safety
    /// `from` is null, or readable for 4 bytes and then for as many bytes as these say.
    unsafe fn read(from: *const Self) -> Option<Self> {
        if from.is_null() {
            return None;
        }
        // SAFETY: readable for 4 bytes, by the caller's promise; perhaps not aligned.
        let theirs = unsafe { from.cast::<u32>().read_unaligned() } as usize;
        if theirs < Self::MIN_SIZE {
            return None;
        }
        let mut value = Self::empty();
        let length = theirs.min(size_of::<Self>());
        // SAFETY: `length` bytes are readable there and writable here.
        unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), length) };
        Some(value)
    }

    /// Writes `self` over the other side's struct behind its head, as far as that one goes.
    ///
    /// # Safety
    /// `to` has been read by [`AbiStruct::read`] in the same call and is writable.
    unsafe fn write_back(&self, to: *mut Self) {
        let head = size_of::<Head>();
        // SAFETY: readable, by the caller's promise.
        let theirs = unsafe { to.cast::<u32>().read_unaligned() } as usize;
        let length = theirs.min(size_of::<Self>()).saturating_sub(head);
        let from = (&raw const *self).cast::<u8>();
        // SAFETY: both sides have `head + length` bytes.
        unsafe { std::ptr::copy_nonoverlapping(from.add(head), to.cast::<u8>().add(head), length) };
    }
}

/// A struct's layout as data: for the C header, and for the test that nothing moves.
#[derive(Debug, Clone, Copy)]
pub struct StructLayout {
    pub name: &'static str,
    pub docs: &'static [&'static str],
    pub size: usize,
    pub min_size: usize,
    pub align: usize,
    pub fields: &'static [Field],
}

#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    /// The type as written in Rust.
    pub ty: &'static str,
    pub docs: &'static [&'static str],
    pub offset: usize,
}

/// A named number of the interface.
#[derive(Debug, Clone, Copy)]
pub struct Constant {
    pub name: &'static str,
    pub docs: &'static [&'static str],
    pub value: u64,
    /// Its width in bits, 32 or 64.
    pub bits: u32,
}

/// Declares structs of the interface. `head MIN` gives a struct a head and says its size at its first release;
/// `frozen SIZE` one without a head, which never changes.
macro_rules! abi_structs {
    ($($(#[doc = $doc:literal])* $kind:ident $min:literal struct $name:ident {
        $($(#[doc = $field_doc:literal])* $field:ident: $ty:ty,)*
    })*) => {
        $(
            $(#[doc = $doc])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy)]
            pub struct $name { $($(#[doc = $field_doc])* pub $field: $ty,)* }

            abi_structs!(@$kind $min $name);

            impl $name {
                const STRUCT_LAYOUT: $crate::abi::StructLayout = $crate::abi::StructLayout {
                    name: stringify!($name),
                    docs: &[$($doc),*],
                    size: size_of::<$name>(),
                    min_size: $min,
                    align: align_of::<$name>(),
                    fields: &[$($crate::abi::Field {
                        name: stringify!($field),
                        ty: stringify!($ty),
                        docs: &[$($field_doc),*],
                        offset: std::mem::offset_of!($name, $field),
                    }),*],
                };
            }
        )*

        pub(super) const STRUCTS: &[$crate::abi::StructLayout] = &[$($name::STRUCT_LAYOUT),*];
    };
    (@head $min:literal $name:ident) => {
        const _: () = assert!($min <= size_of::<$name>() && size_of::<$name>() % 8 == 0 && align_of::<$name>() == 8);

        // SAFETY: `repr(C)`, `head` comes first, and fields are numbers, pointers and optional functions, for which
        // zero and every other bit pattern that a well-behaved side writes are valid.
        unsafe impl $crate::abi::AbiStruct for $name {
            const MIN_SIZE: usize = $min;
            const LAYOUT: $crate::abi::StructLayout = Self::STRUCT_LAYOUT;
        }
    };
    (@frozen $size:literal $name:ident) => {
        const _: () = assert!($size == size_of::<$name>());
    };
}

/// Declares named numbers.
macro_rules! abi_constants {
    ($($(#[doc = $doc:literal])* $name:ident: $ty:ident = $value:expr;)*) => {
        $($(#[doc = $doc])* pub const $name: $ty = $value;)*

        pub(super) const CONSTANTS: &[$crate::abi::Constant] = &[$($crate::abi::Constant {
            name: stringify!($name),
            docs: &[$($doc),*],
            value: $value as u64,
            bits: $ty::BITS,
        }),*];
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Host, LogArgs, PluginTable, STRUCTS};

    /// A struct as a side of another version writes it: `size` bytes and not one more.
    fn written<T: AbiStruct>(value: &T, size: usize) -> Box<[u64]> {
        let mut words = vec![u64::MAX; size.div_ceil(8)];
        // SAFETY: copies within both.
        unsafe {
            let length = size.min(size_of::<T>());
            std::ptr::copy_nonoverlapping(
                (&raw const *value).cast::<u8>(),
                words.as_mut_ptr().cast::<u8>(),
                length,
            );
            words.as_mut_ptr().cast::<u32>().write(size as u32);
        }
        words.into_boxed_slice()
    }

    /// Every struct cut at every size: too short is refused, the rest is read as far as it goes and no further.
    #[test]
    fn other_sizes_are_read_as_far_as_they_go() {
        fn check<T: AbiStruct>() {
            for size in (8..=size_of::<T>() + 64).step_by(8) {
                let theirs = written(&T::empty(), size);
                // SAFETY: exactly `size` bytes are there.
                let read = unsafe { T::read(theirs.as_ptr().cast()) };
                assert_eq!(read.is_some(), size >= T::MIN_SIZE, "{} of {size} bytes", T::LAYOUT.name);
            }
        }
        check::<Host>();
        check::<PluginTable>();
        check::<LogArgs>();
        // SAFETY: null is allowed.
        assert!(unsafe { Host::read(std::ptr::null()) }.is_none());
    }

    #[test]
    fn what_a_longer_struct_has_behind_is_neither_read_nor_written() {
        let own = LogArgs { level: 3, ..LogArgs::empty() };
        let mut theirs = written(&own, size_of::<LogArgs>() + 16);
        // SAFETY: as many bytes as it says.
        let mut read = unsafe { LogArgs::read(theirs.as_ptr().cast()) }.unwrap();
        assert_eq!((read.level, read.head.struct_size as usize), (3, size_of::<LogArgs>() + 16));
        read.level = 4;
        // SAFETY: read above.
        unsafe { read.write_back(theirs.as_mut_ptr().cast()) };
        let end = theirs.len();
        assert_eq!(theirs[end - 2..], [u64::MAX; 2]);
        assert_eq!((theirs[0] as usize, theirs[2] as u32), (size_of::<LogArgs>() + 16, 4));
    }

    #[test]
    fn no_struct_is_smaller_than_it_was_first() {
        for layout in STRUCTS.iter().copied().flatten() {
            assert!(layout.min_size <= layout.size, "{}", layout.name);
            let end = layout.fields.iter().map(|field| field.offset).max().unwrap_or(0);
            assert!(end < layout.size);
        }
    }
}
