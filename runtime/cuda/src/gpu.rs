//! One GPU: its memory, streams and events as the interface to the host has them, and the kernels that it has loaded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use byoc_plugin::{CopyEnd, Device, DeviceId, Error, FreeAnswer, Result, Streams};

use crate::api::{Address, CublasLtApi, CudnnApi};
use crate::blas::Blas;
use crate::dnn::Dnn;
use crate::driver::{Attribute, Context, Driver, Function};
use crate::kernel::{Libraries, Source, Task};
use crate::loaded::Maker;
use crate::staging::Staging;

/// DLPack's number for CUDA.
pub const KIND: u32 = 2;
/// The least compute capability: older tensor cores have other tiles.
const LEAST_MAJOR: i32 = 8;
/// Multiply-adds of float32 that a multiprocessor does in a cycle.
const LANES: f64 = 128.0;

pub struct Gpu {
    driver: Arc<Driver>,
    device: i32,
    /// Made when it is first wanted: on a machine with several GPUs, most are never touched.
    context: OnceLock<Result<Context>>,
    pub ordinal: u32,
    pub name: String,
    pub memory: u64,
    /// `sm_90` and the like.
    pub architecture: String,
    /// Operations of float32 and bytes that it could do in a microsecond.
    pub flops_per_us: f64,
    pub bytes_per_us: f64,
    /// By their source.
    kernels: Mutex<HashMap<String, Function>>,
    shelf: Shelf,
    /// Made when they are first wanted; `None` where there is no library, or none that works here.
    blas: OnceLock<Option<Blas>>,
    dnn: OnceLock<Option<Dnn>>,
    /// Made when it is first wanted; `None` where there is no memory for it.
    staging: OnceLock<Option<Staging>>,
    /// All of the plugin, for copies between them.
    peers: OnceLock<Vec<Weak<Gpu>>>,
}

/// The libraries that were found, and how they compute.
#[derive(Clone, Default)]
pub struct Shelf {
    pub blas: Option<Arc<CublasLtApi>>,
    pub dnn: Option<Arc<CudnnApi>>,
    /// They may round factors of float32 to what tensor cores take.
    pub tf32: bool,
}

impl Gpu {
    /// All of them. Products and convolutions are done by the libraries that are given.
    pub fn all(driver: &Arc<Driver>, shelf: &Shelf) -> Result<Vec<Arc<Gpu>>> {
        let count = driver.device_count()?;
        let open = |ordinal| Gpu::open(driver, ordinal, shelf.clone()).map(Arc::new);
        let gpus = (0..count).map(open);
        let gpus = gpus.collect::<Result<Vec<_>>>()?;
        let peers: Vec<_> = gpus.iter().map(Arc::downgrade).collect();
        for gpu in &gpus {
            // Each is new, so there is nothing in its place.
            let _ = gpu.peers.set(peers.clone());
        }
        Ok(gpus)
    }

    fn open(driver: &Arc<Driver>, ordinal: i32, shelf: Shelf) -> Result<Gpu> {
        let device = driver.device(ordinal)?;
        let ask = |attribute| driver.attribute(device, attribute);
        let name = driver.device_name(device)?;
        if ask(Attribute::MemoryPools)? == 0 {
            return Err(Error::unsupported(format!("{name} has no memory pools: its driver is too old")));
        }
        let (major, minor) = (ask(Attribute::CapabilityMajor)?, ask(Attribute::CapabilityMinor)?);
        if major < LEAST_MAJOR {
            return Err(Error::unsupported(format!(
                "{name} is of capability {major}.{minor}; 8.0 is the least"
            )));
        }
        // What a driver does not tell only leaves costs unknown.
        let rate = |attribute| f64::from(ask(attribute).unwrap_or(0));
        let (cores, clock) =
            (rate(Attribute::Multiprocessors) * LANES, rate(Attribute::ClockKilohertz) / 1e3);
        // Both edges of the clock carry data.
        let bytes = 2.0 * rate(Attribute::MemoryClockKilohertz) / 1e3 * rate(Attribute::MemoryBusBits) / 8.0;
        Ok(Gpu {
            device,
            context: OnceLock::new(),
            ordinal: ordinal as u32,
            memory: driver.total_memory(device)?,
            architecture: format!("sm_{major}{minor}"),
            flops_per_us: 2.0 * cores * clock,
            bytes_per_us: bytes,
            kernels: Mutex::default(),
            shelf,
            blas: OnceLock::new(),
            dnn: OnceLock::new(),
            staging: OnceLock::new(),
            peers: OnceLock::new(),
            driver: Arc::clone(driver),
            name,
        })
    }

