//! The functions of the plugin's table, and the entry.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::device::DeviceList;
use super::executable::{TABLE as EXECUTABLE_TABLE, into_raw};
use super::runtime::Runtime;
use crate::abi::{self, AbiStruct};
use crate::sdk::{
    ArtefactAnswer, CallRef, CheckContext, CompileContext, Error, Executable, HostRef, MatchContext,
    OptionDecl, OptionKind, Options, Plugin, Result, ThreadPolicy, read_region,
};

/// What the export macro adds to a plugin.
pub trait Exported: Plugin {
    const NAME: &'static str;
    const VERSION: &'static str;
    const TABLE: &'static str;

    fn runtime() -> &'static Runtime;
}

/// The state of an open plugin.
struct State<P> {
    plugin: P,
    host: HostRef,
    options: Options,
    devices: OnceLock<DeviceList>,
}

/// # Safety
/// `args` follow the interface.
pub unsafe fn entry<P: Exported>(args: *mut abi::EntryArgs) -> *mut abi::Error {
    // SAFETY: the caller's promise.
    let Some(mut own) = (unsafe { abi::EntryArgs::read(args) }) else { return std::ptr::null_mut() };
    own.plugin_epoch = abi::EPOCH;
    #[allow(clippy::unnecessary_min_or_max, reason = "minors rise")]
    let agreed = own.minor.min(abi::MINOR);
    own.agreed_minor = agreed;
    own.plugin = std::ptr::null();
    // With another epoch nothing of the host can be used, not even to make an error: no table says it all.
    if own.epoch == abi::EPOCH {
        // SAFETY: the caller's promise.
        let host = P::runtime().host().or_else(|| unsafe { HostRef::adopt(own.host) });
        own.plugin = host.map_or(std::ptr::null(), |host| P::runtime().enter(host, plugin_table::<P>));
    }
    // SAFETY: read above.
    unsafe { own.write_back(args) };
    std::ptr::null_mut()
}

fn plugin_table<P: Exported>() -> abi::PluginTable {
    // The table lives as long as the library, and so do its options.
    let options: Vec<*const abi::OptionDecl> =
        P::OPTIONS.iter().map(|option| &raw const *Box::leak(Box::new(option_decl(option)))).collect();
    let options = Box::leak(options.into_boxed_slice());
    let (thread_policy, own_threads) = match P::THREADS {
        ThreadPolicy::Host => (abi::THREADS_HOST, 0),
        ThreadPolicy::Own(count) => (abi::THREADS_OWN, count),
    };
    let mut table = abi::PluginTable {
        name: abi::Str::new(P::NAME),
        version: abi::Str::new(P::VERSION),
        pattern_table: abi::Str::new(P::TABLE),
        options: options.as_ptr(),
        options_len: options.len() as u64,
        thread_policy,
        own_threads,
        open: Some(open::<P>),
        close: Some(close::<P>),
        devices: Some(devices::<P>),
        check_match: Some(check_match::<P>),
        check_region: Some(check_region::<P>),
        compile: Some(compile::<P>),
        load: Some(load::<P>),
        check_artefact: Some(check_artefact::<P>),
        ..AbiStruct::empty()
    };
    // A Rust plugin can be shared between threads by its type.
    table.head.flags = abi::CONCURRENT;
    table
}

fn option_decl(option: &OptionDecl) -> abi::OptionDecl {
    let kind = match option.kind {
        OptionKind::String => abi::OPTION_STRING,
        OptionKind::Int => abi::OPTION_INT,
        OptionKind::Float => abi::OPTION_FLOAT,
        OptionKind::Bool => abi::OPTION_BOOL,
    };
    abi::OptionDecl {
        kind,
        name: abi::Str::new(option.name),
        default_value: abi::Str::new(option.default),
        help: abi::Str::new(option.help),
        ..AbiStruct::empty()
    }
}

