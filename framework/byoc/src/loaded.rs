//! A model, read and made ready for matching.

use std::path::{Path, PathBuf};

use byoc_graph::infer::{InferOptions, infer, specialise};
use byoc_graph::normalise::{self, Evaluate, Removed};
use byoc_graph::recognise::RECOGNISERS;
use byoc_graph::{Model, onnx};
use byoc_runtime::TOGETHER;

use crate::bundle::is_bundle;
use crate::{Error, Timings};

/// What is settled before anything looks at a model.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// Symbolic dimensions by name.
    pub dims: Vec<(String, i64)>,
    /// Shapes of inputs by name.
    pub input_shapes: Vec<(String, Vec<i64>)>,
    /// Passes and recognisers that are left out; `all` leaves out every one.
    pub disabled_passes: Vec<String>,
}

/// A model with its types inferred and normalised.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub path: PathBuf,
    pub model: Model,
    /// What normalisation took away.
    pub removed: Vec<Removed>,
    /// What is odd in the model, but hinders nobody.
    pub warnings: Vec<String>,
}

impl ModelOptions {
    /// Whether a pass is to run.
    pub fn enables(&self, pass: &str) -> bool {
        !self.disabled_passes.iter().any(|name| name == pass || name == "all")
    }

    fn check(&self) -> Result<(), Error> {
        let known = pass_names();
        match self.disabled_passes.iter().find(|p| *p != "all" && !known.contains(&p.as_str())) {
            Some(unknown) => Err(Error::Other(format!(
                "no pass is named `{unknown}`; there are all, {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    pub(crate) fn infer(&self) -> InferOptions {
        InferOptions { dims: self.dims.clone(), input_shapes: self.input_shapes.clone() }
    }
}

/// A program for runs that give no input with a default, as a pass.
pub(crate) const SETTLE_DEFAULTS: &str = "settle_defaults";

/// Typed bodies for local functions, as a pass.
pub(crate) const SPECIALISE: &str = "specialise_functions";

/// Every pass that can be left out.
pub fn pass_names() -> Vec<&'static str> {
    let passes = normalise::PASSES.iter().map(|p| p.name);
    passes
        .chain([SPECIALISE, SETTLE_DEFAULTS])
        .chain(RECOGNISERS.iter().map(|r| r.name))
        .chain(byoc_runtime::prepare::PASSES.iter().map(|p| p.name))
        .chain([TOGETHER])
        .collect()
}

impl Loaded {
    /// Reads a file and makes the model in it ready.
    pub fn open(
        path: &Path,
        options: &ModelOptions,
        evaluate: &dyn Evaluate,
        timings: &mut Timings,
    ) -> Result<Loaded, Error> {
        if is_bundle(path) {
            let what = "is compiled already; `run` and `bench` take it, others want the model";
            return Err(Error::Other(format!("{}: {what}", path.display())));
        }
        let model = timings.time("load", || onnx::load(path))?;
        Loaded::from_model(path, model, options, evaluate, timings)
    }

    /// Makes a model ready that is already in memory.
    pub fn from_model(
        path: &Path,
        mut model: Model,
        options: &ModelOptions,
        evaluate: &dyn Evaluate,
        timings: &mut Timings,
    ) -> Result<Loaded, Error> {
        options.check()?;
        let warnings = timings.time("infer", || infer(&mut model, &options.infer()))?;
        let removed =
            timings.time("normalise", || normalise::normalise(&mut model, evaluate, &|p| options.enables(p)));
        // Folded constants may settle shapes that were open.
        if !removed.is_empty() {
            timings.time("infer", || infer(&mut model, &InferOptions::default()))?;
        }
        if options.enables(SPECIALISE) {
            timings.time("infer", || specialise(&mut model));
        }
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Loaded { path: path.to_owned(), model, removed, warnings })
    }
}