    pub fn id(&self) -> DeviceId {
        DeviceId { kind: KIND, id: self.ordinal }
    }

    fn context(&self) -> Result<Context> {
        self.context.get_or_init(|| self.driver.retain(self.device)).clone()
    }

    /// The driver, with this GPU's context on this thread.
    pub fn enter(&self) -> Result<&Driver> {
        self.driver.enter(self.context()?)?;
        Ok(&self.driver)
    }

    /// The kernel of a source: loaded already, kept on disk, or compiled now.
    pub fn kernel(&self, source: &Source, maker: &Maker) -> Result<Function> {
        let whole = source.whole();
        let loaded = || self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = loaded().get(&whole) {
            return Ok(*function);
        }
        let image = self.image(source, maker)?;
        let function = self.enter()?.load_kernel(&image, &source.name)?;
        loaded().insert(whole, function);
        Ok(function)
    }

    /// The code of a source: from an artefact, kept on disk, or compiled now.
    pub fn image(&self, source: &Source, maker: &Maker) -> Result<Vec<u8>> {
        if let Some(kept) = maker.kept(source) {
            return Ok(kept);
        }
        let (whole, nvrtc) = (source.whole(), &maker.nvrtc);
        let version = format!("{}.{}", nvrtc.version.0, nvrtc.version.1);
        let key = [self.architecture.as_str(), &version, &whole];
        maker.cache.get(&key, || nvrtc.compile(&source.name, &whole, &self.architecture))
    }

    /// The libraries that are not here, by their names.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [("cuBLASLt", self.shelf.blas.is_none()), ("cuDNN", self.shelf.dnn.is_none())];
        all.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect()
    }

    fn blas(&self) -> Option<&Blas> {
        let make = || {
            let library = self.shelf.blas.as_ref()?;
            self.enter().and_then(|_| Blas::new(library, self.shelf.tf32)).ok()
        };
        self.blas.get_or_init(make).as_ref()
    }

    fn dnn(&self) -> Option<&Dnn> {
        let make = || {
            let library = self.shelf.dnn.as_ref()?;
            self.enter().and_then(|_| Dnn::new(library, self.shelf.tf32)).ok()
        };
        self.dnn.get_or_init(make).as_ref()
    }

    /// Enqueues what a library does; addresses are those of `Call::Library`.
    pub fn enqueue(&self, task: &Task, addresses: &[Address], workspace: u64, stream: u64) -> Result<()> {
        let gone = |name: &str| Error::internal(format!("{name} has gone"));
        match task {
            Task::Multiply(product) => {
                let blas = self.blas().ok_or_else(|| gone("cuBLASLt"))?;
                blas.enqueue(product, addresses, workspace, stream)
            }
            Task::Convolve(convolve) => {
                let dnn = self.dnn().ok_or_else(|| gone("cuDNN"))?;
                dnn.enqueue(convolve, addresses, workspace, stream)
            }
        }
    }

    /// The way for copies from and to the host.
    pub fn staging(&self) -> Option<&Staging> {
        self.staging.get_or_init(|| self.enter().ok().and_then(Staging::new)).as_ref()
    }

    /// What tells this GPU's driver from others in the process.
    pub fn driver_id(&self) -> usize {
        self.driver.id()
    }

    fn peer(&self, id: DeviceId) -> Result<Context> {
        let peers = self.peers.get().into_iter().flatten().filter_map(Weak::upgrade);
        let peer = peers.into_iter().find(|gpu| gpu.id() == id);
        peer.ok_or_else(|| Error::unsupported("no GPU of this plugin"))?.context()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let Some(Ok(_)) = self.context.get() else { return };
        if let Ok(driver) = self.enter() {
            let kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
            kernels.values().for_each(|function| driver.unload(*function));
        }
        // While its context is still there.
        drop((self.blas.take(), self.dnn.take()));
        if let Some(staging) = self.staging.take().flatten() {
            staging.give_back(&self.driver);
        }
        self.driver.release(self.device);
    }
}

