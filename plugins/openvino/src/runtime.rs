//! OpenVINO with owners and errors: a core, what it compiles, and requests that run it.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::Arc;

use byoc_plugin::{Error, Result};

use crate::api::{Api, At, Count, ElementType, Free, Names, Raw, SetAt, Shape, Status, Text, Version};

const INVALID_PARAMETER: Status = -14;

/// A handle that is freed when nobody has it any more.
struct Handle {
    api: Arc<Api>,
    raw: Raw,
    free: Free,
}

// SAFETY: OpenVINO's objects belong to no thread; requests and tensors are used by one at a time (`&mut`).
unsafe impl Send for Handle {}
// SAFETY: cores and compiled models may be used from several threads at once.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and freed once.
        unsafe { (self.free)(self.raw) };
    }
}

impl Handle {
    fn new(api: &Arc<Api>, free: Free, make: impl FnOnce(*mut Raw) -> Status) -> Result<Handle> {
        let mut raw = std::ptr::null_mut();
        api.check(make(&mut raw))?;
        Ok(Handle { api: Arc::clone(api), raw, free })
    }
}

impl Api {
    fn check(&self, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the text is ours, and freed once.
        let message = unsafe {
            let text = (self.ov_get_last_err_msg)();
            let message = plain(&text_of(text));
            (self.ov_free)(text);
            message
        };
        Err(Error::internal(if message.is_empty() { format!("status {status}") } else { message }))
    }
}

/// What OpenVINO says, without the places in its own source.
fn plain(message: &str) -> String {
    let noise = ["Exception from ", "Check '", "Converting input model"];
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter(|line| !noise.iter().any(|start| line.starts_with(start))).collect::<Vec<_>>().join("; ")
}

/// # Safety
/// Null, or text that ends in a zero.
unsafe fn text_of(text: Text) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("{text:?} holds a zero byte")))
}

/// OpenVINO, ready to compile.
pub struct Runtime {
    core: Handle,
    low_precision: bool,
    pub version: String,
    /// As OpenVINO names them: `CPU`, `GPU.0`, …
    pub devices: Vec<String>,
}

impl Runtime {
    /// Loads the first library that can be; what was tried, where none can.
    pub fn load(candidates: &[PathBuf], low_precision: bool) -> Result<Runtime, String> {
        let mut tried = Vec::new();
        for path in candidates {
            match Api::load(path) {
                Ok(api) => return Runtime::new(&Arc::new(api), low_precision).map_err(|e| e.message),
                Err(error) => tried.push(error),
            }
        }
        Err(tried.join("; "))
    }

    fn new(api: &Arc<Api>, low_precision: bool) -> Result<Runtime> {
        // SAFETY: the functions are called as OpenVINO's headers say, here and below.
        let core = Handle::new(api, api.ov_core_free, |raw| unsafe { (api.ov_core_create)(raw) })?;
        let mut version = Version { build: std::ptr::null(), description: std::ptr::null() };
        let mut names = Names { names: std::ptr::null_mut(), len: 0 };
        // SAFETY: both structs are filled by the calls, read, and freed once.
        let (version, devices) = unsafe {
            api.check((api.ov_get_openvino_version)(&mut version))?;
            let build = text_of(version.build);
            (api.ov_version_free)(&mut version);
            api.check((api.ov_core_get_available_devices)(core.raw, &mut names))?;
            let devices = (0..names.len).map(|i| text_of(*names.names.add(i))).collect();
            (api.ov_available_devices_free)(&mut names);
            (build, devices)
        };
        Ok(Runtime { core, low_precision, version, devices })
    }

    /// Has OpenVINO read a model; an error where it cannot.
    pub fn read(&self, onnx: &[u8]) -> Result<Model> {
        let (api, null) = (&self.core.api, std::ptr::null_mut());
        // SAFETY: the bytes are only read, and during the call.
        Ok(Model(Handle::new(api, api.ov_model_free, |raw| unsafe {
            (api.ov_core_read_model_from_memory_buffer)(self.core.raw, onnx.as_ptr(), onnx.len(), null, raw)
        })?))
    }

    pub fn compile(&self, model: &Model, device: &str, threads: usize) -> Result<Compiled> {
        // SAFETY: no properties follow.
        self.compiled(device, threads, |core, device, raw| unsafe {
            (self.core.api.ov_core_compile_model)(core, model.0.raw, device, 0, raw)
        })
    }

