//! What every other struct is made of: the head, functions, and the frozen structs.

use std::ffi::c_void;

/// A function: null for success, or an error made by the host and owned by the caller.
pub type Call<Args> = Option<unsafe extern "C" fn(args: *mut Args) -> *mut Error>;
/// A function that cannot fail.
pub type Notify<Args> = Option<unsafe extern "C" fn(args: *mut Args)>;
/// The body of a parallel loop: `user` as it was given, and the index.
pub type LoopBody = Option<unsafe extern "C" fn(user: *mut c_void, index: u64)>;

/// An error; opaque, made and destroyed by the host.
#[repr(C)]
pub struct Error {
    _opaque: [u8; 0],
}

/// One immutable snapshot of a region, read through the host's functions; opaque.
#[repr(C)]
pub struct Region {
    _opaque: [u8; 0],
}

/// What a call belongs to: threads, cancellation, outputs, refusals; opaque, dies with the call.
#[repr(C)]
pub struct CallToken {
    _opaque: [u8; 0],
}

/// The constants of one executable; opaque, lives until that is destroyed.
#[repr(C)]
pub struct Constants {
    _opaque: [u8; 0],
}

abi_structs! {
    /// The beginning of every struct that may grow.
    frozen 16 struct Head {
        /// The size that the writer's version has.
        struct_size: u32,
        /// What the struct says of them; others are ignored.
        flags: u32,
        /// Reserved: null, and not looked at.
        next: *mut c_void,
    }

    /// UTF-8 text without a terminator, or bytes. Null with length 0 is the empty one.
    frozen 16 struct Str {
        data: *const u8,
        len: u64,
    }

    /// Indices of nodes or values; `NONE` is one that is missing.
    frozen 16 struct Indices {
        data: *const u64,
        len: u64,
    }

    /// A dimension of a shape.
    frozen 24 struct Dim {
        /// `DIM_KNOWN`, `DIM_SYMBOL` or `DIM_UNKNOWN`; an unknown one is `DIM_UNKNOWN`.
        kind: u32,
        reserved: u32,
        /// The size, -1 where it is not known.
        size: i64,
        /// Index of the region's symbol, `NONE` where it is none.
        symbol: u64,
    }

    /// A device as DLPack names it.
    frozen 8 struct DeviceId {
        /// DLPack's device type; 1 is host memory.
        kind: u32,
        id: u32,
    }

    /// An element type as DLPack names it; code `DTYPE_NONE` for types that DLPack does not have. Codes may be added: what
    /// has an unknown one is not taken.
    frozen 16 struct DType {
        code: u32,
        bits: u32,
        lanes: u32,
        reserved: u32,
    }

    /// A name in a pattern and the value it is bound to.
    frozen 24 struct Binding {
        name: Str,
        value: u64,
    }

    /// An option's key and value.
    frozen 32 struct Pair {
        key: Str,
        value: Str,
    }
}

abi_constants! {
    /// No index.
    NONE: u64 = u64::MAX;
    DIM_UNKNOWN: u32 = 0;
    DIM_KNOWN: u32 = 1;
    DIM_SYMBOL: u32 = 2;
    /// DLPack's device type of host memory.
    DEVICE_HOST: u32 = 1;
    DTYPE_INT: u32 = 0;
    DTYPE_UINT: u32 = 1;
    DTYPE_FLOAT: u32 = 2;
    DTYPE_BFLOAT: u32 = 4;
    DTYPE_COMPLEX: u32 = 5;
    DTYPE_BOOL: u32 = 6;
    DTYPE_FLOAT8_E4M3FN: u32 = 10;
    DTYPE_FLOAT8_E4M3FNUZ: u32 = 11;
    DTYPE_FLOAT8_E5M2: u32 = 12;
    DTYPE_FLOAT8_E5M2FNUZ: u32 = 13;
    DTYPE_FLOAT8_E8M0FNU: u32 = 14;
    DTYPE_FLOAT6_E2M3FN: u32 = 15;
    DTYPE_FLOAT6_E3M2FN: u32 = 16;
    DTYPE_FLOAT4_E2M1FN: u32 = 17;
    /// Not a type that DLPack has (strings), or unknown.
    DTYPE_NONE: u32 = 255;
}

impl Head {
    pub const fn sized(size: usize) -> Self {
        // Structs of the interface are far smaller than 4 GiB.
        Head { struct_size: size as u32, flags: 0, next: std::ptr::null_mut() }
    }
}

// SAFETY: plain data; whoever shares a pointer inside answers for what it points at.
unsafe impl Send for Head {}
// SAFETY: as above.
unsafe impl Sync for Head {}

impl PartialEq for DeviceId {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.id) == (other.kind, other.id)
    }
}

impl Eq for DeviceId {}

impl Str {
    pub const EMPTY: Str = Str { data: std::ptr::null(), len: 0 };

    pub const fn new(text: &str) -> Self {
        Str { data: text.as_ptr(), len: text.len() as u64 }
    }

    pub const fn bytes(bytes: &[u8]) -> Self {
        Str { data: bytes.as_ptr(), len: bytes.len() as u64 }
    }

    /// The bytes; empty for null.
    ///
    /// # Safety
    /// The other side keeps them readable and unchanged for `'a`.
    pub unsafe fn as_bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller's promise.
        unsafe { slice(self.data, self.len) }
    }

    /// The text, with what is not UTF-8 replaced.
    ///
    /// # Safety
    /// As [`Str::as_bytes`].
    pub unsafe fn to_text<'a>(self) -> std::borrow::Cow<'a, str> {
        // SAFETY: the caller's promise.
        String::from_utf8_lossy(unsafe { self.as_bytes() })
    }
}

impl Indices {
    pub fn new(indices: &[u64]) -> Self {
        Indices { data: indices.as_ptr(), len: indices.len() as u64 }
    }

    /// The indices; empty for null.
    ///
    /// # Safety
    /// The other side keeps them readable and unchanged for `'a`.
    pub unsafe fn as_slice<'a>(self) -> &'a [u64] {
        // SAFETY: the caller's promise.
        unsafe { slice(self.data, self.len) }
    }
}

/// A slice from the other side: empty for null, for a length that no slice can have, and for a crooked pointer.
///
/// # Safety
/// Where the pointer is not null, `len` elements are readable and unchanged for `'a`.
pub unsafe fn slice<'a, T: Copy>(data: *const T, len: u64) -> &'a [T] {
    let fits = usize::try_from(len)
        .ok()
        .and_then(|len| len.checked_mul(size_of::<T>()))
        .is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if data.is_null() || !fits || !data.is_aligned() {
        return &[];
    }
    // SAFETY: not null, aligned, of a possible length, and readable by the caller's promise.
    unsafe { std::slice::from_raw_parts(data, len as usize) }
}

/// As [`slice`], to write to.
///
/// # Safety
/// Where the pointer is not null, `len` elements are writable and used by nobody else for `'a`.
pub unsafe fn slice_mut<'a, T: Copy>(data: *mut T, len: u64) -> &'a mut [T] {
    let fits = usize::try_from(len)
        .ok()
        .and_then(|len| len.checked_mul(size_of::<T>()))
        .is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if data.is_null() || !fits || !data.is_aligned() {
        return &mut [];
    }
    // SAFETY: not null, aligned, of a possible length, and ours alone by the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(data, len as usize) }
}