impl Libraries for Gpu {
    fn workspace(&self, task: &Task) -> Option<u64> {
        self.enter().ok()?;
        Some(match task {
            Task::Multiply(product) => self.blas()?.prepare(&product.form)?.workspace(),
            Task::Convolve(convolve) => self.dnn()?.prepare(&convolve.form)?.workspace(),
        })
    }
}

/// Where a copy begins or ends on a device.
fn address(end: CopyEnd) -> Result<u64> {
    match end {
        CopyEnd::Device { address, offset } => {
            address.checked_add(offset).ok_or_else(|| Error::invalid("an address beyond all memory"))
        }
        CopyEnd::Host(_) => Err(Error::invalid("host memory where the device's is wanted")),
    }
}

impl Device for Gpu {
    fn alloc(&self, size: u64, align: u64) -> Result<u64> {
        // The driver aligns to 256 bytes and more, and has no memory of 0 bytes.
        let address = self.enter()?.alloc(size.max(1))?;
        if align > 0 && !address.is_multiple_of(align) {
            let _ = self.driver.free(address);
            return Err(Error::unsupported(format!("memory aligned to {align} bytes")));
        }
        Ok(address)
    }

    fn free(&self, address: u64) -> FreeAnswer {
        match self.enter().and_then(|driver| driver.free(address)) {
            Ok(()) => FreeAnswer::Done,
            Err(_) => FreeAnswer::Failed,
        }
    }

    fn copy(&self, from: CopyEnd, to: CopyEnd, size: u64, stream: Option<u64>) -> Result<()> {
        let (driver, queue) = (self.enter()?, stream.unwrap_or(0));
        match (from, to) {
            _ if size == 0 => return Ok(()),
            (CopyEnd::Host(from), to) => {
                // SAFETY: the host keeps its memory valid until the copy has completed.
                unsafe { self.host_to_device(address(to)?, from as usize as *const u8, size, queue)? };
            }
            (from, CopyEnd::Host(to)) => {
                // SAFETY: as above.
                unsafe { self.device_to_host(to as usize as *mut u8, address(from)?, size, queue)? };
            }
            (from, to) => driver.copy_within(address(to)?, address(from)?, size, queue)?,
        }
        if stream.is_none() { driver.synchronise(queue) } else { Ok(()) }
    }

    fn copy_from_peer(
        &self,
        peer: DeviceId,
        from: CopyEnd,
        to: CopyEnd,
        size: u64,
        stream: Option<u64>,
    ) -> Result<()> {
        let (theirs, driver, queue) = (self.peer(peer)?, self.enter()?, stream.unwrap_or(0));
        if size > 0 {
            let (to, from) = ((address(to)?, self.context()?), (address(from)?, theirs));
            driver.copy_between(to, from, size, queue)?;
        }
        if stream.is_none() { driver.synchronise(queue) } else { Ok(()) }
    }

    fn sync(&self, stream: Option<u64>) -> Result<()> {
        let driver = self.enter()?;
        stream.map_or_else(|| driver.synchronise_all(), |stream| driver.synchronise(stream))
    }

    fn memory_info(&self) -> Option<(u64, u64)> {
        self.enter().ok()?.memory_info().ok()
    }

    fn streams(&self) -> Option<&dyn Streams> {
        Some(self)
    }
}

impl Streams for Gpu {
    fn create(&self) -> Result<u64> {
        self.enter()?.stream_create()
    }

    fn destroy(&self, stream: u64) {
        if let Ok(driver) = self.enter() {
            driver.stream_destroy(stream);
        }
    }

    fn wait(&self, stream: u64, event: u64) -> Result<()> {
        self.enter()?.stream_wait(stream, event)
    }

    fn event_create(&self) -> Result<u64> {
        self.enter()?.event_create()
    }

    fn event_destroy(&self, event: u64) {
        if let Ok(driver) = self.enter() {
            driver.event_destroy(event);
        }
    }

    fn event_record(&self, stream: u64, event: u64) -> Result<()> {
        self.enter()?.event_record(event, stream)
    }

    fn event_query(&self, event: u64) -> Result<bool> {
        self.enter()?.event_query(event)
    }

    fn event_wait(&self, event: u64) -> Result<()> {
        self.enter()?.event_wait(event)
    }
}
