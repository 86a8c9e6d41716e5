//! Preparing features for classical machine learning.

use byoc_graph::{Attr, DType, Tensor};
use bytes::Bytes;

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::index::gathered;
use super::layout;
use super::ml_linear::rows;
use super::movement::take;
use super::numbers::{self, from_floats, from_floats_any};
use super::registry::{Entry, ml};

pub(super) const OPS: &[Entry] = &[
    ml("ArrayFeatureExtractor", 1, array_feature_extractor),
    ml("Binarizer", 1, binarizer),
    ml("CategoryMapper", 1, category_mapper),
    ml("FeatureVectorizer", 1, feature_vectorizer),
    ml("Imputer", 1, imputer),
    ml("LabelEncoder", 1, label_encoder),
    ml("Normalizer", 1, normalizer),
    ml("OneHotEncoder", 1, one_hot_encoder),
    ml("Scaler", 1, scaler),
];

fn array_feature_extractor(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(x.rank() > 0, "a scalar has no features");
    let axis = x.rank() - 1;
    let features = x.dims()[axis];
    let chosen: Vec<usize> =
        call.whole(1)?.iter().map(|&i| layout::index(i, features)).collect::<Result<_, _>>()?;
    let found = gathered(x, axis, &chosen, &[chosen.len()])?;
    // A list of features comes out as one row.
    Ok(vec![if x.rank() == 1 { found.reshaped(&[1, chosen.len()])? } else { found }.into()])
}

fn binarizer(call: &Call<'_>) -> Outputs {
    let (x, threshold) = (call.tensor(0)?, call.float("threshold")?);
    let above = numbers::floats(x)?.into_iter().map(|x| f64::from(u8::from(x > threshold)));
    Ok(vec![from_floats_any(x.dtype(), x.dims(), &above.collect::<Vec<_>>())?.into()])
}

/// One factor or offset a feature, or one for all.
fn by_feature(values: &[f64], i: usize, features: usize) -> f64 {
    if values.len() == 1 { values[0] } else { values[i % features] }
}

fn scaler(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let features = x.dims().last().copied().unwrap_or(1);
    let list = |name: &str, neutral: f64| -> Result<Vec<f64>, Fault> {
        let values = call.floats_attr(name)?.unwrap_or_else(|| vec![neutral]);
        ensure!(
            values.len() == 1 || values.len() == features,
            "{} values of `{name}` for {features} features",
            values.len()
        );
        Ok(values)
    };
    let (offset, scale) = (list("offset", 0.0)?, list("scale", 1.0)?);
    let one = |(i, x): (usize, f64)| (x - by_feature(&offset, i, features)) * by_feature(&scale, i, features);
    let scaled: Vec<f64> = numbers::floats(x)?.into_iter().enumerate().map(one).collect();
    Ok(vec![from_floats(DType::F32, x.dims(), &scaled)?.into()])
}

fn imputer(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let features = x.dims().last().copied().unwrap_or(1);
    let integers = call.ints_opt("imputed_value_int64s")?.unwrap_or_default();
    let (new, missing) = if integers.is_empty() {
        (call.floats_attr("imputed_value_floats")?.unwrap_or_default(), call.float("replaced_value_float")?)
    } else {
        (integers.into_iter().map(|x| x as f64).collect(), call.int("replaced_value_int64")? as f64)
    };
    ensure!(new.len() == 1 || new.len() == features, "{} values for {features} features", new.len());
    let is_missing = |x: f64| x == missing || (x.is_nan() && missing.is_nan());
    let one = |(i, x): (usize, f64)| if is_missing(x) { by_feature(&new, i, features) } else { x };
    let filled: Vec<f64> = numbers::floats(x)?.into_iter().enumerate().map(one).collect();
    Ok(vec![from_floats_any(x.dtype(), x.dims(), &filled)?.into()])
}

fn normalizer(call: &Call<'_>) -> Outputs {
    let (x, n, features) = rows(call.tensor(0)?)?;
    let norm: fn(&[f64]) -> f64 = match call.text("norm")? {
        "MAX" => |row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "L1" => |row| row.iter().map(|x| x.abs()).sum(),
        "L2" => |row| row.iter().map(|x| x * x).sum::<f64>().sqrt(),
        other => {
            let why = format!("is `{other}`, which is not known");
            return Err(Fault::Attribute { name: "norm".into(), why });
        }
    };
    let scaled = |row: &[f64]| {
        let norm = norm(row);
        row.iter().map(|x| if norm == 0.0 { *x } else { x / norm }).collect::<Vec<f64>>()
    };
    let y: Vec<f64> = (0..n).flat_map(|i| scaled(&x[i * features..(i + 1) * features])).collect();
    Ok(vec![from_floats(DType::F32, call.tensor(0)?.dims(), &y)?.into()])
}

fn feature_vectorizer(call: &Call<'_>) -> Outputs {
    let inputs = (0..call.inputs.len()).map(|i| rows(call.tensor(i)?)).collect::<Result<Vec<_>, Fault>>()?;
    let n = inputs.first().map_or(0, |(_, n, _)| *n);
    ensure!(inputs.iter().all(|(_, rows, _)| *rows == n), "inputs differ in their number of rows");
    let width: usize = inputs.iter().map(|(.., features)| features).sum();
    let row = |i: usize| inputs.iter().flat_map(move |(x, _, f)| x[i * f..(i + 1) * f].to_vec());
    let y: Vec<f64> = (0..n).flat_map(row).collect();
    Ok(vec![from_floats(DType::F32, &[n, width], &y)?.into()])
}

