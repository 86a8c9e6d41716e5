//! Calls across the border that no good host makes, for finding out what a plugin makes of them. Any of them may end
//! the process, so each belongs into one of its own.

use std::ffi::c_void;
use std::path::Path;

use byoc_plugin::abi::{self, AbiStruct, Head, Str};

use crate::error::LoadError;
use crate::host_table::take_error;
use crate::library::{Library, open_plugin};
use crate::version::cut;

/// What a plugin that must not give a table has given, in words; `None` where it gave none.
type Refusal = Result<Option<String>, LoadError>;

/// Enters with an epoch that no plugin has, and nothing that could be used of the host.
pub fn other_epoch(path: &Path) -> Refusal {
    enter(path, abi::EPOCH + 1000, std::ptr::null())
}

/// Enters with no host table, and with one that is shorter than any that was released.
pub fn short_host(path: &Path) -> Refusal {
    match enter(path, abi::EPOCH, std::ptr::null())? {
        None => enter(path, abi::EPOCH, cut(size_of::<Head>())),
        given => Ok(given),
    }
}

fn enter(path: &Path, epoch: u32, host: *const abi::Host) -> Refusal {
    let entry = open_plugin(path)?;
    let mut args = abi::EntryArgs { epoch, minor: abi::MINOR, host, ..AbiStruct::empty() };
    // SAFETY: the arguments are as the interface says; the host is one that a plugin has to refuse by its size.
    let error = unsafe { entry(&mut args) };
    // Without a host there is nobody who could have made an error.
    let wrong = match (error.is_null(), args.plugin.is_null()) {
        (false, _) => Some("the entry returned an error, which only a host can make".to_owned()),
        (true, false) => Some("the entry gave a table".to_owned()),
        (true, true) => None,
    };
    Ok(wrong)
}

/// What became of a call, by its name.
type Outcomes = Vec<(&'static str, String)>;

/// Asks for an extension that no plugin has: what is wrong with the answer, in words; `None` for a plugin that has no
/// extensions at all.
pub fn unknown_extension(library: &Library) -> Option<Result<(), String>> {
    let ask = library.raw.get_extension?;
    let mut args = abi::GetExtensionArgs { name: Str::new("byoc.unknown/0"), ..AbiStruct::empty() };
    // SAFETY: the arguments are as the interface says.
    let error = unsafe { ask(&mut args) };
    // SAFETY: an error of ours, which the plugin has given up.
    let error = unsafe { take_error(error) };
    Some(match (error, args.table.is_null()) {
        (Some(error), _) => {
            Err(format!("asked for an extension that nobody has, it fails: {}", error.message))
        }
        (None, false) => Err("asked for an extension that nobody has, it gives a table".to_owned()),
        (None, true) => Ok(()),
    })
}

/// Every function with null instead of arguments, and with a struct that says that it has no bytes.
pub fn null_arguments(library: &Library) -> Outcomes {
    let raw = &library.raw;
    let mut outcomes = Vec::new();
    macro_rules! calls {
        ($($name:ident),*) => {
            $(if let Some(function) = raw.$name {
                outcomes.push((stringify!($name), without(function)));
            })*
        };
    }
    calls!(open, devices, check_match, check_region, compile, load, check_artefact, get_extension);
    if let Some(close) = raw.close {
        // SAFETY: a function that follows the interface reads nothing of null.
        unsafe { close(std::ptr::null_mut()) };
        outcomes.push(("close", "returned".to_owned()));
    }
    outcomes
}

fn without<A: AbiStruct>(function: unsafe extern "C" fn(*mut A) -> *mut abi::Error) -> String {
    // SAFETY: as above.
    let null = told(unsafe { function(std::ptr::null_mut()) });
    let mut empty = A::empty();
    // SAFETY: the struct begins with a head.
    unsafe { (&raw mut empty).cast::<Head>().write(Head::sized(0)) };
    // SAFETY: the arguments say that there is nothing to read.
    let short = told(unsafe { function(&mut empty) });
    format!("{null}, {short}")
}

/// Arguments of the right size that make no sense: no region, no constants, unknown devices, lists without memory,
/// artefacts of nonsense.
pub fn absurd_arguments(library: &Library) -> Outcomes {
    let raw = &library.raw;
    let mut outcomes = Vec::new();
    let mut open = abi::OpenArgs { options_len: u64::MAX, ..AbiStruct::empty() };
    if let Some(function) = raw.open {
        // SAFETY: the list is null, which is the empty one whatever its length.
        outcomes.push(("open", told(unsafe { function(&mut open) })));
    }
    let state = open.state;
    let nowhere = abi::DeviceId { kind: 99, id: 99 };
    let mut compile = abi::CompileArgs { state, device: nowhere, options_len: 7, ..AbiStruct::empty() };
    outcomes.push(("compile", call(raw.compile, &mut compile)));
    let mut check_match = abi::CheckMatchArgs { state, ..AbiStruct::empty() };
    outcomes.push(("check_match", call(raw.check_match, &mut check_match)));
    let mut check_region = abi::CheckRegionArgs { state, device: nowhere, ..AbiStruct::empty() };
    outcomes.push(("check_region", call(raw.check_region, &mut check_region)));
    for artefact in [&b""[..], b"nonsense", &[0xff; 512]] {
        let artefact = Str::bytes(artefact);
        let mut load = abi::LoadArgs { state, artefact, ..AbiStruct::empty() };
        outcomes.push(("load", call(raw.load, &mut load)));
    }
    let compatibility = Str::bytes(&[0xff, 0xfe, 0]);
    let mut check = abi::CheckArtefactArgs { state, compatibility, ..AbiStruct::empty() };
    outcomes.push(("check_artefact", call(raw.check_artefact, &mut check)));
    close(raw.close, state);
    outcomes.retain(|(_, outcome)| outcome != ABSENT);
    outcomes
}

const ABSENT: &str = "absent";

fn call<A: AbiStruct>(function: abi::Call<A>, args: &mut A) -> String {
    // SAFETY: the arguments are of the right size, and null wherever there is nothing.
    function.map_or_else(|| ABSENT.to_owned(), |function| told(unsafe { function(args) }))
}

fn close(function: abi::Notify<abi::CloseArgs>, state: *mut c_void) {
    if let Some(function) = function {
        let mut args = abi::CloseArgs { state, ..AbiStruct::empty() };
        // SAFETY: the state is what `open` has made.
        unsafe { function(&mut args) };
    }
}

/// What a call has returned; its error is taken over.
fn told(error: *mut abi::Error) -> String {
    // SAFETY: an error of ours, which the plugin has given up.
    match unsafe { take_error(error) } {
        None => "no error".to_owned(),
        Some(error) => error.category.to_string(),
    }
}
