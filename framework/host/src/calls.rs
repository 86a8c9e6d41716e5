//! What one call into a plugin may use, and what it leaves behind; what a `CallToken` points at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use byoc_plugin::{Category, Error, abi};
use serde::{Deserialize, Serialize};

use crate::memory::AlignedBuffer;
use crate::pool::{SerialPool, ThreadPool};

/// Threads and cancellation of a call.
#[derive(Clone, Copy)]
pub struct CallEnv<'a> {
    pub pool: &'a dyn ThreadPool,
    /// Set to true by anyone who no longer wants the result.
    pub stop: Option<&'a AtomicBool>,
}

impl Default for CallEnv<'_> {
    fn default() -> Self {
        CallEnv { pool: &SerialPool, stop: None }
    }
}

/// A span of device time that a plugin has reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpan {
    pub name: String,
    pub start_ns: u64,
    pub end_ns: u64,
}

/// Where a plugin's log goes: level (1 error … 4 debug) and line.
pub type LogSink = Box<dyn Fn(u32, &str) + Send + Sync>;

static LOG_SINK: OnceLock<LogSink> = OnceLock::new();

/// Says where the logs of all plugins go, once a process; without it they are dropped.
pub fn set_log_sink(sink: LogSink) -> Result<(), LogSink> {
    LOG_SINK.set(sink)
}

pub(crate) fn log(level: u32, line: &str) {
    if let Some(sink) = LOG_SINK.get() {
        sink(level, line);
    }
}

/// One call.
pub(crate) struct Call<'a> {
    env: CallEnv<'a>,
    refused: Mutex<Vec<(usize, String)>>,
    outputs: Mutex<Vec<OutputState>>,
    spans: Mutex<Vec<DeviceSpan>>,
}

/// What a plugin has said of one output.
#[derive(Debug, Default)]
pub(crate) struct OutputState {
    /// How to find the size of a pending output.
    pub dtype: Option<byoc_plugin::DType>,
    pub pending: bool,
    pub shape: Option<Vec<i64>>,
    pub memory: Option<AlignedBuffer>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(env: CallEnv<'a>, outputs: Vec<OutputState>) -> Self {
        Call { env, refused: Mutex::default(), outputs: Mutex::new(outputs), spans: Mutex::default() }
    }

    pub(crate) fn token(&self) -> *mut abi::CallToken {
        (&raw const *self).cast_mut().cast()
    }

    /// # Safety
    /// The token is null, or one that the host gave to a call that still lasts.
    pub(crate) unsafe fn from_token<'c>(token: *mut abi::CallToken) -> Result<&'c Call<'c>, Error> {
        // SAFETY: the caller's promise.
        unsafe { token.cast::<Call<'c>>().as_ref() }.ok_or_else(|| Error::invalid("the call token is null"))
    }

    pub(crate) fn pool(&self) -> &dyn ThreadPool {
        self.env.pool
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.env.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    pub(crate) fn refuse(&self, node: usize, reason: String) {
        lock(&self.refused).push((node, reason));
    }

    pub(crate) fn span(&self, span: DeviceSpan) {
        lock(&self.spans).push(span);
    }

    pub(crate) fn set_shape(&self, output: u64, shape: &[i64]) -> Result<(), Error> {
        self.with_output(output, |state| {
            state.shape = Some(shape.to_vec());
            Ok(())
        })
    }

    /// Allocates a pending output; gives its address and size.
    pub(crate) fn allocate(&self, output: u64, shape: &[i64]) -> Result<(*mut u8, usize), Error> {
        self.with_output(output, |state| {
            if !state.pending || state.memory.is_some() {
                return Err(Error::invalid(format!("output {output} has its memory already")));
            }
            let dtype =
                state.dtype.ok_or_else(|| Error::invalid(format!("output {output} has no known type")))?;
            let size = |product: usize, dim: &i64| product.checked_mul(usize::try_from(*dim).ok()?);
            let bytes = shape.iter().try_fold(1usize, size).and_then(|elements| dtype.byte_len(elements));
            let bytes = bytes
                .ok_or_else(|| Error::invalid(format!("output {output} cannot have shape {shape:?}")))?;
            let memory = AlignedBuffer::new(bytes, AlignedBuffer::ALIGN);
            let memory = memory.ok_or_else(|| {
                Error::new(Category::OutOfMemory, format!("no {bytes} bytes for output {output}"))
            })?;
            let address = memory.as_ptr();
            (state.shape, state.memory) = (Some(shape.to_vec()), Some(memory));
            Ok((address, bytes))
        })
    }

    fn with_output<T>(
        &self,
        output: u64,
        body: impl FnOnce(&mut OutputState) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut outputs = lock(&self.outputs);
        let state = usize::try_from(output).ok().and_then(|output| outputs.get_mut(output));
        body(state.ok_or_else(|| Error::invalid(format!("there is no output {output}")))?)
    }

    pub(crate) fn into_refused(self) -> Vec<(usize, String)> {
        self.refused.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn into_outputs(self) -> (Vec<OutputState>, Vec<DeviceSpan>) {
        let outputs = self.outputs.into_inner().unwrap_or_else(PoisonError::into_inner);
        (outputs, self.spans.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
