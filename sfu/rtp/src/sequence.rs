//! Sequence numbers that do not wrap.
