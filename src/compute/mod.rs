//! Arithmetic on planes; knows no files.
