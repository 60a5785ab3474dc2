//! What each role may do.

use broletto_protocol::Role;

/// What a person may do in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub tenant: String,
    /// Room id.
    pub room: String,
    pub role: Role,
    /// Name that the person cannot change.
    pub name: Option<String>,
}

pub fn may_publish(role: Role) -> bool {
    match role {
        Role::Viewer => false,
        Role::Guest | Role::Participant | Role::Moderator => true,
    }
}

pub fn may_moderate(role: Role) -> bool {
    match role {
        Role::Viewer | Role::Guest | Role::Participant => false,
        Role::Moderator => true,
    }
}

pub fn may_end_room(role: Role) -> bool {
    match role {
        Role::Viewer | Role::Guest | Role::Participant => false,
        Role::Moderator => true,
    }
}
