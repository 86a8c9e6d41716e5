//! Matches pattern tables, chooses composites, merges regions and explains the result.
