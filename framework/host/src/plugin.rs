//! An open plugin: safe calls into its table.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use byoc_plugin::abi::{self, AbiStruct, Pair, Str};
use byoc_plugin::{DeviceId, Error, HOST, RegionAnswer};

use crate::calls::{Call, CallEnv};
use crate::compiled::{Compiled, Signature};
use crate::constants::ConstantSet;
use crate::error::PluginError;
use crate::fp_mode::FpMode;
use crate::host_table::take_error;
use crate::isolate::{Keeper, Restored};
use crate::library::Library;
use crate::region::{ConstantData, RegionData};
use crate::snapshot::Snapshot;

/// A plugin with its state. Closed when the last of its executables is gone.
pub struct Plugin {
    library: Arc<Library>,
    state: *mut c_void,
    options: Vec<(String, String)>,
    devices: Vec<DeviceInfo>,
    /// Held during a call where the plugin does not take several at once.
    turnstile: Option<Mutex<()>>,
    poisoned: AtomicBool,
    /// Keeps it in a worker; none where it is in this process.
    keeper: Option<Arc<Keeper>>,
}

// SAFETY: the interface lets a plugin be called from any thread; one at a time, unless it says otherwise.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

/// A device of a plugin.
#[derive(Debug, Clone)]
pub struct DeviceInfo {
    pub id: DeviceId,
    pub name: String,
    pub memory_bytes: Option<u64>,
    pub(crate) table: Option<abi::DeviceTable>,
    pub(crate) raw: *mut c_void,
}

impl DeviceInfo {
    /// A device that computes in host memory.
    pub(crate) fn in_host_memory(id: DeviceId, name: String, memory_bytes: Option<u64>) -> Self {
        DeviceInfo { id, name, memory_bytes, table: None, raw: std::ptr::null_mut() }
    }

    /// It has memory of its own.
    pub fn has_memory(&self) -> bool {
        self.table.is_some()
    }
}

/// What `compile` is asked for.
#[derive(Clone, Copy)]
pub struct CompileRequest<'a> {
    pub region: &'a RegionData,
    pub device: DeviceId,
    /// Threads that compiling may use.
    pub threads: u32,
    pub timeout: Option<Duration>,
    pub env: CallEnv<'a>,
}

impl<'a> CompileRequest<'a> {
    /// For host memory, one thread, without a time limit.
    pub fn new(region: &'a RegionData) -> Self {
        CompileRequest { region, device: HOST, threads: 1, timeout: None, env: CallEnv::default() }
    }
}

/// What a plugin says of an artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtefactFit {
    Best,
    /// It works; compiling again would give a better one.
    Works,
    Recompile,
    Foreign,
}

impl Plugin {
    /// Opens a plugin; `options` are those of [`Library::complete_options`].
    pub fn open(library: &Arc<Library>, options: Vec<(String, String)>) -> Result<Arc<Plugin>, PluginError> {
        let mut plugin = Plugin {
            library: Arc::clone(library),
            state: std::ptr::null_mut(),
            options,
            devices: Vec::new(),
            turnstile: (!library.concurrent).then(Mutex::default),
            poisoned: AtomicBool::new(false),
            keeper: None,
        };
        if let Some(origin) = &library.origin {
            let (keeper, devices) = Keeper::open(origin, plugin.vendor(), &plugin.options)?;
            plugin.devices = devices;
            plugin.keeper = Some(keeper);
            return Ok(Arc::new(plugin));
        }
        if let Some(open) = library.raw.open {
            let pairs = pairs(&plugin.options);
            let options_len = pairs.len() as u64;
            let mut args = abi::OpenArgs { options: pairs.as_ptr(), options_len, ..AbiStruct::empty() };
            plugin.call("open", Some(open), &mut args)?;
            plugin.state = args.state;
        }
        plugin.devices = plugin.read_devices()?;
        Ok(Arc::new(plugin))
    }

