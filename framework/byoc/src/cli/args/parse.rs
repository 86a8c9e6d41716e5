//! Values as the command line has them.

use byoc::PluginOption;

pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    // Names may hold `=`; what is behind the last one is the value.
    let (name, value) = text.rsplit_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() || value.is_empty() {
        return Err("expected NAME=VALUE".into());
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, value) = parse_pair(text)?;
    Ok((name, parse_size(&value)?))
}

pub fn parse_size(text: &str) -> Result<i64, String> {
    let size: u32 = text.parse().map_err(|_| format!("`{text}` is not a size"))?;
    Ok(size.into())
}

pub fn parse_shape(text: &str) -> Result<(String, Vec<i64>), String> {
    // An empty shape is a scalar's.
    let (name, value) = text.rsplit_once('=').ok_or("expected NAME=1x3x224x224")?;
    let dims = value.split(['x', ',']).filter(|d| !d.is_empty()).map(parse_size);
    Ok((name.to_owned(), dims.collect::<Result<_, _>>()?))
}

pub fn parse_plugin_option(text: &str) -> Result<PluginOption, String> {
    let (left, value) = text.split_once('=').ok_or("expected VENDOR.KEY=VALUE")?;
    let (vendor, key) = left.rsplit_once('.').ok_or("expected VENDOR.KEY=VALUE")?;
    Ok(PluginOption { vendor: vendor.to_owned(), key: key.to_owned(), value: value.to_owned() })
}

pub fn parse_device(text: &str) -> Result<PluginOption, String> {
    let (vendor, value) = text.split_once('=').ok_or("expected VENDOR=DEVICE")?;
    Ok(PluginOption { vendor: vendor.to_owned(), key: byoc::DEVICE.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_options_parse() {
        assert_eq!(parse_shape("x=1x3"), Ok(("x".into(), vec![1, 3])));
        assert_eq!(parse_shape("x="), Ok(("x".into(), vec![])));
        assert!(parse_shape("x=1x-3").is_err());
        assert_eq!(parse_plugin_option("a.b.key=1=2").unwrap().vendor, "a.b");
    }
}
