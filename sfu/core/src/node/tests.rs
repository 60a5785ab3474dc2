use broletto_control::{ConsumerWish, Id, RequestId, RouterConfig, RouterSummary, TransportWish};

use super::*;

const LINK: LinkId = LinkId(1);

fn router(serial: u32) -> RouterId {
    RouterId(Id::new(Epoch(1), serial))
}

fn transport(serial: u32) -> TransportId {
    TransportId(Id::new(Epoch(1), serial))
}

fn config() -> RouterConfig {
    RouterConfig { tenant: "default".into(), video_codecs: vec![], opaque: false }
}

fn create(serial: u32) -> Request {
    Request::CreateRouter { router: router(serial), config: config() }
}

fn offer(router_serial: u32, serial: u32) -> Request {
    Request::Offer {
        router: router(router_serial),
        transport: transport(serial),
        sdp: "v=0".into(),
        producers: vec![],
        consumers: vec![],
    }
}

fn wish(serial: u32, transports: &[u32]) -> RouterWish {
    let wish = |serial: &u32| TransportWish {
        transport: transport(*serial),
        paused: vec![],
        wishes: Vec::<ConsumerWish>::new(),
    };
    RouterWish { router: router(serial), config: config(), transports: transports.iter().map(wish).collect() }
}

fn sync(generation: u64, routers: Vec<RouterWish>) -> Request {
    Request::Sync { generation: Generation(generation), routers }
}

/// A node with one greeted link, and workers that the test plays.
struct Script {
    node: Node,
    now: Instant,
    next_id: u64,
    epoch: Epoch,
}

impl Script {
    fn new(workers: u16) -> Self {
        let mut node = Node::new(NodeConfig { name: "test".into(), workers, routers_max: 100 });
        assert!(node.handle_link_opened(LINK));
        let mut script = Script { node, now: Instant::now(), next_id: 1, epoch: Epoch(1) };
        script.greet(LINK);
        script
    }

    fn greet(&mut self, link: LinkId) -> Response {
        self.ask(link, 0, Request::Hello { version: VERSION });
        self.answer_on(link).expect("the version is spoken")
    }

    fn ask(&mut self, link: LinkId, id: u64, request: Request) {
        let frame = RequestFrame { id: RequestId(id), epoch: self.epoch, request };
        self.node.handle_request(link, frame, self.now);
    }

    /// Asks on the first link with a fresh id.
    fn request(&mut self, request: Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.ask(LINK, id, request);
        id
    }

    fn next_to_worker(&mut self) -> (u16, Ticket, Request) {
        match self.node.poll_output() {
            Some(NodeOutput::ToWorker { worker, ticket, request }) => (worker, ticket, request),
            other => panic!("expected a request to a worker, not {other:?}"),
        }
    }

    fn worker_answers(&mut self, ticket: Ticket, result: Result<Response, ControlError>) {
        self.node.handle_worker_response(ticket, result, self.now);
    }

    fn answer_on(&mut self, on: LinkId) -> Result<Response, ControlError> {
        match self.node.poll_output() {
            Some(NodeOutput::Send { link, frame: Frame::Response(frame) }) if link == on => frame.result,
            other => panic!("expected a response on {on:?}, not {other:?}"),
        }
    }

    /// Asks, lets the worker do it, and tells which worker it was.
    fn done(&mut self, request: Request) -> u16 {
        self.request(request);
        let (worker, ticket, _) = self.next_to_worker();
        self.worker_answers(ticket, Ok(Response::Done));
        assert_eq!(self.answer_on(LINK), Ok(Response::Done));
        worker
    }

    fn refused(&mut self, request: Request) -> ControlError {
        self.request(request);
        self.answer_on(LINK).expect_err("it must be refused")
    }

    fn is_silent(&mut self) -> bool {
        self.node.poll_output().is_none()
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.node.handle_timeout(self.now);
    }
}

#[test]
fn nothing_is_done_before_hello() {
    let mut script = Script::new(1);
    script.node.handle_link_opened(LinkId(2));
    script.ask(LinkId(2), 1, Request::List);
    assert!(matches!(script.answer_on(LinkId(2)), Err(ControlError::Invalid { .. })));
    script.ask(LinkId(2), 2, Request::Hello { version: VERSION + 1 });
    let wrong = ControlError::Version { min: VERSION_MIN, max: VERSION, got: VERSION + 1 };
    assert_eq!(script.answer_on(LinkId(2)), Err(wrong));
    script.ask(LinkId(2), 3, Request::List);
    assert!(matches!(script.answer_on(LinkId(2)), Err(ControlError::Invalid { .. })));
}

