//! What the pretended GPU is told to do.

use std::process::Command;
use std::time::Duration;

use byoc_tests::{byoc, on_fake_cuda, run_command, written};

/// The kernels of a model that is run on the GPU alone, with the host's results; else what was said.
pub fn launches(model: &str, words: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    let (folder, model) = written(model);
    let trace = folder.path().join("trace");
    let mut command = Command::new(byoc());
    command.args(["run", model.to_str().expect("UTF-8"), "--random", "1", "--compare-layers", "--strict"]);
    command.args(on_fake_cuda()).args(words).env("FAKE_CUDA_TRACE", &trace);
    let done = run_command(&mut command, Duration::from_secs(240));
    if done.status != Some(0) {
        return Err(format!("{:?}\n{}{}", done.status, done.stdout, done.stderr));
    }
    let trace = std::fs::read_to_string(trace).unwrap_or_default();
    Ok(trace.lines().map(str::to_owned).collect())
}
