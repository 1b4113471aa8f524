//! private-postgres
fn main() {}
