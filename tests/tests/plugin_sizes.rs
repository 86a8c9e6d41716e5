//! How much code the plugins around libraries are, and that their pages say so.

use std::path::Path;

use byoc_tests::root;

/// Lines that are neither blank nor comments, tests apart.
fn lines(folder: &Path) -> usize {
    let mut sum = 0;
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            sum += lines(&path);
        } else if matches!(extension, Some("rs" | "cc" | "h")) {
            let text = std::fs::read_to_string(&path).expect("text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines().map(str::trim);
            sum += code.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        }
    }
    sum
}

/// A third of what TVM's backend for the same library has; and what a vendor with a compiler of its own should need.
#[test]
fn the_plugins_around_libraries_stay_small() {
    for (vendor, most) in [("onednn", 4981 / 3), ("openvino", 600)] {
        let counted = lines(&root().join("plugins").join(vendor).join("src"));
        assert!(counted <= most, "{vendor}: {counted} lines, {most} are allowed");
        let page = root().join("docs/vendors").join(format!("{vendor}.md"));
        let page = std::fs::read_to_string(page).expect("the vendor's page");
        let said = format!("{counted} lines of code beside the table");
        assert!(
            page.contains(&said),
            "docs/vendors/{vendor}.md: not `{said}`; see tests/python/vendor_pages.py"
        );
    }
}
