//! How a library's functions are written here: under their own names, and with a status.

macro_rules! exports {
    ($($name:ident($($argument:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            /// # Safety
            /// As the documentation says of the function of this name.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "the names are NVIDIA's")]
            pub unsafe extern "C" fn $name($($argument: $ty),*) -> Status $body
        )*
    };
}
