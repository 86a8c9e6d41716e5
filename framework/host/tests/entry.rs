//! A plugin's entry, called as hosts of other versions would call it.

mod common;

use byoc_plugin::abi::{self, AbiStruct, EntryArgs, Host};
use common::built;

/// A library of its own: what its entry is told first, it keeps.
fn fresh_entry() -> (tempfile::TempDir, abi::Entry) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.so");
    std::fs::copy(built("byoc_probe"), &path).unwrap();
    // SAFETY: a plugin of ours, leaked so that its entry stays.
    let library = Box::leak(Box::new(unsafe { libloading::Library::new(&path) }.unwrap()));
    // SAFETY: the symbol has this type.
    let entry = unsafe { library.get::<abi::Entry>(abi::ENTRY_SYMBOL.as_bytes()) }.unwrap();
    (folder, *entry)
}

fn call(entry: abi::Entry, args: &mut EntryArgs) {
    // SAFETY: the arguments follow the interface, but for what each test says.
    assert!(unsafe { entry(args) }.is_null());
}

#[test]
fn another_epoch_gets_no_table_but_the_plugins_epoch() {
    let (_folder, entry) = fresh_entry();
    let mut args = EntryArgs { epoch: abi::EPOCH + 1, minor: 0, ..AbiStruct::empty() };
    args.plugin_epoch = 99;
    call(entry, &mut args);
    assert!(args.plugin.is_null() && args.plugin_epoch == abi::EPOCH);
}

#[test]
fn a_host_that_is_too_short_gets_no_table() {
    let (_folder, entry) = fresh_entry();
    let mut host = Host::empty();
    host.head.struct_size = Host::MIN_SIZE as u32 - 8;
    let mut args = EntryArgs { epoch: abi::EPOCH, host: &raw const host, ..AbiStruct::empty() };
    call(entry, &mut args);
    assert!(args.plugin.is_null());
    // Arguments that are too short are not even answered.
    args.head.struct_size = EntryArgs::MIN_SIZE as u32 - 8;
    args.plugin_epoch = 99;
    call(entry, &mut args);
    assert_eq!(args.plugin_epoch, 99);
}

/// A host of a later minor, whose table goes on behind what this plugin knows.
#[repr(C)]
struct LaterHost {
    known: Host,
    later: [u64; 8],
}

#[test]
fn a_later_host_is_used_as_far_as_it_is_known() {
    let (_folder, entry) = fresh_entry();
    let mut host = LaterHost { known: Host::empty(), later: [u64::MAX; 8] };
    host.known.head.struct_size = size_of::<LaterHost>() as u32;
    let mut args =
        EntryArgs { epoch: abi::EPOCH, minor: u32::MAX, host: &raw const host.known, ..AbiStruct::empty() };
    call(entry, &mut args);
    assert_eq!(args.agreed_minor, abi::MINOR);
    assert_eq!(host.later, [u64::MAX; 8]);
    // SAFETY: the plugin's table lives as long as its library.
    let table = unsafe { abi::PluginTable::read(args.plugin) }.unwrap();
    assert!(table.compile.is_some());
    let first = args.plugin;
    call(entry, &mut args);
    assert_eq!(args.plugin, first, "the entry may be called again");
}
