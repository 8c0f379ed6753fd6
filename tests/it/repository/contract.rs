//! The same calls, the same answers.
