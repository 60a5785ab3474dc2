//! One incoming stream: what was lost, what is asked for again, what is reported.