    fn read_devices(&self) -> Result<Vec<DeviceInfo>, PluginError> {
        let host = DeviceInfo::in_host_memory(HOST, "host".into(), None);
        let Some(devices) = self.library.raw.devices else { return Ok(vec![host]) };
        let mut args = abi::DevicesArgs { state: self.state, ..AbiStruct::empty() };
        self.call("devices", Some(devices), &mut args)?;
        // SAFETY: the devices live as long as the plugin is open.
        let infos = unsafe { abi::slice(args.devices, args.devices_len) };
        let read = infos.iter().map(|info| {
            let short = || self.error("devices", Error::internal("a device's description is too short"));
            // SAFETY: as above.
            let info = unsafe { abi::DeviceInfo::read(*info) }.ok_or_else(short)?;
            // SAFETY: as above.
            let table = unsafe { abi::DeviceTable::read(info.table) };
            if table.is_none() && !info.table.is_null() {
                return Err(short());
            }
            let missing = |table: &abi::DeviceTable| {
                table.alloc.is_none() || table.free.is_none() || table.copy.is_none() || table.sync.is_none()
            };
            if table.as_ref().is_some_and(missing) {
                return Err(self.error(
                    "devices",
                    Error::internal("a device with memory lacks alloc, free, copy or sync"),
                ));
            }
            if table.as_ref().is_some_and(has_some_of_streams) {
                let why = "a device has some of the functions for streams and events, but not all";
                return Err(self.error("devices", Error::internal(why)));
            }
            // SAFETY: as above.
            let name = unsafe { info.name.to_text() }.into_owned();
            let memory_bytes = (info.memory_bytes > 0).then_some(info.memory_bytes);
            Ok(DeviceInfo { id: info.id, name, memory_bytes, table, raw: info.device })
        });
        let devices = read.collect::<Result<Vec<_>, _>>()?;
        let twice = devices.iter().enumerate().find(|(at, d)| devices[..*at].iter().any(|e| e.id == d.id));
        if let Some((_, DeviceInfo { id, name, .. })) = twice {
            let why = format!("two of its devices are {}:{}, one of them `{name}`", id.kind, id.id);
            return Err(self.error("devices", Error::internal(why)));
        }
        Ok(if devices.is_empty() { vec![host] } else { devices })
    }

    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The vendor's name, from the pattern table.
    pub fn vendor(&self) -> &str {
        &self.library.table.vendor.name
    }

    pub fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// At least one; the first is where regions go by default.
    pub fn devices(&self) -> &[DeviceInfo] {
        &self.devices
    }

