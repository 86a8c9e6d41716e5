//! What a vendor needs to write a BYOC plugin: the trait, region views, pattern tables and the C ABI.

pub mod table;