/// Runs one call on the plugin's state: reads the arguments, answers into them.
///
/// # Safety
/// `args` follow the interface, and `state` takes the plugin's state out of them.
unsafe fn with_state<P: Exported, A: AbiStruct>(
    what: &str,
    args: *mut A,
    state: impl FnOnce(&A) -> *mut c_void,
    body: impl FnOnce(&State<P>, &mut A) -> Result<()>,
) -> *mut abi::Error {
    // Only the entry hands out this function, and it knows the host by then.
    let Some(host) = P::runtime().host() else { return std::ptr::null_mut() };
    P::runtime().guard(host, what, || {
        // SAFETY: the caller's promise.
        let mut own =
            unsafe { A::read(args) }.ok_or_else(|| Error::invalid(format!("{what}: arguments too short")))?;
        // SAFETY: the state is what `open` made, and not closed.
        let state = unsafe { state(&own).cast::<State<P>>().as_ref() };
        body(state.ok_or_else(|| Error::invalid(format!("{what}: the plugin is not open")))?, &mut own)?;
        // SAFETY: read above.
        unsafe { own.write_back(args) };
        Ok(())
    })
}

unsafe extern "C" fn open<P: Exported>(args: *mut abi::OpenArgs) -> *mut abi::Error {
    let Some(host) = P::runtime().host() else { return std::ptr::null_mut() };
    P::runtime().guard(host, "open", || {
        // SAFETY: the host's promise.
        let own = unsafe { abi::OpenArgs::read(args) };
        let mut own = own.ok_or_else(|| Error::invalid("open: arguments too short"))?;
        // SAFETY: the host's promise.
        let options = unsafe { read_options(own.options, own.options_len) };
        let state = State { plugin: P::open(&options)?, host, options, devices: OnceLock::new() };
        own.state = Box::into_raw(Box::new(state)).cast();
        // SAFETY: read above.
        unsafe { own.write_back(args) };
        Ok(())
    })
}

/// # Safety
/// The pairs are valid for the call.
unsafe fn read_options(pairs: *const abi::Pair, len: u64) -> Options {
    // SAFETY: the caller's promise.
    let pairs = unsafe { abi::slice(pairs, len) };
    // SAFETY: the caller's promise.
    let text = |text: abi::Str| unsafe { text.to_text() }.into_owned();
    Options::new(pairs.iter().map(|pair| (text(pair.key), text(pair.value))))
}

unsafe extern "C" fn close<P: Exported>(args: *mut abi::CloseArgs) {
    let Some(host) = P::runtime().host() else { return };
    P::runtime().guard_silent(host, "close", || {
        // SAFETY: the host's promise.
        let Some(own) = (unsafe { abi::CloseArgs::read(args) }) else { return };
        if !own.state.is_null() {
            // SAFETY: the state is what `open` made, and the host closes it once.
            drop(unsafe { Box::from_raw(own.state.cast::<State<P>>()) });
        }
    });
}

unsafe extern "C" fn devices<P: Exported>(args: *mut abi::DevicesArgs) -> *mut abi::Error {
    let body = |state: &State<P>, args: &mut abi::DevicesArgs| {
        let list =
            state.devices.get_or_init(|| DeviceList::new(state.plugin.devices(), P::runtime(), state.host));
        (args.devices, args.devices_len) = list.raw();
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state::<P, _>("devices", args, |args| args.state, body) }
}

unsafe extern "C" fn check_match<P: Exported>(args: *mut abi::CheckMatchArgs) -> *mut abi::Error {
    let body = |state: &State<P>, args: &mut abi::CheckMatchArgs| {
        // SAFETY: the host's promise.
        let region = unsafe { read_region::read(state.host, args.region, args.constants)? };
        let context = MatchContext { call: CallRef::new(state.host, args.call), region: args.region };
        state.plugin.check_match(&region, &context)
    };
    // SAFETY: the host's promise.
    unsafe { with_state::<P, _>("check_match", args, |args| args.state, body) }
}

unsafe extern "C" fn check_region<P: Exported>(args: *mut abi::CheckRegionArgs) -> *mut abi::Error {
    let body = |state: &State<P>, args: &mut abi::CheckRegionArgs| {
        // SAFETY: the host's promise.
        let region = unsafe { read_region::read(state.host, args.region, args.constants)? };
        let call = CallRef::new(state.host, args.call);
        let context = CheckContext { device: args.device, call, region: args.region };
        let answer = state.plugin.check_region(&region, &context)?;
        args.fixed_us = answer.fixed_us.unwrap_or(-1.0);
        args.compute_us = answer.compute_us.unwrap_or(-1.0);
        answer.refused.iter().try_for_each(|(node, reason)| call.refuse_node(*node, reason))
    };
    // SAFETY: the host's promise.
    unsafe { with_state::<P, _>("check_region", args, |args| args.state, body) }
}