    /// Makes a compiled model of what [`Compiled::export`] gave. Its constants stay where they lie in there.
    pub fn import(&self, blob: &[u8], device: &str, threads: usize) -> Result<Compiled> {
        let blob = blob.to_vec();
        // SAFETY: the bytes are only read, and stay as long as what is made of them.
        let compiled = self.compiled(device, threads, |core, device, raw| unsafe {
            (self.core.api.ov_core_import_model)(core, blob.as_ptr(), blob.len(), device, raw)
        })?;
        Ok(Compiled { _blob: blob, ..compiled })
    }

    fn compiled(
        &self,
        device: &str,
        threads: usize,
        make: impl FnOnce(Raw, Text, *mut Raw) -> Status,
    ) -> Result<Compiled> {
        self.configure(device, threads)?;
        let (api, device) = (&self.core.api, c_text(device)?);
        let handle =
            Handle::new(api, api.ov_compiled_model_free, |raw| make(self.core.raw, device.as_ptr(), raw))?;
        let set =
            (api.ov_infer_request_set_input_tensor_by_index, api.ov_infer_request_set_output_tensor_by_index);
        let inputs = (api.ov_compiled_model_inputs_size, api.ov_compiled_model_input_by_index);
        let outputs = (api.ov_compiled_model_outputs_size, api.ov_compiled_model_output_by_index);
        let inputs = ports(&handle, inputs.0, inputs.1, set.0)?;
        let outputs = ports(&handle, outputs.0, outputs.1, set.1)?;
        Ok(Compiled { handle, inputs, outputs, _blob: Vec::new() })
    }

    /// One request at a time; float32 stays float32, where OpenVINO alone would round to bfloat16; and quantised
    /// models are computed as the standard says, unless low precision is wanted.
    fn configure(&self, device: &str, threads: usize) -> Result<()> {
        let threads = threads.to_string();
        let general = [("PERFORMANCE_HINT", "LATENCY"), ("INFERENCE_PRECISION_HINT", "f32")];
        let low = if self.low_precision { "YES" } else { "NO" };
        let cpu =
            [("INFERENCE_NUM_THREADS", threads.as_str()), ("NUM_STREAMS", "1"), ("LP_TRANSFORMS_MODE", low)];
        let cpu = cpu.iter().filter(|_| device.starts_with("CPU"));
        let (api, device) = (&self.core.api, c_text(device)?);
        for (key, value) in general.iter().chain(cpu) {
            let (key, value) = (c_text(key)?, c_text(value)?);
            // SAFETY: one key and its value follow.
            let status = unsafe {
                (api.ov_core_set_property)(self.core.raw, device.as_ptr(), key.as_ptr(), value.as_ptr())
            };
            api.check(status)?;
        }
        Ok(())
    }
}

/// A model as OpenVINO has read it.
pub struct Model(Handle);

impl Model {
    pub fn outputs(&self) -> Result<Vec<Port>> {
        let (api, set) = (&self.0.api, self.0.api.ov_infer_request_set_output_tensor_by_index);
        ports(&self.0, api.ov_model_outputs_size, api.ov_model_const_output_by_index, set)
    }
}

/// An input or output of a model.
pub struct Port {
    index: usize,
    element: ElementType,
    set: SetAt,
    /// `None`: it depends on the inputs.
    pub shape: Option<Vec<usize>>,
}

pub struct Compiled {
    handle: Handle,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Freed behind the handle.
    _blob: Vec<u8>,
}

impl Compiled {
    pub fn request(&self) -> Result<Request> {
        let api = &self.handle.api;
        // SAFETY: OpenVINO keeps the model for as long as a request has it.
        Ok(Request(Handle::new(api, api.ov_infer_request_free, |raw| unsafe {
            (api.ov_compiled_model_create_infer_request)(self.handle.raw, raw)
        })?))
    }

    /// The compiled model as bytes. OpenVINO's C interface writes them to files only.
    pub fn export(&self) -> Result<Vec<u8>> {
        let failed = |error: std::io::Error| Error::internal(format!("the exported model: {error}"));
        let file = tempfile::NamedTempFile::new().map_err(failed)?;
        let path = c_text(&file.path().to_string_lossy())?;
        let api = &self.handle.api;
        // SAFETY: the path is valid for the call.
        api.check(unsafe { (api.ov_compiled_model_export_model)(self.handle.raw, path.as_ptr()) })?;
        std::fs::read(file.path()).map_err(failed)
    }
}

