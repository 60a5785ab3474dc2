//! Header extensions (RFC 8285).