unsafe extern "C" fn compile<P: Exported>(args: *mut abi::CompileArgs) -> *mut abi::Error {
    let body = |state: &State<P>, args: &mut abi::CompileArgs| {
        // SAFETY: the host's promise.
        let options = unsafe { read_options(args.options, args.options_len) };
        // SAFETY: the host's promise.
        let region = unsafe { read_region::read(state.host, args.region, args.constants)? };
        let timeout = (args.timeout_ns > 0).then(|| Duration::from_nanos(args.timeout_ns));
        let context = CompileContext {
            device: args.device,
            options: &options,
            threads: args.threads.max(1) as usize,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            call: CallRef::new(state.host, args.call),
            region: Some(args.region),
            released: Default::default(),
        };
        let executable = state.plugin.compile(&region, &context)?;
        let constants = Constants { token: args.constants, count: region.constants.len() as u64 };
        args.executable = finish::<P>(state, executable, &constants, &context)?;
        args.table = &EXECUTABLE_TABLE;
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state::<P, _>("compile", args, |args| args.state, body) }
}

unsafe extern "C" fn load<P: Exported>(args: *mut abi::LoadArgs) -> *mut abi::Error {
    let body = |state: &State<P>, args: &mut abi::LoadArgs| {
        let context = CompileContext {
            device: args.device,
            options: &state.options,
            threads: 1,
            deadline: None,
            call: CallRef::new(state.host, args.call),
            region: None,
            released: Default::default(),
        };
        // SAFETY: the host keeps the artefact for the call.
        let executable = state.plugin.load(unsafe { args.artefact.as_bytes() }, &context)?;
        let constants = Constants { token: args.constants, count: args.constants_len };
        args.executable = finish::<P>(state, executable, &constants, &context)?;
        args.table = &EXECUTABLE_TABLE;
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state::<P, _>("load", args, |args| args.state, body) }
}

/// The constants of one executable.
struct Constants {
    token: *mut abi::Constants,
    count: u64,
}

/// Gives back the constants that the plugin has released, keeps the others with the executable.
fn finish<P: Exported>(
    state: &State<P>,
    executable: Box<dyn Executable>,
    constants: &Constants,
    context: &CompileContext<'_>,
) -> Result<*mut c_void> {
    let released = context.released.borrow();
    let host = state.host;
    let constant = |index: u64| {
        if released.contains(&(index as usize)) {
            let mut args =
                abi::ConstantReleaseArgs { constants: constants.token, index, ..AbiStruct::empty() };
            host.invoke(host.table().constant_release, &mut args)?;
            return Ok(None);
        }
        let mut args = abi::ConstantArgs { constants: constants.token, index, ..AbiStruct::empty() };
        host.invoke(host.table().constant, &mut args)?;
        // SAFETY: the host keeps the content until the executable is destroyed, and nobody has it longer than that:
        // `ExecuteContext` lends it for one execution.
        Ok(Some(unsafe { args.data.as_bytes::<'static>() }))
    };
    let constants = (0..constants.count).map(constant).collect::<Result<Vec<_>>>()?;
    Ok(into_raw(P::runtime(), host, executable, constants))
}

unsafe extern "C" fn check_artefact<P: Exported>(args: *mut abi::CheckArtefactArgs) -> *mut abi::Error {
    let body = |state: &State<P>, args: &mut abi::CheckArtefactArgs| {
        // SAFETY: the host keeps the text for the call.
        let compatibility = unsafe { args.compatibility.to_text() };
        args.answer = match state.plugin.check_artefact(&compatibility) {
            ArtefactAnswer::Best => abi::ARTEFACT_BEST,
            ArtefactAnswer::Works => abi::ARTEFACT_WORKS,
            ArtefactAnswer::Recompile => abi::ARTEFACT_RECOMPILE,
            ArtefactAnswer::Foreign => abi::ARTEFACT_FOREIGN,
        };
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state::<P, _>("check_artefact", args, |args| args.state, body) }
}
