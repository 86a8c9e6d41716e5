//! What was compiled, as the host runs it.

use std::any::Any;
use std::ptr;

use byoc_plugin::{Artefact, Error, Executable, ExecuteContext, Result, TensorView, TensorViewMut};

use crate::runtime::{Compiled, Request};

pub struct Region {
    pub compiled: Compiled,
    /// By output: whether OpenVINO can be given the host's memory for it. A loaded artefact does not tell.
    pub direct: Vec<bool>,
    pub compatibility: String,
}

impl Executable for Region {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        match context.state::<Request>() {
            Some(request) => self.run(request, inputs, outputs),
            None => self.run(&mut self.compiled.request()?, inputs, outputs),
        }
    }

    fn output_shapes(&self, _: &[TensorView<'_>]) -> Result<Option<Vec<Vec<usize>>>> {
        Ok(self.compiled.outputs.iter().map(|port| port.shape.clone()).collect())
    }

    fn serialise(&self) -> Result<Artefact> {
        Ok(Artefact { bytes: self.compiled.export()?, compatibility: self.compatibility.clone() })
    }

    fn new_context(&self) -> Result<Box<dyn Any + Send>> {
        Ok(Box::new(self.compiled.request()?))
    }
}

impl Region {
    /// OpenVINO reads inputs where they lie. It writes outputs where the host wants them if their size is known
    /// beforehand; others it allocates itself, and they are copied.
    fn run(
        &self,
        request: &mut Request,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<()> {
        for (input, port) in inputs.iter().zip(&self.compiled.inputs) {
            let bytes = ptr::from_ref(input.bytes()?).cast_mut();
            // SAFETY: the host lends the bytes until this call is over.
            unsafe { request.bind(port, input.info.shape, bytes)? };
        }
        let mut copied = Vec::new();
        for ((output, port), &direct) in outputs.iter_mut().zip(&self.compiled.outputs).zip(&self.direct) {
            let Some(dims) = port.shape.as_ref().filter(|_| direct) else {
                copied.push((output, port));
                continue;
            };
            if output.is_pending() {
                output.allocate(dims)?;
            }
            let shape: Vec<i64> = dims.iter().map(|&size| size as i64).collect();
            // SAFETY: as above.
            unsafe { request.bind(port, &shape, output.bytes_mut()?)? };
        }
        request.infer()?;
        copied.into_iter().try_for_each(|(output, port)| {
            request.output(port, |shape, bytes| copy_out(shape, bytes, output))?
        })
    }
}

fn copy_out(shape: &[usize], bytes: &[u8], output: &mut TensorViewMut<'_>) -> Result<()> {
    if output.is_pending() {
        output.allocate(shape)?;
    }
    let into = output.bytes_mut()?;
    if into.len() != bytes.len() {
        return Err(Error::internal(format!("OpenVINO made {shape:?} for {} bytes", into.len())));
    }
    into.copy_from_slice(bytes);
    Ok(())
}
