//! Text that people read: aligned tables, colour on a terminal only.

use std::io::{IsTerminal, Write};

/// Whether standard output wants colour.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Writes text to standard output. Nobody may be reading any more; that is no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows on standard error what plugins log, but for their errors, which are reported anyway, and for details.
pub fn show_plugin_logs() {
    const SHOWN: [u32; 2] = [byoc_plugin::abi::LOG_WARN, byoc_plugin::abi::LOG_INFO];
    // Somebody else's sink would do as well.
    let _ = byoc_host::set_log_sink(Box::new(|level, line| {
        if SHOWN.contains(&level) {
            note(line);
        }
    }));
}

/// Writes one message: what went wrong, and behind it what lay beneath, as far as that says more.
pub fn print_error(error: &anyhow::Error) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let label = if colour { "\x1b[1;31merror\x1b[0m" } else { "error" };
    note(&format!("{label}: {text}"));
}

/// One line on a terminal that says what is being done; nothing where nobody watches.
pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        Progress { shown: !quiet && std::io::stderr().is_terminal() }
    }

    pub fn show(&self, text: &str) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}", shorten(text, 78));
        }
    }

    pub fn clear(&self) {
        self.show("");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows under a heading, columns as wide as their widest cell.
pub struct Table {
    heading: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[(&'static str, Align)]) -> Table {
        Table { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.heading.len());
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, each line indented by two.
    pub fn render(&self, colour: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.heading[column].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heading.len()).map(width).collect();
        let heading: Vec<String> = self.heading.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut text = self.line(&heading, &widths);
        if colour {
            text = format!("\x1b[1m{text}\x1b[0m");
        }
        for row in &self.rows {
            text.push('\n');
            text.push_str(&self.line(row, &widths));
        }
        text.push('\n');
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::from(" ");
        for ((cell, &width), (_, align)) in cells.iter().zip(widths).zip(&self.heading) {
            let pad = " ".repeat(width - cell.chars().count());
            let (before, after) =
                if *align == Align::Right { (pad, String::new()) } else { (String::new(), pad) };
            line.push_str(&format!(" {before}{cell}{after}"));
            line.push(' ');
        }
        line.trim_end().to_owned()
    }
}

/// `1 node`, `2 nodes`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A size in bytes, in a unit that keeps it short.
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// The text, cut in the middle where it is longer than `max` characters.
pub fn shorten(text: &str, max: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= max {
        return text.to_owned();
    }
    let head = (max - 1) / 2;
    let tail = max - 1 - head;
    let (first, last): (String, String) =
        (chars[..head].iter().collect(), chars[chars.len() - tail..].iter().collect());
    format!("{first}…{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("node", Align::Left), ("ms", Align::Right)]);
        table.row(vec!["conv1".into(), "1.5".into()]);
        table.row(vec!["a".into(), "12.25".into()]);
        assert_eq!(table.render(false), "  node      ms\n  conv1    1.5\n  a      12.25\n");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("abc", 5), "abc");
    }
}
