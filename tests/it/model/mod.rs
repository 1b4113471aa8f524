//! One subject against a model of it: every order of few steps from every place that it can stand, and long sequences
//! drawn by seed. After each step the tables must say what the model says, and what holds whatever the model says.

mod expected;
mod real;
mod steps;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::database::Named;
use expected::{CONFIRM, Expected, Held, Read, Seen};
use real::{Real, Service};
use steps::{Answer, EACH, Random, Step, starts};

/// Steps in every order, behind each start.
const DEPTH: usize = 2;
/// Services beside each other, each with a database connection pool, a clock and tenants of its own.
const LANES: usize = 4;
const SEEDS: u64 = 50;
const LENGTH: usize = 60;
/// A little longer than what is waited for.
const MARGIN: Duration = Duration::from_secs(1);

/// A sequence under way: both sides, and the story so far.
struct Walk<'a> {
    real: Real<'a>,
    expected: Expected,
    confirm_at: Option<DateTime<Utc>>,
    story: Vec<Step>,
}

impl<'a> Walk<'a> {
    async fn begin(service: &'a Service, name: String) -> Walk<'a> {
        let real = Real::new(service, name).await;
        Walk { real, expected: Expected::default(), confirm_at: None, story: Vec::new() }
    }

    fn allows(&self, step: Step) -> bool {
        self.expected.allows(step, self.story.last().copied(), self.real.now())
    }

    /// Takes the step on both sides, and compares them.
    async fn take(&mut self, step: Step) {
        let before = self.expected.clone();
        self.story.push(step);
        let ended = match step {
            Step::EndFirst => Some(self.expected.reads.remove(0)),
            Step::EndLast => self.expected.reads.pop(),
            _ => None,
        };
        self.really(step, ended.as_ref()).await;
        let (seen, confirm_at) = self.real.seen().await;
        self.model(step, ended.as_ref(), &seen);
        assert_eq!(seen, self.expected.seen, "the tables, and the model, after {:?}\nbefore: {before:#?}", self.story);
        self.always(&before.seen, &seen, ended.as_ref());
        self.confirm_at = confirm_at;
    }

    async fn really(&mut self, step: Step, ended: Option<&Read>) {
        let now = self.real.now();
        let (number, began) = match step {
            Step::Read(_) if self.expected.erased => {
                assert_eq!(self.real.begin().await, None, "an erased subject is read: {:?}", self.story);
                return;
            }
            Step::Read(_) => {
                let (number, control) = self.real.begin().await.expect("the subject is due");
                let row = self.expected.seen.row.as_ref().expect("a row that is due");
                let needed = row.held == Held::Live && row.absent_since.is_some();
                assert_eq!(control, needed, "a control: {:?}", self.story);
                (number, now)
            }
            Step::List(_) => (self.real.list().await, now),
            Step::EndFirst | Step::EndLast => {
                let read = ended.expect("a read under way");
                let nth = if step == Step::EndFirst { 0 } else { self.expected.reads.len() };
                let fenced = self.real.end(nth, read.answer, read.version).await;
                assert_eq!(fenced, read.holder == self.expected.holder, "the fence: {:?}", self.story);
                return;
            }
            Step::Callback => return self.real.callback().await,
            Step::Pass => return self.real.pass((CONFIRM.to_std().unwrap()) + MARGIN),
            Step::Hour => return self.real.pass(Duration::from_secs(3600) + MARGIN),
            Step::Again => return self.real.again().await,
            Step::Want => return self.real.want().await,
            Step::TakeOver => return self.real.take_over().await,
            Step::Erase => return self.real.erase().await,
            Step::Lift => return self.real.lift().await,
        };
        let (Step::Read(answer) | Step::List(answer)) = step else { unreachable!("what was begun") };
        let claimed = self.expected.seen.row.clone().filter(|_| matches!(step, Step::Read(_)));
        let (version, holder) = (self.expected.version, self.expected.holder);
        self.expected.begin(Read { number, began, answer, version, holder, claimed });
    }

    /// The model's side; numbers that were drawn, and the jitter of a delay, are taken from what is seen.
    fn model(&mut self, step: Step, ended: Option<&Read>, seen: &Seen) {
        let (expected, now) = (&mut self.expected, self.real.now());
        let wanted = seen.row.as_ref().map(|row| row.wanted);
        match step {
            Step::Callback => {
                expected.version += 1;
                let number = *seen.deliveries.last().expect("a delivery");
                assert!(expected.seen.deliveries.iter().all(|earlier| *earlier < number), "{seen:?}");
                expected.callback(number, now);
            }
            Step::Want => expected.want(wanted.expect("a row that was asked for"), now),
            Step::Again => {
                let due = self.confirm_at.is_some_and(|at| at <= now);
                if due && expected.seen.row.as_ref().is_some_and(|row| !row.waits() && !row.dead) {
                    expected.again(wanted.expect("a row that is read again"), now);
                }
            }
            Step::Read(_) if expected.erased => expected.scrub(),
            Step::EndFirst | Step::EndLast => {
                expected.end(ended.expect("a read"), now, seen.row.as_ref().map(|row| row.due_at));
            }
            Step::TakeOver => expected.holder += 1,
            Step::Erase => expected.erase(),
            Step::Lift => expected.erased = false,
            Step::Read(_) | Step::List(_) | Step::Pass | Step::Hour => {}
        }
    }

    /// What holds whatever the model says.
    fn always(&self, before: &Seen, after: &Seen, ended: Option<&Read>) {
        let story = &self.story;
        assert_eq!(
            after.document.is_some(),
            after.row.as_ref().is_some_and(|row| row.held == Held::Live),
            "the index holds what is live, and nothing else: {story:?}"
        );
        assert_eq!(
            after.deliveries.len() as i64 + after.nameless,
            story.iter().filter(|step| **step == Step::Callback).count() as i64,
            "every delivery is kept: {story:?}"
        );
        assert!(after.deliveries.is_empty() || after.row.is_some(), "a delivery that no row accounts for: {story:?}");
        if self.expected.erased {
            assert!(after.document.is_none() && after.report.is_none(), "an erased one is back: {story:?}");
        }
        let (Some(old), Some(new)) = (&before.row, &after.row) else { return };
        assert!(new.settled >= old.settled && new.wanted >= old.wanted, "a number has gone back: {story:?}");
        let number = ended.map(|read| read.number);
        if new.settled > old.settled {
            assert_eq!(Some(new.settled), number, "settled by something else than this read: {story:?}");
        } else {
            assert_eq!((new.held, after.document), (old.held, before.document), "written by an older read: {story:?}");
        }
        if old.held == Held::Removed && new.held == Held::Live {
            let read = ended.expect("a read");
            let since = read.claimed.as_ref().and_then(|claimed| claimed.returned_at);
            assert!(since.is_some_and(|since| since + CONFIRM <= read.began), "back by one read: {story:?}");
        }
        if old.held == Held::Live && new.cause.as_deref() == Some("absence") {
            let read = ended.expect("a read");
            let since = read.claimed.as_ref().and_then(|claimed| claimed.absent_since);
            assert!(since.is_some_and(|since| since + CONFIRM <= read.began), "gone by one read: {story:?}");
            assert_eq!(read.answer, Answer::Missing, "gone by an answer without the control: {story:?}");
        }
        if new.dead && !old.dead {
            let wanted = ended.and_then(|read| read.claimed.as_ref()).expect("a read of a claimed one").wanted;
            assert!(after.deliveries.iter().all(|id| *id <= wanted), "buried though raised since: {story:?}");
        }
    }

    /// Every delivery is in exactly one state, the one that the model says.
    async fn account(&self) {
        let ledger = self.real.ledger().await;
        let seen = &self.expected.seen;
        let Some(row) = &seen.row else {
            assert_eq!((ledger.received, ledger.settled), (seen.nameless, seen.nameless), "{:?}", self.story);
            return;
        };
        let open = seen.deliveries.iter().filter(|id| **id > row.settled).count() as i64;
        let settled = seen.deliveries.len() as i64 - open + seen.nameless;
        let (waiting, dead) = if row.dead { (0, open) } else { (open, 0) };
        let counted = (ledger.received, ledger.settled, ledger.waiting, ledger.dead, ledger.ignored);
        assert_eq!(counted, (settled + open, settled, waiting, dead, 0), "{:?}", self.story);
        let lost = (ledger.documents_missing, ledger.documents_extra, ledger.reports_missing);
        assert_eq!(lost, (0, 0, 0), "{:?}", self.story);
    }

    /// One callback more and honest answers: the index comes to show what Cegid shows.
    async fn converge(&mut self, truth: Answer) {
        while self.allows(Step::EndFirst) {
            self.take(Step::EndFirst).await;
        }
        self.take(Step::Callback).await;
        for _ in 0..12 {
            if !self.expected.seen.row.as_ref().is_some_and(expected::Row::waits) {
                break;
            }
            self.take(Step::Pass).await;
            for step in [Step::Read(truth), Step::EndFirst] {
                let scrubs = self.expected.erased && matches!(step, Step::Read(_));
                if self.allows(step) || scrubs && self.expected.is_due(self.real.now()) {
                    self.take(step).await;
                }
            }
        }
        let (seen, story) = (&self.expected.seen, &self.story);
        assert!(seen.row.as_ref().is_none_or(|row| !row.waits()), "it is not settled: {story:?}");
        if self.expected.erased {
            assert_eq!((&seen.row, seen.document, seen.deliveries.len()), (&None, None, 0), "{story:?}");
        } else {
            let row = seen.row.as_ref().expect("a row");
            let version = seen.document.map(|(version, _)| version);
            match truth {
                Answer::Shown => assert_eq!(version, Some(self.expected.version), "{story:?}"),
                Answer::Missing | Answer::Anonymised => assert_eq!(version, None, "{story:?}"),
                Answer::Broken => assert!(row.dead && seen.report.is_some_and(|(_, success)| !success), "{story:?}"),
                Answer::Blind => unreachable!("no truth"),
            }
        }
        self.account().await;
    }
}

/// Databases for as many services as run beside each other. Nothing of it has to outlive the machine.
async fn services() -> (Named, Vec<Service>) {
    let name = Named::create().await;
    let mut connection = PgConnection::connect(&name.url()).await.unwrap();
    let database: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await.unwrap();
    let statement = format!("alter database \"{database}\" set synchronous_commit = off");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    // The tests ask for the deliveries of a tenant after each step; the service never does.
    sqlx::query("create index delivery_of_the_test on delivery (tenant)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut services = Vec::new();
    for _ in 0..LANES {
        services.push(Service::new(&name).await);
    }
    (name, services)
}

/// Every order of steps behind this start whose first step is the lane's; gives how many sequences and steps there were.
async fn each_order(service: &Service, lane: usize, nth: usize, start: &[Step]) -> (usize, usize) {
    let (mut orders, mut taken) = (0, 0);
    let mut order = [0; DEPTH];
    for run in 0.. {
        let mut walk = Walk::begin(service, format!("t{lane}_{nth}_{run}")).await;
        for step in start {
            assert!(walk.allows(*step), "a start that cannot be reached: {start:?}");
            walk.take(*step).await;
        }
        let mut place = 0;
        while place < DEPTH {
            let mine = |step: usize| place > 0 || (step + nth) % LANES == lane;
            let next = (order[place]..EACH.len()).find(|step| mine(*step) && walk.allows(EACH[*step]));
            let Some(next) = next else { break };
            order[place] = next;
            walk.take(EACH[next]).await;
            place += 1;
        }
        taken += walk.story.len();
        if place == DEPTH {
            orders += 1;
            walk.account().await;
        }
        // Nothing is left to be taken behind these.
        order[place..].fill(0);
        let Some(last) = place.checked_sub(1) else { break };
        order[last] += 1;
    }
    (orders, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_of_few_steps_from_every_place_is_as_the_model_says() {
    let (_name, services) = services().await;
    let lanes = services.iter().enumerate().map(async |(lane, service)| {
        let mut counted = (0, 0);
        for (nth, (_, start)) in starts().iter().enumerate() {
            let (sequences, steps) = Box::pin(each_order(service, lane, nth, start)).await;
            counted = (counted.0 + sequences, counted.1 + steps);
        }
        service.end();
        counted
    });
    let counted = futures_util::future::join_all(lanes).await;
    let (sequences, steps) = counted.iter().fold((0, 0), |all, lane| (all.0 + lane.0, all.1 + lane.1));
    println!("{sequences} orders of {DEPTH} steps, {steps} steps in all");
    assert!(sequences > 1000, "{sequences} orders: the model allows too little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_sequences_are_as_the_model_says_and_come_to_rest_where_cegid_is() {
    let (_name, services) = services().await;
    let truths = [Answer::Shown, Answer::Missing, Answer::Anonymised, Answer::Broken];
    let lanes = services.iter().enumerate().map(async |(lane, service)| {
        let (mut steps, mut live) = (0, 0);
        for seed in (1..=SEEDS).filter(|seed| *seed as usize % LANES == lane) {
            let mut random = Random(seed);
            let mut walk = Walk::begin(service, format!("r{seed}")).await;
            while walk.story.len() < LENGTH {
                let step = random.step();
                if walk.allows(step) {
                    walk.take(step).await;
                    walk.account().await;
                    live += usize::from(walk.expected.seen.document.is_some());
                }
            }
            Box::pin(walk.converge(truths[random.next() as usize % truths.len()])).await;
            steps += walk.story.len();
        }
        service.end();
        (steps, live)
    });
    let counted = futures_util::future::join_all(lanes).await;
    let (steps, live) = counted.iter().fold((0, 0), |all, lane| (all.0 + lane.0, all.1 + lane.1));
    println!("{SEEDS} sequences, {steps} steps in all, something in the index after {live}");
    assert!(live * 5 > steps, "the index is empty most of the time: {live} of {steps}");
}
