use proptest::prelude::*;

use super::*;

fn events(body: &str) -> Vec<Announced> {
    match read(body.as_bytes()) {
        Payload::Events(events) => events,
        Payload::Ping => panic!("a ping"),
    }
}

fn one(body: &str) -> Announced {
    let mut events = events(body);
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn subject_of(body: &str) -> Result<(Kind, String), Ignored> {
    let event = one(body);
    event.subject.map(|s| (s.kind(), s.key().to_owned())).ok_or_else(|| event.ignored.unwrap())
}

#[test]
fn the_payload_seen_in_production() {
    let body = r#"{"reference":"2026-2248374","statusId":"_TS_CO_OfferStatus_Archive","uri":"/api/v1/vacancies/2026-2248374","event_type":"vacancy_status","event_date":"2026-05-26T13:45:30Z"}"#;
    let event = one(body);
    assert_eq!(event.event, "vacancy_status");
    assert_eq!(event.subject, Some(Subject::new(Kind::Vacancy, "2026-2248374".into())));
    assert_eq!(event.event_date.unwrap().to_rfc3339(), "2026-05-26T13:45:30+00:00");
    assert_eq!((event.ignored, event.span), (None, 0..body.len()));
}

#[test]
fn nothing_is_a_ping() {
    for body in ["", " \r\n\t", "\u{feff}", "\u{feff} \n"] {
        assert_eq!(read(body.as_bytes()), Payload::Ping);
    }
}

#[test]
fn keys_and_what_they_name() {
    use Kind::{Candidate, Vacancy};
    for (body, kind, key) in [
        (r#"{"event_type":"applicant_update","applicantId":"_TS-1"}"#, Candidate, "_TS-1"),
        (r#"{"event_type":"applicant_update","reference":"_TS-1"}"#, Candidate, "_TS-1"),
        (r#"{"event_type":"applicant_x","vacancyReference":"V"}"#, Vacancy, "V"),
        (r#"{"event_type":"application_event_new","reference":"V"}"#, Vacancy, "V"),
        (r#"{"event_type":"application_event_new","reference":"V","candidateId":"C"}"#, Candidate, "C"),
        (r#"{"reference":"V","vacancyReference":"W"}"#, Vacancy, "V"),
        (r#"{"event_type":"never_heard_of","vacancyReference":"V"}"#, Vacancy, "V"),
        (r#"{"applicantId":null,"candidateId":"","reference":"V"}"#, Vacancy, "V"),
        (r#"{"event_type":7,"reference":12345678901234567890123}"#, Vacancy, "12345678901234567890123"),
        (r#"{"reference":"first","reference":"last"}"#, Vacancy, "last"),
        (r#"{"reference":" 2019-Manager H\/F "}"#, Vacancy, " 2019-Manager H/F "),
        (r#"{"reference":"a\ud800b","x":"\udc00"}"#, Vacancy, "a\u{fffd}b"),
    ] {
        assert_eq!(subject_of(body), Ok((kind, key.to_owned())), "{body}");
    }
}

#[test]
fn what_raises_nothing_says_why() {
    let long = format!(r#"{{"reference":"{}"}}"#, "x".repeat(KEY_MAX + 1));
    for (body, reason) in [
        ("not json", Ignored::Unreadable),
        ("{", Ignored::Unreadable),
        ("{} {}", Ignored::Unreadable),
        ("42", Ignored::Unreadable),
        ("null", Ignored::Unreadable),
        ("{}", Ignored::NoKey),
        ("[]", Ignored::NoKey),
        (r#"{"event_type":"vacancy_new","reference":{"id":1}}"#, Ignored::NoKey),
        (r#"{"reference":null}"#, Ignored::NoKey),
        (r#"{"reference":""}"#, Ignored::UnusableKey),
        (r#"{"reference":"a\u0000b"}"#, Ignored::UnusableKey),
        (&long, Ignored::UnusableKey),
    ] {
        assert_eq!(subject_of(body), Err(reason), "{body}");
    }
    assert!(
        matches!(read(b"{\"reference\":\"\xff\"}"), Payload::Events(e) if e[0].ignored == Some(Ignored::Unreadable))
    );
    let longest = format!(r#"{{"reference":"{}"}}"#, "x".repeat(KEY_MAX));
    assert!(subject_of(&longest).is_ok());
}

#[test]
fn an_array_is_one_event_per_element_each_with_its_span() {
    let body = " [ {\"reference\":\"A\"} , 7,{\"applicantId\":\"B\"}]\n";
    let events = events(body);
    let spans: Vec<&str> = events.iter().map(|e| &body[e.span.clone()]).collect();
    assert_eq!(spans, [r#"{"reference":"A"}"#, "7", r#"{"applicantId":"B"}"#]);
    assert_eq!(events[1].ignored, Some(Ignored::Unreadable));
}

#[test]
fn an_endless_array_is_cut() {
    let body = format!("[{}1]", "1,".repeat(30_000));
    let events = events(&body);
    assert_eq!(events.len(), ANNOUNCED_MAX + 1);
    assert_eq!(events[ANNOUNCED_MAX].ignored, Some(Ignored::TooMany));
    assert_eq!(events[ANNOUNCED_MAX].span.end, body.len());
}

#[test]
fn nesting_without_end_is_no_event() {
    let deep = "[".repeat(60_000);
    assert_eq!(one(&deep).ignored, Some(Ignored::Unreadable));
    assert_eq!(one(&format!("{{\"a\":{deep}")).ignored, Some(Ignored::Unreadable));
    let closed = format!(r#"{{"a":{deep}{},"reference":"V"}}"#, "]".repeat(60_000));
    assert_eq!(subject_of(&closed).unwrap().1, "V");
}

#[test]
fn names_are_cut_and_cleaned_and_dates_are_tolerant() {
    let name = format!("\u{e9}{}", "\u{e9}".repeat(EVENT_MAX));
    let event = one(&format!(r#"{{"event_type":"a\u0000{name}","event_date":"2026-05-26T13:45:30.5"}}"#));
    assert!(event.event.starts_with("a\u{e9}") && event.event.len() <= EVENT_MAX);
    assert_eq!(event.event_date.unwrap().timestamp_millis(), 1_779_803_130_500);
    for date in
        ["\"soon\"", "17", "[]", "\"2026-13-99T00:00:00Z\"", "\"-262143-01-01T00:00:00\"", "\"+262142-12-31T00:00:00\""]
    {
        assert_eq!(one(&format!(r#"{{"reference":"V","event_date":{date}}}"#)).event_date, None);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&body);
    }

    #[test]
    fn any_json_like_text_is_accounted_for(body in "[\\[\\]{}:,\"a-z0-9\\\\u é]{0,80}") {
        if let Payload::Events(events) = read(body.as_bytes()) {
            prop_assert!(!events.is_empty());
            for event in events {
                prop_assert_eq!(event.subject.is_some(), event.ignored.is_none());
                prop_assert!(body.get(event.span).is_some());
            }
        }
    }
}
