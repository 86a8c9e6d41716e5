//! One self-contained page about a partition: the graph as a picture, reasons, tables.
//!
//! `layout` places boxes, `picture` makes a graph and its regions into boxes and lines, `data` is what the page
//! shows, `page` puts it together with `page.html`, `page.css` and `page.js`. The page asks nothing of any
//! network.

mod data;
mod layout;
mod page;
mod picture;

pub use page::{Section, page};
