//! Self-contained pages of plain tables.

pub(crate) use crate::junit::escape;

const PAGE: &str = include_str!("simple_page.html");

/// A page; both parts are markup.
pub(crate) fn page(title: &str, body: &str) -> String {
    PAGE.replace("{{title}}", title).replace("{{body}}", body)
}

/// Rows of plain text under a heading.
pub(crate) fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>()
    };
    let mut text = format!("<table><tr>{}</tr>", cells("th", &mut heading.iter().copied()));
    for row in rows {
        text += &format!("<tr>{}</tr>", cells("td", &mut row.iter().map(String::as_str)));
    }
    text + "</table>"
}
