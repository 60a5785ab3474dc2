//! The conference plane: rooms, participants and what each wishes to send and see. Sans IO.
//!
//! The shell feeds a [`Conference`] (`handle_*`, each with [`Now`]), then drains
//! [`Conference::poll_output`] and sleeps until [`Conference::poll_timeout`].

mod conference;
mod io;
mod rest;
mod roles;
mod token;

pub use conference::{Conference, RestoreError};
pub use io::{Config, ConnectionId, Event, Leave, Limits, Now, Output, Refusal, RoomEnd, Totals};
pub use rest::{NewRoom, RestError};
pub use roles::Grant;
pub use token::{Audience, Claims, OpenToken, TokenError, grant};

/// The tenant of everything, until there are others.
pub const TENANT_DEFAULT: &str = "default";
