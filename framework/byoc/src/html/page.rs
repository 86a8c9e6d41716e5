//! The page, put together.

use serde::Serialize;

use super::data::Data;
use crate::Partitioned;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    include_str!("page/words.js"),
    include_str!("page/geometry.js"),
    include_str!("page/drawing.js"),
    include_str!("page/moving.js"),
    include_str!("page/story.js"),
    include_str!("page/keys.js"),
    include_str!("page/search.js"),
    include_str!("page/tables.js"),
    include_str!("page/views.js"),
);

/// A table that the caller adds, as a comparison of policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    pub title: String,
    pub note: String,
    pub heading: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// The page about a partition that was made with `Placement::rivals`.
pub fn page(done: &Partitioned, sections: &[Section]) -> Result<String, serde_json::Error> {
    let data = serde_json::to_string(&Data::new(done, sections))?;
    // Parts are put in from the last to the first, so that none is looked for inside another.
    let mut text = PAGE.to_owned();
    for (mark, part) in [("{{script}}", SCRIPT), ("{{data}}", &inert(&data)), ("{{style}}", STYLE)] {
        if let Some(at) = text.find(mark) {
            text.replace_range(at..at + mark.len(), part);
        }
    }
    Ok(text)
}

/// JSON that can stand inside a script element: nothing in it ends the element or begins a comment.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_leave_its_element() {
        let text = "</script><!-- & \u{2028}";
        let json = inert(&serde_json::to_string(text).unwrap());
        assert!(!json.contains(['<', '>', '&']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn the_page_asks_nothing_of_any_network() {
        for part in [PAGE, STYLE, SCRIPT] {
            for word in ["http:", "https:", "@import", "url(", "fetch(", "XMLHttpRequest", " src="] {
                assert!(!part.contains(word), "{word}");
            }
        }
    }
}
