//! The BYOC library facade and command line.