fn one_hot_encoder(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let names = call.texts_opt("cats_strings")?.unwrap_or_default();
    let numbers_known = call.ints_opt("cats_int64s")?.unwrap_or_default();
    let found: Vec<Option<usize>> = match x.strings() {
        Some(strings) => strings.iter().map(|s| names.iter().position(|n| n == s)).collect(),
        None => {
            let values = numbers::floats(x)?;
            values.iter().map(|&v| numbers_known.iter().position(|&k| k == v as i64)).collect()
        }
    };
    let width = names.len().max(numbers_known.len());
    ensure!(call.int("zeros")? != 0 || found.iter().all(Option::is_some), "a category is not known");
    let dims = [x.dims(), &[width]].concat();
    let mut y = numbers::filled(0.0, &dims)?;
    found.iter().enumerate().for_each(|(i, at)| {
        if let Some(at) = at {
            y[i * width + at] = 1.0;
        }
    });
    Ok(vec![from_floats(DType::F32, &dims, &y)?.into()])
}

/// A list of keys or values, whatever attribute holds it.
fn list(call: &Call<'_>, kind: &str) -> Result<Option<Tensor>, Fault> {
    if let Some(tensor) = call.tensor_attr(&format!("{kind}_tensor"))? {
        return Ok(Some(tensor.reshaped(&[tensor.len()])?));
    }
    let attrs = ["strings", "int64s", "floats"].map(|ty| call.attr(&format!("{kind}_{ty}")));
    Ok(match attrs.into_iter().flatten().next() {
        Some(Attr::Strs(v)) => Some(Tensor::from_strings(&[v.len()], v.clone())?),
        Some(Attr::Ints(v)) => Some(Tensor::from_vec(&[v.len()], v.clone())?),
        Some(Attr::Floats(v)) => Some(Tensor::from_vec(&[v.len()], v.clone())?),
        _ => None,
    })
}

/// What stands for a key that is not known, in the type of the values.
fn default_value(call: &Call<'_>, dtype: DType) -> Result<Tensor, Fault> {
    if let Some(tensor) = call.tensor_attr("default_tensor")? {
        return Ok(tensor.reshaped(&[])?);
    }
    Ok(match dtype {
        DType::Str => {
            let text = call.text_opt("default_string")?.unwrap_or("_Unused");
            Tensor::from_strings(&[], vec![Bytes::copy_from_slice(text.as_bytes())])?
        }
        dtype if dtype.is_float() => {
            from_floats(dtype, &[], &[call.float_opt("default_float")?.unwrap_or(0.0)])?
        }
        dtype => numbers::from_ints(dtype, &[], &[call.int_opt("default_int64")?.unwrap_or(-1).into()])?,
    })
}

fn label_encoder(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let (keys, values) = match (list(call, "keys")?, list(call, "values")?) {
        (Some(keys), Some(values)) => (keys, values),
        _ => old_label_lists(call, x.dtype())?,
    };
    mapped(call, &keys, &values)
}

/// Strings to the integers of their categories, or back.
fn category_mapper(call: &Call<'_>) -> Outputs {
    let names = call.texts_opt("cats_strings")?.unwrap_or_default();
    let numbers = call.ints_opt("cats_int64s")?.unwrap_or_default();
    let (names, numbers) =
        (Tensor::from_strings(&[names.len()], names)?, Tensor::from_vec(&[numbers.len()], numbers)?);
    match call.tensor(0)?.dtype() {
        DType::Str => mapped(call, &names, &numbers),
        _ => mapped(call, &numbers, &names),
    }
}

/// The value of each element's key, or the default.
fn mapped(call: &Call<'_>, keys: &Tensor, values: &Tensor) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(keys.len() == values.len(), "{} keys and {} values", keys.len(), values.len());
    let found: Vec<Option<usize>> = match (x.strings(), keys.strings()) {
        (Some(x), Some(keys)) => x.iter().map(|x| keys.iter().position(|k| k == x)).collect(),
        (None, None) => {
            let (x, keys) = (numbers::floats(x)?, numbers::floats(keys)?);
            let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
            x.iter().map(|&x| keys.iter().position(|&k| same(k, x))).collect()
        }
        _ => return Err(invalid!("keys of {} for an input of {}", keys.dtype(), x.dtype())),
    };
    let default = default_value(call, values.dtype())?;
    let picks: Vec<usize> = found.into_iter().map(|at| at.unwrap_or(values.len())).collect();
    Ok(vec![take(&[values, &default], x.dims(), &picks)?.into()])
}

/// Version 1: a list of classes, each of which stands for its place.
fn old_label_lists(call: &Call<'_>, from: DType) -> Result<(Tensor, Tensor), Fault> {
    let classes = call.texts_opt("classes_strings")?.ok_or_else(|| invalid!("no keys and values"))?;
    let n = classes.len();
    let places = Tensor::from_vec(&[n], (0..n as i64).collect::<Vec<_>>())?;
    let classes = Tensor::from_strings(&[n], classes)?;
    Ok(if from == DType::Str { (classes, places) } else { (places, classes) })
}
