//! The vendors of a session: pattern tables, with the code behind them where there is some.

use std::path::PathBuf;
use std::sync::Arc;

use byoc_host::{Library, Plugin, search};
use byoc_plugin::table::PatternTable;

use crate::checks::Checks;
use crate::{Error, Timings};

/// Where a vendor comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VendorSource {
    /// A pattern table alone: it takes part in partitioning, its regions run on the host.
    Table(PathBuf),
    /// A plugin, by path or by name.
    Plugin(String),
}

/// A vendor, ready to take part.
#[derive(Clone)]
pub struct Vendor {
    pub table: PatternTable,
    /// `None` where there is only a table.
    pub plugin: Option<Arc<Plugin>>,
}

/// Options of plugins, by vendor.
#[derive(Clone, Debug, Default)]
pub struct PluginOptions(pub Vec<PluginOption>);

/// One option of one vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginOption {
    pub vendor: String,
    pub key: String,
    pub value: String,
}

impl Vendor {
    pub fn name(&self) -> &str {
        &self.table.vendor.name
    }
}

/// Loads vendors in the given order, which breaks ties among them.
pub fn load(
    sources: &[VendorSource],
    options: &PluginOptions,
    timings: &mut Timings,
) -> Result<Vec<Vendor>, Error> {
    let vendors = timings.time("plugins", || {
        let vendors = sources.iter().map(|source| load_one(source, options));
        vendors.collect::<Result<Vec<_>, _>>()
    })?;
    for (i, vendor) in vendors.iter().enumerate() {
        if vendors[..i].iter().any(|v| v.name() == vendor.name()) {
            let name = vendor.name();
            return Err(Error::Other(format!("two vendors are named `{name}`; give each a name of its own")));
        }
    }
    if let Some(o) = options.0.iter().find(|o| !vendors.iter().any(|v| v.name() == o.vendor)) {
        return Err(Error::Other(format!(
            "option `{}.{}`: no vendor is named `{}`",
            o.vendor, o.key, o.vendor
        )));
    }
    Ok(vendors)
}

fn load_one(source: &VendorSource, options: &PluginOptions) -> Result<Vendor, Error> {
    match source {
        VendorSource::Table(path) => {
            let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
            let file = path.display().to_string();
            let table = PatternTable::parse_bytes(&file, &bytes)?;
            table.check(&Checks)?;
            Ok(Vendor { table, plugin: None })
        }
        VendorSource::Plugin(name) => {
            let library = Library::load(&search::find(name)?)?;
            let table = library.table.clone();
            table.check(&Checks)?;
            let own = options.0.iter().filter(|o| o.vendor == table.vendor.name);
            let given: Vec<_> = own.map(|o| (o.key.clone(), o.value.clone())).collect();
            let plugin = Plugin::open(&library, library.complete_options(&given)?)?;
            Ok(Vendor { table, plugin: Some(plugin) })
        }
    }
}
