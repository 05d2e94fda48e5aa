//! Opening and writing images by content, not by extension.
