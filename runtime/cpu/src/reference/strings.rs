//! Operators on strings.

use std::collections::HashMap;

use byoc_graph::Tensor;
use bytes::Bytes;
use regex::Regex;

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, broadcast, expand};
use super::numbers::{self, from_floats, from_whole};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("RegexFullMatch", 20, regex_full_match),
    onnx("StringConcat", 20, concat),
    onnx("StringNormalizer", 10, normalize),
    onnx("StringSplit", 20, split),
    onnx("TfIdfVectorizer", 9, tf_idf),
];

fn concat(call: &Call<'_>) -> Outputs {
    let (x, y) = (call.tensor(0)?, call.tensor(1)?);
    let dims = broadcast([x.dims(), y.dims()])?;
    let side = |t: &Tensor| expand(numbers::strings(t)?.to_vec(), t.dims(), &dims);
    let joined = side(x)?.iter().zip(side(y)?).map(|(a, b)| [&a[..], &b[..]].concat().into()).collect();
    Ok(vec![Tensor::from_strings(&dims, joined)?.into()])
}

/// The syntax of the standard is RE2's, which that of the `regex` crate follows.
fn regex_full_match(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let pattern = call.text("pattern")?;
    let whole = Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|e| Fault::Attribute {
        name: "pattern".into(),
        why: format!("is not a regular expression: {e}"),
    })?;
    let matches = numbers::strings(tensor)?.iter().map(|bytes| Ok(whole.is_match(text(bytes)?)));
    Ok(vec![Tensor::from_bools(tensor.dims(), matches.collect::<Result<_, Fault>>()?)?.into()])
}

fn text(bytes: &Bytes) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| invalid!("{bytes:?} is not text"))
}

/// Changes case and drops stop words. Of nothing, one empty string is left.
fn normalize(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    ensure!(matches!(tensor.dims(), [_] | [1, _]), "words of shape {:?}", tensor.dims());
    let sensitive = call.flag("is_case_sensitive")?;
    let change: fn(&str) -> String = match call.text("case_change_action")? {
        "LOWER" => str::to_lowercase,
        "UPPER" => str::to_uppercase,
        _ => str::to_owned,
    };
    let stops: Vec<String> = match call.texts_opt("stopwords")? {
        Some(words) => words.iter().map(|w| Ok(text(w)?.to_owned())).collect::<Result<_, Fault>>()?,
        None => vec![],
    };
    let stops_lower: Vec<String> = stops.iter().map(|w| w.to_lowercase()).collect();
    let stopped = |word: &str| match sensitive {
        true => stops.iter().any(|s| s == word),
        false => stops_lower.contains(&word.to_lowercase()),
    };
    let words = numbers::strings(tensor)?.iter().map(text).collect::<Result<Vec<&str>, _>>()?;
    let mut kept: Vec<Bytes> = words.into_iter().filter(|w| !stopped(w)).map(|w| change(w).into()).collect();
    if kept.is_empty() {
        kept.push(Bytes::new());
    }
    let dims = if tensor.rank() == 2 { vec![1, kept.len()] } else { vec![kept.len()] };
    Ok(vec![Tensor::from_strings(&dims, kept)?.into()])
}

/// The pieces of a text: by a delimiter, or by any white space, at most `most` cuts.
fn pieces<'t>(text: &'t str, delimiter: &str, most: usize) -> Vec<&'t str> {
    if !delimiter.is_empty() {
        return text.splitn(most.saturating_add(1), delimiter).collect();
    }
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let cut = if found.len() < most { rest.find(char::is_whitespace) } else { None };
        let (piece, behind) = rest.split_at(cut.unwrap_or(rest.len()));
        found.push(piece);
        rest = behind.trim_start();
    }
    found
}

