//! How much a path carries, and when to send what (RFC 8836 has the requirements).
