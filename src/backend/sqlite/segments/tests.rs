//! Segments on a real file, step by step, with a plain list as the oracle: `story` tells one, `program` tells random
//! ones, `crash` cuts each kind of step off before and after its commit.

mod crash;
mod program;
mod story;

#[path = "../../../../tests/it/sqlite/catalogue.rs"]
mod catalogue_check;
