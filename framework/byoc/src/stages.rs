//! A model as it stands before and behind each pass, for checking the passes.

use std::path::Path;

use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::infer::{InferOptions, infer, specialise};
use byoc_graph::{Model, normalise, onnx};
use byoc_runtime::prepare;

use crate::loaded::SPECIALISE;
use crate::{Error, ModelOptions, Session};

/// A model behind one pass.
pub struct Stage {
    /// The pass; `read` for the model as it is in the file.
    pub name: String,
    model: Model,
}

/// The model as read, then behind each normalisation pass and each of the host's own.
pub fn stages(path: &Path, options: &ModelOptions) -> Result<Vec<Stage>, Error> {
    let mut model = onnx::load(path)?;
    infer(&mut model, &options.infer())?;
    let mut stages = vec![Stage { name: "read".into(), model: model.clone() }];
    normalise::normalise_watched(
        &mut model,
        &ReferenceEvaluator,
        &|pass| options.enables(pass),
        &mut |pass, model| stages.push(Stage { name: pass.name.into(), model: model.clone() }),
    );
    infer(&mut model, &InferOptions::default())?;
    if options.enables(SPECIALISE) && !model.functions.is_empty() {
        specialise(&mut model);
        stages.push(Stage { name: SPECIALISE.into(), model: model.clone() });
    }
    for pass in prepare::PASSES {
        if options.enables(pass.name) {
            prepare::prepare(&mut model, &|name| name == pass.name);
            stages.push(Stage { name: pass.name.into(), model: model.clone() });
        }
    }
    Ok(stages)
}

impl Session {
    /// The session of a stage: nothing is rewritten any further.
    pub fn of_stage(stage: &Stage) -> Result<Session, Error> {
        let options = ModelOptions { disabled_passes: vec!["all".into()], ..ModelOptions::default() };
        Session::builder("").model(stage.model.clone()).model_options(options).threads(1).build()
    }
}