#[test]
fn links_are_bounded() {
    let mut script = Script::new(1);
    let opened = (2..200).filter(|id| script.node.handle_link_opened(LinkId(*id))).count();
    assert_eq!(opened, LINKS_MAX - 1);
}

#[test]
fn c2_a_lower_epoch_is_fenced_off_and_hello_tells_which_is_next() {
    let mut script = Script::new(1);
    script.epoch = Epoch(5);
    script.done(create(1));
    script.epoch = Epoch(4);
    for request in [Request::List, create(2), sync(9, vec![]), Request::Drain, offer(1, 1)] {
        let fenced = ControlError::Fenced { got: Epoch(4), highest: Epoch(5) };
        assert_eq!(script.refused(request), fenced);
    }
    let Response::Hello { epoch_max, .. } = script.greet(LINK) else { panic!("hello answers hello") };
    assert_eq!(epoch_max, Epoch(5));
    assert_eq!(script.node.router_count(), 1, "a zombie changed nothing");
}

#[test]
fn c2_a_zombie_hears_nothing_more() {
    let mut script = Script::new(1);
    script.done(create(1));
    script.node.handle_link_opened(LinkId(2));
    script.greet(LinkId(2));
    script.epoch = Epoch(2);
    script.ask(LinkId(2), 1, Request::Drain);
    assert_eq!(script.answer_on(LinkId(2)), Ok(Response::Done));
    script.node.handle_worker_notification(Notification::Speakers { router: router(1), speakers: vec![] });
    assert!(matches!(script.node.poll_output(), Some(NodeOutput::Send { link: LinkId(2), .. })));
    assert!(script.is_silent());
}

#[test]
fn a_repeated_request_gets_the_stored_response() {
    let mut script = Script::new(2);
    let id = script.request(create(1));
    let (_, ticket, _) = script.next_to_worker();
    script.ask(LINK, id, create(1));
    assert!(script.is_silent(), "the worker is still at it");
    script.worker_answers(ticket, Ok(Response::Done));
    assert_eq!(script.answer_on(LINK), Ok(Response::Done));
    assert!(script.is_silent(), "one request, one answer");
    script.ask(LINK, id, create(1));
    assert_eq!(script.answer_on(LINK), Ok(Response::Done));

    script.epoch = Epoch(2);
    script.ask(LINK, id, create(1));
    let (_, _, request) = script.next_to_worker();
    assert_eq!(request, create(1), "ids of another epoch are other ids");
}

#[test]
fn an_answer_goes_to_the_connection_that_asked_last() {
    let mut script = Script::new(1);
    let id = script.request(create(1));
    let (_, ticket, _) = script.next_to_worker();
    script.node.handle_link_closed(LINK, script.now);
    script.node.handle_link_opened(LinkId(2));
    script.greet(LinkId(2));
    script.ask(LinkId(2), id, create(1));
    script.worker_answers(ticket, Ok(Response::Done));
    assert_eq!(script.answer_on(LinkId(2)), Ok(Response::Done));
    script.worker_answers(ticket, Ok(Response::Done));
    assert!(script.is_silent(), "a ticket is good for one answer");
}

#[test]
fn routers_go_to_the_worker_with_the_fewest_transports() {
    let mut script = Script::new(3);
    assert_eq!([1, 2, 3].map(|serial| script.done(create(serial))), [0, 1, 2]);
    assert_eq!(script.done(offer(1, 1)), 0);
    assert_eq!(script.done(offer(1, 2)), 0);
    assert_eq!(script.done(offer(2, 3)), 1);
    assert_eq!(script.done(create(4)), 2);
    assert_eq!(script.done(offer(3, 4)), 2);
    assert_eq!(script.done(create(5)), 1, "as many transports as worker 2, fewer routers");
    assert_eq!(script.done(create(4)), 2, "it is there already");
    assert_eq!(script.done(Request::CloseTransport { transport: transport(1) }), 0);
    assert_eq!(script.done(Request::CloseRouter { router: router(1) }), 0);
    assert_eq!(script.node.transport_count(), 2);
    assert_eq!(script.done(create(6)), 0);
}

#[test]
fn requests_find_the_worker_of_their_transport_before_it_has_answered() {
    let mut script = Script::new(2);
    script.done(create(1));
    assert_eq!(script.done(create(2)), 1);
    script.request(offer(2, 7));
    let (worker, ticket, _) = script.next_to_worker();
    assert_eq!(worker, 1);
    script.request(Request::SetConsumers { transport: transport(7), wishes: vec![] });
    assert_eq!(script.next_to_worker().0, 1);
    script.worker_answers(ticket, Err(ControlError::invalid("sdp", "no")));
    assert!(script.answer_on(LINK).is_err());
    assert_eq!(script.node.transport_count(), 0, "a refused offer leaves nothing");
}

