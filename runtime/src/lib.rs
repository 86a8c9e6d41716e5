//! Programs, memory, transfers and executors.
