//! What the allocator does, one behaviour a test.

mod limits;
mod rules;
mod sharing;
mod waiting;
mod world;
