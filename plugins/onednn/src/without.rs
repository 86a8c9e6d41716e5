//! The plugin as it is built where oneDNN is not there: it takes nothing, and says why.

use byoc_plugin::{CompileContext, Error, Executable, MatchContext, Options, Plugin, Region, Result};

pub struct OneDnn;

byoc_plugin::export_plugin!(OneDnn, table = include_str!("table.toml"));

fn missing() -> Error {
    Error::unsupported(
        "built without oneDNN: run plugins/onednn/fetch.sh, or set ONEDNN_ROOT, and build again",
    )
}

impl Plugin for OneDnn {
    fn open(_: &Options) -> Result<Self> {
        Ok(OneDnn)
    }

    fn check_match(&self, _: &Region<'_>, _: &MatchContext<'_>) -> Result<()> {
        Err(missing())
    }

    fn compile(&self, _: &Region<'_>, _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        Err(missing())
    }
}
