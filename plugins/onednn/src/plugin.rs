//! The plugin: what the host calls.

use std::sync::PoisonError;

use byoc_plugin::shapes::Numbers;
use byoc_plugin::{
    ArtefactAnswer, CheckContext, CompileContext, DType, Error, Executable, MatchContext, Options, Plugin,
    Region, RegionAnswer, Result, ThreadPolicy,
};

use crate::executable::{Compiled, Networks, Recipe, compatibility};
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
        let (layers, made) = lower::layers(region)?;
        match static_shapes(region) {
            Some(mut sizes) => {
                sizes.extend(made.all.into_iter().map(|(dims, _)| dims));
                layers.iter().try_for_each(|layer| {
                    sizes[layer.output] = shape::resolve(layer, &sizes)?.dims;
                    Ok(())
                })
            }
            None => layers.iter().try_for_each(|layer| fuse::sizes_agree(layer, region)),
        }
    }

    fn check_region(&self, region: &Region<'_>, _: &CheckContext<'_>) -> Result<RegionAnswer> {
        let why = "whole numbers known only when it runs, or wanted by others than a Reshape beside them";
        let refused = Numbers::loose_nodes(region).into_iter().map(|node| (node, why.to_owned()));
        Ok(RegionAnswer { refused: refused.collect(), ..RegionAnswer::default() })
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let (layers, made) = lower::layers(region)?;
        let recipe = Recipe::new(region, fuse::fuse(layers, region), made)
            .ok_or_else(|| Error::unsupported("an input of unknown element type"))?;
        let compiled = Compiled::new(recipe, context.call.threads())?;
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

    /// Primitives are made when it runs: the host's constants are not here yet.
    fn load(&self, artefact: &[u8], context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        Ok(Box::new(Compiled::new(Recipe::read(artefact)?, context.call.threads())?))
    }

    fn check_artefact(&self, other: &str) -> ArtefactAnswer {
        match compatibility() {
            own if own == other => ArtefactAnswer::Best,
            own if own.split(' ').next() == other.split(' ').next() => ArtefactAnswer::Recompile,
            _ => ArtefactAnswer::Foreign,
        }
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
