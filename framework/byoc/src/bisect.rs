//! Finds where a vendor leaves the host's result: the first region, and in it the fewest composites.

use byoc_graph::Datum;
use byoc_partitioner::Region;

use crate::Error;
use crate::layers::{Layer, Layers, Part};

/// The first region that is beyond tolerance, given what the host gives it, and the smallest part of it that is.
#[derive(Clone, Debug)]
pub struct Culprit {
    pub region: String,
    pub vendor: String,
    pub part: Part,
    pub difference: String,
    pub got: Vec<(String, Datum)>,
}

/// Looks at the regions in the order in which they run.
pub fn bisect(layers: &Layers<'_>) -> Result<Option<Culprit>, Error> {
    for region in layers.regions() {
        let part = layers.whole(region)?;
        let Some((layer, difference)) = differs(layers, &part)? else { continue };
        let smallest = smallest(layers, region, layer.compiled)?;
        let (part, layer, difference) = smallest.unwrap_or((part, layer, difference));
        let (region, vendor) = (region.name.clone(), region.vendor_name.clone());
        return Ok(Some(Culprit { region, vendor, part, difference, got: layer.got }));
    }
    Ok(None)
}

fn differs(layers: &Layers<'_>, part: &Part) -> Result<Option<(Layer, String)>, Error> {
    let Some(layer) = layers.compute(part)? else { return Ok(None) };
    Ok(layer.difference.clone().map(|difference| (layer, difference)))
}

/// One composite by itself, or else the shortest beginning of the region that shows the difference, or cannot be
/// compiled either.
fn smallest(
    layers: &Layers<'_>,
    region: &Region,
    compiled: bool,
) -> Result<Option<(Part, Layer, String)>, Error> {
    let all = &region.composites;
    let ones = (0..all.len()).map(|i| i..i + 1);
    let beginnings = (2..all.len()).map(|n| 0..n);
    for range in ones.chain(beginnings) {
        let part = layers.some(region, &all[range])?;
        if let Some((layer, difference)) = differs(layers, &part)?.filter(|(l, _)| l.compiled == compiled) {
            return Ok(Some((part, layer, difference)));
        }
    }
    Ok(None)
}
