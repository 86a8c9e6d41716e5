//! The plugin's own table, and the entry that hands it over.

use std::ffi::c_void;

use super::device::DeviceTable;
use super::executable::ExecutableTable;
use super::head::{Call, CallToken, Constants, DeviceId, Error, Head, Notify, Pair, Region, Str};
use super::host::{GetExtensionArgs, Host};

/// The exported function `byoc_plugin_entry`. May be called again and from any thread; touches no device.
pub type Entry = unsafe extern "C" fn(args: *mut EntryArgs) -> *mut Error;

abi_structs! {
    /// An option that the plugin has.
    head 72 struct OptionDecl {
        head: Head,
        /// One of `OPTION_*`; an unknown one is a string.
        kind: u32,
        reserved: u32,
        name: Str,
        default_value: Str,
        help: Str,
    }

    /// Options are complete and valid; the state is what every later call gets. A host may open a plugin several times:
    /// the states have nothing to do with each other.
    head 40 struct OpenArgs {
        head: Head,
        options: *const Pair,
        options_len: u64,
        state: *mut c_void,
    }

    head 24 struct CloseArgs {
        head: Head,
        state: *mut c_void,
    }

    /// A device. Lives as long as the state.
    head 64 struct DeviceInfo {
        head: Head,
        /// No two devices of a plugin have the same.
        id: DeviceId,
        name: Str,
        /// 0 where it is not known.
        memory_bytes: u64,
        /// Null: it computes in host memory.
        table: *const DeviceTable,
        device: *mut c_void,
    }

    head 40 struct DevicesArgs {
        head: Head,
        state: *mut c_void,
        devices: *const *const DeviceInfo,
        devices_len: u64,
    }

    /// May this match be taken? An error of category unsupported says no, its message why. The region is the match.
    head 48 struct CheckMatchArgs {
        head: Head,
        call: *mut CallToken,
        state: *mut c_void,
        region: *const Region,
        /// Those of the region, valid for this call.
        constants: *mut Constants,
    }

    /// What would this region cost? Nodes are refused through the host's `refuse_node`.
    head 72 struct CheckRegionArgs {
        head: Head,
        call: *mut CallToken,
        state: *mut c_void,
        region: *const Region,
        /// Those of the region, valid for this call.
        constants: *mut Constants,
        device: DeviceId,
        /// In µs; below 0 where it is not known.
        fixed_us: f64,
        compute_us: f64,
    }

    head 104 struct CompileArgs {
        head: Head,
        call: *mut CallToken,
        state: *mut c_void,
        region: *const Region,
        constants: *mut Constants,
        device: DeviceId,
        options: *const Pair,
        options_len: u64,
        /// How many threads compiling may use.
        threads: u32,
        reserved: u32,
        /// Time left, 0 for no limit.
        timeout_ns: u64,
        /// Out: lives as long as the library.
        table: *const ExecutableTable,
        executable: *mut c_void,
    }

    /// Makes an executable of an artefact; constants have the indices that they had in `compile`.
    head 88 struct LoadArgs {
        head: Head,
        call: *mut CallToken,
        state: *mut c_void,
        constants: *mut Constants,
        constants_len: u64,
        device: DeviceId,
        artefact: Str,
        table: *const ExecutableTable,
        executable: *mut c_void,
    }

    /// Would an artefact with this compatibility string run here?
    head 56 struct CheckArtefactArgs {
        head: Head,
        state: *mut c_void,
        device: DeviceId,
        compatibility: Str,
        /// One of `ARTEFACT_*`; an unknown one is `ARTEFACT_FOREIGN`.
        answer: u32,
        reserved: u32,
    }

    /// The plugin. `head.flags` may hold `CONCURRENT`; without it the host makes one call at a time.
    head 176 struct PluginTable {
        head: Head,
        name: Str,
        version: Str,
        /// TOML, schema 1.
        pattern_table: Str,
        options: *const *const OptionDecl,
        options_len: u64,
        /// `THREADS_HOST` or `THREADS_OWN`; an unknown one is `THREADS_HOST`.
        thread_policy: u32,
        /// How many of its own.
        own_threads: u32,
        /// Features that the host may ignore.
        optional_features: u64,
        /// Features without which the plugin does not work; the host refuses those it does not know. 1.0 has none.
        required_features: u64,
        /// Default: no state.
        open: Call<OpenArgs>,
        close: Notify<CloseArgs>,
        /// Default: one, host memory.
        devices: Call<DevicesArgs>,
        /// Default: accept.
        check_match: Call<CheckMatchArgs>,
        /// Default: accept, cost unknown.
        check_region: Call<CheckRegionArgs>,
        /// Mandatory in a plugin that takes regions, as all of 1.0 do.
        compile: Call<CompileArgs>,
        /// Default: not serialisable.
        load: Call<LoadArgs>,
        /// Default: `ARTEFACT_FOREIGN`, so that the region is compiled anew.
        check_artefact: Call<CheckArtefactArgs>,
        /// Default: none. Answers by the name alone, at any time after the entry; what it gives lives as long as the library.
        get_extension: Call<GetExtensionArgs>,
    }

    /// In: the host's epoch, minor and table. Out: the plugin's table and the minor that both have.
    head 48 struct EntryArgs {
        head: Head,
        epoch: u32,
        minor: u32,
        host: *const Host,
        plugin: *const PluginTable,
        agreed_minor: u32,
        plugin_epoch: u32,
    }
}

abi_constants! {
    OPTION_STRING: u32 = 0;
    OPTION_INT: u32 = 1;
    OPTION_FLOAT: u32 = 2;
    OPTION_BOOL: u32 = 3;
    /// The plugin computes on the host's threads and within their budget.
    THREADS_HOST: u32 = 0;
    /// The plugin has threads of its own; the host parks its workers meanwhile.
    THREADS_OWN: u32 = 1;
    ARTEFACT_BEST: u32 = 0;
    /// It works; compiling again would give a better one.
    ARTEFACT_WORKS: u32 = 1;
    ARTEFACT_RECOMPILE: u32 = 2;
    ARTEFACT_FOREIGN: u32 = 3;
}

// SAFETY: plain data; what it points at is never changed and lives as long as the library.
unsafe impl Send for PluginTable {}
// SAFETY: as above.
unsafe impl Sync for PluginTable {}
