//! One outgoing stream: its history, retransmissions and sender reports.