#[test]
fn what_is_not_there_or_elsewhere_is_refused() {
    let mut script = Script::new(2);
    script.done(create(1));
    script.done(create(2));
    script.done(offer(1, 1));
    let unknown_router = ControlError::unknown("router", router(9).0);
    assert_eq!(script.refused(offer(9, 1)), unknown_router);
    assert_eq!(script.refused(Request::CloseRouter { router: router(9) }), unknown_router);
    let unknown_transport = ControlError::unknown("transport", transport(9).0);
    assert_eq!(script.refused(Request::CloseTransport { transport: transport(9) }), unknown_transport);
    assert!(matches!(script.refused(offer(2, 1)), ControlError::Taken { .. }));
}

#[test]
fn a_router_that_its_worker_refused_is_not_there() {
    let mut script = Script::new(1);
    script.request(create(1));
    let (_, ticket, _) = script.next_to_worker();
    script.worker_answers(ticket, Err(ControlError::Internal { message: "full".into() }));
    assert!(script.answer_on(LINK).is_err());
    assert_eq!(script.node.router_count(), 0);
}

#[test]
fn routers_are_bounded() {
    let mut script = Script::new(1);
    for serial in 0..100 {
        script.done(create(serial));
    }
    let limit = ControlError::Limit { what: "routers".into(), max: 100, got: 101 };
    assert_eq!(script.refused(create(100)), limit);
}

#[test]
fn waiting_requests_are_bounded() {
    let mut script = Script::new(1);
    for _ in 0..CALLS_MAX {
        script.request(Request::List);
        script.next_to_worker();
    }
    assert!(matches!(script.refused(Request::List), ControlError::Unavailable { .. }));
}

#[test]
fn a_draining_node_takes_no_new_transport_and_keeps_its_own() {
    let mut script = Script::new(1);
    script.done(create(1));
    script.done(offer(1, 1));
    script.request(Request::Drain);
    assert_eq!(script.answer_on(LINK), Ok(Response::Done));
    assert!(matches!(script.refused(offer(1, 2)), ControlError::Unavailable { .. }));
    assert!(matches!(script.refused(create(2)), ControlError::Unavailable { .. }));
    script.done(offer(1, 1));
    script.done(create(1));
}

#[test]
fn a_sync_is_split_by_worker_and_its_answers_are_joined() {
    let mut script = Script::new(2);
    script.done(create(1));
    script.done(create(2));
    script.done(create(3));
    script.done(offer(1, 1));
    script.done(offer(1, 2));
    script.done(offer(3, 3));
    script.request(sync(1, vec![wish(2, &[8]), wish(1, &[1, 9])]));
    let (first, first_ticket, request) = script.next_to_worker();
    assert_eq!((first, request), (0, sync(1, vec![wish(1, &[1, 9])])));
    let (second, second_ticket, request) = script.next_to_worker();
    assert_eq!((second, request), (1, sync(1, vec![wish(2, &[8])])));
    script.worker_answers(second_ticket, Ok(Response::Synced { missing: vec![transport(8)] }));
    assert!(script.is_silent(), "one part is missing");
    script.worker_answers(first_ticket, Ok(Response::Synced { missing: vec![transport(9)] }));
    assert_eq!(script.answer_on(LINK), Ok(Response::Synced { missing: vec![transport(8), transport(9)] }));
    assert_eq!(script.node.router_count(), 2, "router 3 was not named");
    assert_eq!(script.node.transport_count(), 1, "transports 2 and 3 were not named");
}

#[test]
fn a_sync_does_not_touch_what_was_made_after_it() {
    let mut script = Script::new(1);
    script.request(sync(1, vec![]));
    let (_, ticket, _) = script.next_to_worker();
    script.request(create(1));
    let (_, create_ticket, _) = script.next_to_worker();
    script.worker_answers(ticket, Ok(Response::Synced { missing: vec![] }));
    script.worker_answers(create_ticket, Ok(Response::Done));
    assert_eq!(script.node.router_count(), 1);
}

#[test]
fn an_older_generation_is_stale_until_a_new_epoch_begins() {
    let mut script = Script::new(1);
    for generation in [5, 5, 6] {
        script.request(sync(generation, vec![]));
        let (_, ticket, _) = script.next_to_worker();
        script.worker_answers(ticket, Ok(Response::Synced { missing: vec![] }));
        assert!(script.answer_on(LINK).is_ok());
    }
    let stale = ControlError::StaleSync { got: Generation(5), last: Generation(6) };
    assert_eq!(script.refused(sync(5, vec![])), stale);
    script.epoch = Epoch(2);
    script.request(sync(1, vec![]));
    assert_eq!(script.next_to_worker().2, sync(1, vec![]));
}

