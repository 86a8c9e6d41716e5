//! One self-contained page about a partition: the graph as a picture, reasons, tables.
//!
//! `sketch` says what is drawn of a graph, `layout` places boxes, `picture` makes a sketch and its regions into
//! boxes and lines, `data` is what the page shows, `page` puts it together with the files in `page/`. The page
//! asks nothing of any network.

mod data;
mod layout;
mod page;
mod picture;
mod sketch;

pub use page::{Section, page};
