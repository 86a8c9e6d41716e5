//! The plugin: what the host calls.

use std::sync::{Mutex, PoisonError};

use byoc_plugin::{
    CheckContext, CompileContext, DType, Error, Executable, MatchContext, Options, Plugin, Region,
    RegionAnswer, Result, ThreadPolicy,
};

use crate::bridge::ffi;
use crate::executable::{Compiled, Networks};
use crate::{fuse, lower, shape};

pub struct OneDnn;

byoc_plugin::export_plugin!(OneDnn, table = include_str!("table.toml"));

impl Plugin for OneDnn {
    /// As many as the host has, of the OpenMP runtime that oneDNN computes on.
    const THREADS: ThreadPolicy = ThreadPolicy::Own(0);

    fn open(_: &Options) -> Result<Self> {
        Ok(OneDnn)
    }

    fn check_match(&self, region: &Region<'_>, _: &MatchContext<'_>) -> Result<()> {
        // The target of a Reshape may be made beside it in the region, which is asked about later.
        if region.inputs.iter().any(|&input| region.value(input).dtype == Some(DType::I64)) {
            return Ok(());
        }
        let layers = lower::layers(region)?;
        match static_shapes(region) {
            Some(mut sizes) => layers.iter().try_for_each(|layer| {
                sizes[layer.output] = shape::resolve(layer, &sizes)?.dims;
                Ok(())
            }),
            None => layers.iter().try_for_each(|layer| fuse::sizes_agree(layer, region)),
        }
    }

    fn check_region(&self, region: &Region<'_>, _: &CheckContext<'_>) -> Result<RegionAnswer> {
        let why = "whole numbers known only when it runs, or wanted by others than a Reshape beside them";
        let refused = lower::loose_numbers(region).into_iter().map(|node| (node, why.to_owned()));
        Ok(RegionAnswer { refused: refused.collect(), ..RegionAnswer::default() })
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let layers = fuse::fuse(lower::layers(region)?, region);
        let shape_of = |&value: &usize| {
            let shape = region.value(value).shape().unwrap_or_default();
            (value, shape.into_iter().map(|dim| dim as i64).collect())
        };
        let compiled = Compiled {
            layers,
            values: region.values.len(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
            constants: region.constants.iter().map(shape_of).collect(),
            weights: ffi::new_weights().map_err(|error| Error::internal(error.what()))?,
            threads: context.call.threads(),
            sizes: Mutex::default(),
            first: Mutex::default(),
        };
        // Where all sizes are known, primitives are made here, and their weights are all that is kept.
        if let Some(sizes) = static_shapes(region) {
            let shapes = region.inputs.iter().map(|&input| sizes[input].clone()).collect();
            let bytes = |index: usize| Some(region.value(region.constants[index]).constant?.bytes);
            let network = compiled.build(&shapes, bytes);
            if let Err(Error { node: Some(node), message, .. }) = &network {
                context.call.refuse_node(*node, message)?;
            }
            let first = Networks([(shapes, network?)].into());
            *compiled.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
            (0..region.constants.len()).for_each(|constant| context.release_constant(constant));
        }
        Ok(Box::new(compiled))
    }
}

/// The sizes of inputs and constants by value, where all of them are known; room for the others.
fn static_shapes(region: &Region<'_>) -> Option<Vec<Vec<i64>>> {
    let mut sizes = vec![Vec::new(); region.values.len()];
    for &value in region.inputs.iter().chain(&region.constants) {
        sizes[value] = region.value(value).shape()?.into_iter().map(|dim| dim as i64).collect();
    }
    Some(sizes)
}