    /// It has failed for good, and is not called again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire) || self.keeper.as_ref().is_some_and(|k| k.is_given_up())
    }

    /// It runs in a worker.
    pub fn is_isolated(&self) -> bool {
        self.keeper.is_some()
    }

    /// What it has cost to replace its workers.
    pub fn restored(&self) -> Restored {
        self.keeper.as_ref().map_or(Restored::default(), |keeper| keeper.restored())
    }

    /// Why it cannot be called at the moment; `None` where it can. One that is isolated may be back later.
    pub fn absence(&self) -> Option<String> {
        match &self.keeper {
            Some(keeper) => keeper.absence(),
            None => self.is_poisoned().then(|| "it has panicked before".to_owned()),
        }
    }

    /// It wants to be asked about matches.
    pub fn checks_matches(&self) -> bool {
        match &self.library.origin {
            Some(origin) => origin.info().checks_matches,
            None => self.library.raw.check_match.is_some(),
        }
    }

    /// Who keeps it in a worker, with the turn that a call needs.
    fn keeper(&self) -> Option<(&Arc<Keeper>, Option<MutexGuard<'_, ()>>)> {
        Some((self.keeper.as_ref()?, self.turn()))
    }

    /// May this match be taken? `match_` is the match as a region of its own.
    pub fn check_match(&self, match_: &RegionData, env: CallEnv<'_>) -> Result<(), PluginError> {
        if let Some((keeper, _turn)) = self.keeper() {
            return keeper.check_match(match_);
        }
        let Some(check) = self.library.raw.check_match else { return Ok(()) };
        let (call, snapshot, constants) = self.prepare(match_, env);
        let mut args = abi::CheckMatchArgs {
            call: call.token(),
            state: self.state,
            region: snapshot.as_region(),
            constants: constants.token(),
            ..AbiStruct::empty()
        };
        self.call("check_match", Some(check), &mut args)
    }

    /// What would this region cost, and which nodes are refused?
    pub fn check_region(
        &self,
        region: &RegionData,
        device: DeviceId,
        env: CallEnv<'_>,
    ) -> Result<RegionAnswer, PluginError> {
        if let Some((keeper, _turn)) = self.keeper() {
            return keeper.check_region(region, device);
        }
        let Some(check) = self.library.raw.check_region else { return Ok(RegionAnswer::default()) };
        let (call, snapshot, constants) = self.prepare(region, env);
        let mut args = abi::CheckRegionArgs {
            call: call.token(),
            state: self.state,
            region: snapshot.as_region(),
            constants: constants.token(),
            device,
            fixed_us: -1.0,
            compute_us: -1.0,
            ..AbiStruct::empty()
        };
        self.call("check_region", Some(check), &mut args)?;
        let known = |us: f64| (us.is_finite() && us >= 0.0).then_some(us);
        let mut refused = call.into_refused();
        refused.retain(|(node, _)| *node < region.nodes.len());
        Ok(RegionAnswer { fixed_us: known(args.fixed_us), compute_us: known(args.compute_us), refused })
    }

    pub fn compile(self: &Arc<Self>, request: &CompileRequest<'_>) -> Result<Compiled, PluginError> {
        let region = request.region;
        if let Some((keeper, _turn)) = self.keeper() {
            let remote = keeper.compile(request)?;
            return Ok(Compiled::remote(Arc::clone(self), remote, Signature::of(region)));
        }
        let (call, snapshot, constants) = self.prepare(region, request.env);
        let pairs = pairs(&self.options);
        let mut args = abi::CompileArgs {
            call: call.token(),
            state: self.state,
            region: snapshot.as_region(),
            constants: constants.token(),
            device: request.device,
            options: pairs.as_ptr(),
            options_len: pairs.len() as u64,
            threads: request.threads.max(1),
            timeout_ns: request.timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(0)),
            ..AbiStruct::empty()
        };
        let result = self.call("compile", self.library.raw.compile, &mut args);
        result.map_err(|error| PluginError { refused: call.into_refused(), ..error })?;
        Compiled::new(
            Arc::clone(self),
            args.table,
            args.executable,
            constants,
            Signature::of(region),
            request.device,
        )
    }

    /// Makes an executable of an artefact; `constants` are those of the region that was compiled.
    pub fn load(
        self: &Arc<Self>,
        artefact: &[u8],
        constants: &[ConstantData],
        signature: Signature,
        device: DeviceId,
        env: CallEnv<'_>,
    ) -> Result<Compiled, PluginError> {
        if let Some((keeper, _turn)) = self.keeper() {
            let remote = keeper.load(artefact, constants, &signature, device)?;
            return Ok(Compiled::remote(Arc::clone(self), remote, signature));
        }
        let Some(load) = self.library.raw.load else {
            return Err(self.error("load", Error::unsupported("this plugin loads no artefacts")));
        };
        let call = Call::new(env, Vec::new());
        let constants = Box::new(ConstantSet::new(constants));
        let mut args = abi::LoadArgs {
            call: call.token(),
            state: self.state,
            constants: constants.token(),
            constants_len: constants.len() as u64,
            device,
            artefact: Str::bytes(artefact),
            ..AbiStruct::empty()
        };
        self.call("load", Some(load), &mut args)?;
        Compiled::new(Arc::clone(self), args.table, args.executable, constants, signature, device)
    }

    /// Would an artefact with this compatibility string run here?
    pub fn check_artefact(&self, compatibility: &str, device: DeviceId) -> Result<ArtefactFit, PluginError> {
        if let Some((keeper, _turn)) = self.keeper() {
            return keeper.check_artefact(compatibility, device);
        }
        let Some(check) = self.library.raw.check_artefact else { return Ok(ArtefactFit::Foreign) };
        let compatibility = Str::new(compatibility);
        let mut args =
            abi::CheckArtefactArgs { state: self.state, device, compatibility, ..AbiStruct::empty() };
        self.call("check_artefact", Some(check), &mut args)?;
        Ok(match args.answer {
            abi::ARTEFACT_BEST => ArtefactFit::Best,
            abi::ARTEFACT_WORKS => ArtefactFit::Works,
            abi::ARTEFACT_RECOMPILE => ArtefactFit::Recompile,
            _ => ArtefactFit::Foreign,
        })
    }

    fn prepare<'a>(
        &self,
        region: &'a RegionData,
        env: CallEnv<'a>,
    ) -> (Call<'a>, Box<Snapshot<'a>>, Box<ConstantSet>) {
        let constants = Box::new(ConstantSet::new(&region.constants));
        (Call::new(env, Vec::new()), Box::new(Snapshot::new(region)), constants)
    }

    /// Calls a function of the plugin's: one at a time where it wants that, with the floating-point mode restored.
    pub(crate) fn call<A: AbiStruct>(
        &self,
        name: &'static str,
        function: abi::Call<A>,
        args: &mut A,
    ) -> Result<(), PluginError> {
        let function = function
            .ok_or_else(|| self.error(name, Error::unsupported("the plugin has no such function")))?;
        if self.is_poisoned() {
            let error = Error { panicked: true, ..Error::internal("the plugin has panicked before") };
            return Err(self.error(name, error));
        }
        let turn = self.turn();
        let fp_mode = FpMode::save();
        // SAFETY: the arguments are as the interface says.
        let error = unsafe { function(args) };
        drop(fp_mode);
        drop(turn);
        // SAFETY: an error of ours, which the plugin has given up.
        match unsafe { take_error(error) } {
            None => Ok(()),
            Some(error) => {
                self.poisoned.fetch_or(error.panicked, Ordering::AcqRel);
                Err(self.error(name, error))
            }
        }
    }

    /// Calls a function that has no answer. A poisoned plugin's objects are left alone: nothing is known of them.
    pub(crate) fn notify<A: AbiStruct>(&self, function: abi::Notify<A>, args: &mut A) {
        if let Some(function) = function.filter(|_| !self.is_poisoned()) {
            let _turn = self.turn();
            let _fp_mode = FpMode::save();
            // SAFETY: the arguments are as the interface says.
            unsafe { function(args) };
        }
    }

    pub(crate) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turnstile.as_ref().map(|turnstile| turnstile.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn error(&self, call: &'static str, error: Error) -> PluginError {
        PluginError { plugin: self.vendor().to_owned(), call, error, refused: Vec::new(), lost: false }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let mut args = abi::CloseArgs { state: self.state, ..AbiStruct::empty() };
        self.notify(self.library.raw.close, &mut args);
    }
}

/// They come all together or not at all.
fn has_some_of_streams(table: &abi::DeviceTable) -> bool {
    let present = [
        table.stream_create.is_some(),
        table.stream_destroy.is_some(),
        table.stream_wait.is_some(),
        table.event_create.is_some(),
        table.event_destroy.is_some(),
        table.event_record.is_some(),
        table.event_query.is_some(),
        table.event_wait.is_some(),
    ];
    present.contains(&true) && present.contains(&false)
}

fn pairs(options: &[(String, String)]) -> Vec<Pair> {
    options.iter().map(|(key, value)| Pair { key: Str::new(key), value: Str::new(value) }).collect()
}