#[test]
fn a_list_joins_the_workers_and_says_who_claimed_what() {
    let mut script = Script::new(2);
    script.done(create(1));
    script.epoch = Epoch(2);
    script.done(create(2));
    script.request(Request::List);
    for serial in [1, 2] {
        let (_, ticket, _) = script.next_to_worker();
        let summary = RouterSummary { router: router(serial), epoch: Epoch(0), transports: vec![] };
        script.worker_answers(ticket, Ok(Response::Routers { routers: vec![summary] }));
    }
    let summary =
        |serial, epoch| RouterSummary { router: router(serial), epoch: Epoch(epoch), transports: vec![] };
    let routers = vec![summary(1, 1), summary(2, 2)];
    assert_eq!(script.answer_on(LINK), Ok(Response::Routers { routers }));
}

#[test]
fn a_router_is_closed_60_s_after_its_last_connection_broke() {
    let mut script = Script::new(1);
    script.done(create(1));
    script.advance(Duration::from_secs(1_000));
    assert!(script.is_silent() && script.node.poll_timeout().is_none(), "its owner is connected");
    script.node.handle_link_closed(LINK, script.now);
    assert_eq!(script.node.poll_timeout(), Some(script.now + ABANDONED_AFTER));
    script.advance(ABANDONED_AFTER - Duration::from_millis(1));
    assert!(script.is_silent());
    script.advance(Duration::from_millis(1));
    let (_, ticket, request) = script.next_to_worker();
    assert_eq!(request, Request::CloseRouter { router: router(1) });
    script.worker_answers(ticket, Ok(Response::Done));
    assert_eq!(script.node.router_count(), 0);
}

#[test]
fn the_same_owner_claims_its_routers_by_coming_back() {
    let mut script = Script::new(1);
    script.done(create(1));
    script.node.handle_link_closed(LINK, script.now);
    script.advance(ABANDONED_AFTER / 2);
    script.node.handle_link_opened(LINK);
    script.greet(LINK);
    script.request(Request::Drain);
    assert!(script.answer_on(LINK).is_ok());
    assert_eq!(script.node.poll_timeout(), None);
}

#[test]
fn a_new_owner_claims_routers_by_sync_and_the_others_are_abandoned() {
    let mut script = Script::new(1);
    script.done(create(1));
    script.done(create(2));
    script.epoch = Epoch(2);
    script.done(create(1));
    script.advance(ABANDONED_AFTER);
    let (_, ticket, request) = script.next_to_worker();
    assert_eq!(request, Request::CloseRouter { router: router(2) });
    script.worker_answers(ticket, Ok(Response::Done));
    let Some(NodeOutput::Send { frame: Frame::Notification { notification }, .. }) =
        script.node.poll_output()
    else {
        panic!("the new owner is told")
    };
    assert_eq!(notification, Notification::RouterAbandoned { router: router(2) });
    assert_eq!(script.node.router_count(), 1);
}

#[test]
fn an_abandoned_router_whose_worker_was_busy_is_closed_later() {
    let mut script = Script::new(1);
    script.done(create(1));
    script.done(offer(1, 1));
    script.node.handle_link_closed(LINK, script.now);
    script.advance(ABANDONED_AFTER);
    let (_, ticket, _) = script.next_to_worker();
    script.worker_answers(ticket, Err(ControlError::Internal { message: "busy".into() }));
    assert_eq!((script.node.router_count(), script.node.transport_count()), (1, 1));
    script.advance(ABANDONED_AFTER);
    assert_eq!(script.next_to_worker().2, Request::CloseRouter { router: router(1) });
}

#[test]
fn a_closed_transport_is_forgotten_and_told() {
    let mut script = Script::new(1);
    script.done(create(1));
    script.done(offer(1, 1));
    let closed = Notification::TransportClosed { transport: transport(1), reason: CloseReason::TimedOut };
    script.node.handle_worker_notification(closed);
    assert!(matches!(script.node.poll_output(), Some(NodeOutput::Send { link: LINK, .. })));
    assert_eq!(script.node.transport_count(), 0);
}

#[test]
fn transports_of_a_restarted_worker_are_told_closed() {
    let mut script = Script::new(2);
    script.done(create(1));
    script.done(create(2));
    script.done(offer(1, 1));
    script.done(offer(2, 2));
    script.node.handle_worker_restarted(0);
    let Some(NodeOutput::Send { frame: Frame::Notification { notification }, .. }) =
        script.node.poll_output()
    else {
        panic!("signaling is told")
    };
    assert!(matches!(notification, Notification::TransportClosed { transport: t, .. } if t == transport(1)));
    assert!(script.is_silent());
    assert_eq!((script.node.router_count(), script.node.transport_count()), (1, 1));
}