fn ports(of: &Handle, count: Count, at: At, set: SetAt) -> Result<Vec<Port>> {
    let api = &of.api;
    let mut len = 0;
    // SAFETY: as the headers say.
    api.check(unsafe { count(of.raw, &mut len) })?;
    let port = |index| {
        // SAFETY: as above.
        let port = Handle::new(api, api.ov_output_const_port_free, |raw| unsafe { at(of.raw, index, raw) })?;
        let mut element = 0;
        // SAFETY: as above.
        api.check(unsafe { (api.ov_port_get_element_type)(port.raw, &mut element) })?;
        // SAFETY: as above. A shape that is not fixed is an error of this call.
        let shape = shape_of(api, |shape| unsafe { (api.ov_const_port_get_shape)(port.raw, shape) }).ok();
        Ok(Port { index, element, set, shape })
    };
    (0..len).map(port).collect()
}

fn shape_of(api: &Api, get: impl FnOnce(*mut Shape) -> Status) -> Result<Vec<usize>> {
    let mut shape = Shape { rank: 0, dims: std::ptr::null_mut() };
    match get(&mut shape) {
        // The interface cannot tell a shape of rank 0, and calls the question invalid.
        INVALID_PARAMETER => return Ok(Vec::new()),
        status => api.check(status)?,
    }
    // SAFETY: OpenVINO has filled in so many sizes, which are freed once.
    unsafe {
        let rank = usize::try_from(shape.rank).unwrap_or(0);
        let dims = (0..rank).map(|i| usize::try_from(*shape.dims.add(i)).unwrap_or(0)).collect();
        (api.ov_shape_free)(&mut shape);
        Ok(dims)
    }
}

/// State of one execution after the other.
pub struct Request(Handle);

impl Request {
    /// Has an input read from, or an output written to, memory of the caller's.
    ///
    /// # Safety
    /// The bytes stay valid until the request runs no more, or is given others; those of an output may be written to.
    pub unsafe fn bind(&mut self, port: &Port, shape: &[i64], bytes: *mut [u8]) -> Result<()> {
        let api = &self.0.api;
        // OpenVINO copies the sizes.
        let of = Shape { rank: shape.len() as i64, dims: shape.as_ptr().cast_mut() };
        // SAFETY: the caller's promise; whether the memory has that size is checked below.
        let tensor = Handle::new(api, api.ov_tensor_free, |raw| unsafe {
            (api.ov_tensor_create_from_host_ptr)(port.element, of, bytes.cast(), raw)
        })?;
        let (mut size, len) = (0, bytes.len());
        // SAFETY: as the headers say.
        api.check(unsafe { (api.ov_tensor_get_byte_size)(tensor.raw, &mut size) })?;
        if size != len {
            return Err(Error::invalid(format!("OpenVINO wants {size} bytes for {shape:?}, not {len}")));
        }
        // SAFETY: the caller's promise; inputs are only read.
        api.check(unsafe { (port.set)(self.0.raw, port.index, tensor.raw) })
    }

    pub fn infer(&mut self) -> Result<()> {
        // SAFETY: inputs are set.
        self.0.api.check(unsafe { (self.0.api.ov_infer_request_infer)(self.0.raw) })
    }

    /// Shape and content of an output that OpenVINO has allocated itself.
    pub fn output<R>(&mut self, port: &Port, take: impl FnOnce(&[usize], &[u8]) -> R) -> Result<R> {
        let api = &self.0.api;
        // SAFETY: as the headers say.
        let tensor = Handle::new(api, api.ov_tensor_free, |raw| unsafe {
            (api.ov_infer_request_get_output_tensor_by_index)(self.0.raw, port.index, raw)
        })?;
        // SAFETY: as above.
        let shape = shape_of(api, |shape| unsafe { (api.ov_tensor_get_shape)(tensor.raw, shape) })?;
        let (mut data, mut len) = (std::ptr::null_mut(), 0);
        // SAFETY: as above.
        api.check(unsafe { (api.ov_tensor_get_byte_size)(tensor.raw, &mut len) })?;
        if len == 0 {
            return Ok(take(&shape, &[]));
        }
        // SAFETY: the tensor has so many bytes, which stay as they are until the request runs again.
        let bytes = unsafe {
            api.check((api.ov_tensor_data)(tensor.raw, &mut data))?;
            std::slice::from_raw_parts(data.cast::<u8>(), len)
        };
        Ok(take(&shape, bytes))
    }
}
