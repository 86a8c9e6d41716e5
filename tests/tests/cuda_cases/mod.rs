//! Models that are run on the pretended GPU and compared with the host.

use std::collections::BTreeMap;

use crate::cuda_launches::launches;

/// A model, words of the command line, and the kernels of one run in their order: those named, and no others. A name stands
/// for all that begin with it.
pub struct Case {
    pub name: &'static str,
    pub model: &'static str,
    pub words: &'static [&'static str],
    pub kernels: &'static [&'static str],
}

/// Runs them; `more` are words of the command line for all of them.
pub fn run_all(cases: &[Case], more: &[String]) {
    let failed: BTreeMap<&str, String> =
        cases.iter().filter_map(|case| Some((case.name, failure(case, more)?))).collect();
    let told: Vec<_> = failed.iter().map(|(name, why)| format!("--- {name}\n{why}")).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The text with lists of numbers in the place of `ramp(N)`, of whole ones in that of `codes(N)`, and of 0 and 1 in that of
/// `bits(N)`.
fn expanded(text: &str) -> String {
    let mut parts = text.split("= ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| {
        let list = |name: &str, number: &dyn Fn(usize) -> String| {
            let (count, rest) = part.strip_prefix(name)?.split_once(')')?;
            let numbers: Vec<String> = (0..count.parse().expect("a count")).map(number).collect();
            Some(format!("= {{{}}}{rest}", numbers.join(", ")))
        };
        let fraction = |i: usize| format!("{:.2}", ((i * 37) % 41) as f64 / 41.0 + 0.05);
        let code = |i: usize| ((i * 29) % 23).to_string();
        let bit = |i: usize| u8::from(!(i * 29 % 23).is_multiple_of(3)).to_string();
        let written =
            list("ramp(", &fraction).or_else(|| list("codes(", &code)).or_else(|| list("bits(", &bit));
        whole + &written.unwrap_or_else(|| format!("= {part}"))
    })
}

/// What is wrong with a case.
fn failure(case: &Case, more: &[String]) -> Option<String> {
    let words = case.words.iter().map(|word| (*word).to_owned()).chain(more.iter().cloned());
    let launched = match launches(&expanded(case.model), words) {
        Ok(launched) => launched,
        Err(why) => return Some(why),
    };
    // Comparing runs regions once more; every run is the same.
    let is_whole = !launched.is_empty() && launched.len().is_multiple_of(case.kernels.len());
    let fits = launched.iter().zip(case.kernels.iter().cycle()).all(|(name, own)| name.starts_with(own));
    (!is_whole || !fits).then(|| format!("launched {launched:?}"))
}
