//! The plugin's side of the interface: one trampoline a function, made by [`export_plugin!`](crate::export_plugin).
//!
//! A panic is caught in every one of them, becomes an error, and poisons the plugin: the next call is refused.
//! What cannot be caught here: a stack overflow, a failed allocation, a second panic while one unwinds, `abort()`.

mod device;
mod executable;
mod plugin;
mod runtime;

pub use plugin::{Exported, entry};
pub use runtime::Runtime;

/// Exports a plugin: `export_plugin!(MyNpu, table = include_str!("table.toml"))`.
///
/// `name = ...` and `version = ...` may follow; without them they are the crate's.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty, table = $table:expr $(,)?) => {
        $crate::export_plugin!(
            $plugin,
            table = $table,
            name = env!("CARGO_PKG_NAME"),
            version = env!("CARGO_PKG_VERSION")
        );
    };
    ($plugin:ty, table = $table:expr, name = $name:expr, version = $version:expr $(,)?) => {
        const _: () = {
            #[cfg(panic = "abort")]
            compile_error!(
                "a plugin must be built with `panic = \"unwind\"`: its panics are caught and reported"
            );

            static RUNTIME: $crate::export::Runtime = $crate::export::Runtime::new();
            const LEN: usize = $crate::abi::section::encoded_len($name, $version, $table);

            #[used]
            #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,.byoc"))]
            #[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".byoc"))]
            static SECTION: [u8; LEN] = $crate::abi::section::encode($name, $version, $table);

            impl $crate::export::Exported for $plugin {
                const NAME: &'static str = $name;
                const VERSION: &'static str = $version;
                const TABLE: &'static str = $table;

                fn runtime() -> &'static $crate::export::Runtime {
                    &RUNTIME
                }
            }

            /// # Safety
            /// Called by a host, as the interface says.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn byoc_plugin_entry(
                args: *mut $crate::abi::EntryArgs,
            ) -> *mut $crate::abi::Error {
                // The section must not be thrown away by the linker.
                let _ = std::hint::black_box(&SECTION);
                // SAFETY: the host's promise.
                unsafe { $crate::export::entry::<$plugin>(args) }
            }
        };
    };
}
