//! Responses kept for requests that come a second time.

use std::collections::{BTreeMap, VecDeque};

use broletto_control::{ControlError, RequestId, Response};

/// A connection that broke leaves at most as many requests unanswered as may wait for workers.
const RESPONSES_MAX: usize = super::CALLS_MAX;
/// Answers carry SDP of up to 60 KiB each, so their number alone is no bound on memory.
const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Default)]
pub(super) struct ResponseStore {
    responses: BTreeMap<RequestId, Result<Response, ControlError>>,
    oldest_first: VecDeque<RequestId>,
    bytes: usize,
}

impl ResponseStore {
    pub(super) fn get(&self, id: RequestId) -> Option<&Result<Response, ControlError>> {
        self.responses.get(&id)
    }

    pub(super) fn insert(&mut self, id: RequestId, result: Result<Response, ControlError>) {
        self.bytes += size(&result);
        match self.responses.insert(id, result) {
            Some(replaced) => self.bytes -= size(&replaced),
            None => self.oldest_first.push_back(id),
        }
        while self.responses.len() > RESPONSES_MAX || self.bytes > RESPONSE_BYTES_MAX {
            let Some(oldest) = self.oldest_first.pop_front() else { return };
            if let Some(removed) = self.responses.remove(&oldest) {
                self.bytes -= size(&removed);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = ResponseStore::default();
    }
}

/// Roughly, in bytes.
fn size(result: &Result<Response, ControlError>) -> usize {
    let variable = match result {
        Ok(Response::Answer { sdp, .. }) => sdp.len(),
        Ok(Response::Synced { missing }) => size_of_val(missing.as_slice()),
        Ok(Response::Routers { routers }) => {
            routers.iter().map(|router| 32 + size_of_val(router.transports.as_slice())).sum()
        }
        Ok(Response::Hello { .. } | Response::Done) | Err(_) => 0,
    };
    128 + variable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_when_there_are_too_many() {
        let mut store = ResponseStore::default();
        for id in 0..=RESPONSES_MAX as u64 {
            store.insert(RequestId(id), Ok(Response::Done));
        }
        assert!(store.get(RequestId(0)).is_none());
        assert!(store.get(RequestId(1)).is_some());
        assert_eq!(store.responses.len(), RESPONSES_MAX);
    }

    #[test]
    fn long_answers_are_bounded_by_their_bytes() {
        let mut store = ResponseStore::default();
        let answer = || Ok(Response::Answer { sdp: "x".repeat(60 * 1024), video_codecs: vec![] });
        for id in 0..2_000 {
            store.insert(RequestId(id), answer());
            store.insert(RequestId(id), answer());
        }
        assert!(store.bytes <= RESPONSE_BYTES_MAX);
        assert_eq!(store.bytes, store.responses.values().map(size).sum::<usize>());
        assert!(store.get(RequestId(1_999)).is_some());
    }
}
