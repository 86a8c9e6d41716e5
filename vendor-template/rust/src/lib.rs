//! A BYOC plugin for acme-npu.
//!
//! The framework finds the parts of a model that `table.toml` describes and gives each to [`Npu`] as a region. What
//! `compile` makes of it runs in its place.

mod codegen;
mod kernels;
#[cfg(test)]
mod tests;

use byoc_plugin::{
    CompileContext, Executable, ExecuteContext, Options, Plugin, Region, Result, TensorView, TensorViewMut,
};

use codegen::Program;

pub struct Npu;

byoc_plugin::export_plugin!(Npu, table = include_str!("../table.toml"));

impl Plugin for Npu {
    fn open(_: &Options) -> Result<Self> {
        Ok(Npu)
    }

    fn compile(&self, region: &Region<'_>, _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        Ok(Box::new(Program::new(region)?))
    }
}

impl Executable for Program {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        _: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let inputs = inputs.iter().map(TensorView::as_slice::<f32>).collect::<Result<Vec<_>>>()?;
        for (result, output) in self.run(&inputs).iter().zip(outputs) {
            output.as_mut_slice::<f32>()?.copy_from_slice(result);
        }
        Ok(())
    }
}