fn split(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let delimiter = call.text_opt("delimiter")?.unwrap_or("");
    let most = call.int_opt("maxsplit")?.and_then(|m| usize::try_from(m).ok()).unwrap_or(usize::MAX);
    let texts = numbers::strings(tensor)?.iter().map(text).collect::<Result<Vec<&str>, _>>()?;
    let all: Vec<Vec<&str>> = texts.into_iter().map(|t| pieces(t, delimiter, most)).collect();
    let width = all.iter().map(Vec::len).max().unwrap_or(0);
    let dims = [tensor.dims(), &[width]].concat();
    layout::count(&dims)?;
    let padded = |pieces: &Vec<&str>| -> Vec<Bytes> {
        let pieces = pieces.iter().copied().chain(std::iter::repeat("")).take(width);
        pieces.map(|p| Bytes::copy_from_slice(p.as_bytes())).collect()
    };
    let counts = all.iter().map(|p| p.len() as i64).collect();
    let strings = all.iter().flat_map(padded).collect();
    Ok(vec![Tensor::from_strings(&dims, strings)?.into(), from_whole(tensor.dims(), counts)?])
}

/// Known n-grams, each a list of words, with their places in the list of all.
type Grams = HashMap<Vec<Bytes>, usize>;

/// The n-grams of the pool: `ngram_counts` tells where those of each length begin.
fn pool(call: &Call<'_>) -> Result<Grams, Fault> {
    let words: Vec<Bytes> = match call.texts_opt("pool_strings")? {
        Some(words) if !words.is_empty() => words,
        _ => call.ints_opt("pool_int64s")?.unwrap_or_default().iter().map(|n| n.to_string().into()).collect(),
    };
    let starts = layout::sizes(&call.ints("ngram_counts")?)?;
    let mut grams = Grams::new();
    let mut place = 0;
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(words.len());
        let part = words.get(start..end).ok_or_else(|| invalid!("attribute `ngram_counts` is {starts:?}"))?;
        for gram in part.chunks(i + 1) {
            grams.insert(gram.to_vec(), place);
            place += 1;
        }
    }
    Ok(grams)
}

fn tf_idf(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let (rows, len) = match *tensor.dims() {
        [len] => (1, len),
        [rows, len] => (rows, len),
        ref dims => return Err(invalid!("words of shape {dims:?}")),
    };
    let words: Vec<Bytes> = match tensor.strings() {
        Some(strings) => strings.to_vec(),
        None => numbers::whole(tensor)?.iter().map(|n| n.to_string().into()).collect(),
    };
    let (least, most) =
        (layout::size(call.int("min_gram_length")?)?, layout::size(call.int("max_gram_length")?)?);
    let skips = layout::size(call.int("max_skip_count")?)?.min(len);
    let (grams, columns) = (pool(call)?, layout::sizes(&call.ints("ngram_indexes")?)?);
    let width = columns.iter().max().map_or(0, |m| m.saturating_add(1));
    let mut counts = numbers::filled(0.0, &[rows, width])?;
    for row in 0..rows {
        let words = &words[row * len..(row + 1) * len];
        for skip in 1..=skips + 1 {
            // Single words are the same at every distance.
            let sizes = if skip == 1 { least.max(1) } else { least.max(2) }..=most.min(len);
            for (size, start) in sizes.flat_map(|size| (0..len).map(move |start| (size, start))) {
                let gram: Vec<Bytes> = words[start..].iter().step_by(skip).take(size).cloned().collect();
                if gram.len() == size
                    && let Some(column) = grams.get(&gram).and_then(|&place| columns.get(place))
                {
                    counts[row * width + column] += 1.0;
                }
            }
        }
    }
    // Weights are listed by place in the pool.
    let mut weights = vec![1.0; width];
    if let Some(given) = call.floats_attr("weights")? {
        columns.iter().zip(given).for_each(|(&column, w)| weights[column] = w);
    }
    let mode = call.text("mode")?;
    let score = |(i, count): (usize, &f64)| match mode {
        "TF" => *count,
        "IDF" => {
            if *count > 0.0 {
                weights[i % width]
            } else {
                0.0
            }
        }
        _ => count * weights[i % width],
    };
    let scores: Vec<f64> = counts.iter().enumerate().map(score).collect();
    let dims = if tensor.rank() == 1 { vec![width] } else { vec![rows, width] };
    Ok(vec![from_floats(byoc_graph::DType::F32, &dims, &scores)?.into()])
}
