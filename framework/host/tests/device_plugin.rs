//! A plugin with memory and streams of its own, on a device that notices every mistake of its host.

mod common;

use std::sync::Arc;

use byoc_host::{
    CallEnv, Category, CompileRequest, Compiled, CopyEnd, DType, DeviceMemory, Freed, Output, OutputMemory,
    Plugin, PluginError, Stream, TensorData, TensorRef,
};
use common::{EXPECTED, INPUT, bytes, floats, open, scaled_relu};

struct Setup {
    plugin: Arc<Plugin>,
    memory: DeviceMemory,
    compiled: Compiled,
    input: u64,
    output: u64,
}

const BYTES: u64 = 16;

fn setup() -> Setup {
    let plugin = open("byoc_far_device", &[]).unwrap();
    let device = plugin.devices()[0].id;
    let memory = plugin.memory(device).unwrap();
    let region = scaled_relu();
    let compiled = plugin.compile(&CompileRequest { device, ..CompileRequest::new(&region) }).unwrap();
    let (input, output) = (memory.alloc(BYTES, 64).unwrap(), memory.alloc(BYTES, 64).unwrap());
    Setup { plugin, memory, compiled, input, output }
}

impl Setup {
    fn enqueue(&self, stream: Option<&Stream>) -> Result<(), PluginError> {
        let device = self.memory.id();
        let data = TensorData::Device { device, address: self.input, offset: 0, len: BYTES };
        let inputs = [TensorRef { dtype: DType::F32, shape: &[4], data }];
        let memory = OutputMemory::Device { device, address: self.output, offset: 0, len: BYTES };
        let mut outputs = [Output { dtype: DType::F32, shape: &[4], memory }];
        // SAFETY: device memory is freed by the tests only when they are done with the stream.
        unsafe { self.compiled.enqueue(None, &inputs, &mut outputs, &mut [], stream, CallEnv::default()) }
            .map(drop)
    }

    fn copy_in(&self, content: &[u8], stream: &Stream) -> Result<(), PluginError> {
        let (from, to) =
            (CopyEnd::Host(content.as_ptr().cast_mut()), CopyEnd::Device { address: self.input, offset: 0 });
        // SAFETY: the tests keep the content until they have waited for the stream.
        unsafe { self.memory.copy(from, to, content.len() as u64, Some(stream)) }
    }

    fn copy_out(&self, content: &mut [u8], stream: &Stream) -> Result<(), PluginError> {
        let (from, to) =
            (CopyEnd::Device { address: self.output, offset: 0 }, CopyEnd::Host(content.as_mut_ptr()));
        // SAFETY: as above.
        unsafe { self.memory.copy(from, to, content.len() as u64, Some(stream)) }
    }

    fn free_all(self) {
        assert_eq!((self.memory.free(self.input), self.memory.free(self.output)), (Freed::Done, Freed::Done));
        drop(self.compiled);
        let (free, total) = self.memory.memory_info().unwrap().unwrap();
        assert_eq!(free, total, "the device's memory leaks");
    }
}

#[test]
fn without_a_stream_all_is_done_on_return() {
    let setup = setup();
    assert!(setup.input >> 48 != 0 && setup.compiled.inputs()[0].device == setup.memory.id());
    setup.memory.copy_in(&bytes(&INPUT), setup.input, 0).unwrap();
    setup.enqueue(None).unwrap();
    let mut result = [0; BYTES as usize];
    setup.memory.copy_out(setup.output, 0, &mut result).unwrap();
    assert_eq!(floats(&result), EXPECTED);
    setup.free_all();
}

#[test]
fn streams_are_ordered_by_events_and_by_nothing_else() {
    let setup = setup();
    let (transfers, kernels) = (setup.memory.new_stream().unwrap(), setup.memory.new_stream().unwrap());
    let [arrived, computed, returned] = [0; 3].map(|_| setup.memory.new_event().unwrap());
    let content = bytes(&INPUT);
    let mut result = [0; BYTES as usize];
    setup.copy_in(&content, &transfers).unwrap();
    transfers.record(&arrived).unwrap();
    kernels.wait(&arrived).unwrap();
    setup.enqueue(Some(&kernels)).unwrap();
    kernels.record(&computed).unwrap();
    transfers.wait(&computed).unwrap();
    setup.copy_out(&mut result, &transfers).unwrap();
    transfers.record(&returned).unwrap();
    assert_eq!(result, [0; BYTES as usize], "nothing may have happened yet");
    assert!(!returned.is_done().unwrap());
    returned.wait().unwrap();
    assert!(returned.is_done().unwrap() && computed.is_done().unwrap());
    assert_eq!(floats(&result), EXPECTED);
    drop((transfers, kernels));
    setup.free_all();
}

#[test]
fn a_missing_event_is_noticed_and_every_later_event_fails() {
    let setup = setup();
    let (transfers, kernels) = (setup.memory.new_stream().unwrap(), setup.memory.new_stream().unwrap());
    let (arrived, computed) = (setup.memory.new_event().unwrap(), setup.memory.new_event().unwrap());
    setup.copy_in(&bytes(&INPUT), &transfers).unwrap();
    transfers.record(&arrived).unwrap();
    assert!(setup.enqueue(Some(&kernels)).unwrap_err().error.message.contains("race"));
    kernels.record(&computed).unwrap();
    for event in [&computed, &arrived] {
        let error = event.wait().unwrap_err();
        assert_eq!(error.category(), Category::DeviceLost, "{error}");
    }
    assert_eq!(computed.is_done().unwrap_err().category(), Category::DeviceLost);
    assert!(!setup.plugin.is_poisoned());
}

#[test]
fn memory_in_use_is_not_freed() {
    let setup = setup();
    let stream = setup.memory.new_stream().unwrap();
    let content = bytes(&INPUT);
    setup.copy_in(&content, &stream).unwrap();
    assert_eq!(setup.memory.free(setup.input), Freed::Failed);
    assert_eq!(setup.memory.sync(Some(&stream)).unwrap_err().category(), Category::DeviceLost);
}

#[test]
fn wrong_addresses_sizes_and_devices_are_errors() {
    let setup = setup();
    let long = [0; BYTES as usize + 1];
    assert!(
        setup.memory.copy_in(&long, setup.input, 0).unwrap_err().error.message.contains("not in a piece")
    );
    assert!(setup.memory.copy_in(&long[..8], setup.input, BYTES - 4).is_err());
    assert!(setup.memory.copy_in(&long[..8], setup.input + 1, 0).is_err());
    assert!(setup.memory.alloc(1 << 40, 64).unwrap_err().category() == Category::OutOfMemory);
    let mut unwritten = [0; 4];
    let error = setup.memory.copy_out(setup.input, 0, &mut unwritten).unwrap_err();
    assert!(error.error.message.contains("before they are written"), "{error}");
    // Host memory given where the device's own is wanted.
    let error = common::execute(&setup.compiled, CallEnv::default()).unwrap_err();
    assert!(error.error.message.contains("not on this device"), "{error}");
    setup.free_all();
}

#[test]
fn everything_that_a_plugin_gave_keeps_it_open() {
    let Setup { plugin, memory, compiled, input, output } = setup();
    drop(plugin);
    let event = memory.new_event().unwrap();
    let stream = memory.new_stream().unwrap();
    stream.record(&event).unwrap();
    assert_eq!((memory.free(input), memory.free(output)), (Freed::Done, Freed::Done));
    drop((memory, compiled));
    event.wait().unwrap();
}
