//! The vendors of a session: pattern tables, with the code behind them where there is some.

use std::path::PathBuf;
use std::sync::Arc;

use byoc_host::{DeviceInfo, Library, Plugin, search};
use byoc_plugin::table::PatternTable;

use crate::checks::Checks;
use crate::{Error, Isolation, Timings};

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
    /// Which of the plugin's devices its regions are for, where one was chosen; else it is the first.
    pub device: Option<usize>,
}

/// The option by which a device is chosen, of plugins that have no option of that name themselves.
pub const DEVICE: &str = "device";

/// How plugins are opened.
#[derive(Clone, Debug, Default)]
pub struct PluginOptions {
    pub values: Vec<PluginOption>,
    /// `None`: all of them run in this process.
    pub isolation: Option<Isolation>,
}

impl From<Vec<PluginOption>> for PluginOptions {
    fn from(values: Vec<PluginOption>) -> Self {
        PluginOptions { values, isolation: None }
    }
}

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

    /// Its code, with the device that its regions are for.
    pub fn on_device(&self) -> Option<(&Arc<Plugin>, &DeviceInfo)> {
        let plugin = self.plugin.as_ref()?;
        Some((plugin, plugin.devices().get(self.device.unwrap_or(0))?))
    }

    /// As reports name it: `vendor`, or `vendor:device` where the device was chosen.
    pub fn target(&self) -> String {
        match (self.device, self.on_device()) {
            (Some(_), Some((_, device))) => format!("{}:{}", self.name(), device.name),
            _ => self.name().to_owned(),
        }
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
    if let Some(o) = options.values.iter().find(|o| !vendors.iter().any(|v| v.name() == o.vendor)) {
        return Err(Error::Other(format!(
            "option `{}.{}`: no vendor is named `{}`",
            o.vendor, o.key, o.vendor
        )));
    }
    let named = options.isolation.iter().flat_map(|isolation| &isolation.plugins);
    let is_given = |name: &str| sources.contains(&VendorSource::Plugin(name.to_owned()));
    if let Some(name) = named.clone().find(|n| !is_given(n) && !vendors.iter().any(|v| v.name() == **n)) {
        return Err(Error::Other(format!("`{name}` is to be isolated, but there is no such plugin")));
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
            Ok(Vendor { table, plugin: None, device: None })
        }
        VendorSource::Plugin(name) => {
            let path = search::find(name)?;
            let launch =
                options.isolation.as_ref().map(|isolation| isolation.launch(name, &path)).transpose()?;
            let library = match launch.flatten() {
                Some(launch) => Library::isolate(&path, &launch)?,
                None => Library::load(&path)?,
            };
            let table = library.table.clone();
            table.check(&Checks)?;
            let own = options.values.iter().filter(|o| o.vendor == table.vendor.name);
            let has_own = library.options.iter().any(|o| o.name == DEVICE);
            let (device, given): (Vec<_>, Vec<_>) =
                own.map(|o| (o.key.clone(), o.value.clone())).partition(|(key, _)| key == DEVICE && !has_own);
            let plugin = Plugin::open(&library, library.complete_options(&given)?)?;
            let device = device.last().map(|(_, wanted)| find_device(&plugin, wanted)).transpose()?;
            Ok(Vendor { table, plugin: Some(plugin), device })
        }
    }
}

/// A device by its name or its number.
fn find_device(plugin: &Plugin, wanted: &str) -> Result<usize, Error> {
    let devices = plugin.devices();
    let named = devices.iter().position(|d| d.name == wanted);
    let number = wanted.parse().ok().filter(|n| *n < devices.len());
    named.or(number).ok_or_else(|| {
        let known: Vec<_> = devices.iter().enumerate().map(|(i, d)| format!("{i}: {}", d.name)).collect();
        Error::Other(format!("{} has no device `{wanted}`; it has {}", plugin.vendor(), known.join(", ")))
    })
}
