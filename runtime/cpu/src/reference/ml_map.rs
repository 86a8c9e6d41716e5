//! Maps in classical machine learning: CastMap, DictVectorizer, ZipMap.

use byoc_graph::{DType, Datum, MapKeys, Tensor};

use super::call::{Call, Outputs};
use super::cast::{Options, convert};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::ml_linear::{Labels, rows};
use super::movement::{take, zero};
use super::numbers::{self, from_floats};
use super::registry::{Entry, ml};

pub(super) const OPS: &[Entry] =
    &[ml("CastMap", 1, cast_map), ml("DictVectorizer", 1, dict_vectorizer), ml("ZipMap", 1, zip_map)];

/// Each row of scores as a map from label to score.
fn zip_map(call: &Call<'_>) -> Outputs {
    let (scores, n, classes) = rows(call.tensor(0)?)?;
    let keys = match Labels::of(call, "classlabels_strings", "classlabels_int64s")? {
        Labels::Strings(labels) => MapKeys::Strings(labels),
        Labels::Ints(labels) => MapKeys::Ints(DType::I64, labels),
    };
    let labels = match &keys {
        MapKeys::Strings(labels) => labels.len(),
        MapKeys::Ints(_, labels) => labels.len(),
    };
    ensure!(labels == classes, "{labels} labels for {classes} scores");
    let map = |row: &[f64]| {
        let values = row.iter().map(|&x| Datum::Tensor(Tensor::scalar(x as f32))).collect();
        Datum::Map { keys: keys.clone(), values }
    };
    let items = (0..n).map(|i| map(&scores[i * classes..(i + 1) * classes])).collect();
    Ok(vec![Datum::Sequence { element: None, items }])
}

/// The keys and the values of the map at input 0, the values as scalars.
fn map<'a>(call: &Call<'a>) -> Result<(&'a MapKeys, Vec<&'a Tensor>), Fault> {
    let Datum::Map { keys, values } = call.datum(0)? else {
        return Err(Fault::Kind { input: 0, got: call.datum(0)?.kind(), expected: "map" });
    };
    let scalars = values.iter().map(|value| value.as_tensor().filter(|t| t.len() == 1));
    let scalars =
        scalars.collect::<Option<Vec<_>>>().ok_or_else(|| invalid!("values that are no scalars"))?;
    Ok((keys, scalars))
}

/// A row of the map's values, in the order of a vocabulary; zero for a word that the map lacks.
fn dict_vectorizer(call: &Call<'_>) -> Outputs {
    let (keys, values) = map(call)?;
    let places: Vec<Option<usize>> = match (keys, Labels::of(call, "string_vocabulary", "int64_vocabulary")?)
    {
        (MapKeys::Strings(keys), Labels::Strings(words)) => {
            words.iter().map(|w| keys.iter().position(|k| k == w)).collect()
        }
        (MapKeys::Ints(_, keys), Labels::Ints(words)) => {
            words.iter().map(|w| keys.iter().position(|k| k == w)).collect()
        }
        _ => return Err(invalid!("a vocabulary of another type than the map's keys")),
    };
    let dims = [1, places.len()];
    let Some(first) = values.first() else {
        return Ok(vec![from_floats(DType::F32, &dims, &vec![0.0; places.len()])?.into()]);
    };
    let none = zero(first.dtype())?;
    let sources = [&values[..], &[&none]].concat();
    let picks: Vec<usize> = places.into_iter().map(|at| at.unwrap_or(values.len())).collect();
    Ok(vec![take(&sources, &dims, &picks)?.into()])
}

/// A row of the map's values, in the order of their keys; a sparse one has them at their keys' places.
fn cast_map(call: &Call<'_>) -> Outputs {
    let (MapKeys::Ints(_, keys), values) = map(call)? else {
        return Err(invalid!("a map whose keys are no integers"));
    };
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|&i| keys[i]);
    let (width, places) = match call.text("map_form")? {
        "SPARSE" => {
            let width = layout::size(call.int("max_map")?)?;
            let places = order.iter().map(|&i| layout::size(keys[i])).collect::<Result<Vec<_>, _>>()?;
            ensure!(places.iter().all(|&p| p < width), "a key beyond the {width} places of `max_map`");
            (width, places)
        }
        _ => (order.len(), (0..order.len()).collect()),
    };
    let target = match call.text("cast_to")? {
        "TO_STRING" => DType::Str,
        "TO_INT64" => DType::I64,
        _ => DType::F32,
    };
    let converted = values.iter().map(|value| convert(value, target, &Options::PLAIN));
    let converted = converted.chain([zero(target)]).collect::<Result<Vec<_>, _>>()?;
    let mut picks = numbers::filled(values.len(), &[width])?;
    order.iter().zip(places).for_each(|(&i, place)| picks[place] = i);
    Ok(vec![take(&converted.iter().collect::<Vec<_>>(), &[1, width], &picks)?.into()])
}
