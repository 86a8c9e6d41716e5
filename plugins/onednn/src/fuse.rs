//! Post-ops: what is done to the result of one layer alone is done before that result is written.

use byoc_plugin::shapes::Scaling;
use byoc_plugin::{Dim, Error, Region, Result};

use crate::layer::{Algorithm, Kind, Layer, Post, Type, What};

/// Post-ops of one layer at most.
const MOST: usize = 8;

/// Layers, in an order in which each finds its operands made, with as many of them as can be as post-ops of others.
pub fn fuse(layers: Vec<Layer>, region: &Region<'_>) -> Vec<Layer> {
    let mut done: Vec<Layer> = Vec::new();
    let uses = |value: usize| {
        let inside: usize = layers.iter().map(|l| l.inputs.iter().filter(|&&i| i == value).count()).sum();
        let sizes = |l: &Layer| matches!(&l.what, What::View(view) if view.wants_size_of(value));
        inside + layers.iter().filter(|l| sizes(l)).count() + usize::from(region.is_output(value))
    };
    for layer in &layers {
        let host = layer.inputs.iter().enumerate().find_map(|(at, &value)| {
            let host = done.iter().position(|l| l.output == value)?;
            let post = post_op(layer, at)?;
            let fits =
                takes(&done[host], layer) && uses(value) == 1 && same_sizes(region, value, layer.output);
            (fits && operand_is_ready(&post, host, &done, region)).then_some((host, post))
        });
        match host {
            Some((host, post)) => {
                let host = &mut done[host];
                host.post.push(post);
                host.post.extend(layer.post.iter().cloned());
                (host.output, host.node, host.dtype) = (layer.output, layer.node, layer.dtype);
            }
            None => done.push(layer.clone()),
        }
    }
    done
}

/// Whether a layer may end in another. What ends in codes is done; primitives of floats make floats, but for binary ones.
fn takes(host: &Layer, layer: &Layer) -> bool {
    let binary = matches!(host.what, What::Binary(_));
    let kind =
        matches!(host.what, What::Convolution(..) | What::Deconvolution(..) | What::Product(_)) || binary;
    let types = host.dtype == Type::F32 && (binary || layer.dtype == Type::F32);
    kind && types && host.post.len() + layer.post.len() < MOST
}

/// A layer as something done to its operand number `at`.
fn post_op(layer: &Layer, at: usize) -> Option<Post> {
    match layer.what {
        What::Eltwise(function) => Some(function),
        What::Binary(algorithm) => {
            let commutes = !matches!(algorithm, Algorithm::Sub | Algorithm::Div);
            (at == 0 || commutes).then_some(Post::binary(algorithm, layer.inputs[1 - at]))
        }
        _ => None,
    }
}

fn same_sizes(region: &Region<'_>, a: usize, b: usize) -> bool {
    let (a, b) = (&region.value(a).dims, &region.value(b).dims);
    a == b && a.as_ref().is_some_and(|dims| !dims.contains(&Dim::Unknown))
}

/// The other operand is there before the layer runs, and has the result's sizes or is a vector along its channels.
fn operand_is_ready(post: &Post, host: usize, done: &[Layer], region: &Region<'_>) -> bool {
    if post.kind != Kind::Binary {
        return true;
    }
    if done[host..].iter().any(|layer| layer.output == post.value) {
        return false;
    }
    let output = done[host].output;
    // From behind: a product's channels are its columns.
    let along = match done[host].what {
        What::Product(_) => Some(0),
        _ => region.value(output).rank().and_then(|rank| rank.checked_sub(2)),
    };
    // Constants that were made for a layer are with it alone.
    let Some(operand) = region.values.get(post.value) else { return false };
    let shape = operand.shape().filter(|_| operand.constant.is_some());
    let is_vector =
        |shape: Vec<usize>| shape.iter().rev().enumerate().all(|(i, &dim)| dim == 1 || Some(i) == along);
    same_sizes(region, post.value, output) || shape.is_some_and(is_vector)
}

/// Whether what depends on sizes alone is oneDNN's, as far as they are known.
pub fn sizes_agree(layer: &Layer, region: &Region<'_>) -> Result<()> {
    let refuse = |why| Err(Error::unsupported(why).at_node(layer.node));
    match &layer.what {
        What::Binary(algorithm) => {
            let first = same_sizes(region, layer.inputs[0], layer.output);
            let second = layer.inputs[1] < region.values.len()
                && same_sizes(region, layer.inputs[1], layer.output)
                && !matches!(*algorithm, Algorithm::Sub | Algorithm::Div);
            if first || second { Ok(()) } else { refuse("oneDNN broadcasts the second operand only") }
        }
        What::Resampling(Algorithm::Nearest, Scaling::By(scales))
            if scales.iter().any(|s| s.fract() != 0.0) =>
        {
            refuse("scales that oneDNN samples elsewhere: nearest takes whole ones only")
        }
        What::Resampling(Algorithm::Nearest, Scaling::To(_)) => {
            refuse("sizes of which only running tells the scale")
        }
        _ => Ok(()),
    }
}
