//! One test for each promise of the design that a pipeline keeps whatever its backend is.
//!
//! Grouped: what happens when the backend fails for good, in an outage, at the end, to rows that are refused, and what
//! a producer may rely on.

mod ends;
mod failure;
mod outage;
mod producers;
mod refused;
mod replay;
