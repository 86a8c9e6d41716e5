//! Finds, loads and contains vendor plugins.
