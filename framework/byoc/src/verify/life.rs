//! A plugin over time: rounds of the whole life, threads at once, runs that have to be equal, artefacts.

use std::path::Path;

use byoc_graph::Datum;

use super::case::{made, open, plain, session};
use super::job::{Answer, Case, Subject};
use crate::generate::Made;
use crate::memory::Heap;
use crate::{ModelOptions, Placement, Session, bundle, onnx};

/// Bytes by which the heap may grow in a round: less than any allocation that is forgotten.
const GROWTH: usize = 16;
/// What is forgotten is so in every one of these parts of the rounds, what is kept for later only in some.
const PARTS: usize = 4;
/// Resident memory may grow by whole pages of fragments.
const RESIDENT_SLACK: usize = 4 << 20;
const BUNDLE: &str = "region.byoc";
const THREADS: usize = 8;
const RUNS_A_THREAD: usize = 25;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn all(subject: &Subject, cases: &[Case]) -> Result<Vec<Made>, String> {
    cases.iter().map(|case| made(subject, case)).collect()
}

fn once(subject: &Subject, made: &Made, threads: usize) -> Result<Vec<(String, Datum)>, String> {
    session(subject, &made.model, threads).map_err(text)?.run(&made.inputs).map_err(text)
}

/// Opens, compiles, runs and destroys, again and again.
pub(super) fn rounds(subject: &Subject, cases: &[Case], count: usize) -> Result<Answer, String> {
    let made = all(subject, cases)?;
    // One part more, in which everything is made for the first time.
    let part = count.div_ceil(PARTS + 1).next_multiple_of(made.len());
    let mut marks = Vec::new();
    for round in 0..part * (PARTS + 1) {
        once(subject, &made[round % made.len()], 1)?;
        if (round + 1) % part == 0 {
            marks.push((Heap::now(), byoc_host::handles()));
        }
    }
    let rounds = part * PARTS;
    let ((first, held), (last, still_held)) = (marks[0], marks[PARTS]);
    if held != still_held {
        let why = still_held.since(&held);
        return Ok(Answer::Fail(format!("{rounds} rounds leave handles behind: {why}")));
    }
    let grown = |pair: &[(Heap, _)]| pair[1].0.in_use.saturating_sub(pair[0].0.in_use);
    let least = marks.windows(2).map(grown).min().unwrap_or(0) / part;
    let resident = last.resident.saturating_sub(first.resident);
    if least > GROWTH || resident > RESIDENT_SLACK {
        return Ok(Answer::Fail(format!(
            "memory grows: by {least} bytes of heap a round, and {resident} resident in {rounds} rounds"
        )));
    }
    Ok(Answer::Pass(format!("{rounds} rounds, {least} bytes of heap more a round")))
}

/// Many threads in one session, with the results of one.
pub(super) fn threads(subject: &Subject, case: &Case) -> Result<Answer, String> {
    let made = made(subject, case)?;
    let session = session(subject, &made.model, THREADS).map_err(text)?;
    let want = session.run(&made.inputs).map_err(text)?;
    let work = || (0..RUNS_A_THREAD).try_for_each(|_| same(&session, &made, &want));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("a run does not panic"))
    })?;
    Ok(Answer::Pass(format!("{THREADS} threads, {RUNS_A_THREAD} runs each")))
}

fn same(session: &Session, made: &Made, want: &[(String, Datum)]) -> Result<(), String> {
    let got = session.run(&made.inputs).map_err(text)?;
    unequal(&got, want).map_or(Ok(()), |name| Err(format!("output `{name}` is another than in one thread")))
}

fn unequal<'a>(got: &'a [(String, Datum)], want: &[(String, Datum)]) -> Option<&'a str> {
    let is_same = |a: &Datum, b: &Datum| match (a.as_tensor(), b.as_tensor()) {
        (Some(a), Some(b)) => a.same(b),
        _ => false,
    };
    got.iter().zip(want).find(|((_, a), (_, b))| !is_same(a, b)).map(|((name, _), _)| name.as_str())
}

/// The same bytes from two compilations, two runs, and any number of threads.
pub(super) fn determinism(subject: &Subject, cases: &[Case]) -> Result<Answer, String> {
    for (made, case) in all(subject, cases)?.iter().zip(cases) {
        let want = once(subject, made, 1)?;
        for threads in [1, 1, 4] {
            let session = session(subject, &made.model, threads).map_err(text)?;
            for _ in 0..2 {
                let got = session.run(&made.inputs).map_err(text)?;
                if let Some(name) = unequal(&got, &want) {
                    let pattern = case.pattern;
                    return Ok(Answer::Fail(format!(
                        "pattern {pattern}: output `{name}` differs from run to run, on {threads} threads"
                    )));
                }
            }
        }
    }
    Ok(Answer::Pass(format!("{} regions, compiled four times, run seven times", cases.len())))
}

/// Writes a bundle with the region's artefact, and what it computes.
pub(super) fn save_artefact(subject: &Subject, case: &Case, folder: &Path) -> Result<Answer, String> {
    let made = made(subject, case)?;
    let model = folder.join("model.onnx");
    onnx::save(&made.model, &model).map_err(text)?;
    let session = open(subject, &model, plain()).map_err(text)?;
    let regions =
        bundle::write(&session, &model, &ModelOptions::default(), &folder.join(BUNDLE)).map_err(text)?;
    let mut bytes = 0;
    for region in &regions {
        match &region.artefact {
            Ok(size) => bytes += size,
            Err(why) => return Ok(Answer::Skip(format!("the plugin saves no artefacts: {why}"))),
        }
    }
    for (k, (name, datum)) in session.run(&made.inputs).map_err(text)?.iter().enumerate() {
        onnx::write_datum(folder.join(format!("output_{k}.pb")), name, datum).map_err(text)?;
    }
    Ok(Answer::Pass(format!("{bytes} bytes")))
}

/// Runs the bundle that [`save_artefact`] has written, and compares.
pub(super) fn load_artefact(subject: &Subject, case: &Case, folder: &Path) -> Result<Answer, String> {
    let made = made(subject, case)?;
    let session = open(subject, &folder.join(BUNDLE), Placement::default()).map_err(text)?;
    if let Some(anew) = session.warnings().iter().find(|w| w.contains("compiled anew")) {
        return Ok(Answer::Fail(anew.clone()));
    }
    for (k, (name, got)) in session.run(&made.inputs).map_err(text)?.iter().enumerate() {
        let want = onnx::read_datum(folder.join(format!("output_{k}.pb")), None).map_err(text)?;
        let is_same = got.as_tensor().zip(want.as_tensor()).is_some_and(|(a, b)| a.same(b));
        if !is_same {
            return Ok(Answer::Fail(format!("output `{name}` is another than where the artefact was saved")));
        }
    }
    Ok(Answer::Pass("saved in one process, run in another".into()))
}
