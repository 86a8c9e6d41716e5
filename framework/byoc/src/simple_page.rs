//! Self-contained pages of plain tables.

pub(crate) use crate::junit::escape;

const PAGE: &str = include_str!("simple_page.html");

/// How many letters stand on one line in any case.
const LONG_WORD: usize = 24;

/// A page; both parts are markup.
pub(crate) fn page(title: &str, body: &str) -> String {
    PAGE.replace("{{title}}", title).replace("{{body}}", body)
}

/// Rows of plain text under a heading.
pub(crate) fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let row = |row: Vec<String>| (String::new(), row.iter().map(|cell| escape(cell)).collect());
    marked_table(heading, rows.map(row))
}

/// Rows of markup, each with its class. On a narrow screen each row stands as a list, with the headings in it.
pub(crate) fn marked_table(heading: &[&str], rows: impl Iterator<Item = (String, Vec<String>)>) -> String {
    let titles: String = heading.iter().map(|title| format!("<th>{}</th>", escape(title))).collect();
    let mut text = format!("<table><thead><tr>{titles}</tr></thead>");
    for (class, row) in rows {
        let cell = |(title, cell): (&&str, &String)| {
            // Only words that no column has room for may be broken anywhere: others would be, too, in narrow columns.
            let is_long = cell.split_whitespace().any(|word| word.len() > LONG_WORD);
            let class = if is_long { " class=\"long\"" } else { "" };
            format!("<td{class} data-title=\"{}\"><div>{cell}</div></td>", escape(title))
        };
        let cells: String = heading.iter().zip(&row).map(cell).collect();
        text += &format!("<tr class=\"{class}\">{cells}</tr>");
    }
    text + "</table>"
}
