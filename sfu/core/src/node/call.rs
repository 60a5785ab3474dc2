//! A request that workers have yet to answer.

use std::collections::BTreeSet;

use broletto_control::{ControlError, Epoch, RequestId, Response, RouterId, TransportId};

use super::{LinkId, RouterEntry};

/// Who waits for the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) link: LinkId,
    pub(super) id: RequestId,
    pub(super) epoch: Epoch,
}

/// What changes in the node's tables once a worker has answered.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    None,
    CreateRouter { router: RouterId },
    CloseRouter { router: RouterId },
    Offer { router: RouterId, transport: TransportId, created: bool },
    CloseTransport { transport: TransportId },
    Sync { absent_routers: Vec<RouterId>, absent_transports: Vec<TransportId> },
    Abandon { router: RouterId, entry: RouterEntry },
}

#[derive(Debug)]
pub(super) struct Call {
    /// None: the node asks for itself.
    pub(super) origin: Option<Origin>,
    pub(super) effect: Effect,
    /// Workers that have not answered.
    pub(super) waiting: BTreeSet<u16>,
    pub(super) result: Result<Response, ControlError>,
}

impl Call {
    pub(super) fn new(origin: Option<Origin>, effect: Effect, waiting: BTreeSet<u16>) -> Self {
        Call { origin, effect, waiting, result: Ok(Response::Done) }
    }

    pub(super) fn is_for(&self, epoch: Epoch, id: RequestId) -> bool {
        self.origin.is_some_and(|origin| origin.epoch == epoch && origin.id == id)
    }

    /// Lists of several workers are joined; the first error wins over everything.
    pub(super) fn merge(&mut self, result: Result<Response, ControlError>) {
        match (&mut self.result, result) {
            (Err(_), _) => {}
            (Ok(Response::Synced { missing }), Ok(Response::Synced { missing: more })) => {
                missing.extend(more)
            }
            (Ok(Response::Routers { routers }), Ok(Response::Routers { routers: more })) => {
                routers.extend(more)
            }
            (merged, result) => *merged = result,
        }
    }
}
